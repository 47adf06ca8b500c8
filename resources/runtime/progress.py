"""Progress of a long step: how many are done, how fast, and how long it will take."""

from __future__ import annotations

import time
from collections.abc import Callable

_FIRST_S = 2.0
_EVERY_S = 5.0


class Progress:
    """Counts finished items and logs a line after two seconds, then every five, and at the end.

    A line reads `captions 320/1,024  41/s  17 s left`; the rate is the mean since the start.

    Args:
        label: what is counted, in the plural.
        total: how many there are.
        log: takes each line, for example `context.log.info` or `print`.
        clock: seconds of a clock that never goes back.
    """

    def __init__(
        self,
        label: str,
        total: int,
        log: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.label = label
        self.total = total
        self.done = 0
        self._log = log
        self._clock = clock
        self._start = clock()
        self._due = self._start + _FIRST_S

    def advance(self, n: int = 1) -> None:
        """Count `n` more items; log if the last line is old or everything is done."""
        if n <= 0:
            return
        self.done += n
        now = self._clock()
        if self.done >= self.total or now >= self._due:
            self._due = now + _EVERY_S
            self._log(self._line(now - self._start))

    def tell(self, text: str) -> None:
        """Log a remark on what is counted."""
        self._log(f"{self.label}: {text}")

    def _line(self, seconds: float) -> str:
        rate = self.done / max(seconds, 1e-3)
        counted = f"{self.label} {self.done:,}/{self.total:,}  {_short(rate)}/s"
        if self.done >= self.total:
            return f"{counted}  done in {duration(seconds)}"
        return f"{counted}  {duration((self.total - self.done) / rate)} left"


def duration(seconds: float) -> str:
    """Seconds as a person says them.

    >>> duration(17.2), duration(192), duration(7_500)
    ('17 s', '3 min 12 s', '2 h 5 min')
    """
    rounded = round(seconds)
    if rounded < 60:
        return f"{rounded} s"
    if rounded < 3600:
        return f"{rounded // 60} min {rounded % 60} s"
    return f"{rounded // 3600} h {rounded % 3600 // 60} min"


def _short(rate: float) -> str:
    return f"{rate:,.0f}" if rate >= 10 else f"{rate:.2g}"
