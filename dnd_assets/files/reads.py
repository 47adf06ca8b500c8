"""What some work looked at, noted while it was done, so that its result can be kept.

Every file that is opened to be read, every folder that is listed and every path that is asked about
counts, also where nothing was there. Python tells of the first two through an audit hook; of the
third `os.stat` and `os.lstat` tell for the time being. What C libraries open by themselves is not
seen, but whether and since when it is there has been asked before.

Left out is what importing Python modules reads: the code of this project and the versions of its
libraries are told by `python_files`.
"""

from __future__ import annotations

import hashlib
import os
import stat
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

_IMPORTING: Final = "<frozen importlib"
_BYTE_CODE: Final = ".pyc"
_SYSTEM: Final = ("/proc/", "/sys/", "/dev/")
MEMORY: Final = "/dev/shm/"  # noqa: S108 (looked at, not written to)
"""Files in memory, which people keep as others."""
_LIBRARIES: Final = tuple(
    f"{folder}{os.sep}"
    for prefix in (sys.prefix, sys.base_prefix)
    for folder in {prefix, os.path.realpath(prefix)}
)
_INSTALLED: Final = (".dist-info", ".egg-info", ".egg-link", ".pth")
_ASKING: Final = frozenset({"socket.connect", "socket.getaddrinfo", "socket.sendto"})
_FINE_NS, _COARSE_NS = 20_000_000, 2_000_000_000
"""A file that was changed so shortly before may be changed again without another time: file systems
count in ticks of the kernel, and some in full seconds."""
_SECOND_NS: Final = 1_000_000_000

_stat, _lstat = os.stat, os.lstat
"""As they are, whatever is noted."""
Stamp = tuple[int, ...]
"""Kind, size, times of change, and identity of what lies at a path; empty where nothing does."""


@dataclass
class Reads:
    """What was looked at, with the state in which it was met first.

    Attributes:
        ignored: tells of an absolute path whether it counts for nothing.
        paths: stamp of each path that was opened or asked about.
        folders: stamps of each folder that was listed and of what lies in it, by name.
        asked: whether anything was asked over a network, which no stamp tells of.
        began: when noting began, in nanoseconds.
    """

    ignored: Callable[[str], bool] = lambda _: False
    paths: dict[str, Stamp] = field(default_factory=dict)
    folders: dict[str, tuple[object, ...]] = field(default_factory=dict)
    asked: bool = False
    began: int = field(default_factory=time.time_ns)

    def note(self, path: object) -> None:
        """Note a path that is looked at."""
        name = _absolute(path)
        if name and name not in self.paths and not self._is_ignored(name):
            self.paths[name] = stamp_of(name)

    def note_folder(self, path: object) -> None:
        """Note a folder that is listed."""
        name = _absolute(path or ".")
        if name and name not in self.folders and not self._is_ignored(name):
            self.folders[name] = listing_of(name)

    def settled(self) -> bool:
        """Whether everything is as it was met, and has been so for long enough to be told apart.

        What was changed while the work went on, or a moment before, may have been read in one state
        and stamped in another.
        """
        if self.asked:
            return False
        stamps = [*self.paths.values()]
        for entries in self.folders.values():
            stamps += [entry for entry in entries if isinstance(entry, tuple)]
        return all(map(self._is_old, stamps)) and self.digest() == digest_of(
            self.paths, self.folders
        )

    def digest(self) -> str:
        """One hash of all that was met."""
        return _hash(self.paths.values(), self.folders.values())

    def _is_ignored(self, name: str) -> bool:
        of_system = name.startswith(_SYSTEM) and not name.startswith(MEMORY)
        return of_system or self.ignored(name)

    def _is_old(self, stamp: Stamp) -> bool:
        newest = max(stamp[2:4], default=0)
        margin = _FINE_NS if newest % _SECOND_NS else _COARSE_NS
        return newest < self.began - margin


def digest_of(paths: Iterable[str], folders: Iterable[str]) -> str:
    """As `Reads.digest`, of paths and folders as they are now."""
    return _hash(map(stamp_of, paths), map(listing_of, folders))


def _hash(paths: Iterable[Stamp], folders: Iterable[tuple[object, ...]]) -> str:
    return hashlib.sha256(repr((list(paths), list(folders))).encode()).hexdigest()


def stamp_of(path: str) -> Stamp:
    """What tells whether a path holds the same as before.

    Of a folder only that it is one: what lies in it is told by `listing_of`.
    """
    try:
        status = _stat(path)
    except FileNotFoundError:
        return ()
    except (OSError, ValueError) as error:
        return (-(getattr(error, "errno", None) or 1),)
    if stat.S_ISDIR(status.st_mode):
        return (status.st_mode, status.st_uid, 0, 0, status.st_ino, status.st_dev)
    return (
        status.st_mode, status.st_size, status.st_mtime_ns, status.st_ctime_ns,
        status.st_ino, status.st_dev,
    )  # fmt: skip


