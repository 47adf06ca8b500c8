"""Images from wider ranges of a unit's activations than the top (CLIP-Dissect, section A.7)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dnd_assets.methods.dissection.exemplars import Floats, top_k
from dnd_assets.methods.seeds import content_seed, content_seeds

SHARES = (0.001, 0.01, 0.05)
"""The paper's ranges: the top 0.1 %, 1 % and 5 % of the images."""


@dataclass(frozen=True)
class Range:
    """A sample of the images that activate a unit most.

    Attributes:
        share: of all images, in (0, 1].
        size: how many images that is.
        images: positions of the sampled ones, most activating first.
    """

    share: float
    size: int
    images: tuple[int, ...]


def sample_ranges(
    values: Floats,
    ids: Sequence[str],
    unit: str,
    *,
    n: int = 10,
    shares: Sequence[float] = SHARES,
    seed: int = 0,
    order: Sequence[int] | None = None,
) -> list[Range]:
    """`n` images drawn uniformly from each top share of the images (CLIP-Dissect, section A.7).

    A range of share s has ceil(N s) images, ties by ascending id, and holds the narrower ones. Each
    image draws a lot from its own content, the unit and `seed`, and the lowest `n` lots win: the
    sample depends neither on the order of images nor on other units, and hardly changes when an
    image is added.

    Args:
        values: pooled activations of one unit, (N,), finite.
        ids: content hash of each image.
        unit: name of the unit.
        n: sample size; all images of a range when it has fewer.
        shares: the ranges, in (0, 1].
        seed: base seed.
        order: `top_k` of the values, at least `largest_size` of them, where it is known already.

    Raises:
        ValueError: when there is no image, lengths differ, or a share or `n` is out of range.
    """
    if not len(values) or n < 1 or not all(0 < share <= 1 for share in shares):
        raise ValueError(
            f"{len(values):,} images, n = {n} and shares {tuple(shares)} give no sample; there has "
            "to be an image, n has to be positive and shares in (0, 1]"
        )
    sizes = [_size(len(values), share) for share in shares]
    most = largest_size(len(values), shares)
    order = top_k(values, ids, most) if order is None else order[:most]
    images = [ids[i] for i in order]
    seeds = content_seeds(["activation range", unit], images, seed)
    lots = dict(zip(order, zip(seeds, images, strict=True), strict=True))
    position = {image: rank for rank, image in enumerate(order)}
    ranges = []
    for share, size in zip(shares, sizes, strict=True):
        sampled = sorted(order[:size], key=lots.__getitem__)[:n]
        ranges.append(Range(share, size, tuple(sorted(sampled, key=position.__getitem__))))
    return ranges


def largest_size(images: int, shares: Sequence[float] = SHARES) -> int:
    """How many images the widest of some ranges holds."""
    return max((_size(images, share) for share in shares), default=1)


def _size(images: int, share: float) -> int:
    # 0.07 * 100 is 7.000000000000001.
    return max(1, math.ceil(images * share - 1e-9))


def sample_reach(
    values: Floats,
    ids: Sequence[str],
    unit: str,
    *,
    n: int = 40,
    reach: float = 0.25,
    seed: int = 0,
) -> list[int]:
    """`n` images drawn uniformly from all that activate a unit clearly.

    Clearly is m + `reach` (max - m) or more, with the mean m over all images, so that neither the
    scale nor the zero of the activations matters. The strongest images alone may hide what else a
    unit answers to: a unit of two concepts that answers a little more to one shows only that one
    among them. Lots are drawn as in `sample_ranges`.

    Args:
        values: pooled activations of one unit, (N,), finite.
        ids: content hash of each image.
        unit: name of the unit.
        n: sample size; all images in reach when there are fewer.
        reach: share of the way from the mean to the maximum, in [0, 1].
        seed: base seed.

    Returns:
        Positions of the sampled images, most activating first, ties by ascending id.

    Raises:
        ValueError: when there is no image, lengths differ, or `reach` or `n` is out of range.
    """
    if not len(values) or len(ids) != len(values) or n < 1 or not 0 <= reach <= 1:
        raise ValueError(
            f"{len(values):,} values, {len(ids):,} ids, n = {n} and reach = {reach} give none; "
            "there has to be an id for each value, n has to be positive and reach in [0, 1]"
        )
    activations = values.astype(np.float64)
    mean = activations.mean()
    # The maximum is in reach, whatever the rounding.
    limit = min(mean + reach * (activations.max() - mean), activations.max())
    in_reach = [int(i) for i in np.flatnonzero(activations >= limit)]
    lots = {i: (content_seed("activation reach", unit, ids[i], seed), ids[i]) for i in in_reach}
    sampled = sorted(in_reach, key=lots.__getitem__)[:n]
    return sorted(sampled, key=lambda i: (-activations[i], ids[i]))
