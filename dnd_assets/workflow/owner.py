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
        return cls(machine, boot, os.getpid(), _start_time(os.getpid()))

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
        return _start_time(self.pid) != self.started


@cache
def _machine() -> tuple[str, str]:
    """Name and id of this machine, and which start of it this is."""
    machine_id = _file_text("/etc/machine-id") or _file_text("/var/lib/dbus/machine-id")
    boot = _file_text("/proc/sys/kernel/random/boot_id") or _output_of(
        ["sysctl", "-n", "kern.bootsessionuuid"]
    )
    pid_namespace = ""
    with suppress(OSError):
        pid_namespace = str(Path("/proc/self/ns/pid").readlink())
    return f"{socket.gethostname()} {machine_id}".strip(), f"{boot}/{pid_namespace}"


def _start_time(pid: int) -> str:
    """When a process was started; empty when there is none, or it is only waiting to be reaped."""
    if sys.platform != "linux":
        return _output_of(["ps", "-o", "lstart=", "-p", str(pid)])
    # The name, in brackets, may hold anything, brackets and spaces too.
    fields = _file_text(f"/proc/{pid}/stat").rpartition(")")[2].split()
    return "" if not fields or fields[0] in "ZX" else fields[19]


def _file_text(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""


def _output_of(command: list[str]) -> str:
    """What a program of the system prints; empty when it is not there."""
    try:
        process = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 (fixed commands)
    except OSError:
        return ""
    return process.stdout.strip()
