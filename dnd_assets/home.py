"""The state folder: store, journal, database, Dagster instance and caches of one project."""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path

from dnd_assets.errors import MissingError, NotFoundError, StudyError, install_command
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
POSTGRES = "DND_POSTGRES"
"""Environment variable: address of the Postgres that keeps Dagster's runs and events."""
_ON_POSTGRES = """\
{name}_storage:
  module: {module}
  class: {cls}
  config:
    postgres_url:
      env: DND_POSTGRES
"""
_WITHOUT_EVENTS = _DAGSTER_YAML.partition("event_log_storage:")[0]
_EARLIER = (
    _WITHOUT_EVENTS,
    _WITHOUT_EVENTS.partition("run_launcher:")[0]
    + "concurrency:\n  pools:\n    default_limit: 1\n",
)
"""What earlier versions wrote: replaced, unless it was edited."""
_POSTGRES_YAML = _WITHOUT_EVENTS + "".join(
    _ON_POSTGRES.format(name=name, module=module, cls=cls)
    for name, module, cls in (
        ("run", "dagster_postgres", "PostgresRunStorage"),
        ("event_log", "dnd_assets.workflow.postgres_event_log", "BatchedPostgresEventLog"),
        ("schedule", "dagster_postgres", "PostgresScheduleStorage"),
    )
)
"""The address itself, which holds a password, stands in no file."""
EVENT_BATCH_SIZE = "DAGSTER_EVENT_BATCH_SIZE"
"""Environment variable: events that Dagster gathers before it hands them to its storage."""
_EVENTS_AT_ONCE = "1000"


def state_folder() -> Path:
    """The folder named by `DND_HOME`, or `.dnd` in the working folder; made when missing."""
    folder = Path(os.environ.get("DND_HOME") or ".dnd").expanduser().resolve()
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def results_folder() -> Path:
    """The state folder for commands that only read: it is not made, and must hold results.

    Raises:
        NotFoundError: when it is not there or nothing was recorded in it.
    """
    folder = Path(os.environ.get("DND_HOME") or ".dnd").expanduser().resolve()
    if not (folder / "journal").is_dir():
        problem = "holds no results" if folder.is_dir() else "is not there"
        raise NotFoundError(
            f"state folder {folder} {problem}. Run `dnd run` first, or name the folder that holds "
            "results by DND_HOME."
        )
    return folder


def dagster_home(home: Path) -> Path:
    """The folder of the Dagster instance: `DAGSTER_HOME`, or `dagster` in the state folder.

    Sets `DAGSTER_HOME` for this process and its children, so that the command line and the web
    interface share one instance, and `DAGSTER_EVENT_BATCH_SIZE`, unless it is set, so that events
    are written many at once. Where `DND_POSTGRES` names a Postgres, runs and events go there.

    Raises:
        StudyError: when the Postgres that the instance lies on is not named, or named wrongly.
    """
    folder = Path(os.environ.get("DAGSTER_HOME") or home / "dagster").resolve()
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "dagster.yaml"
    config_text = file.read_text(encoding="utf-8") if file.exists() else ""
    if os.environ.get(POSTGRES):
        _require_postgres(os.environ[POSTGRES])
        if config_text in ("", _DAGSTER_YAML, *_EARLIER):
            write_atomic(file, _POSTGRES_YAML.encode())
    elif config_text == _POSTGRES_YAML:
        raise StudyError(
            f"runs and events of {folder} lie on Postgres, and {POSTGRES} does not say where: set "
            f"it to postgresql+psycopg2://USER:PASSWORD@HOST/DATABASE, or remove {file} to begin "
            "a history in the folder; results are kept either way"
        )
    elif config_text in ("", *_EARLIER):
        write_atomic(file, _DAGSTER_YAML.encode())
    os.environ["DAGSTER_HOME"] = str(folder)
    os.environ.setdefault(EVENT_BATCH_SIZE, _EVENTS_AT_ONCE)
    return folder


def on_own_files(folder: Path) -> bool:
    """Whether runs and events of a Dagster instance lie in files below its folder.

    Not so on Postgres, and unknown where its `dagster.yaml` was edited.
    """
    file = folder / "dagster.yaml"
    if os.environ.get(POSTGRES) or not file.is_file():
        return False
    return file.read_text(encoding="utf-8") == _DAGSTER_YAML


def _require_postgres(address: str) -> None:
    """Check what is said about Postgres, since Dagster's own error does not tell what is wrong."""
    if not address.startswith("postgresql+psycopg2://"):
        scheme = address.partition("://")[0]
        raise StudyError(
            f"{POSTGRES} begins with {scheme!r}; write postgresql+psycopg2://USER:PASSWORD@HOST/"
            "DATABASE, which names the driver that dagster-postgres brings"
        )
    if find_spec("dagster_postgres") is None:
        command = install_command("postgres")
        raise MissingError(
            f"{POSTGRES} needs the package dagster-postgres, which is not installed; run "
            f"`{command}`",
            command,
        )
