"""Two ways of doing the same thing, timed in turn by the processor time of this process."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

from benchmarks.setting import Figure


@dataclass(frozen=True)
class Paired:
    """Two ways beside each other.

    Attributes:
        ours: processor seconds of the first, the median of the trials.
        other: of the second.
        ratio: the median of the ratios of pairs.
    """

    ours: float
    other: float
    ratio: float


def seconds_of(work: Callable[[], object]) -> float:
    """Processor time of one call, all threads together."""
    started = time.process_time()
    work()
    return time.process_time() - started


def paired(ours: Callable[[], object], other: Callable[[], object], times: int = 7) -> Paired:
    """Both in turn, after a call of each that does not count; who begins changes with each pair."""
    ours()
    other()
    pairs = []
    for trial in range(times):
        if trial % 2:
            second = seconds_of(other)
            pairs.append((seconds_of(ours), second))
        else:
            first = seconds_of(ours)
            pairs.append((first, seconds_of(other)))
    return median_of(pairs)


def median_of(pairs: list[tuple[float, float]]) -> Paired:
    """The pair of medians, and the median of ratios."""
    first, second = (statistics.median(column) for column in zip(*pairs, strict=True))
    return Paired(first, second, statistics.median(a / b for a, b in pairs))


def ratio_figure(name: str, found: Paired, target: float | None) -> Figure:
    """A line of a table; without a target it is only told."""
    return Figure(
        f"{name} ({found.ours:.3g} s against {found.other:.3g} s)",
        f"{found.ratio:.2f}",
        "told" if target is None else f"<= {target:g}",
        target is None or found.ratio <= target,
    )
