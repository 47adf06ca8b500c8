"""Faults where they hurt: named steps of every write, to fail at or to die at."""

import errno
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import patch

from dnd_assets.files import atomic
from resources.lineage_db import index

FILE_STEPS = ("write", "half written", "sync", "rename", "sync of the folder")
DATABASE_STEPS = ("take in", "half taken in", "taken in")
REFUSALS = {"ENOSPC": errno.ENOSPC, "EIO": errno.EIO}


def kind(path: Path) -> str:
    """What a file of the state folder is, by the folder it lies in."""
    folder = path if path.is_dir() else path.parent
    return {"journal": "journal", "probing": "scan", "networks": "card"}.get(
        folder.name, "artefact"
    )


@contextmanager
def watched(on_step: Callable[[str], None]) -> Iterator[None]:
    """Call `on_step` before each step of each write, named like `journal: rename`."""
    write, sync, rename = atomic.write, atomic.sync, atomic.rename
    create, remove = atomic.create, atomic.remove
    ingest, insert = index.Index.ingest, index.insert

    def watched_write(path: Path, data: bytes) -> None:
        path.write_bytes(data[: len(data) // 2])
        on_step(f"{kind(path)}: half written")
        on_step(f"{kind(path)}: write")
        write(path, data)

    def watched_sync(path: Path) -> None:
        on_step(f"{kind(path)}: sync{' of the folder' if path.is_dir() else ''}")
        sync(path)

    def watched_rename(path: Path, target: Path) -> None:
        on_step(f"{kind(path)}: rename")
        rename(path, target)

    def watched_create(path: Path, target: Path) -> None:
        on_step(f"{kind(path)}: rename")  # it gets its name, which must be free
        create(path, target)

    def watched_remove(path: Path) -> None:
        on_step(f"{kind(path)}: remove")
        remove(path)

    def watched_ingest(self, connection, part):
        on_step("database: take in")
        ingest(self, connection, part)
        on_step("database: taken in")

    def watched_insert(connection, table, rows):
        insert(connection, table, rows)
        on_step("database: half taken in")

    with (
        patch.object(atomic, "write", watched_write),
        patch.object(atomic, "sync", watched_sync),
        patch.object(atomic, "rename", watched_rename),
        patch.object(atomic, "create", watched_create),
        patch.object(atomic, "remove", watched_remove),
        patch.object(index.Index, "ingest", watched_ingest),
        patch.object(index, "insert", watched_insert),
    ):
        yield


class Steps:
    """Counts the steps of a run; `names` lists them in order."""

    def __init__(self) -> None:
        self.names: list[str] = []

    def __call__(self, name: str) -> None:
        self.names.append(name)


class DieAt(Steps):
    """SIGKILL at the step of a number."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number

    def __call__(self, name: str) -> None:
        if len(self.names) == self.number:
            os.kill(os.getpid(), signal.SIGKILL)
        super().__call__(name)


class RefuseAt(Steps):
    """The disk refuses the step of a number, once, as it would refuse a real one."""

    def __init__(self, number: int, refusal: str) -> None:
        super().__init__()
        self.number, self.refusal = number, REFUSALS[refusal]

    def __call__(self, name: str) -> None:
        if name.startswith("database") or name.endswith("half written"):
            return  # DuckDB writes by itself; a refused write has left a part already
        at = len(self.names)
        super().__call__(name)
        if at == self.number:
            raise OSError(self.refusal, os.strerror(self.refusal))
