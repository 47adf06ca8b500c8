"""How sure a label is: clear, noisy and random units, the halves, the bootstrap."""

import numpy as np
import pytest

from dnd_assets.methods.dissection.candidate_trial import Candidate
from dnd_assets.methods.dissection.concept_detection import MARGIN, choose, trial
from dnd_assets.methods.dissection.label_confidence import Evidence, evidence, probability

RNG = np.random.default_rng(3)
WORDS = ("red", "blue", "ring", "star", "grass", "sand")
CAPTIONS = [frozenset(RNG.choice(WORDS, size=3, replace=False).tolist()) for _ in range(300)]
SINGLES = [Candidate(word, (frozenset({word}),)) for word in WORDS]


def found(activations: np.ndarray, seed: int = 0) -> tuple[str, Evidence]:
    tried = trial(SINGLES, CAPTIONS, activations, {})
    best = choose(tried.whole)
    assert best is not None
    return best.candidate.text, evidence(tried, best, MARGIN, seed)


def red(noise: float) -> np.ndarray:
    shown = np.array(["red" in words for words in CAPTIONS], dtype=float)
    return shown + noise * np.random.default_rng(4).normal(size=len(shown))


def test_a_clear_unit():
    label, told = found(red(0.01))
    assert label == "red"
    assert told.held_out == pytest.approx(1.0)
    assert told.stability == 1.0
    assert told.label_set == (("red", 1.0),)
    assert told.gap > 0.4
    assert probability(told) > 0.95


def test_a_random_unit_is_not_believed():
    _, told = found(np.random.default_rng(5).normal(size=len(CAPTIONS)))
    assert abs(told.held_out) < 0.25
    assert told.stability < 1.0
    assert probability(told) < 0.5


def test_confidence_falls_with_noise():
    values = [probability(found(red(noise))[1]) for noise in (0.1, 3.0, 20.0)]
    assert values == sorted(values, reverse=True)
    assert values[0] > values[2] + 0.2


def test_the_label_set_covers_nine_tenths():
    _, told = found(red(2.0))
    shares = [share for _, share in told.label_set]
    assert shares == sorted(shares, reverse=True)
    assert sum(shares) >= 0.9 or sum(shares) == pytest.approx(1.0)
    assert sum(shares[:-1]) < 0.9


def test_the_same_again():
    assert found(red(1.0)) == found(red(1.0))
    assert found(red(3.0), seed=1)[1].stability != pytest.approx(-1)


def test_held_out_is_measured_on_the_other_half():
    # The activation follows "red" on even images only: neither half's choice holds on the other.
    values = red(0.01)
    values[1::2] = 0.01 * np.random.default_rng(6).normal(size=len(values[1::2]))
    _, told = found(values)
    assert told.held_out < 0.3
