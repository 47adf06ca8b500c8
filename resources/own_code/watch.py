"""What own code does while it runs: which files it opens, which variables it reads.

Python tells of every file that it opens through an audit hook, and of every folder that is listed.
Reading an environment variable raises no such event, so `os.environ` tells for the time being, and
so does `safetensors`, which opens files without Python. What C libraries open by themselves (HDF5,
OpenCV, Parquet) is not seen.
"""

from __future__ import annotations

import importlib.util
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any, Final

from resources.own_code.own_places import OURS, PREFIX, PROJECT, is_system

_OPENED: Final = "open"
_LISTED: Final = frozenset({"os.listdir", "os.scandir"})
_IMPORTING: Final = "<frozen importlib"
_OURS: Final = tuple(f"{PROJECT / name}{os.sep}" for name in OURS)
_SYSTEM_MODULES: Final = (
    "os", "_collections_abc", "collections.abc", "posixpath", "glob", "pathlib", "fnmatch",
)  # fmt: skip


@dataclass
class Watch:
    """What own code was seen to use.

    Attributes:
        direct: whether what this project opens meanwhile is opened for own code.
        files: that were opened to be read.
        sources: Python files that were imported.
        folders: that own code listed.
        environment: variables that own code read.
        whole_environment: whether it went through all of them; then only texts in the code can
            tell which it uses.
        packages: top-level names of installed modules that own code imported.
    """

    direct: bool = True
    files: set[Path] = field(default_factory=set)
    sources: set[Path] = field(default_factory=set)
    folders: set[Path] = field(default_factory=set)
    environment: set[str] = field(default_factory=set)
    whole_environment: bool = False
    packages: set[str] = field(default_factory=set)


class _ThreadWatches(threading.local):
    """The watches that are on in this thread, outermost first."""

    def __init__(self) -> None:
        self.watches: list[Watch] = []


_thread = _ThreadWatches()
_lock = threading.Lock()
_installed: list[bool] = []
_watching = [0]


@contextmanager
def watching(*, direct: bool = True) -> Iterator[Watch]:
    """Within the block, what own code does in this thread is noted; see `Watch`."""
    watch = Watch(direct)
    _install()
    _thread.watches.append(watch)
    try:
        with _telling_environment():
            yield watch
    finally:
        _thread.watches.remove(watch)


def tell_import(top: str) -> None:
    """Note that own code imports an installed module."""
    for watch in _thread.watches:
        watch.packages.add(top)


def is_own(frame: FrameType) -> bool:
    """Whether code that runs is the user's own."""
    return str(frame.f_globals.get("__name__", "")).startswith(PREFIX)


def _install() -> None:
    with _lock:
        if not _installed:
            _installed.append(True)
            sys.addaudithook(_hook)
    _wrap_safetensors()


def _hook(event: str, arguments: tuple[object, ...]) -> None:
    if not _thread.watches:
        return
    if event == _OPENED and _is_read(*arguments[1:3]):
        _opened(arguments[0])
    elif event in _LISTED and arguments and _by_own(sys._getframe(1)):
        path = _path(arguments[0] or ".")
        for watch in _thread.watches if path else ():
            watch.folders.add(Path(path))


def _is_read(mode: object, flags: object = 0) -> bool:
    if isinstance(mode, str):
        return "r" in mode or "+" in mode
    return isinstance(flags, int) and flags & (os.O_WRONLY | os.O_DIRECTORY) == 0


def _opened(file: object) -> None:
    path = _path(file)
    if not path or is_system(path):
        return
    opener = _opener(sys._getframe(2))
    for watch in _thread.watches:
        if opener == "own" or (opener == "ours" and watch.direct):
            watch.files.add(Path(path))
        elif opener == "import" and path.endswith((".py", ".pyc")):
            watch.sources.add(_source(path))


def _source(path: str) -> Path:
    """The source of byte code, or the source itself."""
    try:
        return Path(importlib.util.source_from_cache(path))
    except ValueError:
        return Path(path)


def _path(file: object) -> str:
    if not isinstance(file, str | bytes | os.PathLike):
        return ""
    return os.path.abspath(os.fsdecode(file))  # noqa: PTH100  without following links


def _opener(frame: FrameType | None) -> str:
    """Who opens a file: own code, this project, or the import of a library."""
    while frame is not None:
        if is_own(frame):
            return "own"
        if frame.f_code.co_filename.startswith(_IMPORTING):
            return "import"
        if frame.f_code.co_filename.startswith(_OURS):
            return "ours"
        frame = frame.f_back
    return "ours"


def _by_own(frame: FrameType | None) -> bool:
    """Whether the nearest code outside Python's own file modules is the user's."""
    while frame is not None and frame.f_globals.get("__name__") in (*_SYSTEM_MODULES, __name__):
        frame = frame.f_back
    return frame is not None and is_own(frame)


def _telling_getitem(self: object, key: object) -> object:
    if _thread.watches and isinstance(key, str) and _by_own(sys._getframe(1)):
        for watch in _thread.watches:
            if not watch.whole_environment:
                watch.environment.add(key)
    return _plain_getitem(self, key)


def _telling_iter(self: object) -> Iterator[object]:
    if _thread.watches and _by_own(sys._getframe(1)):
        for watch in _thread.watches:
            watch.whole_environment = True
    return iter(_plain_iter(self))


_ENVIRONMENT: Any = type(os.environ)
_plain_getitem = _ENVIRONMENT.__getitem__
_plain_iter = _ENVIRONMENT.__iter__


@contextmanager
def _telling_environment() -> Iterator[None]:
    with _lock:
        _watching[0] += 1
        _ENVIRONMENT.__getitem__ = _telling_getitem
        _ENVIRONMENT.__iter__ = _telling_iter
    try:
        yield
    finally:
        with _lock:
            _watching[0] -= 1
            if not _watching[0]:
                _ENVIRONMENT.__getitem__ = _plain_getitem
                _ENVIRONMENT.__iter__ = _plain_iter


def _wrap_safetensors() -> None:
    """Have `safe_open` tell; its modules for numpy and torch take it from here when imported."""
    import safetensors

    original = safetensors.safe_open
    if hasattr(original, "plain"):
        return

    def safe_open(filename: str, *args: Any, **options: Any) -> object:
        if _thread.watches:
            _opened(filename)
        return original(filename, *args, **options)

    safe_open.plain = original  # type: ignore[attr-defined]
    for module in list(sys.modules.values()):
        if getattr(module, "__dict__", {}).get("safe_open") is original:
            module.__dict__["safe_open"] = safe_open
