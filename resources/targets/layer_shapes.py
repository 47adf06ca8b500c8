"""Shapes of outputs and what they may be: axes, grids, heads. Pure helpers of `layer_layout`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from dnd_assets.methods.layer_axes import Layout
from resources.targets.seen import Change, LayerOutput

Grid = tuple[int, int]


class Alike:
    """Groups of tensors that share one layout, joined pair by pair (a union-find)."""

    def __init__(self) -> None:
        self._root: dict[int, int] = {}

    def top(self, tensor: int) -> int:
        """The tensor that represents the group of this one."""
        while self._root.get(tensor, tensor) != tensor:
            tensor = self._root[tensor]
        return tensor

    def join(self, first: int, second: int) -> None:
        """Put both tensors, and all joined with them, into one group."""
        self._root[self.top(first)] = self.top(second)


def letters(output: LayerOutput, channel: int, places: Mapping[int, str]) -> str:
    """The layout of an output in letters, such as `nchw`; axes of unknown meaning are `x`."""
    axis_names = {**places, channel: "c"}
    return "".join(
        "n" if axis == output.batch else axis_names.get(axis, "x")
        for axis in range(len(output.shape))
    )


def left_axis(output: LayerOutput, axis: int) -> int:
    """The number of an axis once the axis of the pictures (the batch) is left out."""
    return axis - (output.batch is not None and output.batch < axis)


def pairs(axes: Sequence[int]) -> Iterator[tuple[int, int]]:
    """All two different axes, in both orders."""
    return ((a, b) for a in axes for b in axes if a != b)


def gridded(change: Change, grid: Grid, prefix: int) -> Change:
    """Changes of tokens (9, T) without the first `prefix`, arranged as a map (9, H, W)."""
    return np.ascontiguousarray(change[:, prefix:].reshape(len(change), *grid))


def factors(area: int) -> Iterator[Grid]:
    """All grids of `area` cells with at least two rows and two columns."""
    return ((rows, area // rows) for rows in range(2, area // 2 + 1) if area % rows == 0)


def squareness(grid: Grid, pixels: Sequence[int]) -> float:
    """How square a grid's cells are: 0 for squares, else less; -1 beyond a cell's rounding."""
    rows, columns = grid
    stretch = (rows / columns) / (pixels[0] / pixels[1])
    slack = 1 / min(rows, columns)
    return -1.0 if abs(stretch - 1) > slack + 1e-9 else -abs(stretch - 1)


def grows(output: LayerOutput, axis: int) -> bool:
    """Whether an axis grows with the picture, which an axis of channels never does."""
    larger = output.larger
    return (
        larger is not None
        and len(larger) == len(output.shape)
        and larger[axis] != output.shape[axis]
    )


def same_places(first: LayerOutput, second: LayerOutput, layout: Layout) -> bool:
    """Whether two outputs differ in their channels at most."""
    channel = layout.axes.index("c")
    return len(first.shape) == len(second.shape) and all(
        a == b
        for axis, (a, b) in enumerate(zip(first.shape, second.shape, strict=True))
        if axis != channel
    )


def are_heads(shape: Sequence[int], outer: Sequence[int]) -> bool:
    """Whether (B, heads, T, width) or (B, T, heads, width) are the parts of (B, T, D)."""
    if len(outer) != 3:
        return False
    _, tokens, width = outer
    return (shape[2] == tokens and shape[1] * shape[3] == width) or (
        shape[1] == tokens and shape[2] * shape[3] == width
    )


def sizes_of(shape: Sequence[int]) -> str:
    """A shape in words."""
    return " x ".join(map(str, shape))
