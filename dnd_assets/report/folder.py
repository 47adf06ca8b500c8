"""The report's folder: files written only when they differ, old ones removed, nothing else touched.

A manifest lists every file of the report. Files that it does not list belong to someone else: they
are never removed, and a folder that holds nothing but such files is refused.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from dnd_assets.errors import StudyError
from dnd_assets.files.atomic import sha256, write, write_atomic
from dnd_assets.lineage.records import Payload

MANIFEST: Final = "manifest.json"
_VERSION: Final = 1
_OURS: Final = re.compile(
    r"[a-z-]+\.(html|js|css|json)|units/[a-z0-9-]+\.html|data/[a-z0-9-]+\.json|pictures/[0-9a-f]{2}/[0-9a-f]+\.jpg"
)


@dataclass
class Folder:
    """A folder that a report is written to.

    Attributes:
        root: where it is.
        before: size and hash of each file of the report that lay there, by name.
        units: what is known of each unit's page, by unit.
        pictures: width and height of each thumbnail, by name.
        files: the files of the report as it is now.
        worked_out: what took long to work out, with the hash of what decides it, by name.
        written: how many files were written.
        removed: how many were removed.
    """

    root: Path
    before: dict[str, tuple[int, str]] = field(default_factory=dict)
    units: dict[str, Payload] = field(default_factory=dict)
    pictures: dict[str, tuple[int, int]] = field(default_factory=dict)
    files: dict[str, tuple[int, str]] = field(default_factory=dict)
    worked_out: dict[str, dict[str, Any]] = field(default_factory=dict)
    written: int = 0
    removed: int = 0
    _made: set[Path] = field(default_factory=set)

    @classmethod
    def open(cls, root: Path) -> Folder:
        """The folder as the last report left it; empty or absent is fine, too.

        Raises:
            StudyError: when it holds files, but no report.
        """
        manifest = read_manifest(root)
        if manifest is None:
            if root.exists() and (not root.is_dir() or any(root.iterdir())):
                raise StudyError(
                    f"{root} is not empty and holds no report, so nothing is written there. Give "
                    "a new folder: --output atlas."
                )
            return cls(root)
        try:
            if manifest["version"] != _VERSION:
                raise ValueError("another version")
            files = {
                str(name): (int(size), str(digest))
                for name, (size, digest) in manifest["files"].items()
                if _OURS.fullmatch(name)
            }
            pictures = {
                picture: (int(width), int(height))
                for picture, (width, height) in manifest["pictures"].items()
            }
            worked_out = {
                str(name): dict(result) for name, result in manifest["worked_out"].items()
            }
            return cls(root, files, dict(manifest["units"]), pictures, worked_out=worked_out)
        except (KeyError, TypeError, ValueError, AttributeError):
            return cls(root)  # of another version or damaged: all is written anew

    def put(self, name: str, data: bytes) -> None:
        """Make `data` the content of a file; not written when it lies there already."""
        digest = sha256(data)[:32]
        self.files[name] = (len(data), digest)
        if self.before.get(name) == (len(data), digest) and self._has_file(name, len(data)):
            return
        target = self.root / name
        if target.parent not in self._made:
            target.parent.mkdir(parents=True, exist_ok=True)
            self._made.add(target.parent)
        # Renamed, so that a reader never sees a part. Not flushed one by one: ten thousand files
        # would take a minute, and what a crash loses the next report writes again.
        temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
        write(temporary, data)
        temporary.replace(target)
        self.written += 1

    def keep(self, name: str) -> bool:
        """Take over a file of the last report as it is; False when it is gone."""
        size_and_hash = self.before.get(name)
        if size_and_hash is None or not self._has_file(name, size_and_hash[0]):
            return False
        self.files[name] = size_and_hash
        return True

    def once(self, name: str, key: str, work: Callable[[], Payload]) -> Payload:
        """The JSON that `work` returns, or has returned for the last report with the same key."""
        if self.worked_out.get(name, {}).get("key") != key:
            self.worked_out[name] = {"key": key, "found": work()}
        result: Payload = self.worked_out[name]["found"]
        return result

    def _has_file(self, name: str, size: int) -> bool:
        """Whether there is such a file of that many bytes."""
        try:
            return (self.root / name).stat().st_size == size
        except OSError:
            return False

    def finish(self, units: Mapping[str, Mapping[str, object]]) -> None:
        """Write the manifest and remove files of the last report that this one has not."""
        for name in sorted(self.before.keys() - self.files.keys()):
            (self.root / name).unlink(missing_ok=True)
            self.removed += 1
        content = {
            "version": _VERSION,
            "files": self.files,
            "pictures": {
                picture: size for picture, size in self.pictures.items() if picture in self.files
            },
            "units": units,
            "worked_out": self.worked_out,
        }
        data = json.dumps(
            content, ensure_ascii=True, separators=(",", ":"), sort_keys=True
        ).encode()
        write_atomic(self.root / MANIFEST, data)


def read_manifest(root: Path) -> Payload | None:
    """A report's manifest; None where there is none that can be read."""
    try:
        manifest = json.loads((root / MANIFEST).read_bytes())
    except (OSError, ValueError):
        return None
    return manifest if isinstance(manifest, dict) and "files" in manifest else None
