"""BERTScore: a worked case, the reference's steps in a loop, invariants, refusals."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dnd_assets.methods.metrics import Tokens, bert_score, bert_scores

PLANE = {"right": (1, 0), "up": (0, 1), "between": (0.6, 0.8), "[SEP]": (0, -2), "left": (-1, 0)}


class Words:
    """Each word is a token with a direction in the plane."""

    def encode_tokens(self, texts):
        return [
            Tokens(
                np.array([PLANE[word] for word in text.split()], np.float32),
                np.array([word != "[SEP]" for word in text.split()]),
            )
            for text in texts
        ]


texts = st.lists(st.sampled_from(["right", "up", "between"]), min_size=1, max_size=4).map(" ".join)


def test_a_worked_case():
    # Cosines of right, up with right, between: (1, 0.6), (0, 0.8).
    # Precision over right, up: (1 + 0.8) / 2. Recall over right, between: (1 + 0.8) / 2.
    assert bert_score(["right up"], ["right between"], Words()) == pytest.approx(0.9)
    # One token against two: precision 1, recall (1 + 0) / 2, F1 = 2 * 0.5 / 1.5.
    assert bert_score(["right"], ["right up"], Words()) == pytest.approx(2 / 3)


def test_marks_of_start_and_end_are_matched_but_not_counted():
    assert bert_score(["up [SEP]"], ["up [SEP]"], Words()) == pytest.approx(1.0)
    # Precision is -1 (left with right), recall the same: F1 = 2 / -2.
    assert bert_score(["left"], ["right"], Words()) == pytest.approx(-1.0)
    # left with [SEP] has cosine 0, which is more than -1; so both means are 0.
    assert np.isnan(bert_score(["left [SEP]"], ["right [SEP]"], Words()))


@given(st.lists(st.tuples(texts, texts), min_size=1, max_size=5))
def test_it_is_symmetric_and_at_most_one(pairs):
    labels, truths = map(list, zip(*pairs, strict=True))

    found = bert_scores(labels, truths, Words())

    assert found == pytest.approx(bert_scores(truths, labels, Words()), nan_ok=True)
    assert np.nanmax([*found, 0]) <= 1 + 1e-9
    assert bert_scores(labels, labels, Words()) == pytest.approx(np.ones(len(labels)))


@given(texts, texts)
def test_the_formula_in_loops(label, truth):
    def cosine(one, other):
        a, b = np.array(PLANE[one]), np.array(PLANE[other])
        return a @ b / np.linalg.norm(a) / np.linalg.norm(b)

    x, y = truth.split(), label.split()
    recall = sum(max(cosine(i, j) for j in y) for i in x) / len(x)
    precision = sum(max(cosine(i, j) for i in x) for j in y) / len(y)
    expected = 2 * precision * recall / (precision + recall) if precision + recall else np.nan

    assert bert_score([label], [truth], Words()) == pytest.approx(expected, nan_ok=True)


def test_wrong_inputs_are_refused():
    with pytest.raises(ValueError, match="1 labels do not fit 0 truths"):
        bert_score(["up"], [], Words())
    with pytest.raises(ValueError, match=r"SEP.* has no token to match"):
        bert_score(["[SEP]"], ["up"], Words())

    class Zero:
        def encode_tokens(self, texts):
            return [Tokens(np.zeros((1, 2), np.float32), np.array([True])) for _ in texts]

    with pytest.raises(ValueError, match="no direction"):
        bert_score(["up"], ["up"], Zero())
