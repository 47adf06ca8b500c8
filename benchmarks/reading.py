"""How long commands take that only read, beside `python -c "import typer, duckdb"`, in pairs.

And those that find nothing to do: a run of an up-to-date study, and the doctor.

Processor time of the process, since the machine may be busy; of each command the smallest of some.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from benchmarks.setting import Figure, Table
from tests import commands, light
from tests.processes import command

UNIT = "net/colours/0"
READING: tuple[tuple[str, ...], ...] = (
    ("--help",), ("labels",), ("trace", UNIT), ("explain", UNIT, "--asset", "crops"),
    ("layers", "net"), ("plan",),
)  # fmt: skip
IDLE: dict[tuple[str, ...], float] = {("run",): 3.0, ("doctor",): 2.0}
"""Commands that find nothing to do, and the most seconds that each should take."""
_TARGET = 5.0
_BASE = ("-c", "import typer, duckdb")


def ratios(table: Table, folder: Path, times: int = 5) -> list[Figure]:
    """One line for each command, as a multiple of the two imports.

    Of commands that keep their answer, first what it takes to find it, then what to recall it.
    """
    place = light.project(folder / "project", Path(table["clip"]["model"]))
    for changed in (False, True):
        if changed:  # so that there is something to explain
            light.project(place, Path(table["clip"]["model"]), dissection__crop_size=24)
        process = command(place, "run")
        process.join(600)
        assert process.exitcode == 0, commands.said(place)
    return [
        *(_figure(place, asked, times) for asked in READING),
        *(figure for asked, most in IDLE.items() for figure in idle(place, asked, most, times)),
    ]


def idle(place: Path, asked: tuple[str, ...], most: float, times: int) -> list[Figure]:
    """Two lines for a command that finds nothing to do: the first time, and the next ones.

    Args:
        place: folder of the study and its state.
        asked: the command.
        most: seconds that it should take at most.
        times: how often it is measured.
    """
    shutil.rmtree(place / "state" / "remembered", ignore_errors=True)
    anew = seconds(place, "-m", "dnd_assets.cli", *asked)
    seconds(place, "-m", "dnd_assets.cli", *asked)  # what was just written is not kept yet
    base = min(seconds(place, *_BASE) for _ in range(times))
    least = min(seconds(place, "-m", "dnd_assets.cli", *asked) for _ in range(times))
    name = f"dnd {' '.join(asked)} with nothing to do: processor time"
    return [
        Figure(f"{name}, looked at anew", f"{anew:.2f} s", "none", good=True),
        Figure(
            name, f"{least:.2f} s, {least / base:.1f} x", f"at most {most:.0f} s", least <= most
        ),
    ]


def _figure(place: Path, asked: tuple[str, ...], times: int) -> Figure:
    seconds(place, "-m", "dnd_assets.cli", *asked)  # an answer may be kept from here on
    pairs = [
        (seconds(place, *_BASE), seconds(place, "-m", "dnd_assets.cli", *asked))
        for _ in range(times)
    ]
    base, mine = (min(found) for found in zip(*pairs, strict=True))
    ratio = mine / base
    name = f"dnd {' '.join(asked)}: {mine:.2f} s of processor time, the imports {base:.2f} s"
    return Figure(name, f"{ratio:.1f} x", f"at most {_TARGET:.0f} x", ratio <= _TARGET)


def seconds(place: Path, *arguments: str) -> float:
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
