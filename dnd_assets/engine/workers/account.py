"""Who did what of a stage: parts, devices and time of each worker, and parts that were lost."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

THIS_PROCESS: Final = "this process"


@dataclass
class Done:
    """What one worker did.

    Attributes:
        device: on what.
        parts: how many parts.
        seconds: for all of them.
    """

    device: str = ""
    parts: int = 0
    seconds: float = 0.0


@dataclass
class Account:
    """What all workers did of one stage.

    Attributes:
        by_worker: by the worker's name.
        lost: how often a part was lost and handed out again.
    """

    by_worker: dict[str, Done] = field(default_factory=dict)
    lost: int = 0

    def add(self, worker: str, device: str, seconds: float) -> None:
        """Count a part that is done."""
        work = self.by_worker.setdefault(worker, Done(device))
        work.parts += 1
        work.seconds += seconds

    @property
    def parts(self) -> int:
        """Parts that are done."""
        return sum(work.parts for work in self.by_worker.values())

    @property
    def devices(self) -> list[str]:
        """What other workers than this process computed on, each once."""
        return sorted({work.device for work in self._others().values()})

    @property
    def summary(self) -> str:
        """In words; empty where this process did all."""
        others = self._others()
        if not others:
            return ""
        count = sum(work.parts for work in others.values())
        text = f"{count:,} {_plural('part', count)} by {len(others)} {_plural('worker', others)}"
        return f"{text}, {self.lost:,} lost and handed out again" if self.lost else text

    def lines(self) -> list[str]:
        """What each of the others did, in words."""
        return [
            f"{name} on {work.device}: {work.parts:,} {_plural('part', work.parts)}, "
            f"{work.seconds:,.1f} s"
            for name, work in sorted(self._others().items())
        ]

    def rows(self, run: str, study: str, asset: str) -> list[dict[str, str | int | float]]:
        """Rows of table `workers`."""
        return [
            {
                "run": run,
                "study": study,
                "asset": asset,
                "worker": name,
                "device": work.device,
                "parts": work.parts,
                "seconds": round(work.seconds, 6),
                "lost": self.lost,
            }
            for name, work in sorted(self.by_worker.items())
        ]

    def _others(self) -> dict[str, Done]:
        return {name: work for name, work in self.by_worker.items() if name != THIS_PROCESS}


def _plural(word: str, count: int | dict[str, Done]) -> str:
    number = count if isinstance(count, int) else len(count)
    return word if number == 1 else f"{word}s"
