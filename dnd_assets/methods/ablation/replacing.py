"""A layer's output without some of its units: set to zero, to their means, or to another picture's.

Zero ablation removes what a unit gives; where its usual value is not zero, that moves the layers
above off what they were trained on, which mean ablation avoids (Morcos et al. 2018 compare both).
Resample ablation puts the unit's output for another picture in its place, so that every value is
one that the unit takes (Chan et al. 2022).
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dnd_assets.errors import StudyError

if TYPE_CHECKING:
    from torch import Tensor

Group = tuple[int, ...]
"""Neurons of a layer that are ablated together; none leaves the layer as it is."""


@dataclass(frozen=True)
class Replacement:
    """What stands in the place of ablated units.

    Attributes:
        fill: one value for each unit of the layer, float (C,); None where a donor gives them.
        donor: the layer's output for another picture, with one entry on the axis of pictures.
    """

    fill: Tensor | None = None
    donor: Tensor | None = None


def ablated(values: Tensor, axes: str, groups: Sequence[Group], replacement: Replacement) -> Tensor:
    """The output with, in each row, the units of that row's group replaced.

    Args:
        values: what a layer gave for as many rows as there are groups; it stays as it is.
        axes: letters of the layout; see `layer_axes`.
        groups: neurons of each row.
        replacement: what to put in their place.

    Returns:
        A tensor like `values`.
    """
    places = (axes.index("n"), axes.index("c"))
    moved = values.movedim(places, (0, 1)).clone()
    donor = replacement.donor
    donor_values = None if donor is None else donor.movedim(places, (0, 1))[0]
    for row, group in enumerate(groups):
        units = list(group)
        if not units:
            continue
        if donor_values is not None:
            moved[row, units] = donor_values[units].to(moved.dtype)
        else:
            assert replacement.fill is not None, "one of both is given"
            fill = replacement.fill[units].to(moved)
            moved[row, units] = fill.reshape(-1, *[1] * (moved.ndim - 2)).expand_as(
                moved[row, units]
            )
    return moved.movedim((0, 1), places).contiguous()


def unit_means(values: Tensor, axes: str) -> Tensor:
    """Mean of each unit over all places of each picture, float64 (pictures, C).

    Rounded as pooled activations are, except where a unit is the same everywhere: then it is that
    value to the last bit, so that the mean in its place changes nothing.
    """
    import torch

    from dnd_assets.methods.pooling import stabilise

    moved = values.movedim((axes.index("n"), axes.index("c")), (0, 1)).float()
    flat = moved.flatten(2) if moved.ndim > 2 else moved[..., None]
    low, high = flat.amin(dim=2), flat.amax(dim=2)
    means = stabilise(flat.double().mean(dim=2))
    return torch.where(low == high, high, means).double()


def with_tensor(output: Any, old: Tensor, new: Tensor) -> Any:
    """A layer's output with another tensor in the place of one of its own.

    Args:
        output: a tensor, or a tuple, list or mapping that holds `old`.
        old: the tensor to replace.
        new: what to put there.

    Raises:
        StudyError: when the output is of another kind.
    """
    if output is old:
        return new
    if isinstance(output, tuple | list):
        items = [new if item is old else item for item in output]
        if hasattr(output, "_fields"):
            return type(output)(*items)
        return type(output)(items)
    if hasattr(output, "keys"):
        changed = copy.copy(output)
        for key in list(output.keys()):
            if output[key] is old:
                changed[key] = new
                return changed
    raise StudyError(
        f"the layer gives {type(output).__name__}, whose tensor cannot be replaced; choose a layer "
        "that gives a tensor, a tuple or a mapping."
    )
