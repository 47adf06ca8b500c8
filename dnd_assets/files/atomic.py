"""Atomic files: a reader sees the old content or the new one, never a part."""

from __future__ import annotations

import errno
import hashlib
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from dnd_assets.errors import StoreError

_NO_HARD_LINKS = {errno.EPERM, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP, errno.EMLINK}


def sha256(data: bytes) -> str:
    """Hexadecimal SHA-256 of `data`."""
    return hashlib.sha256(data).hexdigest()


def sha256_file(path: Path) -> str:
    """Hexadecimal SHA-256 of a file's bytes, read in blocks."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def atomic_path(target: Path, *, new: bool = False) -> Iterator[Path]:
    """A temporary path beside `target` that becomes `target` when the block ends well.

    The temporary file is flushed to disk before the rename and the folder after it; when anything
    fails it is removed and `target` is untouched.

    Args:
        target: where it goes.
        new: only if nothing is there.

    Raises:
        FileExistsError: when it should be new and is not.
        StoreError: when the disk refuses; names the path and what to do.
    """
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = target.parent / f".{target.name[:40]}.{uuid.uuid4().hex}.tmp"
        temporary.touch(exist_ok=False)  # with the permissions of any new file, unlike `tempfile`
    except OSError as error:
        raise _disk_error(target, error) from error
    try:
        yield temporary
        sync(temporary)
        (create if new else rename)(temporary, target)
        sync(target.parent)
    except FileExistsError:
        raise
    except OSError as error:
        raise _disk_error(target, error) from error
    finally:
        with suppress(OSError):  # what went wrong is told already
            temporary.unlink(missing_ok=True)


def write_atomic(target: Path, data: bytes) -> None:
    """Write `data` to `target` atomically: temporary file, fsync, rename, fsync of the folder."""
    with atomic_path(target) as temporary:
        write(temporary, data)


def write_new(target: Path, data: bytes) -> None:
    """As `write_atomic`, where nothing may be yet.

    Raises:
        FileExistsError: when something is; it is left as it is.
    """
    with atomic_path(target, new=True) as temporary:
        write(temporary, data)


# The steps that a disk can refuse. Every file of the project is written through them.


def write(path: Path, data: bytes) -> None:
    """Write all of `data`."""
    path.write_bytes(data)


def sync(path: Path) -> None:
    """Have the kernel put a file or folder on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def rename(path: Path, target: Path) -> None:
    """Replace `target` by `path` in one step."""
    path.replace(target)


def create(path: Path, target: Path) -> None:
    """Give `path` the name `target`, too, in one step; the name must be free.

    Where a file system has no hard links, as FAT, it is renamed after a check that the name is
    free: whoever writes there holds a lock.

    Raises:
        FileExistsError: when the name is taken.
    """
    try:
        os.link(path, target)
    except FileExistsError:
        raise
    except OSError as error:
        if error.errno not in _NO_HARD_LINKS:
            raise
        if target.exists():
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(target)) from None
        rename(path, target)


def remove(path: Path) -> None:
    """Remove a file, if it is there."""
    path.unlink(missing_ok=True)


def _disk_error(target: Path, error: OSError) -> StoreError:
    return StoreError(
        f"cannot write {target}: {error.strerror or error}. Nothing was changed there; free some "
        "space or mend the permissions, then run again: finished work is kept."
    )
