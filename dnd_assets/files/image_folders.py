"""Folders of images: what counts as an image file, and what is left out, with the reason.

Nothing is left out in silence: whatever lies in a folder is either a file to be read or an entry
of `Listing.skipped`, so that both together account for all of it.
"""

from __future__ import annotations

import os
import stat
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final, Literal

from PIL import Image

from dnd_assets.files.images import FORMATS
from dnd_assets.files.rasters.dicom import is_dicom
from dnd_assets.files.rasters.extras import how_to_install, installed
from dnd_assets.files.rasters.formats import BY_PACKAGE, SUFFIXES

Why = Literal["hidden", "no image", "special", "broken link", "unreadable folder", "seen before"]
_HIDDEN: Final = frozenset(
    {"__macosx", "@eadir", "thumbs.db", "ehthumbs.db", "desktop.ini", "$recycle.bin",
     "system volume information"}
)  # fmt: skip
"""Names that systems give to what is no content; lower case. So are all that begin with a dot."""
UNDECODABLE: Final[Mapping[str, str]] = {
    **dict.fromkeys((".heic", ".heif", ".hif"), "pillow-heif"),
    ".jxl": "pillow-jxl-plugin",
    **dict.fromkeys((".cr2", ".cr3", ".nef", ".arw", ".dng", ".orf", ".raf", ".rw2"), "rawpy"),
    **dict.fromkeys((".svg", ".svgz"), "cairosvg"),
    ".exr": "OpenEXR",
    ".hdr": "imageio",
}
"""Suffixes of images that are not decoded here, with the Python package that reads them."""
_STARTS: Final = (
    b"\xff\xd8\xff", b"\x89PNG", b"GIF8", b"BM", b"II*\0", b"MM\0*", b"II+\0", b"MM\0+",
    b"\x93NUMPY", b"EHFA_HEADER_TAG", b"NITF",
    b"\0\0\0\x0cjP", b"\xff\x4f\xff\x51", b"qoif", *(b"P%d" % n for n in range(1, 7)),
)  # fmt: skip
_BRANDS: Final[Mapping[bytes, str]] = {
    **dict.fromkeys((b"heic", b"heix", b"heim", b"hevc", b"mif1", b"msf1"), ".heic"),
}
_SNIFFED: Final = 32
_SNIFFED_OF_DICOM: Final = 132
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
        files: files to be read, ordered by path, each once.
        skipped: all else, ordered by path.
    """

    files: tuple[Path, ...]
    skipped: tuple[Skipped, ...] = ()

    def told(self) -> str:
        """What was left out, counted by kind, with the first names; empty for nothing."""
        return told_skipped(self.skipped)

    def undecodable(self) -> str:
        """Files whose suffix tells that they cannot be decoded, counted; empty for none."""
        found = Counter(f.suffix.lower() for f in self.files if f.suffix.lower() in UNDECODABLE)
        parts = [f"{n:,} {suffix} ({UNDECODABLE[suffix]})" for suffix, n in sorted(found.items())]
        told = "not decoded; convert them, for example with the package named"
        lines = [f"{', '.join(parts)} {told}"] if parts else []
        lacking = Counter(f.suffix.lower() for f in self.files if _lacking(f.suffix.lower()))
        lines += [
            f"{n:,} {suffix} not decoded without the package {BY_PACKAGE[suffix]}; run "
            f"`{how_to_install(BY_PACKAGE[suffix])}`"
            for suffix, n in sorted(lacking.items())
        ]
        return "; ".join(lines)


@cache
def readable_suffixes() -> frozenset[str]:
    """Suffixes of the formats that are decoded, lower case: those that Pillow registers, others."""
    Image.init()
    known = Image.registered_extensions()
    # MPO is JPEG with extras, and opened as JPEG.
    usual = frozenset(suffix for suffix, kind in known.items() if kind in (*FORMATS, "MPO"))
    return usual | SUFFIXES | frozenset(one for one in BY_PACKAGE if not _lacking(one))


def _lacking(suffix: str) -> bool:
    """Whether files of a suffix are read by a package that is not installed."""
    return suffix in BY_PACKAGE and not installed(BY_PACKAGE[suffix])


def listing(folder: Path) -> Listing:
    """Every image file in a folder and below it, and what else lies there.

    Links to files and folders are followed, a folder that is reached again is not gone into twice.
    Hidden files and folders are skipped. What has the suffix of an image, of a known format that
    cannot be decoded too, is a file to be read, so that it is set aside by name; so is a file
    without suffix whose first bytes are an image's. FIFOs, sockets and devices are never opened.

    Args:
        folder: the folder; a hidden one is gone into when it is named itself.
    """
    files: list[Path] = []
    skipped: list[Skipped] = []
    seen: set[tuple[int, int]] = set()
    waiting = [folder]
    linked: list[Path] = []
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
        for entry in entries:
            path = place / entry.name
            if is_hidden(entry.name):
                skipped.append(Skipped(path, "hidden"))
            elif _is_folder(entry):
                (linked if entry.is_symlink() else waiting).append(path)
            else:
                why = _why_not(path)
                files.append(path) if why is None else skipped.append(why)
        linked.sort(reverse=True)
    return Listing(tuple(sorted(files)), tuple(sorted(skipped, key=lambda one: one.path)))


def merged(listings: Iterable[Listing]) -> Listing:
    """Several listings as one, each path once."""
    every = list(listings)
    files = {path for one in every for path in one.files}
    skipped = {one.path: one for some in every for one in some.skipped if one.path not in files}
    return Listing(tuple(sorted(files)), tuple(skipped[path] for path in sorted(skipped)))


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
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def special_kind(mode: int) -> str:
    """What a file is that is neither file nor folder: FIFO, socket or device; else empty."""
    kinds = {stat.S_IFIFO: "FIFO", stat.S_IFSOCK: "socket", stat.S_IFCHR: "device",
             stat.S_IFBLK: "device"}  # fmt: skip
    return kinds.get(stat.S_IFMT(mode), "")


def how_to_read(path: Path, data: bytes) -> str:
    """For an image that is not decoded here: its format and what reads it; else empty."""
    suffix = path.suffix.lower()
    if data[4:8] == b"ftyp":
        suffix = _BRANDS.get(data[8:12], suffix)
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
    if suffix in readable_suffixes() or suffix in UNDECODABLE or suffix in BY_PACKAGE:
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
            data = file.read(_SNIFFED_OF_DICOM)
    except OSError:
        return True  # it is set aside with what the system says
    start = data[:_SNIFFED]
    webp = start[:4] == b"RIFF" and start[8:12] == b"WEBP"
    return start.startswith(_STARTS) or webp or start[4:8] == b"ftyp" or is_dicom(data)
