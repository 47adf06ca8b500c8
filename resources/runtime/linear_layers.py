"""Linear layers in float32 on the CPU by oneDNN, where torch would take a slower library.

torch multiplies float32 matrices on x86 by Intel's MKL, which leaves the widest instructions of
other makers' processors unused: on an AMD EPYC oneDNN, the library by which torch convolves,
multiplies 2.2 times as fast. torch takes it for such layers in its own compiler only.
"""

from __future__ import annotations

import platform
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from threading import Lock, local
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    Linear = Callable[..., Tensor]

_WORTH: Final = 2_000_000
"""Multiplications from which the faster product outweighs the longer call."""


class _Within(local):
    """Whether the thread that asks is within the block."""

    blocks = 0


_within = _Within()
_lock = Lock()
_threads_within: list[Linear] = []
"""torch's own function, once for each block that is open in any thread."""


@contextmanager
def by_onednn() -> Iterator[None]:
    """Within the block, in this thread, `torch.nn.functional.linear` computes by oneDNN.

    Only products of float32 matrices on the CPU that are large enough, without gradients; all
    others, and those of other threads, are torch's. Which way is taken depends on shapes alone.
    Sums are taken in another order, so that the last bits differ from torch's.
    """
    if not is_there():
        yield
        return
    _enter()
    try:
        yield
    finally:
        _leave()


@cache
def is_there() -> bool:
    """Whether torch holds oneDNN's linear layer, on a processor where it was found faster."""
    import torch

    if platform.machine().lower() not in ("x86_64", "amd64"):
        return False
    return hasattr(torch.ops.mkldnn, "_linear_pointwise")  # not of a torch built without oneDNN


def _enter() -> None:
    from torch.nn import functional

    with _lock:
        original = _threads_within[0] if _threads_within else functional.linear
        if not _threads_within:
            functional.linear = _linear_beside(original)
        _threads_within.append(original)
    _within.blocks += 1


def _leave() -> None:
    from torch.nn import functional

    _within.blocks -= 1
    with _lock:
        original = _threads_within.pop()
        if not _threads_within:
            functional.linear = original


def _linear_beside(original: Linear) -> Linear:
    import torch

    by_shape = torch.ops.mkldnn._linear_pointwise

    def linear(input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:  # noqa: A002 (torch's name)
        if _within.blocks and _suits(input, weight, bias):
            product: Tensor = by_shape(input, weight, bias, "none", [], "")
            return product
        return original(input, weight, bias)

    return linear


def _suits(values: Tensor, weight: Tensor, bias: Tensor | None) -> bool:
    """Whether a layer is one that oneDNN computes faster."""
    import torch

    plain = (torch.Tensor, torch.nn.Parameter)
    return (
        values.numel() * weight.shape[0] >= _WORTH
        and type(values) in plain
        and type(weight) in plain
        and values.dtype is weight.dtype is torch.float32
        and (bias is None or bias.dtype is torch.float32)
        and values.device.type == weight.device.type == "cpu"
        and values.layout is weight.layout is torch.strided
        and not torch.is_grad_enabled()
        and not torch.is_autocast_enabled("cpu")
    )
