"""Metrics of image level that see the values themselves (NeuronEval, Oikarinen et al. 2025)."""

from __future__ import annotations

import math
from typing import Final

import numpy as np

from dnd_assets.methods.metrics.active_sets import ACTIVE_SHARE, active_images
from dnd_assets.methods.metrics.detection import THRESHOLD, Floats, Metric, two_vectors

TOP: Final = 25
"""Images drawn from the most active ones, and as many from all (section 3 of the paper)."""
_LEAST: Final = 1e-8
"""Presence below this counts as this, as in the authors' code: the logarithm of 0 is no number."""


def cosine(activations: Floats, presence: Floats) -> float:
    """Cosine of activations and presence, both as they are; NaN when either is all 0.

    Args:
        activations: of the unit, (N,).
        presence: of the concept, (N,), probabilities, or 0 and 1.

    Raises:
        ValueError: when there is no image, lengths differ, or a value is not finite.
    """
    a, p = two_vectors(activations, presence)
    largest = np.abs(a).max(), np.abs(p).max()
    if not all(largest):
        return math.nan
    a, p = a / largest[0], p / largest[1]  # squares of very large values would overflow
    return float(np.clip(a @ p / np.sqrt((a @ a) * (p @ p)), -1.0, 1.0))


def wpmi(
    activations: Floats, presence: Floats, share: float = ACTIVE_SHARE, lam: float = 1.0
) -> float:
    """Weighted pointwise mutual information of a unit's active images and a concept.

    The mean of log presence over the active images, minus `lam` times the logarithm of its mean
    over all; presence below 1e-8 counts as that (Oikarinen et al. 2025, after CLIP-Dissect).

    Args:
        activations: of the unit, (N,).
        presence: of the concept, (N,), probabilities, or 0 and 1.
        share: of the images that count as active, the most active ones.
        lam: weight of how common the concept is.

    Returns:
        Any number; NaN when presence has no positive mean.

    Raises:
        ValueError: as `cosine`, and when share is out of range.
    """
    a, p = two_vectors(activations, presence)
    overall_mean = p.mean()
    if overall_mean <= 0:
        return math.nan
    active_mean = np.log(np.maximum(p[active_images(a, share)], _LEAST)).mean()
    return float(active_mean - lam * np.log(overall_mean))


def mean_difference(activations: Floats, presence: Floats) -> float:
    """Mean activation on images that show the concept minus that on the others (MAD).

    Returns:
        Any number, in units of the activation; NaN when all images show the concept, or none.

    Raises:
        ValueError: as `cosine`.
    """
    a, p = two_vectors(activations, presence)
    present = p > THRESHOLD
    if present.all() or not present.any():
        return math.nan
    return float(a[present].mean() - a[~present].mean())


def top_and_random(
    metric: Metric,
    activations: Floats,
    presence: Floats,
    share: float = ACTIVE_SHARE,
    seed: int = 0,
) -> float:
    """A metric on `TOP` of the most active images and `TOP` of all, drawn at random.

    The same images in another order give the same number. An image may be drawn twice, once from
    each, as in the authors' code.

    Args:
        metric: such as `pearson`.
        activations: of the unit, (N,).
        presence: of the concept, (N,).
        share: of the images, those that `TOP` are drawn from.
        seed: of the draw.

    Raises:
        ValueError: as `cosine`, as the metric does, and when share is out of range.
    """
    a, p = two_vectors(activations, presence)
    order = np.lexsort((p, a))[::-1]  # images that are alike may change places
    a, p = a[order], p[order]
    rng = np.random.default_rng(seed)
    top = rng.permutation(int(active_images(a, share).sum()))[:TOP]
    images = np.concatenate([top, rng.permutation(len(a))[:TOP]])
    return metric(a[images], p[images])


def harmonic_mean(a: float, b: float) -> float:
    """2 a b / (a + b) of two metrics; NaN when either is NaN or both are 0."""
    return 2 * a * b / (a + b) if a + b else math.nan
