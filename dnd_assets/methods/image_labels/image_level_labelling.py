"""INVERT with p-values, from which concepts images show."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dnd_assets.methods.segmentation.compositions import (
    Booleans,
    Floats,
    Formula,
    PackedMasks,
    search,
)
from dnd_assets.methods.segmentation.invert import AreaUnderCurve, formulas_tried, significance


@dataclass(frozen=True)
class TestedFormula:
    """A formula of concepts, and how likely one as good is by chance.

    Attributes:
        formula: the formula.
        auc: area under the curve of the unit as its detector.
        p_value: of this formula alone, see `invert.significance`.
        adjusted: for the best of all formulas that were scored (Bonferroni).
        images: that it holds for.
    """

    formula: Formula
    auc: float
    p_value: float
    adjusted: float
    images: int


def invert_labels(
    activations: Floats,
    presence: Booleans,
    names: Sequence[str],
    *,
    length: int = 1,
    beam: int = 10,
    top: int = 5,
    min_share: float = 0.0,
    max_share: float = 1.0,
) -> list[TestedFormula]:
    """The formulas that a unit's activation tells best from all else, best first.

    Args:
        activations: of the unit, (N,), finite.
        presence: which image shows which concept, (N, C).
        names: of the concepts, (C,).
        length: concepts in a formula at most.
        beam: formulas kept at each step of the search.
        top: formulas returned at most.
        min_share: of the images, that a formula has to hold for at least.
        max_share: of the images, that it may hold for.

    Raises:
        ValueError: when shapes do not fit, or an activation is not finite.
    """
    packed = PackedMasks(names, np.ascontiguousarray(presence.T))
    objective = AreaUnderCurve(activations, packed, min_share=min_share, max_share=max_share)
    beam_width = max(beam, top) if length == 1 else beam
    matches = search(objective, beam=beam_width, length=length)[:top]
    tried = formulas_tried(len(names), length, beam_width)
    presence_by_name = {name: presence[:, column] for column, name in enumerate(names)}
    tested = []
    for match in matches:
        significant = significance(activations, match.formula.holds(presence_by_name), tried)
        tested.append(
            TestedFormula(
                match.formula,
                match.score,
                significant.p_value,
                significant.adjusted,
                significant.images,
            )
        )
    return tested