def listing_of(folder: str) -> tuple[object, ...]:
    """Names in a folder, each followed by its stamp, ordered by name; empty where it is none."""
    try:
        names = sorted(os.listdir(folder))  # noqa: PTH208 (thousands of names)
    except (OSError, ValueError):
        return ()
    entries: list[object] = []
    for name in names:
        entries += (name, stamp_of(f"{folder}{os.sep}{name}"))
    return tuple(entries)


def python_files(roots: Sequence[Path]) -> list[str]:
    """Source files below some folders, in their order: the code that works out a result."""
    return sorted(
        f"{folder}{os.sep}{name}"
        for root in roots
        for folder, folders, names in os.walk(root)
        if not _is_cache(folders)
        for name in names
        if not name.endswith(_BYTE_CODE)
    )


def _is_cache(folders: list[str]) -> bool:
    """False; byte code is not entered from here on."""
    with suppress(ValueError):
        folders.remove("__pycache__")
    return False


def installed_distributions() -> list[tuple[str, list[str]]]:
    """What is installed in which version, by the names in the folders of the import path."""
    return [
        (
            folder,
            sorted(file.name for file in Path(folder).iterdir() if file.name.endswith(_INSTALLED)),
        )
        for folder in sys.path
        if Path(folder).is_dir()
    ]


_active: list[Reads] = []
_lock = threading.Lock()
_hooked: list[bool] = []


@contextmanager
def noted(ignored: Callable[[str], bool] = lambda _: False) -> Iterator[Reads]:
    """Within the block, what this process looks at is noted, in whichever thread.

    Args:
        ignored: tells of an absolute path whether it counts for nothing.
    """
    reads = Reads(ignored)
    with _lock:
        if not _hooked:
            _hooked.append(True)
            sys.addaudithook(_hook)
        _active.append(reads)
        os.stat, os.lstat = _telling_stat, _telling_lstat
    try:
        yield reads
    finally:
        with _lock:
            _active.remove(reads)
            if not _active:
                os.stat, os.lstat = _stat, _lstat


def _hook(event: str, arguments: tuple[object, ...]) -> None:
    if not _active:
        return
    if event == "open" and _is_read(*arguments[1:3]):
        if not _by_import(sys._getframe(1).f_code.co_filename):
            _tell(Reads.note, arguments[0])
    elif event in ("os.listdir", "os.scandir"):
        if not _by_import(sys._getframe(1).f_code.co_filename):
            _tell(Reads.note_folder, arguments[0])
    elif event in _ASKING:
        for reads in _active:
            reads.asked = True


def _by_import(file: str) -> bool:
    return file.startswith(_IMPORTING)


_thread = threading.local()


def _tell(note: Callable[[Reads, object], None], path: object) -> None:
    """Have all that is active note a path; noting looks at files itself."""
    if getattr(_thread, "telling", False):
        return
    _thread.telling = True
    try:
        for reads in _active[:]:
            note(reads, path)
    finally:
        _thread.telling = False


def _is_read(mode: object, flags: object = 0) -> bool:
    if isinstance(mode, str):
        return "r" in mode or "+" in mode
    return isinstance(flags, int) and flags & (os.O_WRONLY | os.O_CREAT | os.O_DIRECTORY) == 0


def _absolute(path: object) -> str:
    """A path in full, no links followed; empty for what is none, such as an open file's number."""
    if not isinstance(path, str | bytes | os.PathLike):
        return ""
    try:
        return os.path.abspath(os.fsdecode(path))  # noqa: PTH100  without following links
    except (OSError, ValueError):
        return ""


def _is_library_code(path: object) -> bool:
    """Whether a path is asked about only to tell where imported code lies."""
    return isinstance(path, str) and path.endswith(".py") and path.startswith(_LIBRARIES)


def _telling_stat(
    path: int | str | bytes | os.PathLike[str] | os.PathLike[bytes],
    *,
    dir_fd: int | None = None,
    follow_symlinks: bool = True,
) -> os.stat_result:
    if dir_fd is None and not _is_library_code(path):
        _tell(Reads.note, path)
    return _stat(path, dir_fd=dir_fd, follow_symlinks=follow_symlinks)


def _telling_lstat(
    path: str | bytes | os.PathLike[str] | os.PathLike[bytes], *, dir_fd: int | None = None
) -> os.stat_result:
    if dir_fd is None and not _is_library_code(path):
        _tell(Reads.note, path)
    return _lstat(path, dir_fd=dir_fd)
