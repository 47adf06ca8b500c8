"""The journal as it grows: what a commit costs, commits in groups, compaction, a fresh index."""

import os
import shutil
import signal
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from statistics import median

from benchmarks.setting import Figure, Table
from dnd_assets.lineage.fingerprint import canonical, digest
from resources.lineage_db.database import Lineage
from resources.lineage_db.journal import Journal, _sealed
from tests.faults import DieAt, Steps, watched
from tests.processes import CONTEXT

MANY = 100_000
TAKEN_IN = 30_000
_PAIRS = 60
_RATIO = 1.2
_SECONDS = 10.0


def grown(_: Table, folder: Path, share: float = 1.0) -> list[Figure]:
    """All figures of the journal.

    Args:
        folder: an empty folder.
        share: of the segments and kills.
    """
    return [
        _commits(folder, round(MANY * share)),
        _grouped(folder / "grouped", max(200, round(2_000 * share))),
        _taken_in(folder / "index", round(TAKEN_IN * share)),
        *_compacted(folder / "compacted", round(TAKEN_IN * share)),
        _killed(folder / "killed", 1 if share == 1 else 3),
    ]


def _rows(number: int) -> dict[str, list[dict[str, object]]]:
    """What painting a picture records."""
    name = digest(number)
    value = {"image": name, "file": f"{name}.safetensors", "rejected": False}
    artefact = {"hash": name, "file": f"{name}.safetensors", "kind": "png", "bytes": number}
    shared = {"kind": "painting", "provider": digest("p"), "item": f"item {number}"}
    return {
        "artefacts": [{**artefact, "recorded_at": "2026-01-01T00:00:00.000000+00:00"}],
        "shared": [{**shared, "value": canonical(value)}],
    }


def _filled(root: Path, count: int) -> Lineage:
    """A state folder whose journal has so many segments, written without waiting for the disk."""
    folder = root / "journal"
    folder.mkdir(parents=True)
    for number in range(1, count + 1):
        content = _sealed(b'"rows":' + canonical(_rows(number)).encode() + b"}\n")
        (folder / f"{number:020d}.json").write_bytes(content)
    os.sync()  # so that no commit waits for these
    return Lineage(root=str(root))


def _commits(folder: Path, count: int) -> Figure:
    """One commit to an empty journal and one to a long one, in turn, again and again."""
    short, long = Lineage(root=str(folder / "short")), _filled(folder / "long", count)
    for lineage in (short, long):
        lineage.commit(_rows(0))  # a process lists the folder once
    times: tuple[list[float], list[float]] = ([], [])
    for number in range(_PAIRS):
        pair = (short, long) if number % 2 else (long, short)
        for lineage in pair:
            times[lineage is long].append(_time(partial(lineage.commit, _rows(number))))
    _remove(folder / "long")
    one, many = (median(found) for found in times)
    name = f"a commit after {count:,} segments ({1e3 * many:.1f} ms) against the first ones"
    return Figure(
        f"{name} ({1e3 * one:.1f} ms)", f"{many / one:.2f} x", f"<= {_RATIO} x",
        many / one <= _RATIO,
    )  # fmt: skip


def _remove(folder: Path) -> None:
    """A folder with very many files, which some file systems take 5 ms each to remove."""
    with ThreadPoolExecutor(32) as pool:
        deque(pool.map(Path.unlink, (folder / "journal").iterdir()), maxlen=0)
    shutil.rmtree(folder)


def _time(what: Callable[[], None]) -> float:
    started = time.perf_counter()
    what()
    return time.perf_counter() - started


def _grouped(folder: Path, count: int) -> Figure:
    """Commits of a stage's shared work one by one, and in groups."""
    single, together = Lineage(root=str(folder / "single")), Lineage(root=str(folder / "together"))
    alone = min(200, count)

    def commit(lineage: Lineage, number: int) -> None:
        for one in range(number):
            lineage.commit(_rows(one))

    def in_groups() -> None:
        with together.grouped():
            commit(together, count)

    one = _time(lambda: commit(single, alone)) / alone
    many = _time(in_groups) / count
    segments = len(Journal(together.journal).segments())
    name = f"a commit in a group of 64 ({1e3 * many:.2f} ms) against one by itself"
    told = f"{many / one:.3f} x, {count:,} commits in {segments} segments"
    return Figure(f"{name} ({1e3 * one:.1f} ms)", told, "<= 0.2 x", many / one <= 0.2)


def _opened(lineage: Lineage) -> None:
    with lineage.connect():
        pass


def _taken_in(folder: Path, count: int) -> Figure:
    """In seconds of the processor, since the machine may be busy."""
    lineage = _filled(folder, count)
    began = time.process_time()
    clock = _time(lambda: _opened(lineage))
    seconds = time.process_time() - began
    _remove(folder)
    return Figure(
        f"a fresh index from {count:,} segments ({clock:.1f} s of the clock)",
        f"{seconds:.1f} s", f"<= {_SECONDS:.0f} s", seconds <= _SECONDS,
    )  # fmt: skip


def _compacted(folder: Path, count: int) -> list[Figure]:
    """The same rows from the packs, in how many files and how long."""
    lineage = _filled(folder, count)
    sql = (
        "SELECT (SELECT bit_xor(hash(a)) FROM artefacts a) AS artefacts, "
        "(SELECT bit_xor(hash(s)) FROM shared s) AS shared"
    )
    before = lineage.query(sql)
    united = _time(lambda: bool(lineage.compact()))
    files = len(Journal(lineage.journal).segments())
    began = time.process_time()
    lineage.rebuild()
    rebuilt = time.process_time() - began
    same = lineage.query(sql) == before
    _remove(folder)
    return [
        Figure(f"{count:,} segments united in {united:.1f} s: files left", str(files), "<= 50",
               files <= 50),
        Figure("a fresh index from them", f"{rebuilt:.1f} s", f"<= {_SECONDS:.0f} s",
               rebuilt <= _SECONDS),
        Figure("rows that differ then", str(int(not same)), "0", same),
    ]  # fmt: skip


def _killed(folder: Path, every: int) -> Figure:
    """SIGKILL at each named point of a compaction of new segments and an older pack."""
    source = _filled(folder / "source", 6)
    source.compact()
    for number in range(6):
        source.commit(_rows(100 + number))
    whole = _all_rows(source)
    count = Steps()
    with watched(count):
        Lineage(root=str(shutil.copytree(source.root, folder / "counted"))).compact()
    tried = bad = 0
    for number in range(0, len(count.names), every):
        place = folder / "killed"
        shutil.rmtree(place, ignore_errors=True)
        shutil.copytree(source.root, place)
        process = CONTEXT.Process(target=_compact_and_die, args=(str(place), number))
        process.start()
        process.join()
        assert process.exitcode == -signal.SIGKILL, f"not killed at {count.names[number]}"
        tried += 1
        found = Lineage(root=str(place))
        bad += _all_rows(found) != whole or bool(found.changed_segments())
        found.rebuild()
        bad += _all_rows(found) != whole
    names = len(set(count.names))
    name = f"SIGKILL at {names} named points of compaction, {tried} times: other rows, or damage"
    return Figure(name, str(bad), "0", bad == 0)


def _compact_and_die(root: str, number: int) -> None:
    with watched(DieAt(number)):
        Lineage(root=root).compact()


def _all_rows(lineage: Lineage) -> list[list[dict[str, object]]]:
    return [
        lineage.query(f"SELECT * FROM {table} ORDER BY ALL")  # noqa: S608 (our own tables)
        for table in ("artefacts", "shared", "removed")
    ]
