"""The Dagster instance of a state folder, opened by one process at a time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import dagster as dg
from filelock import FileLock

from dnd_assets.home import dagster_home


@contextmanager
def opened_instance(home: Path) -> Iterator[dg.DagsterInstance]:
    """The instance of a state folder, made when it is not there yet.

    Dagster makes its tables when an instance is first opened, and two processes that do so at
    the same moment fail with "table already exists". A lock lets one open after the other; it is
    held for the opening only, and the operating system frees it when its holder dies.

    Args:
        home: the state folder.
    """
    folder = dagster_home(home)
    with FileLock(folder / "opening.lock"):
        instance = dg.DagsterInstance.get()
    with instance:
        yield instance
