"""The journal: an append-only folder of segments, one for a commit, numbered in their order.

A segment is written once, under a number that must be free, and never changed. Many are united into
a pack (`compact`), which holds what each of them held, under the range of their numbers.
Whatever lies in a pack's range counts no more, so that a journal says the same before, during and
after compaction, also where that is cut off.

    00000000000000000042.json                           a segment
    00000000000000000001-00000000000000000041.jsonl     a pack: its segments' names, then their rows
    01793000000000000000-3f2a1b-0123456789abcdef.json   a segment of earlier versions: time, content
"""

from __future__ import annotations

import json
import os
import re
from bisect import bisect_right
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from dnd_assets.errors import LineageError
from dnd_assets.files import atomic
from dnd_assets.files.atomic import sha256, write_atomic, write_new
from dnd_assets.lineage.fingerprint import canonical

Row = Mapping[str, object]
SegmentRows = Mapping[str, Sequence[Row]]
"""What one commit recorded, by table."""

_NUMBERED = re.compile(r"(\d{20})(?:-(\d{20}))?\.jsonl?")
_EARLIER = re.compile(r"(\d{20})-[0-9a-f]{6}-([0-9a-f]{16})\.json")
_HASH = b'{"sha256":"'
_CONTENT = len(_HASH) + 64 + len(b'",')
"""Where the hashed content of a segment begins: after the hash."""
_GENERATION = ".compacted"
"""File that is written anew before a compaction frees numbers, so that others look again."""
_REMOVERS = 16
_PACK_BYTES = 8_000_000
"""Packs are about so large at most: they are read whole, and a larger one would be lost whole."""


@dataclass(frozen=True)
class _Position:
    """The newest segment number that this process knows, and the state of the folder then."""

    folder_id: tuple[int, int]
    generation: tuple[int, int] | None
    number: int


_POSITIONS: dict[str, _Position] = {}
"""By folder. Verified at each commit by a write that must not find the next number taken."""


@dataclass(frozen=True)
class Journal:
    """The segments in one folder.

    Whoever appends or compacts holds the lock of the state folder. Who reads needs none.

    Attributes:
        folder: where they lie.
    """

    folder: Path

    def segments(self) -> list[str]:
        """Names of segments and packs, in their order; none where there is no journal.

        Raises:
            LineageError: when it is there and may not be read.
        """
        names = _standing(self._listed())
        while True:
            # A pack that appeared while the folder was listed may have taken away what it holds.
            later_names = _standing(self._listed())
            if set(names) <= set(later_names):
                return later_names
            names = later_names

    def append(self, data: bytes) -> str:
        """Write a segment with the next number, and return its name.

        No listing: the number after the newest that this process knows is tried, and where others
        have written meanwhile, the first free one after theirs.

        Args:
            data: canonical JSON of the rows by table.
        """
        content = _sealed(b'"rows":' + data + b"}\n")
        number = self._newest() + 1
        while True:
            name = f"{number:020d}.json"
            try:
                write_new(self.folder / name, content)
            except FileExistsError:
                number = self._free_after(number)
                continue
            status = self.folder.stat()
            folder_id = status.st_dev, status.st_ino
            _POSITIONS[str(self.folder)] = _Position(folder_id, self._generation(), number)
            return name

    def read(self, name: str) -> dict[str, SegmentRows]:
        """The rows of a segment by its name; of a pack, those of all that it holds, in order.

        Raises:
            LineageError: when its content has changed.
            FileNotFoundError: when it is gone, into a pack maybe.
        """
        with open(f"{self.folder}/{name}", "rb") as file:  # noqa: PTH123 (30,000 of them)
            data = file.read()
        if not sound(name, data):
            raise LineageError(
                f"journal segment {self.folder / name} has changed since it was written. Restore "
                "it from a copy, or remove it: what it recorded is then computed anew."
            )
        return dict(_members(name, data))

    def changed(self) -> list[str]:
        """Names of those whose content is not what was written, oldest first."""
        return [
            name for name in self.segments() if not sound(name, (self.folder / name).read_bytes())
        ]

    def compact(self, least: int = 2) -> int:
        """Unite segments into packs, where there are so many that could be; how many went in.

        The newest segment stays. What went into a pack is removed when the pack has been read back.
        Cut off anywhere, it leaves a journal of the same rows; the next compaction tidies up.

        Raises:
            LineageError: when a segment has changed; nothing is removed then.
            StoreError: when the disk refuses; says where.
        """
        self._tidy()
        names = self.segments()[:-1]
        if len(names) < least:
            return 0
        packs = [self._pack(group) for group in self._groups(names) if len(group) > 1]
        if packs:
            self._tidy()
        return sum(packs)

    def _groups(self, names: Sequence[str]) -> Iterator[list[str]]:
        """Names in their order, cut where a pack becomes too large."""
        group: list[str] = []
        size = 0
        for name in names:
            file_size = (self.folder / name).stat().st_size
            if group and size + file_size > _PACK_BYTES:
                yield group
                group, size = [], 0
            group.append(name)
            size += file_size
        yield group

    def _pack(self, names: Sequence[str]) -> int:
        """Write what segments and packs hold into one pack."""
        members = {member: rows for name in names for member, rows in self.read(name).items()}
        lines = [canonical(rows).encode() for rows in members.values()]
        head = b'"segments":' + json.dumps(list(members)).encode() + b"}"
        name = f"{_first(names[0]):020d}-{_last(names[-1]):020d}.jsonl"
        write_atomic(self.folder / name, _sealed(b"\n".join([head, *lines, b""])))
        if self.read(name) != members:
            raise LineageError(f"{self.folder / name} does not read as it was written")
        return len(names)

    def _tidy(self) -> None:
        """Remove segments that packs hold, after reading these packs once more."""
        listed = self._listed()
        standing = _standing(listed)
        covered = sorted(set(listed) - set(standing))
        if not covered:
            return
        packs = [
            pack for pack in standing if is_pack(pack) and outside(covered, [pack]) < {*covered}
        ]
        packed = {member for pack in packs for member in self.read(pack)}
        redundant = [
            name
            for name in covered
            if name in packed or (is_pack(name) and self.read(name).keys() <= packed)
        ]
        write_atomic(self.folder / _GENERATION, covered[-1].encode())
        with ThreadPoolExecutor(_REMOVERS) as pool:  # some file systems take 5 ms for each
            deque(pool.map(atomic.remove, (self.folder / name for name in redundant)), maxlen=0)

    def _listed(self) -> list[str]:
        try:
            names = os.listdir(self.folder)  # noqa: PTH208 (30,000 of them)
            return [name for name in names if name.endswith((".json", ".jsonl"))]
        except (FileNotFoundError, NotADirectoryError):
            return []
        except OSError as error:
            raise LineageError(
                f"{self.folder} cannot be read: {error.strerror or error}. Ask whoever owns the "
                "results for leave to read that folder and all above it."
            ) from error

    def _newest(self) -> int:
        """The newest number that is known here; the folder is listed once in a process."""
        position = _POSITIONS.get(str(self.folder))
        with suppress(OSError):
            status = self.folder.stat()
            current = (status.st_dev, status.st_ino), self._generation()
            unchanged = (
                position is not None and (position.folder_id, position.generation) == current
            )
            if position and unchanged and self._is_taken(position.number):
                return position.number
        return max((_last(name) for name in self._listed()), default=0)

    def _free_after(self, number: int) -> int:
        """The first free number after one that is taken; those between are taken, too."""
        step = 1
        while self._is_taken(number + step):
            number, step = number + step, 2 * step
        while step > 1:
            step //= 2
            if self._is_taken(number + step):
                number += step
        return number + 1

    def _is_taken(self, number: int) -> bool:
        return (self.folder / f"{number:020d}.json").exists()

    def _generation(self) -> tuple[int, int] | None:
        try:
            status = (self.folder / _GENERATION).stat()
        except OSError:
            return None
        return status.st_ino, status.st_mtime_ns


