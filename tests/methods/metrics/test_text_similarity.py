"""Labels against truths: worked cases in the plane, naive loops, refusals."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dnd_assets.methods.metrics import (
    accuracy,
    contributions,
    exact_matches,
    label_agreement,
    label_similarity,
    predict_classes,
    similarities,
)

PLANE = {"right": (1, 0), "up": (0, 1), "between": (0.6, 0.8), "left": (-1, 0)}


class Plane:
    """Texts as directions in the plane; remembers what it was asked."""

    def __init__(self):
        self.asked = []

    def encode(self, texts):
        self.asked.append(list(texts))
        return np.array([PLANE[text] for text in texts], dtype=np.float32)


class Hashed:
    """Any text as a direction drawn from it."""

    def encode(self, texts):
        rows = [np.random.default_rng(list(text.encode())).normal(size=8) for text in texts]
        return np.array([row / np.linalg.norm(row) for row in rows], dtype=np.float32)


words = st.lists(st.sampled_from(["cat", "dog", "a red fish", "Fish", "sea"]), min_size=1)


def test_similarity_of_a_worked_case():
    labels, truths = ["right", "up", "left"], ["between", "between", "right"]

    # cos = 1*0.6 + 0*0.8, 0*0.6 + 1*0.8 and -1.
    assert similarities(labels, truths, Plane()) == pytest.approx([0.6, 0.8, -1.0])
    assert label_similarity(labels, truths, Plane()) == pytest.approx((0.6 + 0.8 - 1.0) / 3)


def test_each_text_is_encoded_once():
    encoder = Plane()

    similarities(["up", "right", "up"], ["right", "up", "up"], encoder)

    assert encoder.asked == [["up", "right"]]


@given(words)
def test_a_label_that_is_its_truth_has_similarity_one(labels):
    assert similarities(labels, labels, Hashed()) == pytest.approx(np.ones(len(labels)))
    assert accuracy(labels, labels) == 1.0


@given(words, st.randoms(use_true_random=False))
def test_similarity_is_symmetric_follows_the_units_and_matches_a_loop(labels, random):
    truths = random.sample(labels, len(labels))
    order = random.sample(range(len(labels)), len(labels))

    found = similarities(labels, truths, Hashed())

    assert found == pytest.approx(similarities(truths, labels, Hashed()))
    shuffled = similarities([labels[i] for i in order], [truths[i] for i in order], Hashed())
    assert shuffled == pytest.approx(found[order])
    for value, label, truth in zip(found, labels, truths, strict=True):
        one, other = Hashed().encode([label])[0], Hashed().encode([truth])[0]
        assert value == pytest.approx(float(sum(one * other)), abs=1e-6)


def test_exact_matches_are_letter_for_letter():
    found = exact_matches(["cat", "Cat", "cat ", "dog"], ["cat", "cat", "cat", "dog"])

    assert found.tolist() == [True, False, False, True]
    assert accuracy(["cat", "Cat", "cat ", "dog"], ["cat", "cat", "cat", "dog"]) == 0.5


def test_agreement_of_a_worked_case():
    labels = {"a": ["right", "up"], "b": ["between", "between"], "c": ["right", "up"]}

    found = label_agreement(labels, Plane())

    assert list(found) == [("a", "b"), ("a", "c"), ("b", "c")]
    assert found == pytest.approx({("a", "b"): 0.7, ("a", "c"): 1.0, ("b", "c"): 0.7})


@given(words)
def test_methods_that_say_the_same_agree_fully(labels):
    assert label_agreement({"a": labels, "b": labels}, Hashed())["a", "b"] == pytest.approx(1.0)


def test_contributions_of_a_worked_case():
    activations = np.array([[1.0, 2.0], [3.0, 0.5]])
    weights = np.array([[1.0, -1.0], [0.5, 4.0]])

    # The first input was given class 1, the second class 0.
    found = contributions(activations, weights, [1, 0])

    assert found.tolist() == [[0.5, 8.0], [3.0, -0.5]]


def test_contributions_of_all_units_sum_to_the_output():
    rng = np.random.default_rng(3)
    activations, weights = rng.normal(size=(5, 7)), rng.normal(size=(4, 7))
    outputs = (activations @ weights.T).argmax(axis=1)

    found = contributions(activations, weights, outputs).sum(axis=1)

    assert found == pytest.approx((activations @ weights.T).max(axis=1))


def test_a_class_is_read_off_the_most_contributing_unit():
    contributed = np.array([[5.0, 1.0, 0.0], [0.0, 1.0, 7.0], [-3.0, -1.0, -2.0]])
    labels = ["right", "up", "between"]

    # Most contributing: units 0, 2 and 1. (0.6, 0.8) is nearer to up (0.8) than to right (0.6).
    found = predict_classes(contributed, labels, ["up", "right"], Plane())

    assert found.tolist() == [1, 0, 0]
    assert found.dtype == np.int64


def test_ties_of_contributions_and_classes_go_to_the_first():
    found = predict_classes(np.ones((1, 2)), ["right", "up"], ["right", "right", "up"], Plane())

    assert found.tolist() == [0]


def test_wrong_inputs_are_refused():
    with pytest.raises(ValueError, match="2 labels do not fit 1 truths"):
        similarities(["up", "up"], ["up"], Plane())
    with pytest.raises(ValueError, match="no label"):
        label_similarity([], [], Plane())
    with pytest.raises(ValueError, match="text 1 is blank"):
        similarities(["up", " "], ["up", "up"], Plane())
    with pytest.raises(TypeError, match="not one text"):
        similarities("up", "up", Plane())
    with pytest.raises(ValueError, match="two methods"):
        label_agreement({"a": ["up"]}, Plane())
    with pytest.raises(ValueError, match="do not fit"):
        label_agreement({"a": ["up"], "b": []}, Plane())
    with pytest.raises(ValueError, match=r"\(N, U\), \(C, U\) and \(N,\)"):
        contributions(np.ones((2, 3)), np.ones((2, 4)), [0, 1])
    with pytest.raises(ValueError, match=r"in \[0, 2\)"):
        contributions(np.ones((2, 3)), np.ones((2, 3)), [0, 2])
    with pytest.raises(ValueError, match="do not fit 1 labels"):
        predict_classes(np.ones((2, 3)), ["up"], ["up"], Plane())
    with pytest.raises(ValueError, match="NaN"):
        predict_classes(np.full((1, 1), np.nan), ["up"], ["up"], Plane())


@pytest.mark.parametrize("vectors", [np.ones((2, 2)), np.full((2, 2), np.nan), np.ones((1, 2))])
def test_an_encoder_that_gives_no_unit_vectors_is_refused(vectors):
    class Broken:
        def encode(self, texts):
            return vectors

    with pytest.raises(ValueError, match=r"length 1|gave vectors of shape"):
        similarities(["up"], ["right"], Broken())
