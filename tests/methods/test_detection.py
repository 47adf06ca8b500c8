"""Detection metrics: worked cases, naive loops and scipy, sanity checks, refusals."""

import numpy as np
import pytest
import scipy.stats
from hypothesis import assume, given
from hypothesis import strategies as st

from dnd_assets.methods.metrics import (
    DETECTION,
    auprc,
    average_precision,
    best_f1,
    extra_labels,
    f1,
    missing_labels,
    pearson,
    sanity_checks,
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
    assert auprc(ACTIVATIONS, PRESENT) == pytest.approx(5 / 6)
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

    for metric in DETECTION.values():
        assert metric(activations, activations / 5) == pytest.approx(1.0)


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

    assert auprc(activations, presence) == pytest.approx(expected)
    assert best_f1(activations, presence) == pytest.approx(max(f1s))


@pytest.mark.parametrize("name", DETECTION)
@given(arguments=inputs(), data=st.data())
def test_the_order_of_images_and_the_scale_of_activations_do_not_matter(name, arguments, data):
    activations, presence = arguments
    order = data.draw(st.permutations(range(len(activations))))

    plain = DETECTION[name](activations, presence)
    moved = DETECTION[name](activations[order] * 3 + 1, presence[order])

    assert moved == pytest.approx(plain, abs=1e-9, nan_ok=True)


def test_values_of_any_size_are_correlated():
    assert pearson(ACTIVATIONS * 1e200, PRESENT) == pytest.approx(1 / 5**0.5)
    assert pearson(ACTIVATIONS * 1e-200, PRESENT) == pytest.approx(1 / 5**0.5)


def test_what_says_nothing_is_nan():
    constant = np.full(4, 0.1)

    assert np.isnan(pearson(constant, PRESENT))
    assert np.isnan(pearson(ACTIVATIONS, constant))
    assert np.isnan(auprc(ACTIVATIONS, constant))
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


def test_missing_labels_halve_and_extra_labels_double():
    presence = np.array([0.9, 0.1, 0.8, 0.2, 0.7, 0.0, 0.1])
    rng = np.random.default_rng(0)

    fewer, more = missing_labels(presence, rng), extra_labels(presence, rng)

    assert (fewer > 0.5).sum() == 1  # of three, two lose it
    assert (more > 0.5).sum() == 6
    assert set(fewer) | set(more) <= set(presence)
    assert (fewer[presence <= 0.5] == presence[presence <= 0.5]).all()
    assert (more[presence > 0.5] == presence[presence > 0.5]).all()
    assert missing_labels(np.ones(3), rng).sum() == 1
    assert extra_labels(np.zeros(3), rng).tolist() == [0, 0, 0]


def units(count=20, images=400, seed=1):
    """Units that fire, with noise, where their concept is: 10 % of the images."""
    rng = np.random.default_rng(seed)
    presence = (rng.random((count, images)) < 0.1).astype(float)
    return 3 * presence + rng.normal(size=(count, images)), presence


def test_the_metrics_in_use_drop_for_wrong_labels():
    rows = sanity_checks(*units())

    assert [(row.check, row.metric) for row in rows] == [
        (check, name) for check in ("missing labels", "extra labels") for name in DETECTION
    ]
    for row in rows:
        assert row.units == 20
        assert row.dropped >= 0.95
        assert row.drop == pytest.approx(row.plain - row.changed)
        assert row.drop > 0.1


def test_metrics_known_to_be_worthless_do_not_drop():
    def recall(activations, presence):
        active = activations > 1.5
        return (active & (presence > 0.5)).sum() / (presence > 0.5).sum()

    def precision(activations, presence):
        active = activations > 1.5
        return (active & (presence > 0.5)).sum() / active.sum()

    rows = sanity_checks(*units(), {"recall": recall, "precision": precision})
    found = {(row.metric, row.check): row for row in rows}

    # Recall does not see what is missing, precision does not see what is too much.
    assert abs(found["recall", "missing labels"].drop) < 0.05
    assert found["precision", "extra labels"].drop <= 0
    assert found["recall", "extra labels"].drop > 0.2


def test_a_unit_is_checked_alike_whatever_the_others_and_a_seed_repeats():
    activations, presence = units()

    assert sanity_checks(activations, presence) == sanity_checks(activations, presence)
    assert sanity_checks(activations, presence) != sanity_checks(activations, presence, seed=1)
    (alone,) = sanity_checks(activations[:1], presence[:1], {"f1": best_f1})[1:]
    (both,) = sanity_checks(activations[:2], presence[:2], {"f1": best_f1})[1:]
    (other,) = sanity_checks(activations[1:2], presence[1:2], {"f1": best_f1})[1:]
    assert both.plain == pytest.approx((alone.plain + other.plain) / 2)


def test_units_without_a_value_are_left_out_and_counted():
    activations, presence = units(3)
    activations[0] = 1.0

    row = sanity_checks(activations, presence, {"pearson": pearson})[0]
    nothing = sanity_checks(activations[:1], presence[:1], {"pearson": pearson})[0]

    assert row.units == 2
    assert nothing.units == 0
    assert np.isnan([nothing.plain, nothing.drop, nothing.dropped]).all()
    with pytest.raises(ValueError, match=r"one shape \(U, N\)"):
        sanity_checks(activations, presence[:2])
