"""Clarity, polysemanticity and redundancy of units from embeddings of their exemplars.

Dreyer et al., "Mechanistic understanding and validation of large AI models with SemanticLens"
(Nature Machine Intelligence, 2025, methods). A unit is the set of its exemplars' embeddings in
the space of a foundation model such as CLIP; theta, their mean, stands for the unit.
"""

from __future__ import annotations

from functools import cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating]

EXACT: Final = 12
"""Exemplars up to which the best of all splits into two is found by trying each."""
_BLOCK: Final = 1024
_ROUNDS: Final = 100


def clarity(vectors: Floats) -> float:
    """Mean cosine of all pairs of exemplars: how much they are alike.

    1 / (n (n - 1)) sum over i, j != i of cos(v_i, v_j), which is n / (n - 1) times
    (|mean of the v_i / |v_i||^2 - 1 / n).

    Args:
        vectors: embeddings of the exemplars, (n, D), any length but 0.

    Returns:
        In [-1 / (n - 1), 1], larger for clearer units; NaN for fewer than two exemplars.

    Raises:
        ValueError: when a vector is 0 or not finite.
    """
    unit = _unit_rows(vectors)
    count = len(unit)
    if count < 2:
        return float("nan")
    mean = unit.mean(axis=0)
    return float(count / (count - 1) * (mean @ mean - 1 / count))


def polysemanticity(vectors: Floats) -> float:
    """How little two groups of exemplars have in common: 1 - clarity of the means of two clusters.

    The groups are those of k-means with k = 2. Where one of them is a lone exemplar, 1 minus the
    mean cosine of the exemplars with theta is taken, as in the authors' code, since one odd
    picture makes no second meaning.

    Args:
        vectors: embeddings of the exemplars, (n, D), any length but 0.

    Returns:
        In [0, 2], 0 for equal exemplars; NaN for fewer than two.

    Raises:
        ValueError: when a vector is 0 or not finite.
    """
    unit = _unit_rows(vectors)
    if len(unit) < 2:
        return float("nan")
    second = two_means(unit)
    if min(second.sum(), (~second).sum()) < 2:
        return 1 - float(np.mean(unit @ _direction(unit.mean(axis=0))))
    means = [_direction(unit[group].mean(axis=0)) for group in (~second, second)]
    return 1 - float(means[0] @ means[1])


def two_means(vectors: Floats) -> NDArray[np.bool_]:
    """k-means with k = 2: the split with the least squared distance to the means of its parts.

    Up to `EXACT` vectors every split is tried; of more, the best end of Lloyd's algorithm from each
    pair of vectors is taken. Nothing is drawn at random.

    Args:
        vectors: (n, D), n at least 2.

    Returns:
        Which are in the second part, bool (n,); the first vector is in the first.
    """
    points = np.asarray(vectors, np.float64)
    splits = _all_splits(len(points)) if len(points) <= EXACT else _lloyd_splits(points)
    indicators = splits.astype(np.float64)
    sums = indicators @ points
    other_sums = points.sum(axis=0) - sums
    size = indicators.sum(axis=1)
    # The squared distances are least where this is largest.
    gain = (sums**2).sum(axis=1) / size + (other_sums**2).sum(axis=1) / (len(points) - size)
    return np.asarray(splits[int(np.argmax(np.round(gain, 12)))])


@cache
def _all_splits(count: int) -> NDArray[np.bool_]:
    numbers = np.arange(1, 2 ** (count - 1))
    bits = numbers[:, None] >> np.arange(count - 1) & 1
    return np.concatenate([np.zeros((len(numbers), 1), dtype=bool), bits.astype(bool)], axis=1)


def _lloyd_splits(points: NDArray[np.float64]) -> NDArray[np.bool_]:
    firsts, seconds = np.triu_indices(len(points), k=1)
    splits = _nearer(points, points[firsts], points[seconds])
    for _ in range(_ROUNDS):
        indicators = splits.astype(np.float64)
        size = indicators.sum(axis=1, keepdims=True)
        sums = indicators @ points
        other_means = (points.sum(axis=0) - sums) / (len(points) - size)
        moved = _nearer(points, other_means, sums / size)
        emptied = moved.all(axis=1) | ~moved.any(axis=1)  # equal points may empty a part
        moved[emptied] = splits[emptied]
        if np.array_equal(moved, splits):
            break
        splits = moved
    splits ^= splits[:, :1]  # the first vector is in the first part
    return splits


def _nearer(
    points: NDArray[np.float64], firsts: NDArray[np.float64], seconds: NDArray[np.float64]
) -> NDArray[np.bool_]:
    """For each pair of centres which points are nearer to the second; never all, or none."""
    middle = ((seconds**2).sum(axis=1) - (firsts**2).sum(axis=1)) / 2
    excess = (seconds - firsts) @ points.T - middle[:, None]
    nearer = excess > 0
    rows = np.flatnonzero(nearer.all(axis=1) | ~nearer.any(axis=1))
    nearer[rows] = False
    nearer[rows, excess[rows].argmax(axis=1)] = True
    return np.asarray(nearer)


def redundancy(means: Floats) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """For each unit of a layer its largest cosine with another one; their mean is the layer's.

    1 / m sum over k of max over j != k of cos(theta_k, theta_j).

    Args:
        means: theta of each unit, (m, D), any length but 0.

    Returns:
        The cosines, float64 (m,), and the row of the nearest other unit, int64 (m,), the first of
        equals; NaN and -1 for a single unit.

    Raises:
        ValueError: when a vector is 0 or not finite.
    """
    unit = _unit_rows(means)
    count = len(unit)
    if count < 2:
        return np.full(count, np.nan), np.full(count, -1, dtype=np.int64)
    nearest = np.empty(count, dtype=np.int64)
    values = np.empty(count)
    for start in range(0, count, _BLOCK):
        cosines = unit[start : start + _BLOCK] @ unit.T
        rows = np.arange(len(cosines))
        cosines[rows, start + rows] = -np.inf
        nearest[start : start + _BLOCK] = np.round(cosines, 12).argmax(axis=1)
        values[start : start + _BLOCK] = cosines[rows, nearest[start : start + _BLOCK]]
    return values, nearest


def _unit_rows(vectors: Floats) -> NDArray[np.float64]:
    table = np.asarray(vectors, np.float64)
    if table.ndim != 2:
        raise ValueError(f"embeddings are (n, D), not of shape {table.shape}")
    norms = np.linalg.norm(table, axis=1, keepdims=True)
    if not np.isfinite(norms).all() or (norms == 0).any():
        raise ValueError("an embedding is 0, NaN or infinite and has no direction")
    return np.asarray(table / norms)


def _direction(mean: NDArray[np.float64]) -> NDArray[np.float64]:
    """A mean of length 1; one of opposite vectors stays 0, which has cosine 0 with all."""
    norm = float(np.linalg.norm(mean))
    return mean / norm if norm > np.finfo(float).eps else np.zeros_like(mean)
