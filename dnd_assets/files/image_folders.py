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
        found = Counter(f.suffix.lower() for f in self.files if f.suffix.lower() in UNDECODABLE)
        parts = [f"{n:,} {suffix} ({UNDECODABLE[suffix]})" for suffix, n in sorted(found.items())]
        told = "not decoded; convert them, for example with the package named"
        lines = [f"{', '.join(parts)} {told}"] if parts else []
        unread = Counter(f.suffix.lower() for f in self.files if lacking(f.suffix.lower()))
        lines += [
            f"{n:,} {suffix} not decoded without the package {BY_PACKAGE[suffix]}; run "
            f"`{how_to_install(BY_PACKAGE[suffix])}`"
            for suffix, n in sorted(unread.items())
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
        return _of_many(folder, columns, tiles, None)
    files: list[Path] = []
    skipped: list[Skipped] = []
    seen: set[tuple[int, int]] = set()
    waiting = [folder]
    linked: list[Path] = []
    many: list[Listing] = []
    while waiting or linked:
        # Links come last, so that a folder is known by its own path where it has one here.
        place = waiting.pop() if waiting else linked.pop()
        try:
            found = place.stat()
            if (found.st_dev, found.st_ino) in seen:
                skipped.append(Skipped(place, "seen before"))
                continue
            seen.add((found.st_dev, found.st_ino))
            entries = sorted(os.scandir(place), key=lambda entry: entry.name, reverse=True)
        except OSError as error:
            skipped.append(Skipped(place, "unreadable folder", error.strerror or str(error)))
            continue
        counted = data_files(place) if any(e.name == "state.json" for e in entries) else None
        for entry in entries:
            path = place / entry.name
            if is_hidden(entry.name):
                skipped.append(Skipped(path, "hidden"))
            elif _is_folder(entry):
                (linked if entry.is_symlink() else waiting).append(path)
            elif (_is_cut(path, tiles) or holds_many(path)) and _is_plain(path):
                many.append(_of_many(path, columns, tiles, counted))
            else:
                why = _why_not(path)
                files.append(path) if why is None else skipped.append(why)
        linked.sort(reverse=True)
    own = Listing(tuple(sorted(files)), tuple(sorted(skipped, key=lambda one: one.path)))
    return merged([own, *many]) if many else own


def _of_many(
    path: Path, columns: Columns, tiles: SlideTiles | None, counted: Collection[str] | None
) -> Listing:
    """What a file of many pictures holds; `counted` are the Arrow files of a saved data set."""
    if _is_cut(path, tiles):
        return _cut(path, tiles)
    if counted is not None and path.suffix == ".arrow" and path.name not in counted:
        return Listing((), (Skipped(path, "no image", "kept by `map` or `filter`"),))
    return _inside(path, columns)


def _is_plain(path: Path) -> bool:
    try:
        return stat.S_ISREG(path.stat().st_mode)
    except OSError:
        return False


def _is_cut(path: Path, tiles: SlideTiles | None) -> bool:
    """Whether a file is a whole slide; of TIFFs only where slides are to be cut."""
    return path.suffix.lower() in SLIDES or (tiles is not None and is_slide(path))


def _cut(file: Path, tiles: SlideTiles | None) -> Listing:
    """The tiles of a whole slide."""
    if tiles is None:
        why = "a whole slide, which is no picture: say tiles = {side = 224} beside its folder"
        return Listing((), (Skipped(file, "damaged", why),))
    return inside(file, partial(tiles_of, file, tiles))


def _inside(file: Path, columns: Columns) -> Listing:
    """The pictures inside a file of many, and what else is in it."""
    return inside(file, lambda: container(file, columns).contents())


def inside(file: Path, look: Callable[[], Contents]) -> Listing:
    """The pictures inside a file of many, and what else is in it.

    Args:
        file: its place.
        look: reads its directory.
    """
    try:
        held = look()
    except OSError as error:
        return Listing((), (Skipped(file, "damaged", error.strerror or str(error)),))
    skipped = [
        Skipped(file / name, "seen before" if kind == "seen before" else "no image", kind)
        for name, kind in held.others
    ]
    if held.damage:
        skipped.append(Skipped(file, "damaged", held.damage))
    elif not held.pictures and not held.others:
        skipped.append(Skipped(file, "no image", f"{file.suffix} without pictures"))
    return Listing(tuple(file / name for name in held.pictures), tuple(skipped))


def merged(listings: Iterable[Listing]) -> Listing:
    """Several listings as one, each path once."""
    every = list(listings)
    files = {path for one in every for path in one.files}
    skipped = {one.path: one for some in every for one in some.skipped if one.path not in files}
    states = {path: state for one in every for path, state in one.states.items()}
    return Listing(tuple(sorted(files)), tuple(skipped[path] for path in sorted(skipped)), states)


def told_skipped(skipped: Iterable[Skipped]) -> str:
    """Things left out, counted by kind, with the first names; empty for nothing."""
    every = list(skipped)
    if not every:
        return ""
    counts = Counter(one.kind for one in every)
    kinds = ", ".join(f"{count:,} {kind}" for kind, count in sorted(counts.items()))
    loud = sorted(every, key=lambda one: (not one.loud, one.path))
    names = ", ".join(shown_name(one.path) for one in loud[:_NAMED])
    more = ", …" if len(every) > _NAMED else ""
    return f"skipped {len(every):,}: {kinds} (such as {names}{more})"


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


def _why_not(path: Path) -> Skipped | None:
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
