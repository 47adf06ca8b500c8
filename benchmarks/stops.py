"""Real commands stopped by SIGINT and SIGTERM: within two seconds, with one line and status 130."""

import os
import random
import shutil
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.process import BaseProcess
from pathlib import Path

from benchmarks.setting import Figure, Table
from dnd_assets.workflow import stopping
from tests import commands, light
from tests.processes import command

LIMIT_S = 2.0
"""Seconds from the signal to the end."""
_WAIT_S = 600.0
_LOADER = '''
"""A captioner whose weights take a minute to load, in one call of C."""

import hashlib
from pathlib import Path

Path("loading").touch()
hashlib.pbkdf2_hmac("sha256", b"a", b"b", 2_000_000_000)


def caption(image):
    return "a red square"
'''
_COMMANDS: dict[str, tuple[str, ...]] = {
    "plan": ("plan",),
    "verify": ("verify",),
    "report": ("report", "--output", "site"),
    "compare": ("compare", "--with", "k5"),
    "demo": ("demo",),
}
Reached = Callable[[BaseProcess], bool]


def stopped_commands(table: Table, folder: Path) -> list[Figure]:
    """Each command at a random moment, and `dnd run` while it waits for something that never ends.

    A command's process has imported the slow libraries already; `tests/workflow/test_stopping.py`
    stops it while these are imported.
    """
    # A shell has what it starts in the background ignore SIGINT, and its children inherit that.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    clip = Path(table["clip"]["model"])
    place = light.project(folder / "labelled", clip)
    first = command(place, "run")
    first.join(_WAIT_S)
    assert first.exitcode == 0, commands.said(place)
    found = [
        _tried(f"`dnd {name}` at a random moment", place, arguments, None)
        for name, arguments in _COMMANDS.items()
    ]
    found.append(_while_loading(folder / "loading", clip))
    found.append(_while_a_server_is_silent(folder / "silent", clip))
    found.append(_while_another_run_works(folder / "locked", clip))
    return found


def _while_loading(place: Path, clip: Path) -> Figure:
    light.project(place, clip)
    (place / "light_captioner.py").write_text(_LOADER)

    def loading(_: BaseProcess) -> bool:
        return (place / "loading").exists()

    return _tried("`dnd run` while it loads a model", place, ("run",), loading)


def _while_a_server_is_silent(place: Path, clip: Path) -> Figure:
    with _silent_server() as (port, asked):
        server = {"kind": "chat", "base_url": f"http://127.0.0.1:{port}/v1", "model": "m"}
        light.project(place, clip, summariser={**server, "api_key_env": ""})
        name = "`dnd run` while an LLM server does not answer"
        return _tried(name, place, ("run",), lambda _: asked.is_set(), asked.clear)


def _while_another_run_works(place: Path, clip: Path) -> Figure:
    light.project(place, clip, seconds=3600)
    other = command(place, "run")
    assert commands.wait_for(lambda: bool(_started(place)), _WAIT_S), commands.said(place)
    assert commands.wait_for(lambda: "captions" in commands.said(place), _WAIT_S)

    def waiting(_: BaseProcess) -> bool:
        return "waiting for process" in commands.said(place)

    try:
        return _tried("`dnd run` while another run works", place, ("run",), waiting, others=1)
    finally:
        other.kill()
        other.join()


def _started(place: Path) -> list[str]:
    return [run for run, status in commands.runs(place).items() if status in commands.HELD]


def _tried(
    name: str,
    place: Path,
    arguments: tuple[str, ...],
    reached: Reached | None,
    before: Callable[[], None] = lambda: None,
    others: int = 0,
) -> Figure:
    """One command stopped by each signal.

    Args:
        name: what the figure is called.
        place: the project.
        arguments: the command.
        reached: whether the moment has come; None for a random one.
        before: called before each trial.
        others: runs that go on and are not this command's.
    """
    told, good = [], True
    dice = random.Random(name)  # noqa: S311 (trials, not secrets)
    for number in (signal.SIGINT, signal.SIGTERM):
        (place / "loading").unlink(missing_ok=True)
        before()
        status, seconds, wrong = _stop(place, arguments, reached, number, dice)
        if len(_started(place)) > others:
            wrong.append("a run stays open")
        good &= status == stopping.STATUS and seconds <= LIMIT_S and not wrong
        told.append("; ".join([f"{number.name}: {status} after {seconds:.2f} s", *wrong]))
        if others == 0 and not _labelled(place):
            shutil.rmtree(place / "state", ignore_errors=True)
    return Figure(name, " / ".join(told), "130, ≤ 2 s, one line", good)


def _labelled(place: Path) -> bool:
    return place.name == "labelled"


def _stop(
    place: Path,
    arguments: tuple[str, ...],
    reached: Reached | None,
    number: signal.Signals,
    dice: random.Random,
) -> tuple[int | None, float, list[str]]:
    """Exit status, seconds to the end, and what was said beside the one line."""
    longest = 8.0
    while not (process := _at_the_moment(place, arguments, reached, dice.uniform(0.0, longest))):
        assert reached is None, commands.said(place)
        longest /= 2
    assert process.pid is not None
    since = time.monotonic()
    os.kill(process.pid, number)
    process.join(30.0)
    seconds = time.monotonic() - since
    if process.exitcode is None:
        process.kill()
        process.join()
    said = (place / "stderr").read_text().splitlines()
    if process.exitcode == 0:
        return 0, seconds, ["over at that moment"]
    wrong = [] if said.count(stopping.MESSAGE) == 1 else ["the line is missing or repeated"]
    if any(one.startswith(("Traceback", "Aborted")) for one in said):
        wrong.append("a traceback, or what click says")
    return process.exitcode, seconds, wrong


def _at_the_moment(
    place: Path, arguments: tuple[str, ...], reached: Reached | None, delay: float
) -> BaseProcess | None:
    """The command at the moment when it is to be stopped; None when it was over before."""
    process = command(place, *arguments)
    commands.wait_for(lambda: _handles(process) or not process.is_alive(), _WAIT_S)
    if reached is None:
        time.sleep(delay)
    else:
        commands.wait_for(lambda: reached(process) or not process.is_alive(), _WAIT_S)
    return process if process.is_alive() else None


def _handles(process: BaseProcess) -> bool:
    """Whether a process handles SIGTERM by now (Linux)."""
    try:
        lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
    except OSError:
        return False
    caught = next(int(one.split()[1], 16) for one in lines if one.startswith("SigCgt"))
    return bool(caught >> (signal.SIGTERM - 1) & 1)


@contextmanager
def _silent_server() -> Iterator[tuple[int, threading.Event]]:
    """A server on the loopback that takes requests and never answers; its port, and when asked."""
    asked = threading.Event()
    kept: list[socket.socket] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                kept.append(connection)
                threading.Thread(target=read, args=(connection,), daemon=True).start()

        def read(connection: socket.socket) -> None:
            if connection.recv(65536).startswith(b"POST"):
                asked.set()

        threading.Thread(target=serve, daemon=True).start()
        yield listener.getsockname()[1], asked
        for one in kept:
            one.close()