def sound(name: str, data: bytes) -> bool:
    """Whether a segment's content is what was written."""
    earlier = _EARLIER.fullmatch(name)
    if earlier:
        return sha256(data)[:16] == earlier[2]
    return data == _sealed(data[_CONTENT:])


def within(name: str, pack: str) -> bool:
    """Whether a pack holds what a segment, or another pack, does."""
    return name != pack and _first(pack) <= _first(name) and _last(name) <= _last(pack)


def outside(names: Iterable[str], others: Iterable[str]) -> set[str]:
    """Those of `names` that lie in the range of no pack among `others`."""
    ranges = sorted((_first(pack), _last(pack)) for pack in others if is_pack(pack))
    firsts = [first for first, _ in ranges]

    def inside(name: str) -> bool:
        index = bisect_right(firsts, _first(name))
        return index > 0 and _last(name) <= ranges[index - 1][1]

    return {name for name in names if not inside(name)}


def is_pack(name: str) -> bool:
    """Whether a name is that of a pack."""
    return name.endswith(".jsonl")


def _members(name: str, data: bytes) -> Iterator[tuple[str, SegmentRows]]:
    if _EARLIER.fullmatch(name):
        yield name, json.loads(data)
    elif is_pack(name):
        head, *lines = data.splitlines()
        yield from zip(json.loads(head)["segments"], map(json.loads, lines), strict=True)
    else:
        yield name, json.loads(data)["rows"]


def _sealed(content: bytes) -> bytes:
    """Content of a segment preceded by its hash; the whole is still JSON."""
    return _HASH + sha256(content).encode() + b'",' + content


def _standing(names: Iterable[str]) -> list[str]:
    """Names in their order, without those in the range of a pack."""
    standing: list[str] = []
    packed = -1  # the last number of the newest pack so far
    ranges = {name: _range(name) for name in names}
    for name in sorted(ranges, key=lambda name: (ranges[name][0], -ranges[name][1], name)):
        last = ranges[name][1]
        if last > packed:
            standing.append(name)
            packed = last if is_pack(name) else packed
    return standing


def _first(name: str) -> int:
    return _range(name)[0]


def _last(name: str) -> int:
    return _range(name)[1]


def _range(name: str) -> tuple[int, int]:
    """First and last number of what a segment or pack holds."""
    match = _NUMBERED.fullmatch(name)
    if match:
        return int(match[1]), int(match[2] or match[1])
    earlier = _EARLIER.fullmatch(name)
    number = int(earlier[1]) if earlier else 0
    return number, number
