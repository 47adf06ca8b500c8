"""What the survey, forward passes of made-up pictures, observed of a network and its layers."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Change = NDArray[np.float32]


@dataclass
class LayerOutput:
    """The output of one layer in the survey: its shape, its origin, how it changes.

    Attributes:
        shape: of its output for one picture, pictures included.
        floating: whether its numbers are of a floating-point type.
        batch: axis of the pictures; None where there is none.
        larger: its shape for a picture of another size; None where the network takes no other.
        change: for 3 and 4 axes, by the axes that are kept (pictures left out): how it changes
            for each place of the patch, summed over the other axes, float32 (9, …).
        output: number of the tensor that it returned; layers that return the same tensor share it.
        inputs: number of its first input tensor, counted likewise; None where it had none.
        input_shape: the shape of that tensor.
        order: its place in the order in which layers ran.
    """

    shape: tuple[int, ...]
    floating: bool
    batch: int | None
    output: int
    inputs: int | None
    input_shape: tuple[int, ...] | None
    order: int
    larger: tuple[int, ...] | None = None
    change: dict[tuple[int, ...], Change] = field(default_factory=dict)


@dataclass(frozen=True)
class Survey:
    """What the passes observed of the whole network.

    Attributes:
        seen: by path, of the layers that ran and gave a tensor.
        pixels: shape of a picture, (channels, height, width).
        spoiled: whether the picture of another size changed what the network gives for the first
            one, so that it has to be loaded anew.
    """

    seen: dict[str, LayerOutput]
    pixels: tuple[int, int, int]
    spoiled: bool = False
