"""A disk that refuses each write, fsync and rename in turn; a process killed at each step."""

import shutil
import signal
from pathlib import Path

from benchmarks.setting import UNITS, Figure, Products, Table, damage, products
from dnd_assets.errors import DndError
from tests import studies
from tests.faults import REFUSALS, DieAt, RefuseAt, Steps, watched
from tests.processes import CONTEXT

REMEDIES = ("run again", "free some space", "close it there")


def steps_of_a_run(table: Table, folder: Path) -> tuple[list[str], Products]:
    """Every step of one run from nothing, by name, and its products."""
    count = Steps()
    with watched(count):
        studies.run(table, folder, UNITS)
    return count.names, products(table, folder)


def refused(table: Table, folder: Path, every: int = 1) -> list[Figure]:
    """Refuse every Nth step once, then run again on what is left.

    Args:
        table: the study.
        folder: an empty folder.
        every: take one step of so many.
    """
    count = RefuseAt(-1, "EIO")
    with watched(count):
        studies.label(table, folder / "whole", UNITS)
    names, whole = count.names, products(table, folder / "whole")
    tried = torn = untold = other = 0
    for number in range(0, len(names), every):
        for refusal in REFUSALS:
            place = folder / "refused"
            shutil.rmtree(place, ignore_errors=True)
            place.mkdir()
            said = _run_refused(table, place, number, refusal)
            tried += 1
            torn += bool(damage(table, place))
            untold += not (said is None or _helps(said, place))
            studies.label(table, place, UNITS, run="again")
            other += products(table, place) != whole or bool(damage(table, place))
    name = f"{tried} refused writes, fsyncs and renames (ENOSPC, EIO)"
    return [
        Figure(f"{name}: torn files trusted", str(torn), "0", torn == 0),
        Figure(f"{name}: errors without path or remedy", str(untold), "0", untold == 0),
        Figure(f"{name}: other products afterwards", str(other), "0", other == 0),
    ]


def _run_refused(table: Table, place: Path, number: int, refusal: str) -> str | None:
    """The error of a run whose step of a number is refused; None when it was of no importance."""
    try:
        with watched(RefuseAt(number, refusal)):
            studies.label(table, place, UNITS)
    except DndError as error:
        return str(error)
    except OSError as error:
        return f"bare {error}"
    return None


def _helps(said: str, place: Path) -> bool:
    return str(place) in said and any(remedy in said for remedy in REMEDIES)


def killed_at_named_points(
    table: Table,
    folder: Path,
    times: int = 3,
    kinds: tuple[str, ...] = (),
    undisturbed: tuple[list[str], Products] | None = None,
) -> list[Figure]:
    """SIGKILL at every named step: where it first occurs, in the middle, and where it last does.

    Args:
        table: the study.
        folder: an empty folder.
        times: at how many of the three.
        kinds: only steps whose names start so.
        undisturbed: what `steps_of_a_run` has found, if it is known already.
    """
    names, whole = undisturbed or steps_of_a_run(table, folder / "whole")
    chosen: list[int] = []
    for name in sorted({name for name in names if name.startswith(kinds or "")}):
        found = [index for index, one in enumerate(names) if one == name]
        chosen += list(dict.fromkeys([found[len(found) // 2], found[0], found[-1]]))[:times]
    bad = 0
    for number in chosen:
        place = folder / "killed"
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir()
        process = CONTEXT.Process(target=_run_to_death, args=(table, place, number))
        process.start()
        process.join()
        assert process.exitcode == -signal.SIGKILL, f"not killed at {names[number]}"
        bad += _differs(table, place, whole)
    points = {names[number] for number in chosen}
    name = f"SIGKILL at {len(points)} named points, {len(chosen)} times"
    return [Figure(f"{name}: other products, or damage", str(bad), "0", bad == 0)]


def _run_to_death(table: Table, folder: Path, number: int) -> None:
    import torch

    torch.set_num_threads(1)
    with watched(DieAt(number)):
        studies.run(table, folder, UNITS)


def _differs(table: Table, place: Path, whole: Products) -> bool:
    """Whether damage shows after a kill, or a further run comes to anything else."""
    torn = bool(damage(table, place))
    studies.run(table, place, UNITS)
    return torn or products(table, place) != whole or bool(damage(table, place))
