"""The batch size with the most items a second, found by trial."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from resources.runtime.compute import whole_batches
from resources.runtime.memory import free_memory

GAIN: Final = 1.1
"""A batch twice as large has to be this much faster for each item, or it is not worth it."""
MOST: Final = 1024
_ROOM: Final = 0.45
"""Share of the memory in use beyond which twice the batch is not even tried."""


def fastest(
    trial: Callable[[int], object],
    usual: int,
    clock: Callable[[], float] = time.perf_counter,
    in_use: Callable[[], float] = lambda: 0.0,
) -> int:
    """The batch size to use: doubled from the usual one while items a second grow by a tenth.

    Args:
        trial: does the work of one batch of so many items.
        usual: where to begin; halved while it does not fit into memory.
        clock: seconds of a clock that never goes back.
        in_use: share of the device's memory that the last trial took at most.

    Raises:
        MemoryError: when a single item does not fit.
    """
    with whole_batches():
        size, rate = _largest_fitting(trial, usual, clock)
        while size >= usual and 2 * size <= MOST and in_use() <= _ROOM:
            faster = _rate(trial, 2 * size, clock)
            if faster < GAIN * rate:
                break
            size, rate = 2 * size, faster
    return size


def _largest_fitting(
    trial: Callable[[int], object], size: int, clock: Callable[[], float]
) -> tuple[int, float]:
    """The batch size, halved until it fits into memory, and its items a second."""
    while True:
        rate = _rate(trial, size, clock)
        if rate > 0:
            return size, rate
        if size == 1:
            raise MemoryError("a single item does not fit into memory")
        size //= 2


def _rate(trial: Callable[[int], object], size: int, clock: Callable[[], float]) -> float:
    """Items a second; 0 where the batch does not fit into memory.

    The first batch of a size is not timed: it compiles, and lets libraries choose algorithms.
    """
    try:
        trial(size)
        begun = clock()
        trial(size)
    except MemoryError:
        free_memory()
        return 0.0
    return size / max(clock() - begun, 1e-9)
