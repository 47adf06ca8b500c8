"""Linear explanations: planted sums come back, nothing comes of nothing, refusals."""

from itertools import pairwise

import numpy as np
import pytest

from dnd_assets.methods.linear_explanation import linear_explanation

NAMES = [f"c{i}" for i in range(12)]


def _presence(images=400, seed=0):
    return (np.random.default_rng(seed).random((images, len(NAMES))) < 0.3).astype(float)


def test_a_planted_sum_comes_back_with_its_weights():
    presence = _presence()
    activations = 3 * presence[:, 4] + 2 * presence[:, 1] - 1.5 * presence[:, 9] + 0.5
    found = linear_explanation(activations, presence, NAMES)
    assert found.concepts == ("c4", "c1", "c9")
    assert found.weights == pytest.approx((3, 2, -1.5))
    assert (found.intercept, found.fitted, found.simulated) == pytest.approx((0.5, 1, 1))
    assert str(found) == "3 c4 + 2 c1 - 1.5 c9"


def test_noise_lowers_the_simulated_correlation_and_adds_no_concept():
    presence = _presence(2000)
    noise = np.random.default_rng(1).normal(size=2000)
    found = linear_explanation(2 * presence[:, 4] + noise, presence, NAMES)
    signal = 2 * presence[:, 4].std()
    assert found.concepts == ("c4",)
    assert found.simulated == pytest.approx(signal / np.hypot(signal, 1), abs=0.05)


def test_a_random_unit_has_no_simulated_correlation():
    presence = _presence(2000)
    values = np.random.default_rng(1).normal(size=2000)
    found = linear_explanation(values, presence, NAMES, least_gain=0.0)
    assert abs(found.simulated) < 0.1
    none = linear_explanation(values, presence, NAMES, least_gain=0.2)
    assert (none.concepts, str(none)) == ((), "")
    assert np.isnan(none.simulated)
    assert linear_explanation(np.ones(100), presence[:100], NAMES).concepts == ()


def test_more_concepts_never_fit_worse_and_equal_ones_are_taken_once():
    presence = _presence()
    presence[:, 7] = presence[:, 4]
    activations = presence[:, 4] + 0.5 * presence[:, 2]
    fits = [
        linear_explanation(activations, presence, NAMES, most=most, least_gain=0.0).fitted
        for most in (1, 2, 3)
    ]
    assert all(more >= fewer - 1e-12 for fewer, more in pairwise(fits))
    found = linear_explanation(activations, presence, NAMES)
    assert found.concepts == ("c4", "c2")


def test_one_concept_is_the_one_of_the_highest_correlation():
    rng = np.random.default_rng(2)
    presence, values = rng.random((300, len(NAMES))), rng.random(300)
    presence[:, 3] += values / 2
    found = linear_explanation(values, presence, NAMES, most=1, held_out=0.5)
    order = np.random.default_rng(0).permutation(300)[150:]
    best = max(
        range(len(NAMES)), key=lambda c: abs(np.corrcoef(values[order], presence[order, c])[0, 1])
    )
    assert found.concepts == (NAMES[best],)


def test_wrong_inputs_are_refused():
    presence = _presence(20)
    with pytest.raises(ValueError, match="do not fit"):
        linear_explanation(np.zeros(19), presence, NAMES)
    with pytest.raises(ValueError, match="NaN or infinite"):
        linear_explanation(np.full(20, np.nan), presence, NAMES)
    for wrong in ({"most": 0}, {"held_out": 0.0}, {"held_out": 1.0}):
        with pytest.raises(ValueError, match="has to"):
            linear_explanation(np.arange(20.0), presence, NAMES, **wrong)
