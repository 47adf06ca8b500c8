"""Metrics of image level: values by hand, loops and scikit-free definitions, choice by name."""

import math

import numpy as np
import pytest
import scipy.stats
from hypothesis import assume, given
from hypothesis import strategies as st

from dnd_assets.methods.metrics import (
    IMAGE_METRICS,
    active_images,
    cosine,
    detection_metrics,
    mean_difference,
    top_and_random,
    wpmi,
)
from dnd_assets.methods.metrics.detection import average_precision
from dnd_assets.methods.metrics.image_level import USUAL, chosen_metrics
from dnd_assets.methods.metrics.rankings import ranking_auc

ACTIVATIONS = np.array([5.0, 4.0, 3.0, 2.0, 1.0])
PRESENCE = np.array([0.9, 0.1, 0.6, 0.8, 0.2])
SHARE = 0.4
"""Two of five: the first two are active, the first, third and fourth show the concept."""

BY_HAND = {
    "recall": 1 / 2,
    "precision": 1 / 3,
    "f1": 2 / 5,
    "iou": 1 / 4,
    "accuracy": 2 / 5,
    "balanced_accuracy": (1 / 2 + 1 / 3) / 2,
    "inverse_balanced_accuracy": (1 / 3 + 1 / 2) / 2,
    # Of six pairs of an active and a silent image the first wins three, the second none.
    "auc": 3 / 6,
    # The first beats both images without, the third one, the fourth one.
    "inverse_auc": (2 + 1 + 1) / 6,
    # By presence the active images are the first and the last of five.
    "auprc": (1 + 2 / 5) / 2,
    "inverse_auprc": (1 + 2 / 3 + 3 / 4) / 3,
    "mad": 10 / 3 - 5 / 2,
    # Presence by rank: 5, 1, 3, 4, 2 against 5, 4, 3, 2, 1: 1 - 6 * 14 / (5 * 24).
    "spearman": 1 - 6 * (0 + 9 + 0 + 4 + 1) / 120,
    "wpmi": (math.log(0.9) + math.log(0.1)) / 2 - math.log(2.6 / 5),
    "cosine": (4.5 + 0.4 + 1.8 + 1.6 + 0.2) / math.sqrt(55 * (0.81 + 0.01 + 0.36 + 0.64 + 0.04)),
    "recall_auc": 0.5,
    "combined_auc": 2 * 0.5 * (2 / 3) / (0.5 + 2 / 3),
    "precision_balanced_accuracy": 2 * (1 / 3) * (5 / 12) / (1 / 3 + 5 / 12),
}


@st.composite
def inputs(draw):
    n = draw(st.integers(2, 12))
    activations = draw(st.lists(st.integers(-4, 4), min_size=n, max_size=n))
    presence = draw(st.lists(st.sampled_from([0.0, 0.2, 0.7, 1.0]), min_size=n, max_size=n))
    return np.array(activations, dtype=float), np.array(presence)


@pytest.mark.parametrize("name", BY_HAND)
def test_values_by_hand(name):
    metric = IMAGE_METRICS[name].at(SHARE)
    assert metric(ACTIVATIONS, PRESENCE) == pytest.approx(BY_HAND[name])


@pytest.mark.parametrize("name", IMAGE_METRICS)
@given(arguments=inputs(), data=st.data())
def test_every_metric_keeps_to_its_range_whatever_the_order_of_images(name, arguments, data):
    activations, presence = arguments
    order = data.draw(st.permutations(range(len(activations))))
    metric = IMAGE_METRICS[name]

    plain = metric.at(SHARE)(activations, presence)

    moved = metric.at(SHARE)(activations[order], presence[order])
    assert moved == pytest.approx(plain, abs=1e-9, nan_ok=True)
    if metric.range is not None and not np.isnan(plain):
        assert metric.low - 1e-9 <= plain <= metric.high + 1e-9


@given(inputs())
def test_areas_and_ranks_are_those_of_scipy_and_of_pairs(arguments):
    activations, presence = arguments
    present = presence > 0.5
    assume(present.any() and not present.all() and len(set(activations)) > 1)
    pairs = [(a > b) + (a == b) / 2 for a in activations[present] for b in activations[~present]]

    found = {name: IMAGE_METRICS[name].at(SHARE) for name in ("inverse_auc", "spearman")}

    assert found["inverse_auc"](activations, presence) == pytest.approx(np.mean(pairs))
    expected = scipy.stats.spearmanr(activations, presence).statistic
    assert found["spearman"](activations, presence) == pytest.approx(expected)


