"""Products of float32 matrices on the CPU by oneDNN, where torch would take a slower library.

torch multiplies float32 matrices on x86 by Intel's MKL, which leaves the widest instructions of
other makers' processors unused: on an AMD EPYC oneDNN, the library by which torch convolves, is
twice as fast. torch takes it for linear layers in its own compiler only.
"""

from __future__ import annotations

import platform
from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, Final

from dnd_assets.methods.lazy import torch

if TYPE_CHECKING:
    from torch import Tensor

WORTH: Final = 2_000_000
"""Multiplications of a layer from which oneDNN's faster way outweighs its longer call."""
Linear = Callable[..., "Tensor"]


def product(left: Tensor, right: Tensor) -> Tensor:
    """`left @ right`; by oneDNN where `suits` says so, in which case last bits differ from torch's.

    Args:
        left: (…, B), float.
        right: (B, C), of the same type.
    """
    if suits(left, right.T):
        return by_onednn()(left, right.T)
    return left @ right


@cache
def is_there() -> bool:
    """Whether torch holds oneDNN's linear layer, on a processor where it was found faster."""
    if platform.machine().lower() not in ("x86_64", "amd64"):
        return False
    return hasattr(torch.ops.mkldnn, "_linear_pointwise")  # not of a torch built without oneDNN


@cache
def by_onednn() -> Linear:
    """oneDNN's layer: values (…, B), weight (C, B), bias (C,) or None to (…, C)."""  # noqa: D403
    linear = torch.ops.mkldnn._linear_pointwise

    def multiplied(values: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        result: Tensor = linear(values, weight, bias, "none", [], "")
        return result

    return multiplied


def suits(values: Tensor, weight: Tensor, bias: Tensor | None = None) -> bool:
    """Whether a linear layer is one that oneDNN computes faster; depends on shapes and types alone.

    It has to be large, and `is_plain`.
    """
    return (
        values.numel() * weight.shape[0] >= WORTH and is_plain(values, weight, bias) and is_there()
    )


def is_plain(values: Tensor, weight: Tensor, bias: Tensor | None = None) -> bool:
    """Whether a layer is of float32 on the CPU, wants no gradients, and is nothing special."""
    plain = (torch.Tensor, torch.nn.Parameter)
    return (
        type(values) in plain
        and type(weight) in plain
        and values.dtype is weight.dtype is torch.float32
        and (bias is None or bias.dtype is torch.float32)
        and values.device.type == weight.device.type == "cpu"
        and values.layout is weight.layout is torch.strided
        and not (torch.is_grad_enabled() and (values.requires_grad or weight.requires_grad))
        and not torch.is_autocast_enabled("cpu")
    )
