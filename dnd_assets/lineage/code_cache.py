"""Code versions that were worked out before, kept in the user's cache folder.

Working a version out reads and follows the syntax trees of a few hundred functions, which takes
seconds; hashing all source files takes some hundredths of one. A kept version counts only for the
very same bytes of all source files, names and Python version.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import sys
import tempfile
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import cache, cached_property
from pathlib import Path

from dnd_assets.lineage.code_limits import PACKAGES

_MOST_FILES = 16
_VERSION = re.compile(r"[0-9a-f]{12}")


def cache_folder() -> Path:
    """The user's cache folder of this project: `DND_CACHE`, or `dnd` in the usual place."""
    folder = os.environ.get("DND_CACHE")
    if folder:
        return Path(folder).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "dnd"


@cache
def project_versions() -> CodeVersions:
    """The code versions of the project that is running."""
    return CodeVersions(Path(__file__).resolve().parents[2], PACKAGES)


class CodeVersions:
    """The code versions that were worked out for one state of the source files.

    They lie in a file of the cache. Where it is missing, damaged, or cannot be written, versions
    are worked out again, which costs time and changes nothing.
    """

    def __init__(self, root: Path, packages: Iterable[str]) -> None:
        """With the folder of the packages, and their names."""
        self._root, self._packages = root, sorted(packages)

    def version(self, key: str, work_out: Callable[[], str]) -> str:
        """The version kept under `key`, or else what `work_out` returns, which is kept then."""
        if key not in self._stored:
            self._stored[key] = work_out()
            self._write()
        return self._stored[key]

    @cached_property
    def _file(self) -> Path:
        sources = hashlib.sha256(sys.version.encode())
        for package in self._packages:
            for path in sorted((self._root / package).rglob("*.py")):
                content = path.read_bytes()
                name = path.relative_to(self._root).as_posix()
                sources.update(f"\0{name}\0{len(content)}\0".encode())
                sources.update(content)
        return cache_folder() / "code-versions" / f"{sources.hexdigest()[:32]}.json"

    @cached_property
    def _stored(self) -> dict[str, str]:
        try:
            content = json.loads(self._file.read_text(encoding="utf-8"))
        except (OSError, RuntimeError, ValueError):
            return {}
        if not isinstance(content, dict):
            return {}
        return {
            key: version
            for key, version in content.items()
            if isinstance(version, str) and _VERSION.fullmatch(version)
        }

    def _write(self) -> None:
        with suppress(OSError, RuntimeError):  # no room, no right, or no home folder
            self._file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            handle, name = tempfile.mkstemp(dir=self._file.parent, suffix=".part")
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                json.dump(self._stored, file, sort_keys=True)
            Path(name).replace(self._file)
            self._forget_old()

    def _forget_old(self) -> None:
        files = sorted(self._file.parent.iterdir(), key=lambda file: file.stat().st_mtime)
        for file in files[:-_MOST_FILES]:
            file.unlink(missing_ok=True)
