"""Where pictures lie: in files of their own, inside files of many, in buckets; and their bytes."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Final

from dnd_assets.files.containers import bucket, tables
from dnd_assets.files.containers.contents import (
    AS_TABLES_SAY,
    Columns,
    Container,
    PictureTruth,
    Source,
)
from dnd_assets.files.containers.slides import is_tile, read_tile
from dnd_assets.files.containers.tables import PictureTable
from dnd_assets.files.containers.tar_shards import SUFFIX, TarShard
from dnd_assets.files.image_suffixes import starts_as_picture, suffixes_of_pictures

SUFFIXES: Final = frozenset({SUFFIX, *tables.SUFFIXES})
"""Suffixes of files that hold many pictures, lower case."""


def holds_many(place: Path | str) -> bool:
    """Whether a file is one of many pictures, by its suffix."""
    return Path(place).suffix.lower() in SUFFIXES


def read_bytes(place: Path | str) -> bytes:
    """The bytes of a picture, wherever it lies.

    Args:
        place: a file; a member of a file of many; either in a bucket.

    Raises:
        OSError: when it is not there or cannot be read.
        BucketError: when its bucket cannot be read.
    """
    path = Path(place)
    file, name = _split(path)
    if is_tile(name):
        return read_tile(file, name)
    if name:
        return container(file).read(name)
    return bucket.read(path) if bucket.in_bucket(path) else path.read_bytes()


def exists(place: Path | str) -> bool:
    """Whether there is a picture at a place; of a member, whether its file is there."""
    path = Path(place)
    file, name = _split(path)
    if bucket.in_bucket(path):
        return bool(bucket.state(file))
    return path.is_file() or bool(name)


def state(place: Path | str) -> str:
    """Changes with the content of a place; empty where there is nothing.

    Raises:
        BucketError: when its bucket cannot be read.
    """
    path = Path(place)
    file, _ = _split(path)
    if bucket.in_bucket(path):
        return bucket.state(file)
    try:
        stat = file.stat()
    except (OSError, ValueError):
        return ""
    return f"{stat.st_size} {stat.st_mtime_ns} {stat.st_ctime_ns} {stat.st_ino}"


def home_of(place: Path) -> Path | None:
    """The shard or table that a place lies in; None for a file of its own and for tiles."""
    file, name = _split(place)
    return file if name and not is_tile(name) else None


def container(place: Path | str, columns: Columns = AS_TABLES_SAY) -> Container:
    """A file of many pictures, its directory read once for each of its states.

    Raises:
        OSError: when it is not there.
        BucketError: when its bucket cannot be read.
    """
    current_state = state(place)
    if not current_state:
        raise FileNotFoundError(2, "there is no such file", str(place))
    return _container(str(place), current_state, columns)


def truths_of(place: Path, columns: Columns = AS_TABLES_SAY) -> Mapping[Path, PictureTruth]:
    """What a file of many pictures says of each, by its place.

    Raises:
        OSError: when it cannot be read.
    """
    return {place / name: truth for name, truth in container(place, columns).truths().items()}


@lru_cache(maxsize=64)
def _container(place: str, _state: str, columns: Columns) -> Container:
    source = _source(Path(place))
    if place.lower().endswith(SUFFIX):
        return TarShard(source, suffixes_of_pictures())
    return PictureTable(source, columns, starts_as_picture)


def _source(path: Path) -> Source:
    if bucket.in_bucket(path):
        return bucket.opened(path)

    def read_range(start: int, length: int) -> bytes:
        with path.open("rb") as file:
            file.seek(start)
            return file.read(length)

    return Source(str(path), state(path), path.stat().st_size, lambda: path.open("rb"), read_range)


def _split(path: Path) -> tuple[Path, str]:
    """The file that a place lies in, and its name there; empty for a file of its own."""
    for parent, name, is_file_there in _possible_homes(path):
        if is_file_there or parent.is_file():
            return parent, name
    return path, ""


@lru_cache(maxsize=1 << 16)
def _possible_homes(path: Path) -> tuple[tuple[Path, str, bool], ...]:
    """Files that a place may lie in by its name, the nearest first; most places have none.

    Each with the place's name there, and whether it counts as a file unseen, as in a bucket.
    """
    homes = []
    for parent in path.parents:
        name = path.relative_to(parent).as_posix()
        if is_tile(name):
            homes.append((parent, name, False))
        if holds_many(parent):
            homes.append((parent, name, bucket.in_bucket(parent)))
    return tuple(homes)
