"""Exemplars: the images that activate a unit most, with exact treatment of ties (DnD, step 1).

Only images on which a unit fires can say what it responds to. `silence` tells from the activations
alone at which value a unit is off:

1. A unit that is never negative (ReLU and what is pooled from it, sigmoid, softmax): off is 0.
2. A signed unit whose activation is 0 on many images and above 0 on others (Hardswish, GELU, a
   linear layer without bias on features that are off): off is 0, and so is what lies below.
3. A signed unit whose smallest value is shared by many images (batch normalisation or a bias after
   a ReLU, tanh or ELU at their limit): off is that value.
4. Any other signed unit (logits, a convolution before its ReLU): its zero is a matter of its bias,
   and nothing tells where it is off. Its exemplars are the first by rank, all of them.

Many is a tenth of the images, three at least, so that no chance tie makes an off state; a value
shared by fewer cannot reach the exemplars unless nearly every image is one. Values are the same,
and zero, up to 2^-14 of the largest magnitude: activations are kept to 14 bits
(`pooling.stabilise`), so that nothing smaller shows beside the largest. A sigmoid that saturates
at 1e-6 is off there. A unit that is never positive is of kind 3 or 4: the zero of
log-probabilities is their top, not their off state.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating]

_COLUMNS_AT_ONCE = 256
ZERO: Final = 2.0**-14
"""Share of the largest magnitude up to which an activation is zero."""
_MANY: Final = 0.1
_MANY_AT_LEAST: Final = 3
MOST: Final = 0.5
"""Share of the images above which values that are not finite are the unit's, not the images'."""


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


@dataclass(frozen=True)
class Exemplars:
    """The exemplars of one unit, and on how many images it fires.

    Attributes:
        rows: of the exemplars, most activating first.
        off: activation at or below which the unit is silent; None where nothing tells.
        fires_on: images on which it fires; None where nothing tells.
        images: images with a finite activation.
        set_aside: rows of the images with none, ascending.
    """

    rows: tuple[int, ...]
    off: float | None
    fires_on: int | None
    images: int
    set_aside: tuple[int, ...]


def silence(values: Floats) -> float | None:
    """The activation at or below which a unit is silent, by the rules of this module.

    Args:
        values: pooled activations of one unit, (N,); those that are not finite do not count.

    Returns:
        The limit, as `values` has it or 0 and a little; None where nothing tells, or there is no
        image.
    """
    finite = values[np.isfinite(values)].astype(np.float64)
    if not len(finite):
        return None
    low, high = float(finite.min()), float(finite.max())
    zero = max(abs(low), abs(high)) * ZERO
    min_images = max(_MANY_AT_LEAST, math.ceil(len(finite) * _MANY))
    if not zero:
        return 0.0
    if high > zero and (low >= -zero or int((abs(finite) <= zero).sum()) >= min_images):
        return zero
    floor = low + zero
    return floor if floor < high and int((finite <= floor).sum()) >= min_images else None


def fires(values: Floats, off: float | None) -> NDArray[np.bool_]:
    """On which images a unit fires: a finite activation above `off`, or any where `off` is None.

    Args:
        values: pooled activations, (N,).
        off: see `silence`.
    """
    finite = np.isfinite(values)
    return np.asarray(finite if off is None else finite & (values.astype(np.float64) > off))


def exemplars_of(values: Floats, ids: Sequence[str], k: int) -> Exemplars:
    """The at most `k` images that activate a unit most, out of those on which it fires.

    Fewer than `k` when it fires on fewer. An image whose activation is NaN or infinite is never
    one: a network that fails on it says nothing of it.

    Args:
        values: pooled activations of one unit, (N,).
        ids: content hash of each image.
        k: how many are asked for.

    Raises:
        ValueError: when `k` is not positive or lengths differ.
    """
    finite = np.isfinite(values)
    off = silence(values)
    firing = fires(values, off)
    best = top_k(np.where(finite, values, -np.inf), ids, k)
    return Exemplars(
        tuple(row for row in best if firing[row]),
        off,
        None if off is None else int(firing.sum()),
        int(finite.sum()),
        tuple(int(row) for row in np.flatnonzero(~finite)),
    )


def failed_images(values: Floats) -> NDArray[np.bool_]:
    """Images on which a layer fails: most of its units are NaN or infinite there.

    No image when that is so of most images: then it is the layer that fails, not the images.

    Args:
        values: pooled activations of all units of a layer, (N, U).

    Returns:
        bool, (N,).
    """
    return failing((~np.isfinite(values)).mean(axis=1))


def failing(shares: Floats) -> NDArray[np.bool_]:
    """As `failed_images`, from the share of units that are NaN or infinite on each image, (N,)."""
    failed = shares > MOST
    return np.asarray(failed & (failed.mean() <= MOST)) if len(failed) else failed


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
    top_rows = np.empty((count, values.shape[1]), dtype=np.int64)
    for start in range(0, values.shape[1] if count else 0, _COLUMNS_AT_ONCE):
        block = slice(start, start + _COLUMNS_AT_ONCE)
        top_rows[:, block] = by_id[_top_rows(values[by_id, block].T, count)].T
    return top_rows


def _top_rows(values: Floats, count: int) -> NDArray[np.int64]:
    """The `count` best positions in each row of `values`, (U, N) -> (U, count), ties leftmost."""
    values = np.where(np.isnan(values), -np.inf, values)
    boundary = np.partition(values, -count, axis=1)[:, -count, None]
    over_boundary = values > boundary
    equal = values == boundary
    room = count - over_boundary.sum(axis=1, keepdims=True)
    selected = over_boundary | (equal & (np.cumsum(equal, axis=1) <= room))
    places = np.nonzero(selected)[1].reshape(len(values), count)
    order = np.argsort(-np.take_along_axis(values, places, axis=1), axis=1, kind="stable")
    return np.take_along_axis(places, order, axis=1)


def activating_set(
    exemplars: Sequence[tuple[str, float]],
    crops: Sequence[tuple[str, float]],
    k: int,
    off: float | None = None,
) -> list[Activating]:
    """The `k` most activating pictures out of exemplars and their crops (DnD, section 3.1).

    The top K of I_k united with the unit's own crops. Ties go by id; a crop with the content of
    a picture that is there already is not counted twice. A crop on which the unit is silent is
    left out.

    Args:
        exemplars: (id, activation) of the probing images.
        crops: (id, activation) of the attention crops.
        k: how many.
        off: activation at or below which the unit is silent, see `silence`; None keeps all.

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
    firing = (
        p for p in pictures.values() if p.kind == "image" or off is None or p.activation > off
    )
    return sorted(firing, key=lambda p: (-p.activation, p.image))[:k]


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


def is_lost(values: Floats) -> bool:
    """Whether a unit cannot be used for NaN and infinities.

    That is so when they are on most images, or when the unit tells none of the others apart. A few
    of them are set aside with their images, and the unit is kept.

    Args:
        values: pooled activations of one unit, (N,).
    """
    finite = np.isfinite(values)
    count = int((~finite).sum())
    if not count:
        return False
    return count > MOST * len(values) or bool(is_dead(values[finite][:, None])[0])
