"""`dnd` as a process of its own, to be killed; what its runs came to; the web interface's API."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

from resources.lineage_db.database import Lineage

_ROOT = str(Path(__file__).parents[1])
"""Networks of the tests are found from any folder."""
OPEN = {"NOT_STARTED", "QUEUED", "STARTING", "STARTED", "CANCELING"}
"""Statuses of runs that go on."""
HELD = OPEN - {"QUEUED"}
"""Statuses of runs that a process makes; the daemon begins the others when it is there again."""
_LAUNCH = """mutation($p: ExecutionParams!) { launchRun(executionParams: $p) {
  __typename ... on LaunchRunSuccess { run { runId } } ... on PythonError { message }
} }"""
_TERMINATE = """mutation($r: String!) { terminateRun(runId: $r) { __typename } }"""


def environment(folder: Path, **more) -> dict[str, str]:
    """Environment of a `dnd` on the study and the state in a folder."""
    return {
        **os.environ,
        "DND_HOME": str(folder / "state"),
        "DND_STUDY": str(folder / "study.toml"),
        "DAGSTER_HOME": str(folder / "state" / "dagster"),
        "PYTHONUNBUFFERED": "1",
        "PYTHONPATH": os.pathsep.join(filter(None, [_ROOT, os.environ.get("PYTHONPATH")])),
        **more,
    }


def start(folder: Path, *arguments, **environment_of_its_own) -> subprocess.Popen:
    """`dnd` on the study and the state in a folder; its output goes to files there."""
    given = environment(folder, **environment_of_its_own)
    command = [sys.executable, "-m", "dnd_assets.cli", *map(str, arguments)]
    with (folder / "stdout").open("wb") as out, (folder / "stderr").open("wb") as err:
        return subprocess.Popen(command, cwd=folder, env=given, stdout=out, stderr=err)


def said(folder: Path) -> str:
    """What the command started last has printed."""
    return (folder / "stdout").read_text() + (folder / "stderr").read_text()


def wait_for(what, seconds: float = 120.0, process: subprocess.Popen | None = None) -> bool:
    """Whether `what()` comes true in time, and before a process ends."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if what():
            return True
        if process is not None and process.poll() is not None:
            return bool(what())
        time.sleep(0.02)
    return False


def stopped(process: subprocess.Popen, number: int, seconds: float = 30.0) -> float:
    """Send a signal; seconds until the process has ended, or `seconds` when it had to be killed."""
    since = time.monotonic()
    process.send_signal(number)
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.kill()
    return time.monotonic() - since


def runs(folder: Path) -> dict[str, str]:
    """Status of each run that Dagster has recorded, by id."""
    file = folder / "state" / "dagster" / "history" / "runs.db"
    if not file.exists():
        return {}
    try:
        with sqlite3.connect(f"file:{file}?mode=ro", uri=True, timeout=20) as connection:
            return dict(connection.execute("SELECT run_id, status FROM runs ORDER BY id"))
    except sqlite3.OperationalError:  # no table yet
        return {}


def owner(folder: Path, run: str) -> int:
    """Number of the process that makes a run; 0 while none says so."""
    file = folder / "state" / "dagster" / "history" / "runs.db"
    sql = "SELECT value FROM run_tags WHERE run_id = ? AND key = 'dnd/process'"
    with sqlite3.connect(f"file:{file}?mode=ro", uri=True, timeout=20) as connection:
        row = connection.execute(sql, [run]).fetchone()
    return json.loads(row[0])["pid"] if row else 0


def products(folder: Path) -> list[dict]:
    """Every product ever announced, once, with the hash of its content."""
    sql = (
        "SELECT DISTINCT asset, unit, key, data_version FROM materializations "
        "WHERE asset <> 'probing_set' ORDER BY ALL"
    )
    return Lineage(root=str(folder / "state")).query(sql)


def members(group: int) -> dict[int, str]:
    """Command lines of the living processes of a group, by number (Linux)."""
    found = {}
    for place in Path("/proc").glob("[0-9]*"):
        try:
            fields = (place / "stat").read_text().rpartition(")")[2].split()
            line = (place / "cmdline").read_bytes().replace(b"\0", b" ").decode()
        except OSError:
            continue
        if int(fields[2]) == group and fields[0] not in "ZX":
            found[int(place.name)] = line
    return found


def children(parent: int) -> list[int]:
    """Numbers of the living children of a process (Linux)."""
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        try:
            fields = (place / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == parent and fields[0] not in "ZX":
            found.append(int(place.name))
    return found


class Interface:
    """`dnd ui` of a project, and its API.

    Attributes:
        process: the process of `dnd ui`.
        group: the process group of its servers.
    """

    def __init__(self, folder: Path, port: int) -> None:
        self.folder, self.port = folder, port
        self.process = start(folder, "ui", "--port", port)
        self.group = 0

    def ready(self, seconds: float = 900.0) -> bool:
        """Whether it answers, with the study's jobs, in time."""
        if not wait_for(self._has_jobs, seconds, self.process):
            return False
        groups = [one for one in children(self.process.pid) if len(members(one)) > 1]
        self.group = groups[0]
        return True

    def _has_jobs(self) -> bool:
        time.sleep(0.5)
        try:
            asked = "{repositoriesOrError{... on RepositoryConnection{nodes{jobs{name}}}}}"
            found = self.ask(asked)["repositoriesOrError"]["nodes"]
        except (OSError, KeyError):
            return False
        return any(found)

    def ask(self, query: str, **variables):
        """What the API answers."""
        body = json.dumps({"query": query, "variables": variables}).encode()
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}/graphql", body, {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)["data"]

    def place(self) -> dict[str, str]:
        """The code location and the repository, as the API selects them."""
        place = "repositoriesOrError{... on RepositoryConnection{nodes{name location{name}}}}"
        (one,) = self.ask(f"{{{place}}}")["repositoriesOrError"]["nodes"]
        return {
            "repositoryLocationName": one["location"]["name"],
            "repositoryName": one["name"],
        }

    def launch(self, first: str, last: str) -> str:
        """Launch the study's job for a range of units; the run's id."""
        selector = {**self.place(), "jobName": "label_units"}
        tags = [
            {"key": "dagster/asset_partition_range_start", "value": first},
            {"key": "dagster/asset_partition_range_end", "value": last},
        ]
        asked = {"selector": selector, "executionMetadata": {"tags": tags}, "runConfigData": "{}"}
        found = self.ask(_LAUNCH, p=asked)["launchRun"]
        assert found["__typename"] == "LaunchRunSuccess", found
        return found["run"]["runId"]

    def terminate(self, run: str) -> None:
        """Ask for the end of a run, as the button of the interface does."""
        self.ask(_TERMINATE, r=run)

    def kill(self) -> None:
        """Kill the process of `dnd ui`, and nothing else."""
        os.kill(self.process.pid, signal.SIGKILL)
        self.process.wait()
