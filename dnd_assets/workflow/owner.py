"""Which process makes a run, so that another one can tell whether it still lives."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path


@dataclass(frozen=True)
class Owner:
    """A process, told apart from every other one, on any machine and at any time.

    Attributes:
        machine: the machine's name and its id.
        boot: which start of the machine, and which space of process numbers (containers have their
            own).
        pid: number of the process.
        started: when the process was started, as its machine tells it: numbers are given again.
    """

    machine: str
    boot: str
    pid: int
    started: str

    @classmethod
    def this(cls) -> Owner:
        """The process that asks."""
        machine, boot = _machine()
        return cls(machine, boot, os.getpid(), _started(os.getpid()))

    @classmethod
    def read(cls, text: str) -> Owner | None:
        """The owner that `text` tells of; None when it tells of none."""
        try:
            return cls(**json.loads(text))
        except (ValueError, TypeError):
            return None

    @property
    def text(self) -> str:
        """The owner as a line of text."""
        return json.dumps(asdict(self), sort_keys=True)

    def is_gone(self) -> bool:
        """Whether the process has certainly ended; False when that cannot be known from here."""
        machine, boot = _machine()
        if self.machine != machine or not self.started or os.name != "posix":
            return False
        if self.boot != boot:  # after a restart of the machine no earlier process is left
            return self.boot.partition("/")[0] != boot.partition("/")[0]
        return _started(self.pid) != self.started


@cache
def _machine() -> tuple[str, str]:
    """Name and id of this machine, and which start of it this is."""
    known = _read("/etc/machine-id") or _read("/var/lib/dbus/machine-id")
    boot = _read("/proc/sys/kernel/random/boot_id") or _told(
        ["sysctl", "-n", "kern.bootsessionuuid"]
    )
    space = ""
    with suppress(OSError):
        space = str(Path("/proc/self/ns/pid").readlink())
    return f"{socket.gethostname()} {known}".strip(), f"{boot}/{space}"


def _started(pid: int) -> str:
    """When a process was started; empty when there is none, or it is only waiting to be reaped."""
    if sys.platform != "linux":
        return _told(["ps", "-o", "lstart=", "-p", str(pid)])
    # The name, in brackets, may hold anything, brackets and spaces too.
    fields = _read(f"/proc/{pid}/stat").rpartition(")")[2].split()
    return "" if not fields or fields[0] in "ZX" else fields[19]


def _read(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""


def _told(command: list[str]) -> str:
    """What a program of the system prints; empty when it is not there."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 (fixed commands)
    except OSError:
        return ""
    return done.stdout.strip()
