"""Read off similarities: the best concepts of each unit, and whether any is good enough."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from dnd_assets.methods.ordering import top_positions

if TYPE_CHECKING:
    from torch import Tensor


def interpretable(similarities: Tensor, cutoff: float = 0.16) -> Tensor:
    """Which units count as interpretable: max over m of sim > tau (CLIP-Dissect, section A.8).

    The default is the paper's for SoftWPMI: there the mean human rating of descriptions is 0.75.

    Args:
        similarities: (U, M).
        cutoff: tau.

    Returns:
        bool, (U,); False for rows of NaN.
    """
    return similarities.nan_to_num(nan=-math.inf, posinf=math.inf).amax(dim=1) > cutoff


def top_concepts(similarities: Tensor, n: int) -> list[list[tuple[int, float]]]:
    """The `n` most similar concepts of each unit, best first, ties in the order of concepts.

    Args:
        similarities: (U, M).
        n: how many; all when there are fewer.

    Returns:
        For each unit (position of the concept, similarity). Concepts of similarity NaN are left
        out, so that a unit that cannot be described has an empty list.

    Raises:
        ValueError: when `n` is not positive.
    """
    if n < 1:
        raise ValueError(f"n = {n} has to be positive")
    ranked = []
    for row in similarities:
        valid = (~row.isnan()).nonzero().flatten()
        top = valid[top_positions(row[valid], n)]
        ranked.append(list(zip(top.tolist(), row[top].tolist(), strict=True)))
    return ranked
