"""Regions: positions with the same concepts, counted together.

A formula of concepts holds on all positions of a region or on none. So a unit's intersection with
any formula follows from two numbers of each region: its pixels, and those of them inside the
unit's mask. Images have millions of pixels, but few different sets of concepts on them; the search
for compositions is exact and needs the pixels no more.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dnd_assets.methods.segmentation.compositions import (
    Booleans,
    Counts,
    Overlap,
    PackedMasks,
    Words,
    unpack,
)

Pattern = tuple[int, ...]
"""The concepts of a region, ascending."""

_CONCEPTS_AT_ONCE = 64


def regions_of(concepts: Sequence[int], masks: Booleans) -> tuple[list[Pattern], NDArray[np.int64]]:
    """Which sets of concepts an image has, and which of them each pixel has.

    Args:
        concepts: the labelled concepts, ascending, (n,).
        masks: where they are, bool, (n, H, W).

    Returns:
        The sets that occur, in an order that depends on the masks alone, and for each pixel the
        position of its set, int64, (H x W,). A pixel without any concept has the empty set.
    """
    pixels = masks.shape[1] * masks.shape[2]
    if not len(concepts):
        return ([()] if pixels else []), np.zeros(pixels, dtype=np.int64)
    bits = np.ascontiguousarray(np.packbits(masks.reshape(len(concepts), -1), axis=0).T)
    rows = bits.view(np.dtype((np.void, bits.shape[1]))).ravel()
    _, first_pixels, where = np.unique(rows, return_index=True, return_inverse=True)
    sets = np.unpackbits(bits[first_pixels], axis=1, count=len(concepts)).astype(bool)
    ordered = np.asarray(concepts)
    return [tuple(ordered[row].tolist()) for row in sets], where.reshape(-1).astype(np.int64)


def packed_patterns(patterns: Sequence[Pattern]) -> dict[str, NDArray[np.generic]]:
    """Patterns as arrays: where each `ends` in the list of their `members`."""
    ends = np.cumsum([len(pattern) for pattern in patterns])
    members = [concept for pattern in patterns for concept in pattern]
    return {"ends": ends.astype(np.int64), "members": np.array(members, dtype=np.int32)}


def unpacked_patterns(arrays: Mapping[str, NDArray[np.generic]]) -> list[Pattern]:
    """The inverse of `packed_patterns`."""
    ends, members = arrays["ends"].tolist(), arrays["members"].tolist()
    starts = [0, *ends][:-1]
    return [tuple(members[start:end]) for start, end in zip(starts, ends, strict=True)]


@dataclass(frozen=True)
class Regions:
    """The regions of many images.

    Attributes:
        patterns: the concepts of each region, (G,), each set once.
        sizes: pixels of each, int64, (G,).
    """

    patterns: tuple[Pattern, ...]
    sizes: Counts

    def without(self, counts: Counts) -> Regions:
        """The regions that still have pixels when `counts` of each, int64 (G,), are taken away."""
        regions = np.flatnonzero(self.sizes > counts)
        patterns = tuple(self.patterns[region] for region in regions.tolist())
        return Regions(patterns, self.sizes[regions] - counts[regions])

    def packed(self, names: Sequence[str]) -> PackedMasks:
        """The concepts as masks over regions in place of pixels.

        Args:
            names: of all concepts, (C,).

        Raises:
            ValueError: when there is no concept or names repeat.
        """
        holds = np.zeros((len(names), len(self.patterns)), dtype=bool)
        for region, pattern in enumerate(self.patterns):
            holds[list(pattern), region] = True
        return PackedMasks(names, holds)


def joined(parts: Iterable[Regions]) -> Regions:
    """The regions of several sets of images together, in the order in which they first occur."""
    sizes: dict[Pattern, int] = {}
    for part in parts:
        for pattern, size in zip(part.patterns, part.sizes.tolist(), strict=True):
            sizes[pattern] = sizes.get(pattern, 0) + size
    return Regions(tuple(sizes), np.array(list(sizes.values()), dtype=np.int64))


class RegionOverlap(Overlap):
    """IoU of a formula's mask and the unit's mask, from regions (Mu & Andreas 2020, section 2).

    Equals `compositions.IntersectionOverUnion` on the pixels themselves.
    """

    def __init__(self, inside: Counts, sizes: Counts, concepts: PackedMasks) -> None:
        """Take a unit.

        Args:
            inside: pixels of each region inside the unit's mask, int64, (G,).
            sizes: pixels of each region, int64, (G,).
            concepts: the concepts over the same regions.

        Raises:
            ValueError: when lengths differ, or more pixels are inside than there are.
        """
        if inside.shape != sizes.shape or inside.shape != (concepts.positions,):
            raise ValueError(
                f"counts {inside.shape}, sizes {sizes.shape} and concepts over "
                f"{concepts.positions:,} regions do not fit"
            )
        if (inside > sizes).any() or (inside < 0).any():
            raise ValueError("a region has more pixels inside the unit's mask than it has, or < 0")
        self.concepts = concepts
        self._columns = np.stack([sizes, inside], axis=1).astype(np.float64)
        self.area = int(inside.sum())

    def numbers(self, where: Words) -> tuple[Counts, Counts]:
        """Pixels of the intersections, and those of them in the unit's mask."""
        holds = unpack(where[None], self.concepts.positions)[0]
        columns = self._columns[holds]
        blocks = range(0, len(self.concepts.names), _CONCEPTS_AT_ONCE)
        sums = [self._holds(start)[:, holds].astype(np.float64) @ columns for start in blocks]
        sizes, inside = np.concatenate(sums).astype(np.int64).T
        return sizes, inside

    def _holds(self, start: int) -> Booleans:
        words = self.concepts.words[start : start + _CONCEPTS_AT_ONCE]
        return unpack(words, self.concepts.positions)
