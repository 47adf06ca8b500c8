"""The Dagster web interface on one study and one state folder."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from dnd_assets.atlas import serve_atlases
from dnd_assets.errors import StudyError
from dnd_assets.home import dagster_home
from dnd_assets.study import embedded_studies

_NOT_FOR_USERS = "ignore:Function `dev_command` is superseded"


def serve(home: Path, port: int, study: str | None = None) -> int:
    """Run the web interface until it is stopped; returns its exit status.

    It works in the state folder: a `.env` file in the folder where it was started would put
    another `DAGSTER_HOME` in the place of this one.

    Args:
        home: the state folder.
        port: on loopback; atlases are shown at the next one.
        study: name or path of the study; None takes `DND_STUDY`.

    Raises:
        StudyError: when the next port is taken.
    """
    asked = study or os.environ.get("DND_STUDY") or "known-answers"
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
        "DND_HOME": str(home),
        "DND_ATLAS_URL": f"http://127.0.0.1:{port + 1}",
        "DAGSTER_HOME": str(folder),
        "DND_STUDY": asked if asked in embedded_studies() else str(Path(asked).resolve()),
        "PYTHONWARNINGS": ",".join(
            filter(None, [os.environ.get("PYTHONWARNINGS"), _NOT_FOR_USERS])
        ),
    }
    command = [
        sys.executable, "-m", "dagster", "dev", "-m", "dnd_assets.location",
        "--host", "127.0.0.1", "--port", str(port), "--log-level", "warning",
    ]  # fmt: skip
    try:
        done = subprocess.run(command, env=environment, cwd=home, check=False)  # noqa: S603 (our own command)
    finally:
        atlases.shutdown()
    return done.returncode
