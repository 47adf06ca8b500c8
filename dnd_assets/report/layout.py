"""Many vectors on a plane, so that what is alike lies together: t-SNE, made deterministic.

van der Maaten and Hinton 2008, started from the principal components instead of chance, on at most
`landmarks` vectors; each other one goes between the landmarks that it is most like.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating]
_STEPS: Final = 300
_EXAGGERATED: Final = 80
_NEAREST: Final = 3
_TINY: Final = 1e-12


def plane(
    vectors: Floats, *, landmarks: int = 600, perplexity: float = 20.0
) -> NDArray[np.float64]:
    """Places on a plane, (n, 2), in [0, 1]; equal vectors get one place.

    Args:
        vectors: (n, width), finite; only their direction counts.
        landmarks: how many vectors t-SNE itself places; the first ones, so put what matters
            first.
        perplexity: how many neighbours a vector is held by.

    Raises:
        ValueError: when `vectors` is no matrix or holds NaN or infinite values.
    """
    if vectors.ndim != 2 or not np.isfinite(vectors).all():
        raise ValueError(f"vectors of shape {vectors.shape} have to be a matrix of finite numbers")
    unit = vectors.astype(np.float64)
    # Rounded, so that vectors of one direction are equal whatever their length.
    unit = np.round(unit / np.maximum(np.linalg.norm(unit, axis=1, keepdims=True), _TINY), 9)
    distinct, rows = np.unique(unit, axis=0, return_index=True)[0], _places(unit)
    order = np.argsort(rows[0], kind="stable")  # distinct vectors as they come, not by value
    distinct, row_of_input = distinct[order], np.argsort(order, kind="stable")[rows[1]]
    chosen = distinct[:landmarks]
    placed = _tsne(chosen, perplexity)
    if len(distinct) > landmarks:
        placed = np.concatenate([placed, _between(distinct[landmarks:], chosen, placed)])
    return _scaled(placed)[row_of_input]


def _places(unit: NDArray[np.float64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """First row of each distinct vector, and the distinct vector of each row."""
    _, first, inverse = np.unique(unit, axis=0, return_index=True, return_inverse=True)
    return first.astype(np.int64), inverse.reshape(-1).astype(np.int64)


def _tsne(unit: NDArray[np.float64], perplexity: float) -> NDArray[np.float64]:
    """t-SNE of unit-length vectors (n, width) by gradient descent: places (n, 2)."""
    count = len(unit)
    places = _components(unit)
    if count < 4:
        return places
    squared = np.maximum(2 - 2 * (unit @ unit.T), 0.0)
    affinities = _affinities(squared, min(perplexity, (count - 1) / 3))
    places = places / max(float(places.std(axis=0).max()), _TINY) * 1e-2
    step, gain = np.zeros_like(places), np.ones_like(places)
    rate = max(count / 12.0 / 4, 10.0)
    for turn in range(_STEPS):
        pull = affinities * 12.0 if turn < _EXAGGERATED else affinities
        slope = _slope(places, pull)
        gain = np.where(np.sign(slope) == np.sign(step), gain * 0.8, gain + 0.2).clip(0.01)
        step = (0.5 if turn < _EXAGGERATED else 0.8) * step - rate * gain * slope
        places = places + step
        places = places - places.mean(axis=0)
    return places


def _slope(places: NDArray[np.float64], pull: NDArray[np.float64]) -> NDArray[np.float64]:
    """The gradient of t-SNE's divergence at places (n, 2), for affinities `pull` (n, n)."""
    norms = (places**2).sum(axis=1)
    heavy = 1.0 / (1.0 + np.maximum(norms[:, None] + norms - 2 * places @ places.T, 0.0))
    np.fill_diagonal(heavy, 0.0)
    push = (pull - heavy / max(float(heavy.sum()), _TINY)) * heavy
    gradient: NDArray[np.float64] = 4.0 * (push.sum(axis=1)[:, None] * places - push @ places)
    return gradient


def _affinities(squared: NDArray[np.float64], perplexity: float) -> NDArray[np.float64]:
    """Symmetric neighbour probabilities; each row's width is found by halving intervals."""
    target = math.log(max(perplexity, 1.01))
    count = len(squared)
    low, high = np.zeros(count), np.full(count, np.inf)
    precision = np.ones(count)
    distances = squared.copy()
    np.fill_diagonal(distances, np.inf)
    distances = distances - distances.min(axis=1, keepdims=True)
    for _ in range(50):
        shares = np.exp(-distances * precision[:, None])
        total = shares.sum(axis=1)
        finite = np.where(np.isfinite(distances), distances, 0.0)
        entropy = np.log(total) + precision * (finite * shares).sum(axis=1) / total
        too_wide = entropy > target
        low, high = np.where(too_wide, precision, low), np.where(too_wide, high, precision)
        precision = np.where(np.isinf(high), precision * 2, (low + np.minimum(high, 1e12)) / 2)
    shares = shares / shares.sum(axis=1, keepdims=True)
    joint: NDArray[np.float64] = np.maximum((shares + shares.T) / (2 * count), _TINY)
    return joint


def _components(unit: NDArray[np.float64]) -> NDArray[np.float64]:
    """The two first principal components, signs chosen so that the largest entry is positive."""
    centred = unit - unit.mean(axis=0)
    _, _, axes = np.linalg.svd(centred, full_matrices=False)
    components = np.zeros((len(unit), 2))
    for column, axis in enumerate(axes[:2]):
        sign = 1.0 if axis[np.abs(axis).argmax()] >= 0 else -1.0
        components[:, column] = centred @ axis * sign
    return components


def _between(
    others: NDArray[np.float64], landmarks: NDArray[np.float64], placed: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Places of the others: the mean of the landmarks they are most like, by likeness."""
    similarity = others @ landmarks.T
    nearest = np.argsort(-similarity, axis=1, kind="stable")[:, :_NEAREST]
    weight = np.maximum(np.take_along_axis(similarity, nearest, axis=1), 1e-6) ** 4
    weight = weight / weight.sum(axis=1, keepdims=True)
    places: NDArray[np.float64] = (placed[nearest] * weight[..., None]).sum(axis=1)
    return places


def _scaled(places: NDArray[np.float64]) -> NDArray[np.float64]:
    """Places moved and scaled into [0, 1], both axes alike."""
    if not len(places):
        return places
    low = places.min(axis=0)
    span = np.maximum((places.max(axis=0) - low).max(), _TINY)
    middle = (1 - (places.max(axis=0) - low) / span) / 2
    scaled: NDArray[np.float64] = np.round((places - low) / span + middle, 4)
    return scaled
