"""Exemplars: the images that activate a unit most, with exact treatment of ties (DnD, step 1)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating[Any]]

_COLUMNS_AT_ONCE = 256


@dataclass(frozen=True)
class Activating:
    """One picture of a unit's activating set.

    Attributes:
        image: content hash of the picture.
        kind: `image` of the probing set, or attention `crop` of one.
        activation: the unit's pooled activation on it.
    """

    image: str
    kind: Literal["image", "crop"]
    activation: float


def top_k(values: Floats, ids: Sequence[str], k: int) -> list[int]:
    """Indices of the `k` largest values, largest first, ties by ascending id.

    I_k of DnD, section 3.1, for one unit. NaN counts as the smallest value; `not_finite` finds
    such units.

    Args:
        values: pooled activations, (N,).
        ids: an id for each value; content hashes, so that the choice does not depend on order.
        k: how many; all N when there are fewer.

    Raises:
        ValueError: when `k` is not positive or the lengths differ.
    """
    if values.ndim != 1:
        raise ValueError(f"values of one unit are a vector, not of shape {values.shape}")
    return [int(i) for i in top_k_columns(values[:, None], ids, k)[:, 0]]


def top_k_columns(values: Floats, ids: Sequence[str], k: int) -> NDArray[np.int64]:
    """`top_k` of each column: for each unit the rows of its most activating images.

    Args:
        values: pooled activations, (N, U).
        ids: an id for each row.
        k: how many.

    Returns:
        int64, (min(k, N), U): row numbers, largest value first, ties by ascending id.

    Raises:
        ValueError: when `k` is not positive or the lengths differ.
    """
    if values.ndim != 2 or len(ids) != len(values):
        raise ValueError(f"{len(ids):,} ids do not fit values of shape {values.shape}")
    if k < 1:
        raise ValueError(f"k has to be positive, not {k}")
    count = min(k, len(ids))
    by_id = np.array(sorted(range(len(ids)), key=ids.__getitem__), dtype=np.int64)
    chosen = np.empty((count, values.shape[1]), dtype=np.int64)
    for start in range(0, values.shape[1] if count else 0, _COLUMNS_AT_ONCE):
        block = slice(start, start + _COLUMNS_AT_ONCE)
        chosen[:, block] = by_id[_top_rows(values[by_id, block].T, count)].T
    return chosen


def _top_rows(values: Floats, count: int) -> NDArray[np.int64]:
    """The `count` best positions in each row of `values`, (U, N) -> (U, count), ties leftmost."""
    values = np.where(np.isnan(values), -np.inf, values)
    boundary = np.partition(values, -count, axis=1)[:, -count, None]
    above = values > boundary
    equal = values == boundary
    room = count - above.sum(axis=1, keepdims=True)
    kept = above | (equal & (np.cumsum(equal, axis=1) <= room))
    places = np.nonzero(kept)[1].reshape(len(values), count)
    order = np.argsort(-np.take_along_axis(values, places, axis=1), axis=1, kind="stable")
    return np.take_along_axis(places, order, axis=1)


def activating_set(
    exemplars: Sequence[tuple[str, float]], crops: Sequence[tuple[str, float]], k: int
) -> list[Activating]:
    """The `k` most activating pictures out of exemplars and their crops (DnD, section 3.1).

    The top K of I_k united with the unit's own crops. Ties go by id; a crop with the content of
    a picture that is there already is not counted twice.

    Args:
        exemplars: (id, activation) of the probing images.
        crops: (id, activation) of the attention crops.
        k: how many.

    Raises:
        ValueError: when `k` is not positive or an activation is NaN or infinite.
    """
    if k < 1:
        raise ValueError(f"k has to be positive, not {k}")
    pictures: dict[str, Activating] = {}
    for image, activation in exemplars:
        pictures.setdefault(image, Activating(image, "image", float(activation)))
    for image, activation in crops:
        pictures.setdefault(image, Activating(image, "crop", float(activation)))
    for picture in pictures.values():
        if not math.isfinite(picture.activation):
            raise ValueError(f"the activation on {picture.kind} {picture.image} is not finite")
    return sorted(pictures.values(), key=lambda p: (-p.activation, p.image))[:k]


def is_dead(values: Floats) -> NDArray[np.bool_]:
    """Which units tell no image from another: their largest activation is their smallest.

    So is a unit that is 0 on all images after a ReLU, and one that only gives its bias. A single
    image tells nothing about differences; then a unit is dead if it is 0 on it. A unit with NaN is
    not dead; ask `not_finite` first.

    Args:
        values: pooled activations, (N, U).

    Returns:
        bool, (U,).

    Raises:
        ValueError: when there is no image.
    """
    if values.ndim != 2 or not len(values):
        raise ValueError(f"values of shape {values.shape} hold no image")
    if len(values) == 1:
        return np.asarray(values[0] == 0)
    return np.asarray(values.max(axis=0) == values.min(axis=0))


def not_finite(values: Floats) -> NDArray[np.bool_]:
    """Which units gave NaN or an infinite activation on any image, (N, U) -> bool (U,)."""
    return np.asarray(~np.isfinite(values).all(axis=0))
