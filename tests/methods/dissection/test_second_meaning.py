"""The second meaning of a unit: what hides below the threshold of the first."""

import numpy as np
import pytest

from dnd_assets.methods.dissection.candidate_trial import Candidate
from dnd_assets.methods.dissection.concept_detection import choose, trial
from dnd_assets.methods.dissection.second_meaning import LEVEL, chosen, second_meaning

WORDS = ("red", "blue", "ring", "star")
RNG = np.random.default_rng(1)
CAPTIONS = [
    frozenset({str(RNG.choice(WORDS[:2])), str(RNG.choice(WORDS[2:])), str(RNG.choice(("x", "y")))})
    for _ in range(400)
]
SINGLES = [Candidate(word, (frozenset({word}),)) for word in (*WORDS, "x")]


def unit(**levels: float) -> np.ndarray:
    """Activations: the highest level among the words that an image shows."""
    return np.array([max([0.0, *(levels.get(word, 0.0) for word in said)]) for said in CAPTIONS])


def label(values: np.ndarray, weights: np.ndarray | None = None) -> str | None:
    found = chosen(trial(SINGLES, CAPTIONS, values, {}), weights)
    return None if found is None else found.candidate.text


def test_a_weaker_meaning_is_joined_by_or():
    values = unit(red=1.0, x=0.8)
    first = choose(trial(SINGLES, CAPTIONS, values, {}).whole)
    assert first is not None
    assert first.candidate.text == "red"  # above 0.9 it is the whole truth
    assert label(values) == "red or x"
    assert label(values[::1], np.ones(len(values))) == "red or x"


@pytest.mark.parametrize("level", [0.0, 0.2, LEVEL - 0.1])
def test_what_adds_little_is_no_meaning(level):
    assert label(unit(red=1.0, x=level)) == "red"


def test_the_level_is_measured_from_what_shows_neither():
    # 5 on all images: x adds 0.3 of what red adds, though 5.3 is most of 6.
    assert label(5.0 + unit(red=1.0, x=0.3)) == "red"
    assert label(5.0 + unit(red=1.0, x=0.9)) == "red or x"


def test_degrees_of_one_concept_are_no_two_meanings():
    forms = [frozenset({"red", "ring"}), frozenset({"red", "star"})]
    singles = [*SINGLES, *(Candidate(" ".join(sorted(words)), (words,)) for words in forms)]
    values = np.array([0.0 if "red" not in s else 1.0 if "ring" in s else 0.6 for s in CAPTIONS])
    tried = trial(singles, CAPTIONS, values, {})
    rows = {one.text: row for row, one in enumerate(tried.candidates)}
    assert second_meaning(tried, rows["red ring"], np.ones(len(values))) is None


def test_noise_is_no_meaning():
    values = unit(red=1.0) + 0.3 * np.random.default_rng(2).normal(size=len(CAPTIONS))
    assert label(values) == "red"


def test_images_that_do_not_count_have_no_say():
    values = unit(red=1.0, x=0.8)
    weights = np.array([float("x" not in said) for said in CAPTIONS])
    assert label(values, weights) == "red"


def test_without_other_images_there_is_none():
    tried = trial(SINGLES, CAPTIONS, unit(red=1.0), {})
    red = next(row for row, one in enumerate(tried.candidates) if one.text == "red")
    only_red = np.array([float("red" in said) for said in CAPTIONS])
    assert second_meaning(tried, red, only_red) is None
    assert label(np.zeros(len(CAPTIONS))) is None
