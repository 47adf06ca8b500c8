"""`python -m benchmarks [NAME …] [--quick]`: measure, print a table, exit 1 if a target is missed.

Everything is measured on a small real study (a network of known units, tiny checkpoints of the real
model classes), in temporary folders. The whole takes about an hour on two cores; `--quick` takes a
tenth of the trials.
"""

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path

from rich.console import Console
from rich.table import Table as Grid

from benchmarks import (
    damage,
    edits,
    events,
    faults,
    journal,
    kills,
    race,
    race_exact,
    race_kernels,
    race_layers,
    reading,
    repeats,
    report,
    scale,
    staleness,
    stops,
    together,
    workers,
)  # fmt: skip
from benchmarks.setting import Figure, Table, setting

Benchmark = Callable[[Table, Path, float], list[Figure]]


def _times(count: int, share: float) -> int:
    return max(1, round(count * share))


def _damage(table: Table, folder: Path, share: float) -> list[Figure]:
    counts = {"bit flips": 200, "truncations": 50, "emptied files": 20}
    times = {kind: _times(count, share) for kind, count in counts.items()}
    return damage.damaged(table, folder, times)


BENCHMARKS: dict[str, Benchmark] = {
    "edits": lambda t, f, share: edits.random_edits(
        t, f, max(len(edits.EDITS), _times(100, share))
    ),
    "kills": lambda t, f, share: kills.killed_commands(t, f, _times(50, share)),
    "interface": lambda t, f, share: kills.killed_interfaces(t, f, _times(50, share)),
    "staleness": lambda t, f, share: staleness.after_edits(t, f),
    "stops": lambda t, f, share: stops.stopped_commands(t, f),
    "points": lambda t, f, share: faults.killed_at_named_points(t, f, 3 if share == 1 else 1),
    "refusals": lambda t, f, share: faults.refused(t, f, 1 if share == 1 else 20),
    "damage": _damage,
    "together": lambda t, f, share: together.two_at_once(t, f, _times(20, share)),
    "locks": lambda t, f, share: together.dead_owner(t, f, _times(10, share)),
    "repeats": lambda t, f, share: repeats.repeats(t, f),
    "rerun": lambda t, f, share: scale.no_op(t, f),
    "events": lambda t, f, share: events.written(t, f, max(200, _times(events.EVENTS, share))),
    "journal": lambda t, f, share: journal.grown(t, f, share),
    "reading": lambda t, f, share: reading.ratios(t, f),
    "growth": lambda t, f, share: scale.growth(t, f, (_times(1_000, share), _times(4_000, share))),
    "planning": lambda t, f, share: scale.planning(t, f),
    "workers": lambda t, f, share: workers.speed_up(t, f, share),
    "race": lambda t, f, share: race.race(t, f, share),
    "report": lambda t, f, share: report.atlas(t, f, 4 * _times(1_000, share)),
}

ONLY_IF_NAMED: dict[str, Benchmark] = {
    "growth-30000": lambda t, f, share: scale.growth(t, f, (1_000, 30_000)),
    "kernels": lambda t, f, share: race_kernels.kernels(max(3, _times(7, share))),
    "clip-dissect": lambda t, f, share: race.clip_dissect(f, share),
    "exactness": lambda t, f, share: race_exact.exactness(share),
    "layers": lambda t, f, share: race_layers.layers(share),
}
"""Parts of others, and what takes longest."""


def main() -> int:
    """Run the chosen benchmarks; the exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    known = BENCHMARKS | ONLY_IF_NAMED
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(known))
    parser.add_argument("--quick", action="store_true", help="a tenth of the trials")
    given = parser.parse_args()
    unknown = set(given.names) - set(known)
    if unknown:
        parser.error(f"no benchmark {sorted(unknown)[0]!r}; there are {', '.join(known)}")
    console = Console(soft_wrap=True)
    good = True
    for name in given.names or BENCHMARKS:
        with setting() as (table, folder):
            place = folder / name
            place.mkdir()
            started = time.monotonic()
            figures = known[name](table, place, 0.1 if given.quick else 1.0)
        console.print(_grid(f"{name} ({time.monotonic() - started:.0f} s)", figures))
        good = good and all(figure.good for figure in figures)
    return 0 if good else 1


def _grid(title: str, figures: list[Figure]) -> Grid:
    grid = Grid(title=title, title_justify="left", box=None, pad_edge=False)
    for column in ("figure", "found", "target", ""):
        grid.add_column(column, overflow="fold")
    for figure in figures:
        verdict = "ok" if figure.good else "MISSED"
        grid.add_row(figure.name, figure.found, figure.target, verdict)
    return grid


if __name__ == "__main__":
    sys.exit(main())
