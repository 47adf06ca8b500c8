"""INVERT: the concept that a unit's activation tells best from all else (Bykov et al. 2023).

Needs only image-level labels. How well an activation detects a concept is the area under its ROC
curve: the chance that an image with the concept activates the unit more than one without, where
equal activations count half.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import scipy
from numpy.typing import NDArray

from dnd_assets.methods.segmentation.compositions import (
    Booleans,
    Counts,
    Floats,
    PackedMasks,
    Words,
    unpack,
)

_UNITS_AT_ONCE = 64
_CONCEPTS_AT_ONCE = 64


def auc(activations: NDArray[np.floating], presence: Booleans) -> Floats:
    """AUC of every unit as a detector of every concept (Bykov et al. 2023, section 3).

    (R - n1 (n1 + 1) / 2) / (n1 n0), where n1 images have the concept, n0 do not, and R is the sum
    of the ranks of the former among all, 1 for the least active, ties averaged (Mann-Whitney U).

    Args:
        activations: pooled, (N, U), float.
        presence: which image has which concept, bool, (N, C).

    Returns:
        float64, (U, C), in [0, 1]; a constant unit has 0.5. NaN for units with NaN or infinite
        activations, and for concepts that all images have, or none.

    Raises:
        ValueError: when shapes do not fit.
    """
    _check(activations, presence)
    present = presence.sum(axis=0, dtype=np.int64)
    aucs = np.full((activations.shape[1], len(present)), math.nan)
    for start in range(0, len(aucs), _UNITS_AT_ONCE):
        units = slice(start, start + _UNITS_AT_ONCE)
        ranks = _doubled_ranks(activations[:, units])
        for column in range(0, len(present), _CONCEPTS_AT_ONCE):
            concepts = slice(column, column + _CONCEPTS_AT_ONCE)
            sums = ranks.T @ presence[:, concepts].astype(np.float64)
            aucs[units, concepts] = _auc(present[concepts], sums, len(presence))
    aucs[~np.isfinite(activations).all(axis=0)] = math.nan
    return aucs


@dataclass(frozen=True)
class Significance:
    """How likely an AUC of this size or more is by chance.

    Attributes:
        p_value: if the concept had nothing to do with the activation.
        adjusted: for the best of so many formulas (Bonferroni).
        images: that the formula holds for.
    """

    p_value: float
    adjusted: float
    images: int


def significance(
    activations: NDArray[np.floating], presence: Booleans, tried: int = 1
) -> Significance:
    """One-sided p-value of a unit's AUC (Bykov et al. 2023, section 3: Mann-Whitney U).

    The normal approximation with a correction for ties and for continuity; exact where no
    activations are equal and one side has eight images or fewer (scipy.stats.mannwhitneyu).

    Args:
        activations: of one unit, (N,), finite.
        presence: which images the formula holds for, bool, (N,).
        tried: formulas that the best was chosen from.

    Returns:
        NaN for a formula that holds for all images, or none.

    Raises:
        ValueError: when lengths differ, a value is not finite, or `tried` is not positive.
    """
    _check(activations[:, None], presence[:, None])
    if not np.isfinite(activations).all() or tried < 1:
        raise ValueError(
            f"activations have to be finite and tried = {tried} positive; "
            f"{int((~np.isfinite(activations)).sum()):,} of them are not finite"
        )
    images = int(presence.sum())
    if not 0 < images < len(presence):
        return Significance(math.nan, math.nan, images)
    with_concept, without_concept = activations[presence], activations[~presence]
    p_value = float(
        scipy.stats.mannwhitneyu(with_concept, without_concept, alternative="greater").pvalue
    )
    return Significance(p_value, min(1.0, p_value * tried), images)


def formulas_tried(concepts: int, length: int, beam: int) -> int:
    """Formulas that a beam search scores: each concept, and 3 joins of each to each of the beam."""
    return concepts + (length - 1) * min(beam, concepts) * 3 * concepts


class AreaUnderCurve:
    """AUC of a unit as a detector of a formula of concepts, for `compositions.search`."""

    def __init__(
        self,
        activations: NDArray[np.floating],
        concepts: PackedMasks,
        *,
        min_share: float = 0.0,
        max_share: float = 1.0,
    ) -> None:
        """Take a unit.

        Args:
            activations: pooled, of one unit, (N,), finite.
            concepts: which concept is on which image; the images are the positions.
            min_share: share of the images that a formula has to hold for, at least. The authors
                use it to keep out concepts of a handful of images.
            max_share: share of the images that it may hold for.

        Raises:
            ValueError: when lengths differ, an activation is not finite, or shares are no range.
        """
        if activations.shape != (concepts.positions,) or not np.isfinite(activations).all():
            raise ValueError(
                f"the unit's activations have to be finite and ({concepts.positions:,},) like the "
                f"concepts' images; these are {activations.shape}, "
                f"{int((~np.isfinite(activations)).sum()):,} of them not finite"
            )
        if not 0 <= min_share <= max_share <= 1:
            raise ValueError(
                f"min_share = {min_share} and max_share = {max_share} have to rise in [0, 1]"
            )
        self.concepts = concepts
        self._ranks = _doubled_ranks(activations[:, None])[:, 0]
        self._range = min_share * concepts.positions, max_share * concepts.positions

    def numbers(self, where: Words) -> tuple[Counts, Counts]:
        """Images of the intersections, and the doubled sums of their ranks."""
        inside = unpack(where[None], self.concepts.positions)[0]
        columns = np.stack([np.ones_like(self._ranks), self._ranks], axis=1)[inside]
        blocks = range(0, len(self.concepts.names), _CONCEPTS_AT_ONCE)
        sums = [self._presence(start)[:, inside].astype(np.float64) @ columns for start in blocks]
        sizes, ranks = np.concatenate(sums).astype(np.int64).T
        return sizes, ranks

    def scores(self, sizes: Counts, weights: Counts) -> Floats:
        """AUC; -infinity for formulas that hold for all images, none, or a share out of range."""
        aucs = _auc(sizes, weights.astype(np.float64), self.concepts.positions)
        low, high = self._range
        # Shares are decimal fractions: 0.07 of 100 is 7.000000000000001.
        allowed = (sizes >= low - 1e-9) & (sizes <= high + 1e-9) & ~np.isnan(aucs)
        return np.where(allowed, aucs, -math.inf)

    def bounds(self, sizes: Counts, weights: Counts, steps: int) -> Floats:
        """1: a few more concepts may leave just the most active images (see `exact_search`)."""
        del weights, steps
        return np.ones(len(sizes))

    def _presence(self, start: int) -> Booleans:
        words = self.concepts.words[start : start + _CONCEPTS_AT_ONCE]
        return unpack(words, self.concepts.positions)


def _doubled_ranks(activations: NDArray[np.floating]) -> Floats:
    """Twice the ascending rank of each activation in its column, ties averaged: whole numbers."""
    return np.asarray(2 * scipy.stats.rankdata(activations, axis=0), dtype=np.float64)


def _auc(present: Counts, doubled: Floats, images: int) -> Floats:
    """AUC from n1 and the doubled sums of ranks; NaN where n1 or n0 is 0."""
    pairs = present * (images - present)
    wins = doubled / 2 - present * (present + 1) / 2
    return np.where(pairs > 0, wins / np.maximum(pairs, 1), math.nan)


def _check(activations: NDArray[np.floating], presence: Booleans) -> None:
    fits = activations.ndim == presence.ndim == 2 and len(activations) == len(presence)
    if not fits or presence.dtype != np.bool_:
        raise ValueError(
            f"activations {activations.shape} and presence {presence.dtype} {presence.shape} do "
            "not fit; they have to be (images, units) and bool (images, concepts)"
        )
