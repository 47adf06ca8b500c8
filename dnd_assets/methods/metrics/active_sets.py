"""Sets of images: those that activate a unit most, against those that show a concept.

The unit's active images are the truth and the concept is what is to predict them, as in NeuronEval
(Oikarinen, Yan and Weng, Evaluating Neuron Explanations: A Unified Framework with Sanity Checks,
ICML 2025, section 3): recall is the share of active images that show the concept, precision the
share of those with the concept that are active.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating]
Bools = NDArray[np.bool_]
ACTIVE_SHARE: Final = 0.05
"""alpha: share of the images that count as active, unless a study says otherwise."""


def active_images(activations: Floats, share: float = ACTIVE_SHARE) -> Bools:
    """The images that activate a unit most: the binarised activation of NeuronEval.

    Those with the ceil(share N)-th largest activation or more; equal ones are all in.

    Args:
        activations: of a unit, (N,).
        share: alpha, in (0, 1].

    Returns:
        bool, (N,), at least one of them true.

    Raises:
        ValueError: when there is no image, a value is not finite, or share is out of range.
    """
    values = np.asarray(activations, dtype=np.float64)
    if values.ndim != 1 or not len(values) or not np.isfinite(values).all():
        raise ValueError(
            f"activations have to be a vector of finite values, one at least, not of shape "
            f"{values.shape}, {int((~np.isfinite(values)).sum()):,} of them NaN or infinite"
        )
    if not 0 < share <= 1:
        raise ValueError(f"share = {share} has to be above 0 and at most 1")
    # Shares are decimal fractions: 0.07 of 100 is 7.000000000000001.
    count = min(len(values), max(1, math.ceil(share * len(values) - 1e-9)))
    return np.asarray(values >= np.sort(values, kind="stable")[-count])


def recall(active: Bools, present: Bools) -> float:
    """Share of the active images that show the concept; NaN when none is active.

    Raises:
        ValueError: when there is no image or lengths differ.
    """
    hits, only_active, _, _ = _counts(active, present)
    return _ratio(hits, hits + only_active)


def precision(active: Bools, present: Bools) -> float:
    """Share of the images with the concept that are active; NaN when none shows it.

    Raises:
        ValueError: as `recall`.
    """
    hits, _, only_present, _ = _counts(active, present)
    return _ratio(hits, hits + only_present)


def f1(active: Bools, present: Bools) -> float:
    """2 TP / (2 TP + FP + FN) of two sets of images; NaN when both are empty.

    Raises:
        ValueError: as `recall`.
    """
    hits, only_active, only_present, _ = _counts(active, present)
    return _ratio(2 * hits, 2 * hits + only_active + only_present)


def iou(active: Bools, present: Bools) -> float:
    """Intersection over union of two sets of images; NaN when both are empty.

    Raises:
        ValueError: as `recall`.
    """
    hits, only_active, only_present, _ = _counts(active, present)
    return _ratio(hits, hits + only_active + only_present)


def set_accuracy(active: Bools, present: Bools) -> float:
    """Share of the images that are in both sets or in neither.

    Raises:
        ValueError: as `recall`.
    """
    hits, only_active, only_present, neither = _counts(active, present)
    return (hits + neither) / (hits + only_active + only_present + neither)


def balanced_accuracy(active: Bools, present: Bools) -> float:
    """Mean of the shares of active images with, and of silent ones without, the concept.

    Returns:
        A number in [0, 1]; NaN when all images are active, or none.

    Raises:
        ValueError: as `recall`.
    """
    hits, only_active, only_present, neither = _counts(active, present)
    return (_ratio(hits, hits + only_active) + _ratio(neither, neither + only_present)) / 2


def inverse_balanced_accuracy(active: Bools, present: Bools) -> float:
    """`balanced_accuracy` with the concept as the truth and the unit as what predicts it.

    Returns:
        A number in [0, 1]; NaN when all images show the concept, or none.

    Raises:
        ValueError: as `recall`.
    """
    return balanced_accuracy(present, active)


def _counts(active: Bools, present: Bools) -> tuple[int, int, int, int]:
    """Images that are active and show the concept, are only active, only show it, neither."""
    a, p = np.asarray(active, dtype=np.bool_), np.asarray(present, dtype=np.bool_)
    if a.ndim != 1 or a.shape != p.shape or not len(a):
        raise ValueError(
            f"two vectors of one length, one image at least, are compared, not {a.shape} and "
            f"{p.shape}"
        )
    hits, actives, presents = int((a & p).sum()), int(a.sum()), int(p.sum())
    return hits, actives - hits, presents - hits, len(a) - actives - presents + hits


def _ratio(part: int, total: int) -> float:
    return part / total if total else math.nan
