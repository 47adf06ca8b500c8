"""Thousands of units: what a rerun with nothing to do, and a plan, cost the project itself."""

import json
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks import reading
from benchmarks.setting import Figure, Table, context
from tests import studies
from tests.command_line import toml

_LINEAR = 1.2
"""The most that a unit may take of the time that it takes among a quarter as many."""


def no_op(table: Table, folder: Path, units: int = 4_000) -> list[Figure]:
    """Rerun every product of so many units when nothing has changed."""
    found = _measured(table, folder, units, "rerun")
    reused = f"{units:,} units x 7"
    return [
        Figure(
            f"`dnd run` on {reused}, nothing to do: the project's own time",
            f"{found['due']:.1f} s", "<= 5 s", found["due"] <= 5,
        ),
        Figure(
            f"{reused} announced again from the interface: the project's own time",
            f"{found['announced']:.1f} s", "<= 5 s", found["announced"] <= 5,
        ),
        Figure(f"{reused}: models loaded", str(found["models"]), "0", found["models"] == 0),
        Figure(f"{reused}: products computed", str(found["computed"]), "0", not found["computed"]),
    ]  # fmt: skip


def planning(table: Table, folder: Path, units: int = 30_000) -> list[Figure]:
    """Plan so many units, with everything known and with a changed setting."""
    found = _measured(table, folder, units, "plan")
    return [
        Figure(f"plan of {units:,} units, {case}", f"{seconds:.1f} s", "<= 10 s", seconds <= 10)
        for case, seconds in found["seconds"].items()
    ] + [
        Figure(
            f"memory of planning {units:,} units", f"{found['GB']:.2f} GB", "<= 1 GB",
            found["GB"] <= 1,
        )
    ]  # fmt: skip


def growth(table: Table, folder: Path, sizes: tuple[int, ...] = (1_000, 4_000)) -> list[Figure]:
    """Whole commands on more and more units, through Dagster with all its events: processor time.

    The first run makes everything; then there is nothing to do.
    """
    figures: list[Figure] = []
    before: tuple[int, float] | None = None
    for units in sizes:
        place = _wide_project(table, folder / str(units), units)
        first = reading.seconds(place, "-m", "dnd_assets.cli", "run")
        figures.append(_grown(f"first `dnd run` of {units:,} units x 7", units, first, before))
        before = units, first
        for asked, most in ((("run",), 2.0), (("doctor",), 2.0)):
            figures += [
                replace(figure, name=f"{figure.name}, {units:,} units")
                for figure in reading.idle(place, asked, most, 3)
            ]
    return figures


def _grown(name: str, units: int, took: float, before: tuple[int, float] | None) -> Figure:
    """A time, and how it has grown for each unit since a smaller number of them."""
    told = f"{name}: {took:.0f} s"
    if before is None:
        return Figure(told, f"{took / units * 1e3:.1f} ms a unit", "none", good=True)
    ratio = (took / units) / (before[1] / before[0])
    return Figure(told, f"{ratio:.2f} x a unit", f"<= {_LINEAR} x", ratio <= _LINEAR)


def _wide_project(table: Table, place: Path, units: int) -> Path:
    """A folder with a study of a network with so many units."""
    table = studies.changed(table, probing_set__folders=["images"])
    source = f"module:benchmarks.networks:wide_{units}"
    table["models"] = [{"name": "wide", "source": source, "layers": [{"path": "units"}]}]
    studies.write_images(place / "images", 60)
    (place / "study.toml").write_text(toml(table), encoding="utf-8")
    return place


def _measured(table: Table, folder: Path, units: int, what: str) -> dict[str, Any]:
    """Fill a state folder with real products, then measure in a fresh process."""
    table = studies.changed(table)
    layer = {"path": "units"}
    source = f"module:benchmarks.networks:wide_{units}"
    table["models"] = [{"name": "wide", "source": source, "layers": [layer]}]
    studies.write_images(folder / "images", 60)
    studies.label(table, folder, run="first")
    (folder / "table.json").write_text(json.dumps(table))
    done = subprocess.run(  # noqa: S603 (our own command)
        [sys.executable, "-m", "benchmarks.scale", str(folder), what],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def _rerun(table: Table, folder: Path) -> dict[str, Any]:
    from dnd_assets.assets.probing_set import observe
    from dnd_assets.assets.registry import STAGES
    from dnd_assets.engine.context_builder import find_units
    from dnd_assets.engine.plan import out_of_date
    from dnd_assets.workflow.unit_asset import _event
    from resources.runtime.compute import _loaded

    started = time.monotonic()
    own = context(table, folder)
    units = list(find_units(own).values())
    observe(own)
    assert not out_of_date(own, STAGES, units, list(STAGES))
    due = time.monotonic() - started

    started = time.monotonic()
    found = studies.label(table, folder, run="again")
    for (asset, _), announcement in found.items():
        _event(own, STAGES[asset], announcement, {}, {})
    announced = time.monotonic() - started
    models = [key for key in _loaded if not (isinstance(key, tuple) and key[0] == "card")]
    computed = len(studies.computed(found))
    return {"due": due, "announced": announced, "models": len(models), "computed": computed}


def _plan(table: Table, folder: Path) -> dict[str, Any]:
    from dnd_assets.assets.registry import STAGES
    from dnd_assets.engine.context_builder import find_units
    from dnd_assets.engine.plan import plan

    seconds = {}
    for case, changed in {
        "nothing changed": table,
        "another scoring": studies.changed(table, dissection__scoring="mean_rank"),
        "another crop size": studies.changed(table, dissection__crop_size=40),
    }.items():
        started = time.monotonic()
        own = context(changed, folder)
        plan(own, STAGES, list(find_units(own).values()), list(STAGES))
        seconds[case] = time.monotonic() - started
    return {"seconds": seconds, "GB": _peak_gb()}


def _peak_gb() -> float:
    """Most memory this program ever had; `getrusage` would count its parent's too."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024 / 1e9


if __name__ == "__main__":
    place = Path(sys.argv[1])
    given = json.loads((place / "table.json").read_text())
    measured = {"rerun": _rerun, "plan": _plan}[sys.argv[2]](given, place)
    sys.stdout.write(json.dumps(measured) + "\n")
