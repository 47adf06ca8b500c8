"""Metrics of image level that see only the order of images: areas under curves, and Spearman.

Named as in NeuronEval (Oikarinen, Yan and Weng, ICML 2025): plain are those in which the concept
ranks images and the unit's active ones are to be found; inverse are those in which the unit ranks
and the images that show the concept are to be found. What others call the AUPRC of a unit is
mostly the inverse one.
"""

from __future__ import annotations

import numpy as np
import scipy

from dnd_assets.methods.metrics.active_sets import ACTIVE_SHARE, active_images
from dnd_assets.methods.metrics.detection import (
    THRESHOLD,
    Bools,
    Floats,
    average_precision,
    pearson,
    two_vectors,
)


def ranking_auc(positive: Bools, scores: Floats) -> float:
    """Chance that a positive has a higher score than another image, ties counting one half.

    Returns:
        A number in [0, 1]; NaN when all images are positives, or none.

    Raises:
        ValueError: when there is no image, lengths differ, or a score is not finite.
    """
    values, labels = two_vectors(scores, positive)
    positives = int(labels.sum())
    pairs = positives * (len(labels) - positives)
    if not pairs:
        return float("nan")
    wins = scipy.stats.rankdata(values)[labels > 0].sum() - positives * (positives + 1) / 2
    return float(wins / pairs)


def auc(activations: Floats, presence: Floats, share: float = ACTIVE_SHARE) -> float:
    """`ranking_auc` of presence for finding the `share` of images that activate the unit most.

    Returns:
        A number in [0, 1]; NaN when all images are equally active.

    Raises:
        ValueError: as `ranking_auc`, and when share is out of range.
    """
    a, p = two_vectors(activations, presence)
    return ranking_auc(active_images(a, share), p)


def inverse_auc(activations: Floats, presence: Floats) -> float:
    """`ranking_auc` of activations for finding the images that show the concept.

    Returns:
        A number in [0, 1]; NaN when all images show the concept, or none.

    Raises:
        ValueError: as `ranking_auc`.
    """
    a, p = two_vectors(activations, presence)
    return ranking_auc(p > THRESHOLD, a)


def auprc(activations: Floats, presence: Floats, share: float = ACTIVE_SHARE) -> float:
    """Average precision of presence for finding the `share` of images that activate most.

    Returns:
        A number in [0, 1].

    Raises:
        ValueError: as `ranking_auc`, and when share is out of range.
    """
    a, p = two_vectors(activations, presence)
    return average_precision(active_images(a, share), p)


def inverse_auprc(activations: Floats, presence: Floats) -> float:
    """Average precision of activations for finding the images that show the concept.

    Returns:
        A number in [0, 1]; NaN when no image shows the concept.

    Raises:
        ValueError: as `ranking_auc`.
    """
    a, p = two_vectors(activations, presence)
    return average_precision(p > THRESHOLD, a)


def spearman(activations: Floats, presence: Floats) -> float:
    """Pearson correlation of ranks, equal values sharing theirs; NaN when either is constant.

    Raises:
        ValueError: as `pearson`.
    """
    a, p = two_vectors(activations, presence, least=2)
    return pearson(np.asarray(scipy.stats.rankdata(a)), np.asarray(scipy.stats.rankdata(p)))
