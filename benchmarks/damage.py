"""Damage to the store, done at random: all of it is found, and only what it held is made anew."""

import random
import shutil
from collections.abc import Callable
from pathlib import Path

from benchmarks.setting import Figure, Table, context, products
from dnd_assets.engine import verify
from tests import studies


def flip(path: Path, dice: random.Random) -> None:
    """One bit of one byte."""
    data = bytearray(path.read_bytes())
    data[dice.randrange(len(data))] ^= 1 << dice.randrange(8)
    path.write_bytes(data)


def truncate(path: Path, dice: random.Random) -> None:
    """The end of the file is gone."""
    data = path.read_bytes()
    path.write_bytes(data[: dice.randrange(1, len(data))])


def empty(path: Path, dice: random.Random) -> None:
    """The file is there and holds nothing."""
    path.write_bytes(b"")


KINDS: dict[str, Callable[[Path, random.Random], None]] = {
    "bit flips": flip,
    "truncations": truncate,
    "emptied files": empty,
}


def damaged(table: Table, folder: Path, times: dict[str, int]) -> list[Figure]:
    """Damage one file, verify, set it aside, run again; so many times of each kind."""
    whole = folder / "whole"
    studies.label(table, whole)
    truth = products(table, whole)
    dice = random.Random(0)  # noqa: S311 (trials, not secrets)
    figures = []
    for kind, count in times.items():
        found = needless = other = 0
        for number in range(count):
            place = folder / "damaged"
            shutil.rmtree(place, ignore_errors=True)
            shutil.copytree(whole, place)
            files = sorted((place / "state" / "store").rglob("*.*"))
            victim = dice.choice(files)
            KINDS[kind](victim, dice)
            found += _found(table, place, victim.name)
            needless += len(_needless(table, place, victim.name, f"{kind} {number}"))
            other += (
                products(table, place) != truth or not verify.verify(context(table, place)).clean
            )
        name = f"{count} {kind} in the store"
        figures += [
            Figure(f"{name}: found, and nothing else", str(found), str(count), found == count),
            Figure(f"{name}: products recomputed without need", str(needless), "0", needless == 0),
            Figure(f"{name}: other products afterwards, or damage", str(other), "0", other == 0),
        ]
    return figures


def _found(table: Table, place: Path, name: str) -> bool:
    report = verify.verify(context(table, place))
    verify.set_aside(context(table, place), report)
    return (report.changed, report.missing, report.segments) == ([name], [], [])


def _needless(table: Table, place: Path, name: str, run: str) -> list[tuple[str, str]]:
    """Products computed although the damaged file held nothing of theirs."""
    rows = context(table, place).lineage.query(
        "SELECT key FROM products WHERE list_contains((notes -> '$.files')::VARCHAR[], ?)", [name]
    )
    held = {row["key"] for row in rows}
    found = studies.label(table, place, run=run)
    return [pair for pair in studies.computed(found) if found[pair].product.key not in held]
