"""Folders of images: what counts as an image file, and what is left out, with the reason.

Nothing is left out in silence: whatever lies in a folder is either a file to be read or an entry
of `Listing.skipped`, so that both together account for all of it.
"""

from __future__ import annotations

import os
import stat
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Final, Literal

from dnd_assets.files.containers.bucket import as_url, in_bucket
from dnd_assets.files.containers.container_places import container, holds_many
from dnd_assets.files.containers.contents import AS_TABLES_SAY, Columns, Contents, SlideTiles
from dnd_assets.files.containers.slides import SUFFIXES as SLIDES
from dnd_assets.files.containers.slides import is_slide, tiles_of
from dnd_assets.files.containers.tables import data_files
from dnd_assets.files.image_suffixes import (
    BRANDS,
    SNIFFED_OF_DICOM,
    UNDECODABLE,
    lacking,
    starts_as_picture,
    suffixes_of_pictures,
)
from dnd_assets.files.rasters.extras import how_to_install
from dnd_assets.files.rasters.raster_formats import BY_PACKAGE

Why = Literal[
    "hidden", "no image", "special", "broken link", "unreadable folder", "damaged", "seen before",
]  # fmt: skip
_HIDDEN: Final = frozenset(
    {"__macosx", "@eadir", "thumbs.db", "ehthumbs.db", "desktop.ini", "$recycle.bin",
     "system volume information"}
)  # fmt: skip
"""Names that systems give to what is no content; lower case. So are all that begin with a dot."""
_NAMED: Final = 3


@dataclass(frozen=True)
class Skipped:
    """Something in a folder that is not read.

    Attributes:
        path: where it lies.
        why: what it is.
        detail: suffix of a file, kind of a special file, or what the system says.
    """

    path: Path
    why: Why
    detail: str = ""

    @property
    def kind(self) -> str:
        """What it is counted as."""
        if self.why == "no image":
            return self.detail or "without suffix"
        return self.detail if self.why == "special" else self.why

    @property
    def loud(self) -> bool:
        """Whether it may have been meant to be read."""
        return self.why not in ("hidden", "no image", "seen before")


@dataclass(frozen=True)
class Listing:
    """What lies in some folders.

    Attributes:
        files: files to be read, ordered by path, each once; pictures inside a file have its path
            followed by their own.
        skipped: all else, ordered by path.
        states: of files whose state is known already, what changes with their content.
    """

    files: tuple[Path, ...]
    skipped: tuple[Skipped, ...] = ()
    states: Mapping[Path, str] = field(default_factory=dict)

    def told(self) -> str:
        """What was left out, counted by kind, with the first names; empty for nothing."""
        return told_skipped(self.skipped)

    def undecodable(self) -> str:
        """Files whose suffix tells that they cannot be decoded, counted; empty for none."""
        counts = Counter(
            file.suffix.lower() for file in self.files if file.suffix.lower() in UNDECODABLE
        )
        parts = [
            f"{count:,} {suffix} ({UNDECODABLE[suffix]})"
            for suffix, count in sorted(counts.items())
        ]
        advice = "not decoded; convert them, for example with the package named"
        lines = [f"{', '.join(parts)} {advice}"] if parts else []
        unread = Counter(file.suffix.lower() for file in self.files if lacking(file.suffix.lower()))
        lines += [
            f"{count:,} {suffix} not decoded without the package {BY_PACKAGE[suffix]}; run "
            f"`{how_to_install(BY_PACKAGE[suffix])}`"
            for suffix, count in sorted(unread.items())
        ]
        return "; ".join(lines)


def listing(
    folder: Path, columns: Columns = AS_TABLES_SAY, tiles: SlideTiles | None = None
) -> Listing:
    """Every image file in a folder and below it, and what else lies there.

    Links to files and folders are followed, a folder that is reached again is not gone into twice.
    Hidden files and folders are skipped. What has the suffix of an image, of a known format that
    cannot be decoded too, is a file to be read, so that it is set aside by name; so is a file
    without suffix whose first bytes are an image's. FIFOs, sockets and devices are never opened.
    Of files that hold many pictures each of these counts.

    Args:
        folder: the folder, or a file of many pictures; a hidden one is gone into when it is named
            itself.
        columns: which columns of tables are which.
        tiles: how whole slides are cut; without it they are set aside, but for TIFFs, which are
            read as pictures then.
    """
    if folder.is_file():
        return _list_file_of_many(folder, columns, tiles, None)
    files: list[Path] = []
    skipped: list[Skipped] = []
    visited: set[tuple[int, int]] = set()
    pending = [folder]
    links: list[Path] = []
    containers: list[Listing] = []
    while pending or links:
        # Links come last, so that a folder is known by its own path where it has one here.
        current = pending.pop() if pending else links.pop()
        try:
            status = current.stat()
            if (status.st_dev, status.st_ino) in visited:
                skipped.append(Skipped(current, "seen before"))
                continue
            visited.add((status.st_dev, status.st_ino))
            entries = sorted(os.scandir(current), key=lambda entry: entry.name, reverse=True)
        except OSError as error:
            skipped.append(Skipped(current, "unreadable folder", error.strerror or str(error)))
            continue
        arrow_files = data_files(current) if any(e.name == "state.json" for e in entries) else None
        for entry in entries:
            path = current / entry.name
            if is_hidden(entry.name):
                skipped.append(Skipped(path, "hidden"))
            elif _is_folder(entry):
                (links if entry.is_symlink() else pending).append(path)
            elif (_is_whole_slide(path, tiles) or holds_many(path)) and _is_regular_file(path):
                containers.append(_list_file_of_many(path, columns, tiles, arrow_files))
            else:
                skip = _skip_reason(path)
                files.append(path) if skip is None else skipped.append(skip)
        links.sort(reverse=True)
    direct = Listing(tuple(sorted(files)), tuple(sorted(skipped, key=lambda item: item.path)))
    return merged([direct, *containers]) if containers else direct


