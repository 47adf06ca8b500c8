"""The Dagster instance of a state folder, opened by one process at a time."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import dagster as dg
from dagster._core.remote_origin import (
    ManagedGrpcPythonEnvCodeLocationOrigin,
    RemoteJobOrigin,
    RemoteRepositoryOrigin,
)
from dagster._core.storage.tags import REPOSITORY_LABEL_TAG
from dagster._core.types.loadable_target_origin import LoadableTargetOrigin
from filelock import FileLock

from dnd_assets.errors import DndError, StudyError
from dnd_assets.home import POSTGRES, dagster_home

CODE_LOCATION = "dnd_assets.definitions"
"""Module that `dnd ui` loads, and the code location's name."""
_REPOSITORY = "__repository__"
"""Dagster's name for definitions that nobody named."""
RUN_TAGS = {REPOSITORY_LABEL_TAG: f"{_REPOSITORY}@{CODE_LOCATION}"}
"""What the interface finds runs of the code location by."""


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
        instance = _opened()
    with instance:
        yield instance


def _opened() -> dg.DagsterInstance:
    """The instance that `DAGSTER_HOME` names.

    Raises:
        StudyError: when it lies on a Postgres that does not answer.
    """
    try:
        return dg.DagsterInstance.get()
    except Exception as error:
        if not os.environ.get(POSTGRES) or isinstance(error, DndError):
            raise
        cause = error.__cause__ or error
        first_line = str(cause).strip().splitlines()[0]
        raise StudyError(
            f"the Postgres that {POSTGRES} names does not answer: {first_line}. See that it runs, "
            "that user, password and database are right, and run again: finished work is kept."
        ) from error


def show_in_timeline(instance: dg.DagsterInstance, run: dg.DagsterRun) -> None:
    """Have a run of the command line among those of the code location, where the timeline looks.

    Args:
        instance: holds the run.
        run: any run; one from the interface is there already.
    """
    if run.remote_job_origin is not None:
        return
    present = instance.get_run_by_id(run.run_id)  # as it is now: others write to it as well
    if present is None or present.remote_job_origin is not None:
        return
    target = LoadableTargetOrigin(module_name=CODE_LOCATION)
    place = ManagedGrpcPythonEnvCodeLocationOrigin(target, CODE_LOCATION)
    origin = RemoteJobOrigin(RemoteRepositoryOrigin(place, _REPOSITORY), present.job_name)
    instance.run_storage.replace_job_origin(present, origin)
