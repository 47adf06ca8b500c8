"""Detection metrics: worked cases, naive loops and scipy, invariants, refusals."""

import numpy as np
import pytest
import scipy.stats
from hypothesis import assume, given
from hypothesis import strategies as st

from dnd_assets.methods.metrics import (
    DETECTION,
    average_precision,
    best_f1,
    detection_metrics,
    f1,
    inverse_auprc,
    pearson,
    simulation_score,
)

ACTIVATIONS = np.array([4.0, 3.0, 2.0, 1.0])
PRESENT = np.array([1.0, 0.0, 1.0, 0.0])


@st.composite
def inputs(draw):
    """Activations with ties, and presence with and without the concept."""
    n = draw(st.integers(2, 12))
    activations = draw(st.lists(st.integers(-4, 4), min_size=n, max_size=n))
    presence = draw(st.lists(st.sampled_from([0.0, 0.2, 0.7, 1.0]), min_size=n, max_size=n))
    return np.array(activations, dtype=float), np.array(presence)


def test_worked_cases():
    # Deviations 1.5, 0.5, -0.5, -1.5 and 0.5, -0.5, 0.5, -0.5: products sum to 1,
    # squares to 5 and 1: r = 1 / sqrt(5).
    assert pearson(ACTIVATIONS, PRESENT) == pytest.approx(1 / 5**0.5)
    # Hits at ranks 1 and 3: (1/1 + 2/3) / 2.
    assert inverse_auprc(ACTIVATIONS, PRESENT) == pytest.approx(5 / 6)
    # The first three images: TP 2, FP 1, FN 0: 4 / 5; the first alone: 2 / 3.
    assert best_f1(ACTIVATIONS, PRESENT) == pytest.approx(0.8)
    # TP 1, FP 2, FN 1: 2 / (2 + 2 + 1).
    active, present = np.array([1, 1, 1, 0], dtype=bool), np.array([1, 0, 0, 1], dtype=bool)
    assert f1(active, present) == pytest.approx(2 / 5)


def test_equal_activations_are_taken_together():
    # One threshold takes 2 images with 1 hit, the next all 4 with 2 hits: 1/2 * 1/2 + 1/2 * 2/4.
    present = np.array([True, False, False, True])
    assert average_precision(present, np.array([1.0, 1.0, 0.0, 0.0])) == pytest.approx(0.5)
    assert average_precision(present[::-1], np.array([1.0, 1.0, 0.0, 0.0])) == pytest.approx(0.5)


def test_a_perfect_unit_scores_one_on_all():
    activations = np.array([0.0, 5.0, 0.0, 5.0])

    for name, metric in detection_metrics(share=0.5).items():
        assert metric(activations, activations / 5) == pytest.approx(1.0), name


@given(inputs())
def test_pearson_is_scipys(arguments):
    activations, presence = arguments
    assume(len(set(activations)) > 1 and len(set(presence)) > 1)

    expected = scipy.stats.pearsonr(activations, presence).statistic

    assert pearson(activations, presence) == pytest.approx(expected, abs=1e-9)
    assert simulation_score(presence, activations) == pytest.approx(expected, abs=1e-9)


@given(inputs())
def test_average_precision_and_f1_in_loops(arguments):
    activations, presence = arguments
    present = presence > 0.5
    assume(present.any())

    before, expected, f1s = 0.0, 0.0, []
    for threshold in sorted(set(activations), reverse=True):
        taken = activations >= threshold
        hits = (taken & present).sum()
        recall = hits / present.sum()
        expected += (recall - before) * hits / taken.sum()
        before = recall
        f1s.append(f1(taken, present))

    assert inverse_auprc(activations, presence) == pytest.approx(expected)
    assert best_f1(activations, presence) == pytest.approx(max(f1s))


@pytest.mark.parametrize("name", DETECTION)
@given(arguments=inputs(), data=st.data())
def test_the_order_of_images_and_the_scale_of_activations_do_not_matter(name, arguments, data):
    activations, presence = arguments
    order = data.draw(st.permutations(range(len(activations))))
    shift = 0 if name == "cosine" else 1  # a cosine has a zero

    plain = DETECTION[name](activations, presence)
    moved = DETECTION[name](activations[order] * 3 + shift, presence[order])

    assert moved == pytest.approx(plain, abs=1e-9, nan_ok=True)


def test_values_of_any_size_are_correlated():
    assert pearson(ACTIVATIONS * 1e200, PRESENT) == pytest.approx(1 / 5**0.5)
    assert pearson(ACTIVATIONS * 1e-200, PRESENT) == pytest.approx(1 / 5**0.5)


def test_what_says_nothing_is_nan():
    constant = np.full(4, 0.1)

    assert np.isnan(pearson(constant, PRESENT))
    assert np.isnan(pearson(ACTIVATIONS, constant))
    assert np.isnan(inverse_auprc(ACTIVATIONS, constant))
    assert np.isnan(best_f1(ACTIVATIONS, constant))
    assert np.isnan(f1(np.zeros(4, bool), np.zeros(4, bool)))


@pytest.mark.parametrize("name", DETECTION)
def test_wrong_inputs_are_refused(name):
    metric = DETECTION[name]
    with pytest.raises(ValueError, match="two vectors of one length"):
        metric(ACTIVATIONS, PRESENT[:2])
    with pytest.raises(ValueError, match="two vectors of one length"):
        metric(ACTIVATIONS[None], PRESENT[None])
    with pytest.raises(ValueError, match="too few"):
        metric(ACTIVATIONS[:0], PRESENT[:0])
    with pytest.raises(ValueError, match="NaN or infinite"):
        metric(np.array([np.nan, 1.0]), PRESENT[:2])
    with pytest.raises(ValueError, match="1 images are too few; 2"):
        pearson(ACTIVATIONS[:1], PRESENT[:1])
