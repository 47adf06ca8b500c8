"""Passes on the CPU in which no bit of a result depends on other items, load, or threads.

A batch's shape decides in which order a processor adds, and so the last bits of a result; how many
threads take part may, too. So each call holds the same number of items and runs in one thread;
several calls run at once, in threads of their own. On a busy machine that is also far faster than
to split a small picture between threads that wait for one another: one picture of
EfficientNet-Lite2 took 13 times the processor time in two threads, beside four busy processes.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from copy import deepcopy
from dataclasses import dataclass
from functools import cache
from itertools import chain
from threading import local
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

from dnd_assets.errors import StudyError
from resources.runtime.faster_layers import faster_layers
from resources.runtime.threads import available_cores

if TYPE_CHECKING:
    from torch import nn

T = TypeVar("T")
R = TypeVar("R")

TOGETHER: Final = 8
"""Items in a call of a network that mostly reads its weights, see `reads_weights`."""
PAIR: Final = 2
"""Items in a call of any other: half of its weights are read, and little is filled up."""
_PLACES: Final = 3
"""How far rows are moved to see whether their place matters: by one, where there are two."""
REFUSALS: Final = (
    RuntimeError, ValueError, TypeError, AssertionError, IndexError, KeyError, AttributeError,
    ZeroDivisionError, NotImplementedError, StudyError,
)  # fmt: skip
"""What networks raise that do not take a size of picture or a batch."""
_LINEAR: Final = 0.5
_LARGE: Final = 20e6


@dataclass(frozen=True)
class Exact:
    """How a model runs so that no bit of a result depends on other items.

    Attributes:
        together: items in each call, which is filled up to them. More than one only for a model
            whose rows were found not to depend on one another, see `rows_are_alone`.
        at_once: whether calls may run in several threads at the same time: not for code of a
            user's own, nor for a model that keeps something of a call.
    """

    together: int = 1
    at_once: bool = False

    def layers(self) -> AbstractContextManager[None]:
        """Within the block layers are computed as in calls: faster, but for a user's own code."""
        return faster_layers() if self.at_once else nullcontext()


ALONE: Final = Exact()
"""One item after the other, in whatever threads torch uses."""


def exactly(
    run: Callable[[Sequence[T]], Sequence[R]], how: Exact
) -> Callable[[Sequence[T]], Sequence[R]]:
    """As `run`, for batches of any size, in calls of one shape; results in the order of items."""

    def call(items: Sequence[T]) -> Sequence[R]:
        filled = [*items, *[items[-1]] * (how.together - len(items))]
        with how.layers():
            return run(filled)[: len(items)]

    def each(batch: Sequence[T]) -> Sequence[R]:
        parts = [batch[at : at + how.together] for at in range(0, len(batch), how.together)]
        done = map(call, parts) if not how.at_once else _threads().map(call, parts)
        return [result for results in done for result in results]

    return each


def one_shape_at_a_time(
    items: Sequence[T],
    shape_of: Callable[[T], Hashable],
    run: Callable[[Sequence[T]], Sequence[R]],
) -> list[R]:
    """Results of `run`, which is given only items of one shape together, in the order of items."""
    places: dict[Hashable, list[int]] = {}
    for place, item in enumerate(items):
        places.setdefault(shape_of(item), []).append(place)
    results: dict[int, R] = {}
    for alike in places.values():
        results |= dict(zip(alike, run([items[place] for place in alike]), strict=True))
    return [results[place] for place in range(len(items))]


@cache
def _threads() -> ThreadPoolExecutor:
    """Threads that each run whole calls, and split none."""
    import torch

    def alone() -> None:
        torch.set_num_threads(1)

    return ThreadPoolExecutor(threads_at_once(), "exact", initializer=alone)


class PerThread(Generic[T]):
    """Something that each thread has of its own, made when the thread first asks.

    Args:
        make: makes it.
    """

    def __init__(self, make: Callable[[], T]) -> None:
        self._make, self._own = make, local()

    def here(self) -> T:
        """That of the thread that asks."""
        if not hasattr(self._own, "made"):
            self._own.made = self._make()
        made: T = self._own.made
        return made


class ThreadCopies(PerThread["nn.Module"]):
    """Copies of a network, one for each thread, which share its weights.

    Hooks that read a layer, and whatever a module notes of its last call, belong to one copy.

    Args:
        module: the network itself.
    """

    def __init__(self, module: nn.Module) -> None:
        super().__init__(lambda: shared_copy(module))


def shared_copy(module: nn.Module) -> nn.Module:
    """A copy of a network whose parameters and buffers are those of the original."""
    tensors = chain(module.parameters(), module.buffers())
    return deepcopy(module, {id(tensor): tensor for tensor in tensors})


def reads_weights(module: nn.Module) -> bool:
    """Whether a network spends its time reading weights when it is given one item.

    So it is where most of many weights are matrices that few tokens are multiplied with, as in
    ViT-B/32 (50 tokens); convolutions use each weight at hundreds of places.
    """
    from torch.nn import Linear, MultiheadAttention

    linear = {
        id(weights): weights.numel()
        for part in module.modules()
        if isinstance(part, Linear | MultiheadAttention)
        for weights in part.parameters()
    }
    total = sum(weights.numel() for weights in module.parameters())
    return total > _LARGE and sum(linear.values()) > _LINEAR * total


def rows_are_alone(run: Callable[[Any], Any], items: Any) -> bool:
    """Whether rows of a call of one shape depend neither on their place nor on other rows.

    Args:
        run: a call: a tensor of rows to a tensor of as many.
        items: twice as many different rows as a call holds, a tensor.

    Returns:
        Whether each row gave the same bits at another place and among others.
    """
    import torch

    first, second = items.chunk(2)
    mixed = torch.stack([pair[at % 2] for at, pair in enumerate(zip(first, second, strict=True))])
    with faster_layers():
        alike = [run(part) for part in (first, second, mixed.roll(_PLACES, dims=0))]
    expected = torch.stack([alike[at % 2][at] for at in range(len(first))])
    return bool(torch.equal(expected.roll(_PLACES, dims=0), alike[2]))


def exact_of(module: nn.Module, run: Callable[[Any], Any], items: Callable[[int], Any]) -> Exact:
    """How a network of a known library runs on the CPU, whose calls may run at once.

    Args:
        module: the network.
        run: a call: a tensor of rows to a tensor of as many.
        items: makes so many different rows, which are tried.
    """
    return together_if_alone(run, items, TOGETHER if reads_weights(module) else PAIR)


def together_if_alone(
    run: Callable[[Any], Any], items: Callable[[int], Any], together: int = TOGETHER
) -> Exact:
    """`together` items in a call if its rows are found alone, else one; others as `exact_of`.

    One, too, where the model does not take so many, or gives nothing that can be compared.
    """

    def alone() -> bool:
        try:
            return rows_are_alone(run, items(2 * together))
        except REFUSALS:
            return False

    return Exact(together if _threads().submit(alone).result() else 1, at_once=True)


def threads_at_once() -> int:
    """How many calls run at the same time: the cores there are, or what OMP_NUM_THREADS says."""
    cores = available_cores()
    said = os.environ.get("OMP_NUM_THREADS", "")
    return min(cores, int(said)) if said.isdigit() and int(said) > 0 else cores
