"""How long commands take that only read, beside `python -c "import typer, duckdb"`, in pairs.

And those that find nothing to do: a run of an up-to-date study, and the doctor.

Processor time of the process, since the machine may be busy; of each command the smallest of some.
"""

import os
import subprocess
import sys
from pathlib import Path

from benchmarks.setting import Figure, Table
from tests import commands, light
from tests.processes import command

UNIT = "net/colours/0"
READING: tuple[tuple[str, ...], ...] = (
    ("--help",), ("labels",), ("trace", UNIT), ("explain", UNIT, "--asset", "crops"), ("plan",),
)  # fmt: skip
IDLE: dict[tuple[str, ...], float] = {("run",): 3.0, ("doctor",): 2.0}
"""Commands that find nothing to do, and the most seconds that each should take."""
_TARGET = 5.0
_BASE = ("-c", "import typer, duckdb")


def ratios(table: Table, folder: Path, times: int = 5) -> list[Figure]:
    """One line for each command, as a multiple of the two imports."""
    place = light.project(folder / "project", Path(table["clip"]["model"]))
    for changed in (False, True):
        if changed:  # so that there is something to explain
            light.project(place, Path(table["clip"]["model"]), dissection__crop_size=24)
        process = command(place, "run")
        process.join(600)
        assert process.exitcode == 0, commands.said(place)
    idle = [_idle(place, asked, most, times) for asked, most in IDLE.items()]
    return [*(_figure(place, asked, times) for asked in READING), *idle]


def _idle(place: Path, asked: tuple[str, ...], most: float, times: int) -> Figure:
    least = min(_seconds(place, "-m", "dnd_assets.cli", *asked) for _ in range(times))
    name = f"dnd {' '.join(asked)} with nothing to do: processor time"
    return Figure(name, f"{least:.2f} s", f"at most {most:.0f} s", least <= most)


def _figure(place: Path, asked: tuple[str, ...], times: int) -> Figure:
    pairs = [
        (_seconds(place, *_BASE), _seconds(place, "-m", "dnd_assets.cli", *asked))
        for _ in range(times)
    ]
    base, mine = (min(found) for found in zip(*pairs, strict=True))
    ratio = mine / base
    name = f"dnd {' '.join(asked)}: {mine:.2f} s of processor time, the imports {base:.2f} s"
    return Figure(name, f"{ratio:.1f} x", f"at most {_TARGET:.0f} x", ratio <= _TARGET)


def _seconds(place: Path, *arguments: str) -> float:
    """Processor time of a Python process that ends well."""
    before = os.times()
    subprocess.run(  # noqa: S603 (our own command)
        [sys.executable, *arguments],
        cwd=place,
        env=commands.environment(place),
        stdout=subprocess.DEVNULL,
        check=True,
    )
    after = os.times()
    spent = after.children_user + after.children_system
    return spent - before.children_user - before.children_system
