"""The sanity construct of NeuronEval: its published table, values by hand, refusals."""

import csv
import math

import numpy as np
import pytest

from dnd_assets.methods.metrics import IMAGE_METRICS
from dnd_assets.methods.metrics.theoretical_sanity import (
    FREQUENCIES,
    IMAGES,
    changed_labels,
    published_ranks,
    theoretical_checks,
)

FILE = "published/neuron_eval_theoretical_sanity_check.csv"
OURS = {
    "f1_score": "f1",
    "correlation": "pearson",
    "correlation_top_and_random_binary": "pearson_top_and_random",
    "spearman_correlation": "spearman",
    "spearman_correlation_top_and_random_binary": "spearman_top_and_random",
    "cos_sim": "cosine",
    "combined_balanced_acc": "combined_balanced_accuracy",
    "recall_inv_auc": "recall_inverse_auc",
    "precision_bal_acc": "precision_balanced_accuracy",
    "precision_inverse_bal_acc": "precision_inverse_balanced_accuracy",
}
SEEDS = 1000
"""Draws that the published means are of."""
DIGIT = 0.00005


@pytest.fixture(scope="module")
def published(shared_dir):
    """The published rows with our row of each."""
    if not (shared_dir / FILE).is_file():
        pytest.skip(f"no {FILE} in {shared_dir}")
    with (shared_dir / FILE).open() as file:
        rows = list(csv.DictReader(file))
    names = list(dict.fromkeys(OURS.get(row["metric"], row["metric"]) for row in rows))
    checks = theoretical_checks(names, as_published=True)
    found = {(one.metric, one.frequency): one for one in checks}
    return [
        (row, found[OURS.get(row["metric"], row["metric"]), float(row["activation_frequency"])])
        for row in rows
    ]


def _by_ties(metric, frequency):
    """Standard deviation that ties broken at random add to a mean of the authors' draws."""
    active = frequency * IMAGES
    if metric.startswith("spearman"):  # the value of the right label is one draw, not a mean
        return 0.5 / math.sqrt(active + 25 if "top" in metric else IMAGES)
    # Active images without the concept get ranks at random among all.
    return 0.3 / math.sqrt(active / 2) / math.sqrt(SEEDS) if "auc" in metric else 0.0


def test_the_published_table_comes_out(published):
    assert len(published) == 120
    for row, ours in published:
        for name, move in (("missing", ours.missing), ("extra", ours.extra)):
            theirs = float(row[f"{name}_score_diff"])
            drawn = move.deviation / math.sqrt(SEEDS)
            noise = 4 * (drawn + _by_ties(ours.metric, ours.frequency))
            noise += 1e-4 if "auc" in ours.metric else 0.0  # their sums of ranks are float32
            if ours.metric == "pearson_top_and_random":  # its 25 images are drawn, too
                noise += 4 * 0.2 * math.sqrt(min(1, ours.frequency * 25)) / math.sqrt(SEEDS) / 5
            told = (ours.metric, ours.frequency, name, move.mean, theirs)
            assert abs(move.mean - theirs) <= DIGIT * 1.01 + noise, told


def test_four_digits_come_out_where_chance_is_small(published):
    exact = 0
    for row, ours in published:
        if ours.frequency < 0.1 or "spearman" in ours.metric or "random" in ours.metric:
            continue
        for name, move in (("missing", ours.missing), ("extra", ours.extra)):
            assert move.mean == pytest.approx(float(row[f"{name}_score_diff"]), abs=2e-4)
            exact += 1
    assert exact == 2 * 2 * 21


def test_whether_a_metric_falls_is_as_published(published):
    for row, ours in published:
        if "spearman" in ours.metric or "random" in ours.metric or "auc" in ours.metric:
            continue
        for name, move in (("missing", ours.missing), ("extra", ours.extra)):
            theirs = float(row[f"{name}_decrease_percent"]) / 100
            assert move.falls == pytest.approx(theirs, abs=0.07), (ours.metric, ours.frequency)


def test_the_metrics_that_are_sound_are_those_of_the_paper():
    names = ["pearson", "cosine", "auprc", "f1", "iou", "recall", "precision", "inverse_auprc"]
    names += ["accuracy", "balanced_accuracy", "inverse_balanced_accuracy", "auc", "inverse_auc"]
    checks = theoretical_checks(names, frequencies=[0.499, 0.1, 0.001], images=100_000)
    failed = {(one.metric, one.frequency) for one in checks if not one.passes}
    assert {name for name in names if not any(name == metric for metric, _ in failed)} == {
        "pearson", "cosine", "auprc", "f1", "iou",
    }  # fmt: skip
    assert ("recall", 0.1) in failed, "extra labels do not lower recall"
    assert ("precision", 0.1) in failed, "missing labels do not lower precision"
    assert ("inverse_auprc", 0.499) in failed, "extra labels hardly lower inverse AUPRC"
    assert ("inverse_auprc", 0.1) not in failed


def test_values_by_hand():
    (auc, spearman, drawn, f1, best) = theoretical_checks(
        ["auc", "spearman", "pearson_top_and_random", "f1", "best_f1"],
        frequencies=[0.499],
        images=100_000,
    )
    # Of the silent images 0.499 / 0.501 show the concept and tie with all active ones.
    assert auc.extra.mean == pytest.approx(-0.499 / 0.501 / 2, abs=1e-4)
    g = 0.499  # ranks of zeros and ones are two values again: the correlation of two sets
    missing = (g / 2) * (1 - g) / math.sqrt(g * (1 - g) * (g / 2) * (1 - g / 2))
    assert spearman.missing.mean == pytest.approx((missing - 1) / 2, abs=1e-4)
    assert drawn.missing.mean < -0.2
    assert f1.extra.mean == pytest.approx(-1 / 3, abs=1e-4)
    # At a threshold that takes every image the unit finds nearly all of the added labels.
    assert best.extra.mean == pytest.approx(2 * 0.998 / 1.998 - 1, abs=1e-4)
    assert not best.passes


def test_the_construct():
    right = changed_labels(4, 10, "missing", 0)
    assert right.tolist() == [1] * 4 + [0] * 6
    assert changed_labels(4, 10, "missing", 2).tolist() == [0, 1, 0, 1] + [0] * 6
    assert changed_labels(4, 10, "extra", 3).tolist() == [1] * 4 + [1, 0, 1, 0, 1, 0]


def test_the_ranks_of_the_authors_are_those_of_their_noise():
    values = np.array([0, 1, 1, 0, 1, 1, 0], dtype=np.float32)
    rng = np.random.default_rng(0)
    noise = (1e-7 * rng.random((20_000, 7))).astype(np.float32)
    orders = np.argsort(values + noise, axis=1, kind="stable")
    drawn = np.argsort(orders, axis=1).mean(axis=0) + 1
    assert published_ranks(values.astype(float)) == pytest.approx(drawn, abs=0.05)


def test_all_metrics_are_there_and_unknown_ones_are_refused():
    rows = theoretical_checks(frequencies=[0.1, 0.01], images=2_000)
    assert list(dict.fromkeys(row.metric for row in rows)) == list(IMAGE_METRICS)
    assert all(np.isfinite([row.missing.mean, row.extra.mean]).all() for row in rows)
    with pytest.raises(KeyError):
        theoretical_checks(["none"], frequencies=[0.1], images=100)
    with pytest.raises(ValueError, match="no unit is like that"):
        theoretical_checks(["f1"], images=1_000)
    with pytest.raises(ValueError, match="no unit is like that"):
        theoretical_checks(["f1"], frequencies=[0.6])
    assert len(FREQUENCIES) == 5
