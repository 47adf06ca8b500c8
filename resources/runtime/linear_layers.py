"""Linear layers of loaded networks by oneDNN, see `dnd_assets.methods.matrix_products`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock, local
from typing import TYPE_CHECKING

from dnd_assets.methods.matrix_products import Linear, by_onednn, is_there, suits

if TYPE_CHECKING:
    from torch import Tensor


class _Within(local):
    """How many blocks the thread that asks is within."""

    blocks = 0


_within = _Within()
_lock = Lock()
_open_blocks: list[Linear] = []
"""torch's own function, once for each block that is open in any thread."""


@contextmanager
def faster_linear() -> Iterator[None]:
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


def _enter() -> None:
    from torch.nn import functional

    with _lock:
        original = _open_blocks[0] if _open_blocks else functional.linear
        if not _open_blocks:
            functional.linear = _linear_beside(original)
        _open_blocks.append(original)
    _within.blocks += 1


def _leave() -> None:
    from torch.nn import functional

    _within.blocks -= 1
    with _lock:
        original = _open_blocks.pop()
        if not _open_blocks:
            functional.linear = original


def _linear_beside(original: Linear) -> Linear:
    faster = by_onednn()

    def linear(input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:  # noqa: A002 (torch's name)
        if _within.blocks and suits(input, weight, bias):
            return faster(input, weight, bias)
        return original(input, weight, bias)

    return linear
