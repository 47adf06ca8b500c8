"""Matthews' correlation of "the image shows a concept" and "the unit is active".

It is phi of a 2 x 2 table (Matthews 1975), at the threshold of the activation where it is highest.
"""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating]
Bools = NDArray[np.bool_]

ACTIVE: Final = 0.02
"""Share of the range of activations below which a unit is not active, see `active_from`."""


def best_mcc(shown: Bools, activations: Floats) -> tuple[float, float]:
    """Matthews' correlation of a concept and activity, at the threshold where it is highest.

    Args:
        shown: whether each image shows the concept, (N,).
        activations: of the unit on each image, (N,).

    Returns:
        The coefficient, and the activation from which on the unit counts as active, half-way
        between two that were seen. (0, inf) where the concept is shown by all images or none, or
        the activations are all equal.

    Raises:
        ValueError: as `best_mccs`.

    >>> best_mcc(np.array([True, True, False, False]), np.array([3.0, 2.0, 1.0, 0.0]))
    (1.0, 1.5)
    """
    coefficients, thresholds = best_mccs(shown[None], activations)
    return float(coefficients[0]), float(thresholds[0])


def active_from(activations: Floats) -> float:
    """The activation below which a unit is not active, however well it orders images there.

    A fiftieth of the way from its lowest activation to its tenth highest: a small object may well
    activate a unit a tenth as much as three large ones. A unit that multiplies
    what it detects, or ends in a softmax, leaves traces of a part of its concept: black squares
    activate a unit of black rings a thousandth as much, and more than white squares do.

    Args:
        activations: of the unit on each image, (N,), finite, at least one.
    """
    highest = min(10, len(activations))
    tenth = float(np.partition(activations, -highest)[-highest])
    lowest = float(activations.min())
    return lowest + ACTIVE * (tenth - lowest)


def best_mccs(
    shown: Bools,
    activations: Floats,
    weights: Floats | None = None,
    misses: float = 0.0,
    lowest: float = -math.inf,
) -> tuple[Floats, Floats]:
    """Matthews' correlation of many concepts and activity, each at its best threshold.

    MCC = (N TP - k P) / sqrt(k (N - k) P (N - P)), for the k images of activation at or above the
    threshold, of which TP are among the P of all N that show the concept. Thresholds lie between
    different activations only, so the order of equal ones does not matter.

    Args:
        shown: whether each image shows each concept, (concepts, N).
        activations: of the unit on each image, (N,).
        weights: how often each image counts, (N,), not negative; None for once each.
        misses: so many active images that do not show the concept, and as many that show it and
            are not active, are counted in addition.
        lowest: the lowest threshold that is tried.

    Returns:
        Coefficient and threshold of each concept, (concepts,) each; see `best_mcc`.

    Raises:
        ValueError: for lengths that differ, or an activation that is not finite.
    """
    if shown.shape[1:] != activations.shape:
        raise ValueError(f"{shown.shape[1:]} images with captions, {activations.shape} activations")
    if not np.isfinite(activations).all():
        raise ValueError("an activation is not finite")
    weights = np.ones(len(activations)) if weights is None else weights
    counted = np.flatnonzero(weights > 0)  # what does not count sets no threshold either
    order = counted[np.argsort(-activations[counted], kind="stable")]
    strongest_first = activations[order]
    ends = np.flatnonzero(strongest_first[:-1] > strongest_first[1:])
    limits = _between(strongest_first[ends], strongest_first[ends + 1])
    ends, limits = ends[limits >= lowest], limits[limits >= lowest]
    if not len(ends) or not len(shown):
        return np.zeros(len(shown)), np.full(len(shown), np.inf)
    active = np.cumsum(weights[order])
    rows, hits, at, positives = _ends_with_hits(shown, order, weights, ends)
    mcc = mcc_of_counts(
        hits, active[ends][at] + misses, positives[rows] + misses, active[-1] + 2 * misses
    )
    starts = np.searchsorted(rows, np.arange(len(shown)))  # of each concept, which has one at least
    values = np.maximum.reduceat(mcc, starts)
    best = np.where(mcc == values[rows], at, len(ends))
    best_ends = np.minimum.reduceat(best, starts)
    return values, np.where(values > 0, limits[best_ends], np.inf)


def _ends_with_hits(
    shown: Bools, order: NDArray[np.intp], weights: Floats, ends: NDArray[np.intp]
) -> tuple[NDArray[np.intp], Floats, NDArray[np.intp], Floats]:
    """Where a concept can be at its best: at thresholds that let in one more of its images.

    While TP stays, the coefficient falls as k grows: its derivative in k has the sign of
    2 TP k - k P - N TP, which is not positive. And most concepts are shown by few images.

    Args:
        shown: whether each image shows each concept, (concepts, N).
        order: the images that count, most active first.
        weights: how often each image counts, (N,).
        ends: places in `order` of the last image above each threshold, increasing.

    Returns:
        Concept, TP and place in `ends` of each such threshold and of each concept's first
        threshold, by concept and place; and the images that show each concept, (concepts,).
    """
    # Each row begins with the first threshold, and an image of no weight.
    sorted_shown = np.ones((len(shown), len(order) + 1), dtype=bool)
    np.take(shown, order, axis=1, out=sorted_shown[:, 1:])
    rows, columns = np.divmod(np.flatnonzero(sorted_shown), sorted_shown.shape[1])
    end_of = np.concatenate([[0], np.searchsorted(ends, np.arange(len(order)))])
    counts = np.cumsum(np.concatenate([[0.0], weights[order]])[columns])
    starts = np.flatnonzero(columns == 0)
    before = counts[starts]
    positives = np.append(before[1:], counts[-1:]) - before
    at = end_of[columns]
    last = np.append((rows[1:] != rows[:-1]) | (at[1:] != at[:-1]), True) & (at < len(ends))
    rows = rows[last]
    return rows, counts[last] - before[rows], at[last], positives


def _between(above: Floats, below: Floats) -> Floats:
    """Half-way between two activations, which other images meet better than the upper one."""
    middle = below + (above - below) / 2
    return np.where(middle > below, middle, above)  # neighbours have no number between them


def mcc_of_counts(hits: Any, active: Any, positives: Any, count: Any) -> Floats:
    """The coefficient from counts, which are numbers or arrays of one shape.

    Args:
        hits: active images that show the concept.
        active: active images.
        positives: images that show the concept.
        count: all images.

    Returns:
        float64; 0 where all images or none are active, or show the concept.
    """
    gain = np.asarray(count * hits, dtype=np.float64)
    gain = np.atleast_1d(gain)
    scratch = np.multiply(active, positives, out=np.empty_like(gain))
    gain -= scratch
    # Roots one by one, since the product of all four may be too large.
    roots = np.sqrt(active * (count - active)), np.sqrt(positives * (count - positives))
    scale = np.multiply(*roots, out=scratch)
    if all(np.all(root > 0) for root in roots):
        return np.asarray(np.divide(gain, scale, out=gain))
    return np.asarray(np.divide(gain, scale, out=np.zeros_like(gain), where=scale > 0))
