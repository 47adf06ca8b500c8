"""Matthews' correlation at the best threshold, by hand and against Pearson's."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import pearsonr

from dnd_assets.methods.dissection.matthews import active_from, best_mcc, best_mccs, mcc_of_counts


def test_by_hand():
    # Active at 3 and more: one hit, one miss each way. N = 4, TP = 1, k = 2, P = 2: MCC = 0.
    # Active at 5: TP = 1, k = 1, P = 2: (4 - 2) / sqrt(1 * 3 * 2 * 2) = 2 / sqrt(12).
    shown = np.array([True, False, True, False])
    mcc, threshold = best_mcc(shown, np.array([5.0, 3.0, 1.0, 0.0]))
    assert mcc == pytest.approx(2 / 12**0.5)
    assert threshold == 4.0


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 6)), min_size=2, max_size=30))
def test_it_is_the_largest_correlation_with_any_threshold(pairs):
    shown = np.array([pair[0] for pair in pairs])
    values = np.array([float(pair[1]) for pair in pairs])
    mcc, threshold = best_mcc(shown, values)
    every = [
        float(pearsonr(shown.astype(float), (values >= limit).astype(float))[0])
        for limit in sorted(set(values))[1:]
        if shown.any() and not shown.all()
    ]
    if not every or max(every) <= 1e-12:
        assert mcc == pytest.approx(max(every, default=0.0), abs=1e-9)
    else:
        assert mcc == pytest.approx(max(every))
        active = (values >= threshold).astype(float)
        assert float(pearsonr(shown.astype(float), active)[0]) == pytest.approx(mcc)


@given(st.permutations(range(8)))
def test_the_order_of_images_changes_nothing(order):
    shown = np.array([1, 1, 0, 0, 1, 0, 0, 1], dtype=bool)
    values = np.array([4.0, 4.0, 4.0, 2.0, 2.0, 1.0, 0.0, 0.0])
    assert best_mcc(shown[list(order)], values[list(order)]) == best_mcc(shown, values)


def test_weights_are_repetitions():
    shown = np.array([[True, False, True, False, False]])
    values = np.array([3.0, 2.0, 2.0, 1.0, 0.0])
    times = np.array([2, 0, 1, 3, 1])
    weighted = best_mccs(shown, values, times.astype(float))
    repeated = best_mccs(np.repeat(shown, times, axis=1), np.repeat(values, times))
    assert weighted[0] == pytest.approx(repeated[0])
    assert weighted[1] == pytest.approx(repeated[1])


@pytest.mark.parametrize("seed", range(30))
def test_no_threshold_that_was_left_out_is_better(seed):
    rng = np.random.default_rng(seed)
    count = int(rng.integers(2, 40))
    shown = rng.random((12, count)) < rng.random((12, 1))
    values = rng.integers(0, rng.choice([3, 9, 900]), count).astype(float)
    weights = rng.integers(0, 4, count).astype(float)
    misses, lowest = float(rng.choice([0, 5])), float(rng.choice([-np.inf, active_from(values)]))
    found, thresholds = best_mccs(shown, values, weights, misses, lowest)
    levels = np.unique(values[weights > 0])[::-1]
    limits = [(low + high) / 2 for high, low in pairwise(levels) if (low + high) / 2 >= lowest]
    for row, mcc, threshold in zip(shown, found, thresholds, strict=True):
        every = [
            float(mcc_of_counts(
                weights[row & (values >= limit)].sum(), weights[values >= limit].sum() + misses,
                weights[row].sum() + misses, weights.sum() + 2 * misses,
            )[0])
            for limit in limits
        ]  # fmt: skip
        assert mcc == max(every, default=0.0)
        best = limits[every.index(mcc)] if every and mcc > 0 else np.inf
        assert threshold == best, "the first of equal ones"


def test_what_says_nothing():
    values = np.array([1.0, 2.0, 3.0])
    for shown in (np.zeros(3, dtype=bool), np.ones(3, dtype=bool)):
        assert best_mcc(shown, values) == (0.0, np.inf)
    assert best_mcc(np.array([True, False, True]), np.ones(3)) == (0.0, np.inf)
    with pytest.raises(ValueError, match="not finite"):
        best_mcc(np.array([True, False]), np.array([np.nan, 1.0]))
    with pytest.raises(ValueError, match="captions"):
        best_mcc(np.array([True]), np.array([1.0, 2.0]))


def test_misses_by_hand():
    # TP = 2, k = 2, P = 2, N = 4, and one miss each way: N = 6, k = 3, P = 3.
    shown, values = np.array([[True, True, False, False]]), np.array([3.0, 3.0, 1.0, 1.0])
    assert best_mccs(shown, values)[0] == pytest.approx([1.0])
    assert best_mccs(shown, values, misses=1.0)[0] == pytest.approx([(6 * 2 - 9) / 9])


def test_what_a_unit_leaves_of_a_part_of_its_concept_is_no_activity():
    # A unit of black rings: 1 on black rings, a thousandth on what is black or a ring, 0 else.
    values = np.array([1.0] * 10 + [0.001] * 30 + [0.0] * 60)
    ring = np.arange(100) < 10
    either = np.arange(100) < 40
    assert active_from(values) == pytest.approx(0.02)
    shown = np.stack([ring, either])
    assert best_mccs(shown, values)[0].tolist() == [1.0, 1.0]
    coefficients, thresholds = best_mccs(shown, values, lowest=active_from(values))
    assert coefficients[0] == 1.0
    assert coefficients[1] == pytest.approx(pearsonr(either.astype(float), ring.astype(float))[0])
    assert thresholds == pytest.approx([0.5005, 0.5005])
    assert best_mccs(shown, values, lowest=2.0)[1].tolist() == [np.inf, np.inf]


def test_the_tenth_highest_of_few_images_is_their_lowest():
    assert active_from(np.array([3.0, 1.0, 2.0])) == 1.0
    assert active_from(np.array([4.0])) == 4.0


def test_counts_of_no_table():
    assert mcc_of_counts(2, 2, 2, 4) == pytest.approx(1.0)
    assert mcc_of_counts(0, 0, 2, 4) == 0.0
