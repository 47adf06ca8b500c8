"""What the axes of a layer's output are: pictures, channels, rows, columns, tokens.

A layout is written with one letter for each axis, in the order in which a batch comes out:

- `n` the pictures of the batch;
- `c` the channels or features: the units;
- `h` and `w` the rows and columns of a map;
- `t` tokens, of which `prefix_tokens` come before those of the picture;
- `x` anything else (heads, queries, blocks, time), over which units are averaged.

`nchw` are maps as convolutions give them, `nhwc` channels-last maps, `ntc` tokens, `nc` vectors.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from dnd_assets.errors import StudyError

if TYPE_CHECKING:
    from torch import Tensor

LAYOUTS: Final[Mapping[str, str]] = {
    "vectors": "nc",
    "maps": "nchw",
    "channels_last": "nhwc",
    "tokens": "ntc",
}
"""Names that stand for usual layouts."""


@dataclass(frozen=True)
class Layout:
    """How a layer's output is read.

    Attributes:
        axes: one letter for each axis; see the module.
        grid: rows and columns that the tokens after the first ones make, row by row; None where
            they have no known place in the picture.
        prefix_tokens: tokens before those: class, distillation and register tokens.
        class_token: whether the first of them is a class token.
    """

    axes: str
    grid: tuple[int, int] | None = None
    prefix_tokens: int = 0
    class_token: bool = False

    @property
    def kind(self) -> str:
        """What the output is after `arranged`: `vectors`, `tokens` or `maps`."""
        if "h" in self.axes:
            return "maps"
        return "tokens" if set(self.axes) & {"t", "x"} else "vectors"

    @property
    def places(self) -> bool:
        """Whether activations have a place in the picture."""
        return "h" in self.axes or self.grid is not None

    def as_json(self) -> dict[str, object]:
        """The layout as plain values, for fingerprints and cards."""
        return {
            "axes": self.axes,
            "grid": None if self.grid is None else list(self.grid),
            "prefix_tokens": self.prefix_tokens,
            "class_token": self.class_token,
        }

    @classmethod
    def of_json(cls, table: Mapping[str, Any]) -> Layout:
        """The layout that `as_json` wrote."""
        grid = table["grid"]
        return cls(
            str(table["axes"]),
            None if grid is None else (int(grid[0]), int(grid[1])),
            int(table["prefix_tokens"]),
            bool(table["class_token"]),
        )

    def units(self, shape: Sequence[int]) -> int:
        """How many channels an output of this shape, pictures included, has."""
        return int(shape[self.axes.index("c")])

    def arranged(self, values: Tensor) -> Tensor:
        """The output as vectors (B, C), tokens (B, T, C) or maps (B, C, H, W).

        Beside rows and columns, or tokens, other axes are averaged away; alone they count as
        tokens.

        Args:
            values: what the layer gave, with as many axes as `axes` has letters.
        """
        order_of = "nxchw" if self.kind == "maps" else "nxtc"
        ordered = values.permute(
            sorted(range(len(self.axes)), key=lambda axis: order_of.index(self.axes[axis]))
        )
        extra_axes = self.axes.count("x")
        if extra_axes and set(self.axes) & {"h", "t"}:
            return ordered.float().mean(dim=tuple(range(1, 1 + extra_axes)))
        return ordered.flatten(1, -2) if extra_axes else ordered

    def pooled(self, values: Tensor, how: str, *, class_token: bool) -> Tensor:
        """One activation for each picture and unit, float32 (B, units); see `pooling.pool`.

        Args:
            values: what the layer gave for a batch.
            how: the layer's `pooling`.
            class_token: whether the first of the tokens before the picture's is a class token.

        Raises:
            StudyError: when `how` does not fit the output.
        """
        from dnd_assets.methods.pooling import pool

        return pool(self.arranged(values), how, self.prefix_tokens, class_token)

    def maps_of(self, values: Tensor, neurons: Sequence[int]) -> Tensor:
        """Maps of some units, float32 (B, neurons, H, W).

        Args:
            values: what the layer gave for a batch; the layer has places.
            neurons: indices of the units.
        """
        from dnd_assets.methods.pooling import spatial_maps

        maps = spatial_maps(self.arranged(values), self.prefix_tokens, self.grid)
        assert maps is not None, "only layers with maps are read"
        return maps[:, list(neurons)]

    def arranged_shape(self, shape: Sequence[int]) -> tuple[int, ...]:
        """Shape of one picture after `arranged`, of an output of this shape, pictures included."""
        size = dict.fromkeys("ntchw", 1)
        extra = 1
        for letter, length in zip(self.axes, shape, strict=True):
            if letter == "x":
                extra *= length
            else:
                size[letter] = int(length)
        if self.kind == "maps":
            return size["c"], size["h"], size["w"]
        tokens = size["t"] if "t" in self.axes else extra
        return (size["c"],) if self.kind == "vectors" else (tokens, size["c"])


def axes_of(written: str) -> str:
    """The letters of a layout that a person wrote: a name of `LAYOUTS`, or the letters themselves.

    Raises:
        ValueError: when it is neither; says what may be written.
    """
    axes = LAYOUTS.get(written, written)
    pairs = axes.count("h"), axes.count("w")
    valid = (
        re.fullmatch("[nchwtx]{2,6}", axes)
        and axes.count("n") == axes.count("c") == 1
        and pairs in ((0, 0), (1, 1))
        and axes.count("t") + axes.count("h") <= 1
    )
    if not valid:
        raise ValueError(
            f"{written!r} is no layout; write one of {', '.join(LAYOUTS)}, or a letter for each "
            "axis as the output of a batch has them: n pictures (once), c channels (once), h and w "
            "rows and columns, or t tokens, and x for any other, such as 'nchw', 'nhwc', 'ntc', "
            "'nxtc'"
        )
    return axes


def check_shape(where: str, shape: Sequence[int], surveyed: Sequence[int], axes: str) -> None:
    """Refuse an output that differs from the one that the layout was found for.

    Args:
        where: the layer, for the message.
        shape: shape of a batch's output.
        surveyed: shape that one picture gave when the network was looked at.
        axes: letters of the layout.

    Raises:
        StudyError: when anything but the number of pictures differs.
    """
    batch = axes.index("n")
    same = len(shape) == len(surveyed) and all(
        actual == expected
        for axis, (actual, expected) in enumerate(zip(shape, surveyed, strict=True))
        if axis != batch
    )
    if not same:
        raise StudyError(
            f"{where} gives {tuple(shape)} in this pass, and gave {tuple(surveyed)} for one "
            f"picture when the network was looked at ({axes}), so its units cannot be told for "
            "sure. The layer's output must have one shape for every picture: let the transform "
            "give every picture one size, or choose another layer."
        )
