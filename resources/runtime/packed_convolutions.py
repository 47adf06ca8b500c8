"""Convolutions in float32 on the CPU whose weights are put into oneDNN's order once.

torch has oneDNN reorder the weights of a convolution at each call: of ResNet-50 that is 100 MB, and
takes nearly as long as to convolve one picture. Its compiler packs them once, by operators that are
called here: a picture takes 0.6 of the time. The packed weights stay beside the others, in as much
memory, for the shape of input that came last.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING, Any, Final

from dnd_assets.methods.matrix_products import is_plain
from dnd_assets.methods.matrix_products import is_there as has_linear_layers

if TYPE_CHECKING:
    from collections.abc import MutableMapping

    from torch import Tensor

_WORTH: Final = 2_000_000
"""Multiplications from which a faster convolution outweighs the longer call."""
Pair = Sequence[int]


def convolved(
    values: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: Pair,
    padding: Pair,
    dilation: Pair,
    groups: int,
) -> Tensor:
    """As `torch.nn.functional.conv2d`, for what `suits`; last bits differ from torch's.

    Args:
        values: (B, channels, height, width), channels-last.
        weight: (outputs, channels / groups, rows, columns).
        bias: (outputs,).
        stride: of rows and of columns, as the next two.
        padding: with zeros, on both sides.
        dilation: between the weights.
        groups: of channels that are convolved apart.
    """
    import torch

    version = 0 if weight.is_inference() else weight._version
    settings = (tuple(values.shape), *map(tuple, (stride, padding, dilation)), groups)
    made_for = (settings, weight.data_ptr(), version)
    found = _packed().get(weight)
    if found is None or found[0] != made_for:
        reordered = torch.ops.mkldnn._reorder_convolution_weight(
            weight, padding, stride, dilation, groups, list(values.shape)
        )
        found = _packed()[weight] = (made_for, reordered)
    result: Tensor = torch.ops.mkldnn._convolution_pointwise(
        values, found[1], bias, padding, stride, dilation, groups, "none", [], ""
    )
    return result


def suits(
    values: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: Pair,
    padding: Pair,
    dilation: Pair,
    groups: int,
) -> bool:
    """Whether a convolution is one that is computed faster so; depends on shapes and types alone.

    One that torch would refuse does not suit, so that torch tells why.
    """
    import torch

    if not (values.ndim == weight.ndim == 4 and is_there()):
        return False
    fits = values.shape[1] == weight.shape[1] * groups and all(
        size + 2 * pad > step * (taps - 1)
        for size, taps, pad, step in zip(
            values.shape[2:], weight.shape[2:], padding, dilation, strict=True
        )
    )
    places = values.numel() // values.shape[1] // (stride[0] * stride[1])
    return (
        fits
        and places * weight.numel() >= _WORTH
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
