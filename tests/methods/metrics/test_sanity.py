"""Sanity checks: what they change, which metrics pass, which are known to fail, refusals."""

import numpy as np
import pytest

from dnd_assets.methods.metrics import (
    best_f1,
    detection_metrics,
    extra_labels,
    missing_labels,
    pearson,
    sanity_checks,
)


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
    # A tenth of the images are active; the least of a presence of 0 is no scale for a cosine.
    metrics = detection_metrics(share=0.1)
    rows = sanity_checks(*units(), metrics)

    assert [(row.check, row.metric) for row in rows] == [
        (check, name) for check in ("missing labels", "extra labels") for name in metrics
    ]
    for row in rows:
        assert row.units == 20
        assert row.dropped >= 0.95
        assert row.drop == pytest.approx(row.plain - row.changed)
        assert row.drop > 0.1
        assert row.fell


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


def test_a_drop_counts_from_a_thousandth_of_the_range():
    def bounded(scale):
        return lambda activations, presence: scale * (presence > 0.5).mean()

    activations, presence = units()
    small, large = (
        sanity_checks(activations, presence, {"pearson": bounded(scale)})[0]
        for scale in (0.02, 1.0)
    )
    # A tenth of the images show it: half of them missing is 0.05 times the scale; Pearson has 2.
    assert (small.range, small.dropped, small.fell) == (2.0, 0.0, False)
    assert (large.dropped, large.fell) == (1.0, True)
    own = sanity_checks(activations, presence, {"own": bounded(1e-6)})[0]
    assert 0 < own.range < 1e-6
    assert own.fell, "the range of a metric without bounds is that of its values"


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