def _list_file_of_many(
    path: Path, columns: Columns, tiles: SlideTiles | None, arrow_files: Collection[str] | None
) -> Listing:
    """What a file of many pictures holds; `counted` are the Arrow files of a saved data set."""
    if _is_whole_slide(path, tiles):
        return _list_slide(path, tiles)
    if arrow_files is not None and path.suffix == ".arrow" and path.name not in arrow_files:
        return Listing((), (Skipped(path, "no image", "kept by `map` or `filter`"),))
    return _list_pictures_inside(path, columns)


def _is_regular_file(path: Path) -> bool:
    try:
        return stat.S_ISREG(path.stat().st_mode)
    except OSError:
        return False


def _is_whole_slide(path: Path, tiles: SlideTiles | None) -> bool:
    """Whether a file is a whole slide; of TIFFs only where slides are to be cut."""
    return path.suffix.lower() in SLIDES or (tiles is not None and is_slide(path))


def _list_slide(file: Path, tiles: SlideTiles | None) -> Listing:
    """The tiles of a whole slide."""
    if tiles is None:
        advice = "a whole slide, which is no picture: say tiles = {side = 224} beside its folder"
        return Listing((), (Skipped(file, "damaged", advice),))
    return inside(file, partial(tiles_of, file, tiles))


def _list_pictures_inside(file: Path, columns: Columns) -> Listing:
    """The pictures inside a file of many, and what else is in it."""
    return inside(file, lambda: container(file, columns).contents())


def inside(file: Path, look: Callable[[], Contents]) -> Listing:
    """The pictures inside a file of many, and what else is in it.

    Args:
        file: its place.
        look: reads its directory.
    """
    try:
        contents = look()
    except OSError as error:
        return Listing((), (Skipped(file, "damaged", error.strerror or str(error)),))
    skipped = [
        Skipped(file / name, "seen before" if kind == "seen before" else "no image", kind)
        for name, kind in contents.others
    ]
    if contents.damage:
        skipped.append(Skipped(file, "damaged", contents.damage))
    elif not contents.pictures and not contents.others:
        skipped.append(Skipped(file, "no image", f"{file.suffix} without pictures"))
    return Listing(tuple(file / name for name in contents.pictures), tuple(skipped))


def merged(listings: Iterable[Listing]) -> Listing:
    """Several listings as one, each path once."""
    parts = list(listings)
    files = {path for part in parts for path in part.files}
    skipped = {item.path: item for part in parts for item in part.skipped if item.path not in files}
    states = {path: state for part in parts for path, state in part.states.items()}
    return Listing(tuple(sorted(files)), tuple(skipped[path] for path in sorted(skipped)), states)


def told_skipped(skipped: Iterable[Skipped]) -> str:
    """Things left out, counted by kind, with the first names; empty for nothing."""
    items = list(skipped)
    if not items:
        return ""
    counts = Counter(item.kind for item in items)
    kinds = ", ".join(f"{count:,} {kind}" for kind, count in sorted(counts.items()))
    loud_first = sorted(items, key=lambda item: (not item.loud, item.path))
    names = ", ".join(shown_name(item.path) for item in loud_first[:_NAMED])
    more = ", …" if len(items) > _NAMED else ""
    return f"skipped {len(items):,}: {kinds} (such as {names}{more})"


def is_hidden(name: str) -> bool:
    """Whether a name is of what systems and programs keep for themselves."""
    return name.startswith(".") or name.lower() in _HIDDEN


def shown_name(path: Path | str) -> str:
    """A path as text that every file and terminal can spell; other bytes as escapes."""
    name = as_url(path) if in_bucket(path) else path
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def special_kind(mode: int) -> str:
    """What a file is that is neither file nor folder: FIFO, socket or device; else empty."""
    kinds = {stat.S_IFIFO: "FIFO", stat.S_IFSOCK: "socket", stat.S_IFCHR: "device",
             stat.S_IFBLK: "device"}  # fmt: skip
    return kinds.get(stat.S_IFMT(mode), "")


def how_to_read(path: Path, data: bytes) -> str:
    """For an image that is not decoded here: its format and what reads it; else empty."""
    suffix = path.suffix.lower()
    if data[4:8] == b"ftyp":
        suffix = BRANDS.get(data[8:12], suffix)
    elif data.startswith((b"\xff\x0a", b"\0\0\0\x0cJXL ")):
        suffix = ".jxl"
    package = UNDECODABLE.get(suffix, "")
    if not package:
        return ""
    return (
        f"{suffix[1:].upper()} is not decoded here; convert it to PNG or JPEG, for example with "
        f"the Python package {package}"
    )


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a loop of links
        return False


def _skip_reason(path: Path) -> Skipped | None:
    """Why a file is not read; None for one that is. Broken images are read, to be set aside."""
    suffix = path.suffix.lower()
    if suffix in suffixes_of_pictures():
        return None
    try:
        mode = path.stat().st_mode
    except OSError:
        return Skipped(path, "broken link", "broken link")
    if special_kind(mode):
        return Skipped(path, "special", special_kind(mode))
    # 'frame.0001' has no suffix that could tell what it is.
    if (not suffix or suffix[1:].isdigit()) and _starts_as_image(path):
        return None
    return Skipped(path, "no image", suffix)


def _starts_as_image(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            data = file.read(SNIFFED_OF_DICOM)
    except OSError:
        return True  # it is set aside with what the system says
    return starts_as_picture(data)
