"""Imported before what is tested: what tests need not wait for.

They sync thousands of small files and need none after a crash of the machine, so that temporary
folders lie in memory. Fingerprints name versions of packages, a hundred times in a run, and each is
read from a file; here it is read once. And among a million objects of imported libraries Python
looks for garbage less often.
"""

import functools
import gc
import importlib.metadata
import os
import shutil
import tempfile
from multiprocessing.util import Finalize
from pathlib import Path

_MEMORY = Path("/dev/shm")
_ROOM = 6 << 30
"""So much has to be free, in the folder and of the machine's memory."""
_PREFIX = "dnd-tests-"


def _temporary_folders() -> None:
    """Have `tempfile` and pytest make their folders in memory, if there is room and none is set."""
    benchmarks = "PYTEST_VERSION" not in os.environ  # they measure disks, too
    if benchmarks or "TMPDIR" in os.environ or not _has_room():
        return
    for left in _MEMORY.glob(f"{_PREFIX}*"):
        if not Path("/proc", left.name.removeprefix(_PREFIX)).exists():
            shutil.rmtree(left, ignore_errors=True)
    own = _own()
    own.mkdir(exist_ok=True)
    own.chmod(0o1777)  # as /tmp is: a test becomes another user
    os.environ["TMPDIR"] = str(own)
    tempfile.tempdir = None


def forget() -> None:
    """Free the memory that this process took, once `multiprocessing` has removed its own folder."""
    Finalize(None, shutil.rmtree, args=(_own(), True), exitpriority=-200)


def _own() -> Path:
    return _MEMORY / f"{_PREFIX}{os.getpid()}"


def _has_room() -> bool:
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        (free,) = (int(line.split()[1]) << 10 for line in lines if line.startswith("MemAvailable"))
        return min(free, shutil.disk_usage(_MEMORY).free) > _ROOM and os.access(_MEMORY, os.W_OK)
    except (OSError, ValueError):
        return False


_temporary_folders()
importlib.metadata.version = functools.cache(importlib.metadata.version)
gc.set_threshold(20_000, 20, 50)
