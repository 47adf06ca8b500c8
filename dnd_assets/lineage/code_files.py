"""The project's source files as they were when a process began to run them.

Code versions are read from these files when they are first asked for. A file that was written in
between, by an update or an editor, says something else than what the process runs; a product would
then be recorded, and reused later, as the work of code that never made it.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from dnd_assets.errors import DndError

Stamp = tuple[int, int]
"""When a file was written, in nanoseconds, and its size in bytes."""


class SourceFiles:
    """Source files of some packages, and whether they are still what they were.

    Args:
        root: folder of the packages.
        packages: their names.
    """

    def __init__(self, root: Path, packages: Iterable[str]) -> None:
        self._began = {
            file: stamp for name in packages for file, stamp in _stamps(str(root / name))
        }

    def read(self, file: Path) -> bytes:
        """What a file holds.

        Raises:
            DndError: when it was written since.
        """
        with file.open("rb") as source:
            found = os.fstat(source.fileno())
            if self._began.get(str(file)) != (found.st_mtime_ns, found.st_size):
                raise DndError(
                    f"{file} was written while this process ran, so that its results could not be "
                    "told from those of the new code. Nothing was recorded of them, and finished "
                    "work is kept. Run again; restart `dnd ui` or the notebook's kernel."
                )
            return source.read()


def _stamps(folder: str) -> Iterator[tuple[str, Stamp]]:
    if not Path(folder).is_dir():
        return
    for entry in os.scandir(folder):
        if entry.is_dir():
            yield from _stamps(entry.path)
        elif entry.name.endswith(".py"):
            found = entry.stat()
            yield entry.path, (found.st_mtime_ns, found.st_size)
