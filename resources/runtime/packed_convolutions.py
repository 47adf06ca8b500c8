"""Convolutions in float32 on the CPU whose weights are put into oneDNN's order once.

torch has oneDNN reorder the weights of a convolution at each call: of ResNet-50 that is 100 MB, and
takes nearly as long as to convolve one picture. Its compiler packs them once, by operators that are
called here: a picture takes 0.6 of the time. The packed weights stay beside the others, in as much
memory, for the shape of input that came last.
"""

from __future__ import annotations

import math
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

from dnd_assets.methods.matrix_products import WORTH, is_plain
from dnd_assets.methods.matrix_products import is_there as has_linear_layers

if TYPE_CHECKING:
    from collections.abc import MutableMapping

    from torch import Tensor


class ConvolutionSettings(NamedTuple):
    """How a convolution goes over its input, each pair of rows and of columns.

    Attributes:
        stride: from one place to the next.
        padding: with zeros, on both sides.
        dilation: between the weights.
        groups: of channels that are convolved apart.
    """

    stride: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...]
    groups: int


def convolved(
    values: Tensor, weight: Tensor, bias: Tensor | None, settings: ConvolutionSettings
) -> Tensor:
    """As `torch.nn.functional.conv2d`, for what `suits`; last bits differ from torch's.

    Args:
        values: (B, channels, height, width), channels-last.
        weight: (outputs, channels / groups, rows, columns).
        bias: (outputs,).
        settings: how it goes over them.
    """
    import torch

    version = 0 if weight.is_inference() else weight._version
    made_for = (tuple(values.shape), settings, weight.data_ptr(), version)
    found = _packed().get(weight)
    if found is None or found[0] != made_for:
        reordered = torch.ops.mkldnn._reorder_convolution_weight(
            weight, settings.padding, settings.stride, settings.dilation, settings.groups,
            list(values.shape),
        )  # fmt: skip
        found = _packed()[weight] = (made_for, reordered)
    result: Tensor = torch.ops.mkldnn._convolution_pointwise(
        values, found[1], bias, settings.padding, settings.stride, settings.dilation,
        settings.groups, "none", [], "",
    )  # fmt: skip
    return result


def suits(
    values: Tensor, weight: Tensor, bias: Tensor | None, settings: ConvolutionSettings
) -> bool:
    """Whether a convolution is one that is computed faster so; depends on shapes and types alone.

    One that torch would refuse does not suit, so that torch tells why.
    """
    import torch

    if not (values.ndim == weight.ndim == 4 and is_there()):
        return False
    fits = values.shape[1] == weight.shape[1] * settings.groups and all(
        size + 2 * pad > step * (taps - 1)
        for size, taps, pad, step in zip(
            values.shape[2:], weight.shape[2:], settings.padding, settings.dilation, strict=True
        )
    )
    places = values.numel() // values.shape[1] // math.prod(settings.stride)
    return (
        fits
        and places * weight.numel() >= WORTH
        and is_plain(values, weight, bias)
        and values.is_contiguous(memory_format=torch.channels_last)
    )


@cache
def is_there() -> bool:
    """Whether torch holds oneDNN's convolutions with packed weights, on x86."""
    import torch

    names = ("_reorder_convolution_weight", "_convolution_pointwise")
    return has_linear_layers() and all(hasattr(torch.ops.mkldnn, name) for name in names)


@cache
def _packed() -> MutableMapping[Tensor, tuple[Any, Tensor]]:
    """Packed weights by the tensor that they were made of, and what they were made for."""
    from torch.utils.weak import WeakTensorKeyDictionary

    return WeakTensorKeyDictionary()
