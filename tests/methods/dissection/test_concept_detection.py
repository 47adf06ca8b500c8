"""Concepts by detection: the coefficient, candidates, pairs, the choice."""

from dataclasses import replace

import numpy as np
import pytest

from dnd_assets.methods.dissection.candidate_trial import (
    Candidate,
    Detected,
)
from dnd_assets.methods.dissection.concept_detection import (
    candidates_of,
    choose,
    narrower,
    trial,
)


def single(text: str) -> Candidate:
    return Candidate(text, (frozenset(text.split()),))


def detected(text: str, mcc: float) -> Detected:
    return Detected(single(text), mcc, 0.0, 0.5)


def test_candidates_are_phrases_with_and_without_their_words():
    found = candidates_of(["large red circles"], {frozenset({"red", "circle"}): "red circle"})
    assert {one.text for one in found} == {
        "large", "red", "circles", "large red", "red circle", "large circles", "large red circles",
    }  # fmt: skip
    assert [one.length for one in found] == sorted(one.length for one in found)


def test_a_word_that_needs_its_noun_keeps_it():
    texts = {one.text for one in candidates_of(["circle with horizontal stripes in sky"], {})}
    assert "horizontal stripes" in texts
    assert not {"horizontal", "circle horizontal", "horizontal sky"} & texts


def captions(*texts: str):
    return [frozenset(text.split()) for text in texts]


def test_either_of_two():
    shown = 20 * captions(
        "red ring", "blue cross", "green star", "blue star", "red cross", "green ring"
    )
    values = np.array(20 * [9.0, 8, 1, 9, 8, 0])
    tried = trial([single("red"), single("blue")], shown, values, {})
    best = choose(tried.whole)
    assert best is not None
    assert best.candidate.text == "blue or red"
    # 80 of 120 images, and 5 misses each way: N = 130, TP = 80, k = P = 85.
    assert best.mcc == pytest.approx((130 * 80 - 85**2) / (85 * 45))
    assert best.share == pytest.approx(4 / 6)


def test_both_of_two_that_never_stand_side_by_side():
    shown = 20 * captions("large ring grass", "large star grass", "small ring grass",
                          "large ring sand", "small star sand", "small ring grass")  # fmt: skip
    values = np.array(20 * [9.0, 8, 1, 1, 0, 0])
    tried = trial([single("large"), single("grass")], shown, values, {})
    best = choose(tried.whole)
    assert best is not None
    assert best.candidate.text == "grass and large"
    assert best.candidate.parts == (frozenset({"large", "grass"}),)


def test_one_that_implies_the_other_makes_no_pair():
    shown = captions("red ring", "blue ring", "red star", "blue star")
    tried = trial([single("red"), single("red ring")], shown, np.array([3.0, 2, 1, 0]), {})
    assert [one.text for one in tried.candidates] == ["red", "red ring"]


def test_the_shortest_near_the_best_is_chosen():
    near = [detected("large red ring", 0.90), detected("red", 0.86), detected("ring", 0.80)]
    best = choose(near)
    assert best is not None
    assert best.candidate.text == "red"
    exact = choose(near, margin=0.0)
    assert exact is not None
    assert exact.candidate.text == "large red ring"
    assert choose([detected("red", 0.0), detected("ring", -0.2)]) is None


def test_ties_go_to_the_alphabet():
    one, other = detected("red", 0.7), detected("blue", 0.7)
    assert choose([one, other]) == choose([other, one]) == other


def test_narrower():
    forms = {frozenset({"red", "ring"}): "red rings"}
    assert [one.text for one in narrower(single("large red ring"), forms)] == [
        "large red", "large ring", "red rings",
    ]  # fmt: skip
    either = Candidate("blue or red", (frozenset({"blue"}), frozenset({"red"})))
    assert [one.text for one in narrower(either, {})] == ["blue", "red"]
    assert narrower(single("red"), {}) == []


def test_a_negation_only_where_nothing_comes_near_it():
    shown = 100 * captions("red ring", "red star", "blue grass", "x grass")
    values = np.array(100 * [1.0, 1, 1, 0])
    tried = trial([single("red"), single("blue")], shown, values, {}, [single("x")])
    best = choose(tried.whole)
    assert best is not None
    assert best.candidate.text == "blue or red"
    alone = trial([single("red")], shown, values, {}, [single("x")])
    chosen = choose(alone.whole)
    assert chosen is not None
    assert (chosen.candidate.text, chosen.candidate.negated) == ("not x", True)
    assert chosen.candidate.length == 2
    assert chosen.share == pytest.approx(3 / 4)
    assert [one.text for one in narrower(chosen.candidate, {})] == ["x"]


def test_a_concept_of_one_image_does_not_beat_a_common_one():
    shown = captions("rare ring", *["ring"] * 40, *["star"] * 60)
    values = np.array([9.0] + [1.0] * 38 + [0.0] * 62)
    best = choose(trial([single("rare"), single("ring")], shown, values, {}).whole)
    assert best is not None
    assert best.candidate.text == "ring"


def test_of_few_images_a_shorter_concept_is_taken_within_a_standard_error():
    # (1 - 0.6^2) / sqrt(16) = 0.16, and 0.6 - 0.16 = 0.44.
    best = Detected(Candidate("a or b", (frozenset("a"), frozenset("b"))), 0.6, 0.0, 0.1, 16.0)
    near, far = Detected(single("a"), 0.45, 0.0, 0.1), Detected(single("b"), 0.43, 0.0, 0.1)
    assert best.error == pytest.approx(0.16)
    assert choose([best, near, far]) == near
    assert choose([best, far]) == best
    of_many = replace(best, support=1600.0)
    assert choose([of_many, near]) == of_many


def test_an_encoder_tells_two_concepts_apart_that_captions_do_not():
    # Both words stand in the same captions; the pictures of one are like the text "a" alone.
    captions = [frozenset(["a", "b"])] * 30 + [frozenset()] * 50
    activations = np.array([*range(30, 0, -1), *[0] * 50], dtype=float)
    like = {"a": activations, "b": -activations}

    def likeness(texts):
        return np.array([like[text] for text in texts]).reshape(len(texts), len(captions))

    names = [single("b"), single("a")]
    by_captions = trial(names, captions, activations, {}).whole
    by_both = trial(names, captions, activations, {}, (), likeness).whole
    assert by_captions[0].score == by_captions[1].score
    best = choose(by_both)
    assert best is not None
    assert best.candidate.text == "a"
    assert best.agreement == pytest.approx(1.0)
    assert best.score == pytest.approx((best.mcc + 1) / 2)


def test_what_captions_speak_against_is_not_chosen_however_much_the_encoder_agrees():
    against = Detected(single("a"), 0.0, np.inf, 0.1, 5.0, agreement=0.9)
    weak = Detected(single("b"), 0.1, 1.0, 0.1, 5.0, agreement=0.1)
    assert choose([against, weak]) == weak
    assert choose([against]) is None