def test_the_active_images_are_the_share_and_those_that_tie_with_the_last():
    values = np.array([1.0, 3.0, 2.0, 2.0, 0.0])
    assert active_images(values, 0.2).tolist() == [False, True, False, False, False]
    assert active_images(values, 0.4).tolist() == [False, True, True, True, False]
    assert active_images(values, 1.0).all()
    assert active_images(np.zeros(3), 0.1).all()
    hundred = np.arange(100.0)
    assert active_images(hundred, 0.07).sum() == 7, "0.07 of 100 is 7.000000000000001"
    for share in (0.0, 1.1, -1.0):
        with pytest.raises(ValueError, match="share"):
            active_images(values, share)
    with pytest.raises(ValueError, match="NaN or infinite"):
        active_images(np.array([np.nan]), 0.5)


def test_what_says_nothing_is_nan():
    nowhere, everywhere = np.zeros(5), np.ones(5)
    for name in ("precision", "inverse_balanced_accuracy", "inverse_auc", "inverse_auprc", "mad"):
        assert np.isnan(IMAGE_METRICS[name].at(SHARE)(ACTIVATIONS, nowhere)), name
    for name in ("inverse_auc", "inverse_balanced_accuracy", "mad", "spearman"):
        assert np.isnan(IMAGE_METRICS[name].at(SHARE)(ACTIVATIONS, everywhere)), name
    for name in ("auc", "balanced_accuracy", "spearman"):
        assert np.isnan(IMAGE_METRICS[name].at(SHARE)(everywhere, PRESENCE)), name
    assert np.isnan(cosine(nowhere, PRESENCE))
    assert np.isnan(cosine(ACTIVATIONS, nowhere))
    assert np.isnan(wpmi(ACTIVATIONS, nowhere))
    assert np.isnan(mean_difference(ACTIVATIONS, nowhere))
    assert IMAGE_METRICS["f1"].at(SHARE)(ACTIVATIONS, nowhere) == 0.0, "no label finds no image"


def test_values_of_any_size_have_a_cosine():
    assert cosine(ACTIVATIONS * 1e200, PRESENCE) == pytest.approx(BY_HAND["cosine"])
    assert cosine(ACTIVATIONS * 1e-200, PRESENCE) == pytest.approx(BY_HAND["cosine"])


def test_top_and_random_looks_at_fifty_images_and_repeats_with_its_seed():
    rng = np.random.default_rng(0)
    activations, presence = rng.random(1000), rng.random(1000)
    seen = []

    def size(a, p):
        seen.append((len(a), (a >= np.quantile(activations, 0.9)).sum()))
        return float(a.sum())

    one, again = (top_and_random(size, activations, presence, 0.1, seed=3) for _ in range(2))
    other = top_and_random(size, activations, presence, 0.1, seed=4)
    assert one == again != other
    assert {count for count, _ in seen} == {50}
    assert min(top for _, top in seen) >= 25


def test_metrics_are_chosen_by_name():
    assert chosen_metrics(None) == USUAL
    assert chosen_metrics(["all"]) == tuple(IMAGE_METRICS)
    assert list(detection_metrics(["iou", "auc"], 0.1)) == ["iou", "auc"]
    with pytest.raises(ValueError, match=r"no metric 'aucprc'; nearest: .*auprc"):
        chosen_metrics(["aucprc"])
    with pytest.raises(ValueError, match="'iou' is named twice"):
        chosen_metrics(["iou", "auc", "iou"])


@pytest.mark.parametrize("name", IMAGE_METRICS)
def test_wrong_inputs_are_refused(name):
    metric = IMAGE_METRICS[name].at(SHARE)
    with pytest.raises(ValueError, match="two vectors of one length"):
        metric(ACTIVATIONS, PRESENCE[:2])
    with pytest.raises(ValueError, match="too few"):
        metric(ACTIVATIONS[:0], PRESENCE[:0])
    with pytest.raises(ValueError, match="NaN or infinite"):
        metric(np.array([np.nan, 1.0]), PRESENCE[:2])


@pytest.mark.parametrize("distinct", [4, 1000])
def test_areas_under_curves_are_scikit_learn_s(distinct):
    metrics = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(distinct)
    for images in (2, 10, 300):
        scores = rng.integers(0, distinct, images).astype(float)
        positive = np.arange(images) < max(1, images // 7)
        rng.shuffle(positive)
        for ours, theirs in (
            (ranking_auc, metrics.roc_auc_score),
            (average_precision, metrics.average_precision_score),
        ):
            assert ours(positive, scores) == pytest.approx(theirs(positive, scores), abs=1e-12)
