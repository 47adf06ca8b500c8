"""Two runs at once on one state folder, and how soon a dead owner's lock heals."""

import random
import shutil
import signal
import time
from pathlib import Path

from benchmarks.setting import UNITS, Figure, Table, context, products
from dnd_assets.engine import verify
from tests import studies
from tests.processes import CONTEXT


def _run(table: Table, folder: Path, run: str) -> None:
    import torch

    torch.set_num_threads(1)
    studies.label(table, folder, UNITS, run=run)


def _hold(table: Table, folder: Path, held: Path) -> None:
    with context(table, folder).lineage.exclusive(print):
        held.touch()
        time.sleep(600)


def two_at_once(table: Table, folder: Path, times: int = 20) -> list[Figure]:
    """Start two runs of one study a moment apart, and compare with one run alone."""
    studies.label(table, folder / "whole", UNITS)
    whole = products(table, folder / "whole")
    dice = random.Random(0)  # noqa: S311 (trials, not secrets)
    other = twice = 0
    for _ in range(times):
        place = folder / "together"
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir()
        pair = [
            CONTEXT.Process(target=_run, args=(table, place, name)) for name in ("left", "right")
        ]
        for process in pair:
            process.start()
            time.sleep(dice.uniform(0.0, 0.5))
        for process in pair:
            process.join()
        good = all(process.exitcode == 0 for process in pair)
        clean = verify.verify(context(table, place)).clean
        other += not (good and clean and products(table, place) == whole)
        twice += _computed(table, place) != len(whole)
    name = f"{times} trials of two runs at once"
    return [
        Figure(f"{name}: other products than of one run", str(other), "0", other == 0),
        Figure(f"{name}: trials with a product computed twice", str(twice), "0", twice == 0),
    ]


def _computed(table: Table, place: Path) -> int:
    sql = "SELECT count(*) AS n FROM materializations WHERE NOT reused AND asset <> 'probing_set'"
    return int(context(table, place).lineage.query(sql)[0]["n"])


def dead_owner(table: Table, folder: Path, times: int = 10) -> list[Figure]:
    """Kill a process that holds the lock, and wait for it to be free."""
    longest = 0.0
    lineage = context(table, folder).lineage
    for number in range(times):
        held = folder / f"held {number}"
        process = CONTEXT.Process(target=_hold, args=(table, folder, held))
        process.start()
        while not held.exists():
            time.sleep(0.01)
        process.kill()
        started = time.monotonic()
        with lineage.exclusive(lambda _: None):
            longest = max(longest, time.monotonic() - started)
        process.join()
        assert process.exitcode == -signal.SIGKILL
    return [Figure("a dead owner's lock heals in", f"{longest:.3f} s", "<= 2 s", longest <= 2)]
