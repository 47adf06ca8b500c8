"""A signal ends a command within two seconds, whatever it does, and says so."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from dnd_assets.workflow import stopping
from tests import commands

_START = """
import signal, sys, threading, time
from dnd_assets.workflow import stopping
stopping.install()
def ready():
    sys.stdout.write("ready"); sys.stdout.flush()
"""
WAYS = {
    "asleep": "ready(); time.sleep(60)",
    "in a long call of C": (
        "import hashlib; ready(); hashlib.pbkdf2_hmac('sha256', b'a', b'b', 2_000_000_000)"
    ),
    "swallowing what is raised": """
ready()
while True:
    try:
        time.sleep(60)
    except BaseException:
        pass
""",
    "beside a thread that does not end": (
        "threading.Thread(target=time.sleep, args=(60,)).start(); ready(); time.sleep(60)"
    ),
    "waiting for other threads": """
from concurrent.futures import ThreadPoolExecutor
with ThreadPoolExecutor(1) as pool:
    pool.submit(time.sleep, 60)
    ready()
""",
    "with a handler of another library": """
signal.signal(signal.SIGINT, lambda *_: None)
signal.signal(signal.SIGTERM, lambda *_: None)
ready()
time.sleep(60)
""",
    "waiting for a lock": """
from filelock import FileLock
path = sys.argv[1] + "/lock"
held = FileLock(path, thread_local=False, is_singleton=False)
other = threading.Thread(target=held.acquire)
other.start()
other.join()
ready()
FileLock(path, is_singleton=False).acquire()
""",
}
_SLOW_END = """
ready()
try:
    time.sleep(60)
finally:
    until = time.monotonic() + 0.2
    while time.monotonic() < until:
        pass
"""
_END = """
try:
    run()
except BaseException:
    if stopping.was_stopped():
        stopping.finish()
    raise
"""


def _started(body, folder):
    lines = "\n".join(f"    {line}" for line in body.strip().splitlines())
    script = f"{_START}\ndef run():\n{lines}\n{_END}"
    process = subprocess.Popen(
        [sys.executable, "-c", script, str(folder)], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout.read(5) == b"ready"
    return process


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("way", WAYS)
def test_a_process_ends_in_time_whatever_it_does(way, number, tmp_path):
    process = _started(WAYS[way], tmp_path)
    seconds = commands.stopped(process, number)
    assert process.returncode == 130
    assert process.stderr.read().decode() == f"{stopping.MESSAGE}\n", "once, without a traceback"
    assert seconds <= 2


def test_a_signal_that_comes_while_another_error_is_looked_at_counts(monkeypatch):
    class Interrupted:
        def wait(self, seconds):
            raise KeyboardInterrupt

    state = stopping._State(requested=Interrupted(), reader=object())
    monkeypatch.setattr(stopping, "_state", state)
    assert stopping.was_stopped()


def test_a_second_signal_does_not_wait(tmp_path):
    process = _started(WAYS["in a long call of C"], tmp_path)
    process.send_signal(signal.SIGINT)
    time.sleep(0.1)
    assert commands.stopped(process, signal.SIGINT) < stopping.GRACE_S / 2
    assert process.returncode == 130


@pytest.mark.parametrize("way", ["asleep", "in the middle of ending"])
def test_many_signals_are_one_line(way, tmp_path):
    """As of someone who presses Ctrl-C until it works, and of a terminal that is closed besides."""
    body = WAYS["asleep"] if way == "asleep" else _SLOW_END
    process = _started(body, tmp_path)
    for number in (signal.SIGINT, signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        process.send_signal(number)
        time.sleep(0.01)
    assert commands.stopped(process, signal.SIGINT) <= 2
    assert process.returncode == 130
    assert process.stderr.read().decode() == f"{stopping.MESSAGE}\n"


def test_a_signal_that_is_ignored_stays_ignored():
    """As the shell asks of what runs in the background, and `nohup` of a closed terminal."""
    body = (
        "import signal, sys; signal.signal(signal.SIGHUP, signal.SIG_IGN)\n"
        "from dnd_assets.workflow import stopping; stopping.install()\n"
        "import os; os.kill(os.getpid(), signal.SIGHUP); sys.exit(7)"
    )
    assert subprocess.run([sys.executable, "-c", body], check=False).returncode == 7


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_command_can_be_stopped_while_it_is_imported(number, tmp_path):
    """From the moment that the package begins to be imported."""
    slow = tmp_path / "typer.py"
    slow.write_text("import pathlib, time\npathlib.Path('importing').touch()\ntime.sleep(60)\n")
    here = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", str(Path.cwd()))])
    process = commands.start(tmp_path, "labels", PYTHONPATH=here)
    assert commands.wait_for((tmp_path / "importing").exists)
    assert commands.stopped(process, number) <= 2
    assert process.returncode == 130
    assert (tmp_path / "stderr").read_text() == f"{stopping.MESSAGE}\n"
