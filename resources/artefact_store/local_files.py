"""Where the store's files lie: what any place has to give, and a folder."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from dnd_assets.files.atomic import sha256_file, write_atomic

DAMAGED = ".damaged"
"""What a file's name ends in, instead of its own ending, once it is out of use."""


class Files(Protocol):
    """A place of whole files by name, `<sha256>.<extension>`."""

    def read(self, name: str) -> bytes:
        """The bytes of a file as they are there.

        Raises:
            OSError: when it is not there, or the place does not answer.
        """
        ...

    def write(self, name: str, data: bytes) -> None:
        """Have a file be there, whole or not at all; one that is there and sound is left alone.

        Raises:
            StoreError: when the place refuses it.
        """
        ...

    def size(self, name: str) -> int:
        """Bytes of a file; -1 when it is not there."""
        ...

    def names(self) -> dict[str, int]:
        """Bytes of every file that is there, by name, those of nobody included."""
        ...

    def content_hash(self, name: str) -> str:
        """SHA-256 of what is there; empty when nothing is."""
        ...

    def remove(self, name: str) -> None:
        """Remove a file, if it is there."""
        ...

    def set_aside(self, name: str) -> None:
        """Rename a file so that it is out of use and can be looked at."""
        ...


def set_aside_name(name: str) -> str:
    """What a file is called once it is out of use."""
    return name.rpartition(".")[0] + DAMAGED


@dataclass(frozen=True)
class FolderFiles:
    """Files below a folder, in folders named after their first two letters.

    Attributes:
        folder: the folder.
    """

    folder: Path

    def path(self, name: str) -> Path:
        """Where a file lies."""
        return self.folder / name[:2] / name

    def read(self, name: str) -> bytes:
        """See `Files`."""
        return self.path(name).read_bytes()

    def write(self, name: str, data: bytes) -> None:
        """See `Files`."""
        if self.size(name) == len(data):
            if self.content_hash(name) == name.partition(".")[0]:
                return
            self.set_aside(name)
        write_atomic(self.path(name), data)

    def size(self, name: str) -> int:
        """See `Files`."""
        path = self.path(name)
        try:
            return path.stat().st_size if path.is_file() else -1
        except OSError:
            return -1

    def names(self) -> dict[str, int]:
        """See `Files`."""
        return {path.name: path.stat().st_size for path in self.folder.rglob("*") if path.is_file()}

    def content_hash(self, name: str) -> str:
        """See `Files`."""
        try:
            return next((sha256_file(path) for path in self._all(name)), "")
        except OSError:
            return ""

    def remove(self, name: str) -> None:
        """See `Files`; also where somebody put it into another folder."""
        for path in self._all(name):
            path.unlink(missing_ok=True)

    def set_aside(self, name: str) -> None:
        """See `Files`."""
        with suppress(OSError):  # another process may have done so
            self.path(name).replace(self.path(name).with_suffix(DAMAGED))

    def _all(self, name: str) -> Iterator[Path]:
        if self.path(name).is_file():
            yield self.path(name)
        else:
            yield from self.folder.rglob(name)
