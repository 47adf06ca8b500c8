"""Shards of WebDataset: TAR files of samples, whose files have one name before the first dot.

The directory of a shard is read once from its headers; a picture then is a range of its bytes.
"""

from __future__ import annotations

import json
import tarfile
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import PurePosixPath
from typing import Final

from dnd_assets.files.containers.contents import Contents, MemberError, PictureTruth, Source

SUFFIX: Final = ".tar"
_CAPTIONS: Final = ("txt", "caption", "text")
_LABELS: Final = ("cls", "label", "class")
_BOTH: Final = "json"
_NOTES: Final = frozenset({*_CAPTIONS, *_LABELS, _BOTH})
_JSON_CAPTIONS: Final = ("caption", "text", "txt", "description")
_JSON_LABELS: Final = ("label", "cls", "class", "class_name")
_LONGEST_NOTE: Final = 1 << 20


class TarShard:
    """One shard.

    Attributes:
        source: the file.
        suffixes: suffixes of pictures, lower case, with the dot.
    """

    def __init__(self, source: Source, suffixes: frozenset[str]) -> None:
        self.source = source
        self.suffixes = suffixes

    def contents(self) -> Contents:
        """See `Container`. Of two members of one name the later one counts, as TAR has it."""
        members, replaced, damage = self._directory
        pictures = tuple(name for name in members if self._is_picture(name))
        others = [(name, _kind(name)) for name in members if name not in set(pictures)]
        unread = [(name, kind) for name, kind in others if kind[1:] not in _NOTES]
        return Contents(pictures, (*unread, *replaced), damage)

    def read(self, name: str) -> bytes:
        """See `Container`."""
        extent = self._directory[0].get(name)
        if extent is None:
            raise MemberError(f"{self.source.place} holds no member {name!r}")
        start, size = extent
        if size < 0:
            raise MemberError(f"member {name!r} of {self.source.place} is a link, no file")
        data = self.source.range(start, size) if size else b""
        if len(data) != size:
            raise MemberError(
                f"{self.source.place} is cut: member {name!r} has {len(data):,} of {size:,} bytes"
            )
        return data

    def truths(self) -> Mapping[str, PictureTruth]:
        """See `Container`: `.txt`, `.cls` and `.json` beside a picture, of one name.

        Raises:
            OSError: when one of them cannot be read.
        """
        members = self._directory[0]
        notes: dict[str, dict[str, str]] = {}
        for name in members:
            stem, kind = _sample(name)
            if kind in _NOTES:
                notes.setdefault(stem, {})[kind] = name
        by_picture = {}
        for name in filter(self._is_picture, members):
            sidecars = notes.get(_sample(name)[0])
            if sidecars:
                by_picture[name] = self._picture_truth(sidecars)
        return by_picture

    def _picture_truth(self, sidecars: Mapping[str, str]) -> PictureTruth:
        fields = self._json_fields(sidecars[_BOTH]) if _BOTH in sidecars else {}
        caption = self._first(sidecars, _CAPTIONS) or _text(fields, _JSON_CAPTIONS)
        label = self._first(sidecars, _LABELS) or _text(fields, _JSON_LABELS)
        return PictureTruth(caption, label)

    def _first(self, sidecars: Mapping[str, str], kinds: tuple[str, ...]) -> str:
        for kind in kinds:
            if kind in sidecars:
                return self._note(sidecars[kind])
        return ""

    def _note(self, name: str) -> str:
        if self._directory[0][name][1] > _LONGEST_NOTE:
            raise MemberError(f"member {name!r} of {self.source.place} is too long for a text")
        try:
            return " ".join(self.read(name).decode("utf-8-sig").split())
        except UnicodeDecodeError as error:
            raise MemberError(
                f"member {name!r} of {self.source.place} is no UTF-8 text: {error}"
            ) from error

    def _json_fields(self, name: str) -> Mapping[str, object]:
        try:
            fields: object = json.loads(self._note(name))
        except ValueError as error:
            raise MemberError(
                f"member {name!r} of {self.source.place} is no JSON: {error}"
            ) from error
        return fields if isinstance(fields, dict) else {}

    def _is_picture(self, name: str) -> bool:
        return f".{_sample(name)[1]}" in self.suffixes

    @cached_property
    def _directory(self) -> tuple[dict[str, tuple[int, int]], list[tuple[str, str]], str]:
        """Start and size of each member by name; members that later ones replace; damage."""
        extents: dict[str, tuple[int, int]] = {}
        replaced: list[tuple[str, str]] = []
        damage = ""
        try:
            for name, start, size in _members(self.source):
                if name in extents:
                    replaced.append((f"{name} (earlier)", "seen before"))
                extents[name] = (start, size)
        except (tarfile.TarError, ValueError, EOFError) as error:
            damage = f"its directory is damaged after {len(extents):,} members: {error}"
        return extents, replaced, damage


def _members(source: Source) -> Iterator[tuple[str, int, int]]:
    """Name, start and size of each member that is no folder; a link has size -1.

    Raises:
        TarError: where headers are damaged, after the members before.
    """
    with source.open() as file, tarfile.open(fileobj=file, mode="r:") as archive:
        while (member := archive.next()) is not None:
            # A name cannot lead out of the shard: it is looked up among these.
            parts = [part for part in member.name.split("/") if part not in ("", ".")]
            if parts and not member.isdir():
                size = member.size if member.isreg() and not member.issparse() else -1
                yield "/".join(parts), member.offset_data, size
            # Headers of a million members would be kept otherwise.
            archive.members = []  # type: ignore[attr-defined]
        # tarfile takes a damaged header for the end, which is a block of zeros.
        file.seek(archive.offset)
        if file.read(tarfile.BLOCKSIZE).strip(b"\0"):
            raise tarfile.ReadError(f"no header at byte {archive.offset:,}")


def _sample(name: str) -> tuple[str, str]:
    """What is before the first dot of a file's name, with its folders, and what is after it."""
    path = PurePosixPath(name)
    stem, _, kind = path.name.partition(".")
    return f"{path.parent}/{stem}", kind.lower()


def _kind(name: str) -> str:
    kind = _sample(name)[1]
    return f".{kind}" if kind else ""


def _text(fields: Mapping[str, object], names: tuple[str, ...]) -> str:
    for name in names:
        value = fields.get(name)
        if isinstance(value, str | int) and not isinstance(value, bool):
            return " ".join(str(value).split())
    return ""
