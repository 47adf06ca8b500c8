"""The state folder: store, journal, database, Dagster instance and caches of one project."""

from __future__ import annotations

import os
from pathlib import Path

from dnd_assets.errors import NotFoundError
from dnd_assets.files.atomic import write_atomic

_DAGSTER_YAML = """\
# Written once by dnd; yours to edit.
telemetry:
  enabled: false
nux:
  enabled: false
run_launcher:
  module: dnd_assets.workflow.launcher
  class: OwnedRunLauncher
event_log_storage:
  module: dnd_assets.workflow.event_log
  class: HomeEventLog
"""
_WITHOUT_EVENTS = _DAGSTER_YAML.partition("event_log_storage:")[0]
_EARLIER = (
    _WITHOUT_EVENTS,
    _WITHOUT_EVENTS.partition("run_launcher:")[0]
    + "concurrency:\n  pools:\n    default_limit: 1\n",
)
"""What earlier versions wrote: replaced, unless it was edited."""
EVENT_BATCH_SIZE = "DAGSTER_EVENT_BATCH_SIZE"
"""Environment variable: events that Dagster gathers before it hands them to its storage."""
_EVENTS_AT_ONCE = "1000"


def state_folder() -> Path:
    """The folder named by `DND_HOME`, or `.dnd` in the working folder; made when missing."""
    folder = Path(os.environ.get("DND_HOME") or ".dnd").expanduser().resolve()
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def results_folder() -> Path:
    """The same folder for those who only read: it is not made, and must hold results.

    Raises:
        NotFoundError: when it is not there or nothing was recorded in it.
    """
    folder = Path(os.environ.get("DND_HOME") or ".dnd").expanduser().resolve()
    if not (folder / "journal").is_dir():
        what = "holds no results" if folder.is_dir() else "is not there"
        raise NotFoundError(
            f"state folder {folder} {what}. Run `dnd run` first, or name the folder that holds "
            "results by DND_HOME."
        )
    return folder


def dagster_home(home: Path) -> Path:
    """The folder of the Dagster instance: `DAGSTER_HOME`, or `dagster` in the state folder.

    Sets `DAGSTER_HOME` for this process and its children, so that the command line and the web
    interface share one instance, and `DAGSTER_EVENT_BATCH_SIZE`, unless it is set, so that events
    are written many at once.
    """
    folder = Path(os.environ.get("DAGSTER_HOME") or home / "dagster").resolve()
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "dagster.yaml"
    if not file.exists() or file.read_text(encoding="utf-8") in _EARLIER:
        write_atomic(file, _DAGSTER_YAML.encode())
    os.environ["DAGSTER_HOME"] = str(folder)
    os.environ.setdefault(EVENT_BATCH_SIZE, _EVENTS_AT_ONCE)
    return folder
