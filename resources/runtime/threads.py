"""How many threads torch uses: what is fastest for the work at hand on the machine as it is now.

Torch takes every core. Where pictures are small, or others use the cores too, its threads wait
for one another more than they compute: one thread has been twenty times as fast. So calls are
timed with few threads and with many, and again now and then, since the load of a machine changes.
Calls of which no bit may depend on threads have one each instead, see `exact_passes`.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Final, TypeVar

T = TypeVar("T")
R = TypeVar("R")

CHOSEN_BY_USER: Final = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")
"""Environment variables that say how many threads to use; where one is set, nothing is tried."""
_TRIALS: Final = 2
_EVERY_S: Final = 10.0
_SHARE: Final = 20.0
"""Trials take at most one part in so many of the time."""
_WORTH: Final = 1.15
"""More threads have to be so much faster than fewer, which leave cores to others."""


def available_cores() -> int:
    """How many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def in_threads(make: Callable[[T], R], items: Sequence[T]) -> list[R]:
    """`make` of each item, in order, by as many threads as there are cores.

    For work that leaves the interpreter to others, such as decoding and resizing pictures, hashing
    and products of arrays; no result may depend on another.
    """
    if len(items) < 2:
        return [make(item) for item in items]
    with ThreadPoolExecutor(min(available_cores(), len(items))) as pool:
        return list(pool.map(make, items))


class ThreadChoice:
    """Settles for the number of threads with which calls were fastest.

    Args:
        counts: the numbers to choose from, the smallest first.
        clock: seconds of a clock that never goes back.

    Attributes:
        count: the number that was settled for; the smallest before that.
        rates: items a second with each number, as they were last tried.
    """

    def __init__(self, counts: Sequence[int], clock: Callable[[], float] = time.monotonic) -> None:
        self.count = counts[0]
        self.rates: dict[int, float] = {}
        self._counts = tuple(counts)
        self._clock = clock
        # A first call sets up what later ones find ready, and tells nothing.
        self._queue = [0, *self._counts * _TRIALS]
        self._settled = 0
        self._trial_s = 0.0
        self._again_at = math.inf

    def next(self) -> int:
        """The number of threads for the next call."""
        if not self._queue and self._clock() >= self._again_at:
            self._queue, self.rates, self._trial_s = list(self._counts), {}, 0.0
        return (self._queue[0] if self._queue else 0) or self.count

    def record(self, items: int, seconds: float) -> bool:
        """Take in what the call after `next` took; whether another number is best now."""
        if not self._queue:
            return False
        count = self._queue.pop(0)
        self._trial_s += seconds
        if count:
            self.rates[count] = max(items / max(seconds, 1e-9), self.rates.get(count, 0.0))
        if self._queue:
            return False
        self.count = self._counts[0]
        for count in self._counts[1:]:
            if self.rates[count] > self.rates[self.count] * _WORTH:
                self.count = count
        self._again_at = self._clock() + max(_EVERY_S, _SHARE * self._trial_s)
        self._settled, before = self.count, self._settled
        return self.count != before

    def __str__(self) -> str:
        rates = ", ".join(f"{rate:,.3g}/s with {count}" for count, rate in self.rates.items())
        return f"{self.count} {'thread' if self.count == 1 else 'threads'}; tried: {rates}"


_choices: dict[str, ThreadChoice] = {}
"""By kind of work: what was found in one call holds for the next."""


@contextmanager
def fastest_threads(
    run: Callable[[Sequence[T]], Sequence[R]], tell: Callable[[str], None] = lambda _: None
) -> Iterator[Callable[[Sequence[T]], Sequence[R]]]:
    """Within the block: the same function, each call with as many threads as are fastest.

    Args:
        run: computes one result for each item, on the CPU.
        tell: told what was found, once, and again when that changes.
    """
    import torch

    most = torch.get_num_threads()
    if most == 1 or any(os.environ.get(name) for name in CHOSEN_BY_USER):
        yield run
        return
    counts = sorted({1, math.isqrt(most), most})
    kind = f"{run.__module__}.{run.__qualname__}"
    choice = _choices.setdefault(kind, ThreadChoice(counts))

    def measured(items: Sequence[T]) -> Sequence[R]:
        torch.set_num_threads(choice.next())
        started = time.monotonic()
        results = run(items)
        if choice.record(len(items), time.monotonic() - started):
            tell(str(choice))
        return results

    torch.set_num_threads(choice.count)
    try:
        yield measured
    finally:
        torch.set_num_threads(most)
