"""Locks that the kernel keeps and frees when their owner ends, and file systems that have none."""

from __future__ import annotations

import errno
import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock

from dnd_assets.errors import LineageError

try:
    import fcntl
except ImportError:  # Windows, whose file systems all keep locks
    fcntl = None  # type: ignore[assignment]

_WITHOUT = {errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOLCK}
"""What the kernel says where a file system keeps no locks."""
_TRIED: set[str] = set()
"""Folders whose file system was found to keep locks."""
_HELD: set[tuple[str, int]] = set()
"""Locks that threads of this process hold: path and thread."""


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a lock for a block; a thread may enter it again.

    Raises:
        LineageError: when the file system keeps no locks.
        OSError: when the file cannot be written.
    """
    key = str(path), threading.get_ident()
    if key in _HELD:
        yield
        return
    lock = kernel_lock(path)
    with lock:
        _HELD.add(key)
        try:
            yield
        finally:
            _HELD.discard(key)


def kernel_lock(path: Path) -> FileLock:
    """A lock that the kernel keeps: a file that a dead owner left there blocks nobody.

    Raises:
        LineageError: when the file system of `path` keeps no locks. The library would take a file
            for a lock there, which an owner that died on another machine would keep for ever.
        OSError: when the file cannot be written.
    """
    _require_locks(path)
    return FileLock(path)


def _require_locks(path: Path) -> None:
    """Try once in a folder whether its file system keeps locks."""
    if fcntl is None or str(path.parent) in _TRIED:
        return
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        pass  # somebody holds it: there are locks
    except OSError as error:
        if error.errno in _WITHOUT:
            raise without_locks(path) from error
        raise
    finally:
        os.close(handle)
    _TRIED.add(str(path.parent))


@dataclass(frozen=True)
class LockOwner:
    """Who holds a lock, in a file beside it, for those who wait.

    Attributes:
        path: the file; it is there while the lock is held, and after its owner was killed.
    """

    path: Path

    def write(self, who: str) -> None:
        """Name this process, and what it does."""
        owner = f"process {os.getpid()}" + (f" ({who})" if who else "")
        with suppress(OSError):  # it only helps others to say whom they wait for
            self.path.write_text(f"{owner}\n{socket.gethostname()}", encoding="utf-8")

    def forget(self) -> None:
        """Remove the file: nobody holds the lock any more."""
        with suppress(OSError):
            self.path.unlink(missing_ok=True)

    def told(self) -> str:
        """Who holds it, and where, if that is another machine; empty when nobody knows."""
        owner, host = self._read()
        return f"{owner} on {host}" if host not in ("", socket.gethostname()) else owner

    def elsewhere(self) -> str:
        """What to say to the new owner when an earlier one on another machine has not let go."""
        owner, host = self._read()
        if host in ("", socket.gethostname()):
            return ""
        return (
            f"{owner} on {host} has not said that it ended: it was killed, or the locks of the "
            f"file system of {self.path.parent} do not reach from machine to machine. If it is "
            "still at work there, end one of the two: they make the same twice."
        )

    def _read(self) -> tuple[str, str]:
        try:
            owner, _, host = self.path.read_text(encoding="utf-8").partition("\n")
        except (OSError, ValueError):
            return "", ""
        return owner, host


def without_locks(path: Path) -> LineageError:
    """The error for a file system that keeps no locks."""
    return LineageError(
        f"the file system of {path.parent} keeps no locks (flock), so that two runs could compute "
        "and write there at once. Mount it with locks (Lustre: -o flock; NFS: version 4, or with "
        "lockd), or name a state folder on another file system by DND_HOME; the artefacts, which "
        "take the room, may lie on S3 (docs/storage.md). Nothing was recorded."
    )
