"""Labels against activations: does a unit fire where its label is.

`pearson` and `best_f1` take a unit's activations on held-out images and the label's presence on
them. The others are in `active_sets`, `rankings` and `association`; `image_level` has all of them
by name. Whether such a metric is worth anything is for `sanity` to tell.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating]
Bools = NDArray[np.bool_]
Metric = Callable[[Floats, Floats], float]
"""(activations (N,), presence (N,)) -> a number, higher is better; NaN where it says nothing."""

THRESHOLD: Final = 0.5
"""A concept is there where its presence exceeds this: presence is a probability, or 0 and 1."""


def pearson(activations: Floats, presence: Floats) -> float:
    """Pearson correlation of activations and presence; NaN when either is constant.

    Raises:
        ValueError: for fewer than two images, lengths that differ, or values not finite.
    """
    a, p = two_vectors(activations, presence, least=2)
    if _constant(a) or _constant(p):
        return float("nan")
    a, p = _standardised(a), _standardised(p)
    return float(np.clip((a * p).mean(), -1.0, 1.0))


def simulation_score(simulated: Floats, activations: Floats) -> float:
    """Correlation of the activations a label predicts with the true ones.

    The label's presence on an image is taken as the simulated activation (after Bills et al.,
    Language models can explain neurons in language models, 2023); NaN when either is constant.

    Args:
        simulated: presence of the label on each image, (N,).
        activations: of the unit on them, (N,).

    Raises:
        ValueError: as `pearson`.
    """
    return pearson(activations, simulated)


def average_precision(present: Bools, scores: Floats) -> float:
    """Area under the precision-recall curve, as the step-wise sum of (R_i - R_i-1) P_i.

    Images with equal scores are taken together, so their order does not matter.

    Args:
        present: which images are positives, (N,).
        scores: higher means more likely positive, (N,).

    Returns:
        A number in [0, 1]; NaN when no image is a positive.

    Raises:
        ValueError: when there is no image, lengths differ, or a score is not finite.
    """
    hits, retrieved = _at_thresholds(present, scores)
    positives = hits[-1]
    if not positives:
        return float("nan")
    gains = np.diff(hits, prepend=0) / positives
    return float((gains * hits / retrieved).sum())


def best_f1(activations: Floats, presence: Floats) -> float:
    """F1 of "the unit is active" and "the concept is there", at the unit's best threshold.

    Returns:
        A number in (0, 1]; NaN when no image shows the concept.

    Raises:
        ValueError: as `average_precision`.
    """
    a, p = two_vectors(activations, presence)
    hits, retrieved = _at_thresholds(p > THRESHOLD, a)
    if not hits[-1]:
        return float("nan")
    return float((2 * hits / (retrieved + hits[-1])).max())


def _at_thresholds(present: Bools, scores: Floats) -> tuple[Floats, Floats]:
    """Positives and images taken at each threshold, highest first, each distinct score once."""
    values, positive = two_vectors(scores, present)
    order = np.argsort(-values, kind="stable")
    ends = np.append(np.flatnonzero(np.diff(values[order])), len(values) - 1)
    return np.cumsum(positive[order])[ends], (ends + 1).astype(np.float64)


def two_vectors(first: object, second: object, least: int = 1) -> tuple[Floats, Floats]:
    """Two vectors of one length, as float64.

    Raises:
        ValueError: when they are not, hold fewer than `least` values, or one that is not finite.
    """
    a, b = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    if a.ndim != 1 or a.shape != b.shape:
        raise ValueError(f"two vectors of one length are compared, not {a.shape} and {b.shape}")
    if len(a) < least:
        raise ValueError(f"{len(a)} images are too few; {least} are needed at least")
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        raise ValueError("activations or presence hold NaN or infinite values")
    return a, b


def _constant(values: Floats) -> bool:
    return bool(values.max() == values.min())


def _standardised(values: Floats) -> Floats:
    centred = values / np.abs(values).max()  # squares of very large values would overflow
    centred = centred - centred.mean()
    return np.asarray(centred / np.sqrt((centred**2).mean()))
