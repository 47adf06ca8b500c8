"""Layers of loaded networks by oneDNN's faster ways, for the time of a pass.

See `dnd_assets.methods.matrix_products` and `resources.runtime.packed_convolutions`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from threading import Lock, local
from typing import TYPE_CHECKING

from dnd_assets.methods.matrix_products import Linear, by_onednn, is_there, suits
from resources.runtime import packed_convolutions
from resources.runtime.packed_convolutions import ConvolutionSettings

if TYPE_CHECKING:
    from torch import Tensor

    Convolution = Callable[..., Tensor]


class _Within(local):
    """How many blocks the thread that asks is within."""

    blocks = 0


_within = _Within()
_lock = Lock()
_open_blocks: list[tuple[Linear, Convolution]] = []
"""torch's own functions, once for each block that is open in any thread."""


@contextmanager
def faster_layers() -> Iterator[None]:
    """Within the block, in this thread, torch computes linear layers and convolutions by oneDNN.

    `torch.nn.functional.linear` and `conv2d` do, of float32 on the CPU, large enough, without
    gradients; all others, and those of other threads, are torch's. Which way is taken depends on
    shapes alone. Sums are taken in another order, so that the last bits differ from torch's.
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
        originals = (functional.linear, functional.conv2d)
        if _open_blocks:
            originals = _open_blocks[0]
        else:
            functional.linear = _linear_beside(originals[0])
            functional.conv2d = _convolution_beside(originals[1])
        _open_blocks.append(originals)
    _within.blocks += 1


def _leave() -> None:
    from torch.nn import functional

    _within.blocks -= 1
    with _lock:
        originals = _open_blocks.pop()
        if not _open_blocks:
            functional.linear, functional.conv2d = originals


def _linear_beside(original: Linear) -> Linear:
    faster = by_onednn()

    def linear(input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:  # noqa: A002 (torch's name)
        if _within.blocks and suits(input, weight, bias):
            return faster(input, weight, bias)
        return original(input, weight, bias)

    return linear


def _convolution_beside(original: Convolution) -> Convolution:
    def conv2d(
        input: Tensor,  # noqa: A002 (torch's name)
        weight: Tensor,
        bias: Tensor | None = None,
        stride: int | Sequence[int] = 1,
        padding: int | Sequence[int] | str = 0,
        dilation: int | Sequence[int] = 1,
        groups: int = 1,
    ) -> Tensor:
        if _within.blocks and not isinstance(padding, str):
            settings = ConvolutionSettings(_pair(stride), _pair(padding), _pair(dilation), groups)
            if packed_convolutions.suits(input, weight, bias, settings):
                return packed_convolutions.convolved(input, weight, bias, settings)
        return original(input, weight, bias, stride, padding, dilation, groups)

    return conv2d


def _pair(sizes: int | Sequence[int]) -> tuple[int, ...]:
    """A size for rows and one for columns, as torch reads one number or a list of one."""
    numbers = (sizes,) if isinstance(sizes, int) else tuple(int(size) for size in sizes)
    return numbers * 2 if len(numbers) == 1 else numbers
