"""What the project itself takes of a run: all that is no model's forward pass; Dagster's events.

Describe-and-Dissect runs with models that cost next to nothing, at the paper's number of exemplars,
crops and pictures, so that what is left is the project's own time: reading, cropping, compressing,
scoring, recording. Compressing painted pictures of 512 x 512 is not in it: stand-ins are smaller.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from benchmarks import events
from benchmarks.pairs import seconds_of
from benchmarks.setting import Figure, Table
from tests import commands, light, studies
from tests.command_line import toml

PAPER_SECONDS = 38.8
"""That the models take for a unit in the paper, on a V100."""
_SHARES = {20: 0.05, 1_000: 0.02}
_COUNTS = (20, 40)
_EVENTS = 3_904
_EVENTS_ONCE = 37.0
"""Seconds that planned events of so many units took before they were written in batches."""


def own_time(table: Table, folder: Path) -> list[Figure]:
    """Shares at 20 and, by what each further unit takes, at 1,000 units."""
    few, more = (_seconds(table, folder / str(count), count) for count in _COUNTS)
    each = (more - few) / (_COUNTS[1] - _COUNTS[0])
    fixed = few - _COUNTS[0] * each
    figures = []
    for units, most in _SHARES.items():
        own = fixed + units * each
        share = own / (own + units * PAPER_SECONDS)
        measured = "measured" if units == _COUNTS[0] else "reckoned"
        name = (
            f"DnD's own time, {units:,} units, {measured}: {own:.0f} s ({fixed:.1f} s + "
            f"{each:.2f} s a unit) beside {PAPER_SECONDS} s a unit of models"
        )
        figures.append(Figure(name, f"{share:.1%}", f"<= {most:.0%}", share <= most))
    return figures


def first_events(folder: Path, count: int = _EVENTS) -> list[Figure]:
    """A run through Dagster that does nothing but plan and announce so many units."""
    split: list[tuple[float, float]] = []
    busy = seconds_of(lambda: split.append(events._seconds(folder, "1000", count)))
    whole, step = split[0]
    planned = busy * (whole - step) / whole
    return [
        Figure(
            f"Dagster's events of a first run of {count:,} units: planned and all around the step "
            f"(with the materializations {busy:.1f} s)",
            f"{planned:.1f} s", f"<= {_EVENTS_ONCE / 10:.1f} s", planned <= _EVENTS_ONCE / 10,
        )
    ]  # fmt: skip


def _seconds(table: Table, folder: Path, count: int) -> float:
    """Processor time of `dnd run` of so many units, from nothing to labels."""
    folder.mkdir(parents=True)
    light.project(folder, Path(table["clip"]["model"]))
    studies.write_images(folder / "images", 60)
    study = light.table(Path(table["clip"]["model"]))
    source = f"module:benchmarks.networks:maps_{count}"
    study["models"] = [{"name": "net", "source": source, "layers": [{"path": "units"}]}]
    study["dissection"] = {}  # the paper's numbers
    (folder / "study.toml").write_text(toml(study))
    before = os.times()
    subprocess.run(
        [sys.executable, "-m", "dnd_assets.cli", "run"],
        cwd=folder,
        env=commands.environment(folder, OMP_NUM_THREADS="1"),
        check=True,
        stdout=subprocess.DEVNULL,
    )
    after = os.times()
    spent = after.children_user + after.children_system
    return spent - before.children_user - before.children_system
