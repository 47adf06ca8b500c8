"""Copies on this machine of files that lie elsewhere, as many as there is room for."""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock

from dnd_assets.errors import StoreError
from dnd_assets.files.atomic import sha256, write_atomic

ROOM = "DND_STORE_CACHE_GB"
"""Environment variable: room for copies, in gigabytes; 10 when it is not set."""
_DEFAULT_GB = 10.0


@dataclass
class LocalCopies:
    """A bounded folder of copies; the ones that were used last stay.

    Attributes:
        folder: where they lie.
        room: bytes that they may take together.
    """

    folder: Path
    room: int
    _used_bytes: int = -1
    _guard: Lock = field(default_factory=Lock)

    def get(self, name: str) -> bytes | None:
        """The copy of a file, if it is there and unchanged."""
        path = self.folder / name
        try:
            data = path.read_bytes()
            os.utime(path)
        except OSError:
            return None
        if sha256(data) != name.partition(".")[0]:
            self.forget(name)
            return None
        return data

    def keep(self, name: str, data: bytes) -> None:
        """Keep a copy, and drop those that were not used longest where room is short."""
        if len(data) > self.room:
            return
        try:
            write_atomic(self.folder / name, data)
        except StoreError:  # no room on the disk: the file itself lies elsewhere
            return
        with self._guard:
            if self._used_bytes < 0:
                self._used_bytes = sum(size for _, size, _ in self._all())
            else:
                self._used_bytes += len(data)
            if self._used_bytes > self.room:
                self._make_room()

    def forget(self, name: str) -> None:
        """Drop a copy."""
        with suppress(OSError):
            (self.folder / name).unlink(missing_ok=True)

    def _make_room(self) -> None:
        copies = sorted(self._all())
        self._used_bytes = sum(size for _, size, _ in copies)
        for _, size, path in copies:
            if self._used_bytes <= self.room:
                return
            with suppress(OSError):
                path.unlink(missing_ok=True)
            self._used_bytes -= size

    def _all(self) -> list[tuple[int, int, Path]]:
        """Time of last use (ns), bytes and path of each copy."""
        copies = []
        for path in self.folder.iterdir():
            with suppress(OSError):  # another process dropped it
                status = path.stat()
                copies.append((status.st_mtime_ns, status.st_size, path))
        return copies


def copies_of(address: str) -> LocalCopies:
    """The copies on this machine of what lies at an address, in the user's cache folder.

    Raises:
        StoreError: when `DND_STORE_CACHE_GB` is no number.
    """
    base = os.environ.get("DND_CACHE")
    if base is None:
        base = str(Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "dnd")
    setting = os.environ.get(ROOM) or str(_DEFAULT_GB)
    try:
        room = int(float(setting) * 1e9)
    except ValueError:
        raise StoreError(f"{ROOM} is {setting!r}, not a number of gigabytes such as 10") from None
    folder = Path(base).expanduser() / "artefacts" / sha256(address.encode())[:16]
    return LocalCopies(folder, room)
