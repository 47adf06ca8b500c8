"""The Dagster web interface on one study and one state folder."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from dnd_assets.cli.readiness import tell_when_ready
from dnd_assets.errors import StudyError
from dnd_assets.home import dagster_home
from dnd_assets.report.asset import serve_atlases
from dnd_assets.study.study import embedded_studies
from dnd_assets.workflow import stopping
from dnd_assets.workflow.atlas_address import note_address
from dnd_assets.workflow.dead_runs import fail_dead_runs
from dnd_assets.workflow.definitions import AUTOMATION
from dnd_assets.workflow.freshness import SAY_WHEN_LOADED
from dnd_assets.workflow.guard import end_group
from dnd_assets.workflow.instance import CODE_LOCATION, opened_instance

_PYTHON = sys.executable
_ORDERLY_S = 0.3
"""Seconds that the servers and their runs have to end in order."""
_NOT_FOR_USERS = "ignore:Function `dev_command` is superseded"


def _absolute(study: str) -> str:
    """A study's name, or its path from the root: servers work in another folder."""
    return study if study in embedded_studies() else str(Path(study).resolve())


def serve(
    home: Path,
    port: int,
    study: str | None = None,
    log: Callable[[str], None] = lambda _: None,
    *,
    automation: bool = False,
) -> int:
    """Run the web interface until it is stopped; returns its exit status.

    However this process ends, its servers and the runs that they launched end with it, and the
    ports are free. Runs that were killed before are marked failed.

    It works in the state folder: a `.env` file in the folder where it was started would put
    another `DAGSTER_HOME` in the place of this one.

    Args:
        home: the state folder.
        port: on loopback; atlases are shown at the next one.
        study: name or path of the study; None takes `DND_STUDY`.
        log: told when it is ready, of runs that were marked failed, and of an end that nobody
            asked for.
        automation: whether what is out of date is rerun from the start.

    Raises:
        StudyError: when the next port is taken.
    """
    study_name = study or os.environ.get("DND_STUDY") or "known-answers"
    folder = dagster_home(home)
    try:
        atlases = serve_atlases(home / "atlas", port + 1)
    except OSError as error:
        raise StudyError(
            f"port {port + 1:,} is taken ({error.strerror}); it is to show the atlas. Choose "
            "another one: dnd ui --port 3010."
        ) from error
    environment = {
        **os.environ,
        **({AUTOMATION: "1"} if automation else {}),
        "DND_HOME": str(home),
        "DND_ATLAS_URL": note_address(home, f"http://127.0.0.1:{port + 1}"),
        "DAGSTER_HOME": str(folder),
        SAY_WHEN_LOADED: "1",
        "DND_STUDY": _absolute(study_name),
        "PYTHONWARNINGS": ",".join(
            filter(None, [os.environ.get("PYTHONWARNINGS"), _NOT_FOR_USERS])
        ),
    }
    command = [
        sys.executable, "-m", "dagster", "dev", "-m", CODE_LOCATION,
        "--host", "127.0.0.1", "--port", str(port), "--log-level", "warning",
    ]  # fmt: skip
    _mark_dead_runs(home, log)
    ended = tell_when_ready(port, log)
    try:
        with stopping.noting(lambda: None, lambda: _mark_dead_runs(home, log)):
            try:
                status = _until_it_ends(command, environment, home)
            finally:
                _mark_dead_runs(home, log)
    finally:
        ended.set()
        atlases.shutdown()
    if not stopping.requested():
        log(
            f"the web interface ended by itself (status {status}): one of its processes failed or "
            "was killed. Start it again: finished work is kept."
        )
    return status or 1


def _mark_dead_runs(home: Path, log: Callable[[str], None]) -> None:
    """Mark the runs failed whose process is gone."""
    with opened_instance(home) as instance:
        fail_dead_runs(instance, log)


def _until_it_ends(command: Sequence[str], environment: Mapping[str, str], folder: Path) -> int:
    """Run the servers in a process group that does not outlive this process."""
    program = subprocess.Popen(  # noqa: S603 (our own command)
        command, env=environment, cwd=folder, stdin=subprocess.DEVNULL, process_group=0
    )
    guard = subprocess.Popen(  # noqa: S603 (our own command)
        [_PYTHON, "-m", "dnd_assets.workflow.guard", str(program.pid)],
        stdin=subprocess.PIPE,
        process_group=0,
    )
    try:
        return program.wait()
    finally:
        end_group(program.pid, signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            program.wait(_ORDERLY_S)
        end_group(program.pid)
        guard.kill()
