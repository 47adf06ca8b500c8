"""The probing set: which images units are probed with, known by the SHA-256 of their bytes.

Names and folders do not matter: a renamed image is the same image. What cannot be read is set
aside with its path and the reason, and the rest goes on. What lies beside the images is counted.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from io import BytesIO
from pathlib import Path
from types import MappingProxyType

import PIL
from PIL import Image

from dnd_assets.errors import StudyError, nearest
from dnd_assets.files.atomic import sha256, write_atomic
from dnd_assets.files.containers.bucket import in_bucket
from dnd_assets.files.containers.bucket_listing import bucket_listing
from dnd_assets.files.containers.container_places import holds_many, read_bytes, state
from dnd_assets.files.containers.slides import is_slide
from dnd_assets.files.image_folders import (
    Listing,
    Skipped,
    how_to_read,
    listing,
    merged,
    shown_name,
    special_kind,
    told_skipped,
)
from dnd_assets.files.image_suffixes import readable_suffixes
from dnd_assets.files.images import FORMATS, UnreadableImage, looked_at
from dnd_assets.files.rasters.extras import EXTRAS, installed
from dnd_assets.files.rasters.reading import AS_FILES_SAY, Reading
from dnd_assets.files.rasters.rendering import doubt_of, near_black_or_white, rendered
from dnd_assets.files.rasters.tiff import STARTS, pages_of
from dnd_assets.files.unreadable import NOT_FINITE
from dnd_assets.study.image_settings import Images, Scenes, World
from dnd_assets.study.study import Study, needed

PROBING = "probing_set"
"""The section that names the images units are probed with."""
_NAMED = 3
_UNREAD = {"unreadable folder": "folder cannot be read", "damaged": "cannot be read"}
"""Skipped entries of a listing that a scan sets aside, with how the reason begins."""
_DECODER = sha256(f"{PIL.__version__} {FORMATS}".encode())[:12]
"""The part of `_decoders` that does not change while a program runs."""
_NO_DATA = '; where they mean that there is no data, write nodata = "nan" under [probing_set]'


@dataclass(frozen=True)
class ImageFile:
    """One file of the probing set.

    Attributes:
        path: where it lies.
        hash: SHA-256 of its bytes; empty when the bytes cannot be read.
        width: pixels, as stored; 0 when unknown.
        height: pixels, as stored; 0 when unknown.
        mode: Pillow's mode as stored (RGB, CMYK, …).
        format: file format (PNG, JPEG, …).
        bytes: size of the file.
        quarantined: why the image is set aside; empty for a sound image.
        animated: whether it has further frames or pages, of which the first alone counts.
        told: which of its bands are shown, and how; empty for pictures of 8 bits for people.
        doubt: why its rendering may show nothing; empty for nothing.
    """

    path: str
    hash: str = ""
    width: int = 0
    height: int = 0
    mode: str = ""
    format: str = ""
    bytes: int = 0
    quarantined: str = ""
    animated: bool = False
    told: str = ""
    doubt: str = ""


@dataclass(frozen=True)
class Manifest:
    """What a scan found.

    Attributes:
        files: every file, sound or quarantined, ordered by path.
        skipped: what lies beside them and is not read.
    """

    files: tuple[ImageFile, ...]
    skipped: tuple[Skipped, ...] = ()

    @property
    def images(self) -> tuple[str, ...]:
        """Hashes of the sound images, ascending, each once."""
        return tuple(sorted({file.hash for file in self.files if not file.quarantined}))

    @property
    def quarantined(self) -> tuple[ImageFile, ...]:
        """The files set aside."""
        return tuple(file for file in self.files if file.quarantined)

    def told(self) -> list[str]:
        """What a reader has to know of the files: those set aside, skipped, read in part."""
        lines = []
        set_aside = self.quarantined
        if set_aside:
            names = "; ".join(f"{file.path}: {file.quarantined}" for file in set_aside[:_NAMED])
            more = "; …" if len(set_aside) > _NAMED else ""
            lines.append(
                f"set aside {len(set_aside):,} of {len(self.files):,} files: {names}{more}"
            )
        if self.skipped:
            lines.append(told_skipped(self.skipped))
        animated = sum(file.animated and not file.quarantined for file in self.files)
        if animated:
            lines.append(f"of {animated:,} files with several frames or pages the first is taken")
        return [*lines, *self._shown(), *self._doubtful()]

    def _shown(self) -> list[str]:
        """How pictures of further bands, bits or types are shown, the most frequent way first."""
        ways = Counter(file.told for file in self.files if file.told and not file.quarantined)
        ordered = sorted(ways.items(), key=lambda item: (-item[1], item[0]))
        lines = [f"{count:,} of {way}" for way, count in ordered[:_NAMED]]
        more = len(ordered) - _NAMED
        if more > 0:
            lines.append(f"{more:,} other kinds of pictures are shown otherwise")
        return lines

    def _doubtful(self) -> list[str]:
        """Warnings of pictures whose rendering shows next to nothing, or what is no picture."""
        kinds: dict[str, list[str]] = {}
        for file in self.files:
            if file.doubt and not file.quarantined:
                kinds.setdefault(file.doubt, []).append(file.path)
        return [
            f"warning: {len(paths):,} of {len(self.files):,} pictures come out {kind}: "
            f"{', '.join(paths[:_NAMED])}{', …' if len(paths) > _NAMED else ''}; see `rendering` "
            "of [probing_set]"
            for kind, paths in sorted(kinds.items())
        ]

    def reasons(self) -> str:
        """Why files are set aside, counted, the most frequent first."""
        counts = Counter(file.quarantined for file in self.quarantined)
        ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
        more = f", and {len(ordered) - _NAMED:,} other reasons" if len(ordered) > _NAMED else ""
        return "; ".join(f"{n:,} x {reason}" for reason, n in ordered[:_NAMED]) + more


def image_paths(study: Study, home: Path, section: str = PROBING) -> list[Path]:
    """The files of `image_files` alone."""
    return list(image_files(study, home, section).files)


def image_files(study: Study, home: Path, section: str = PROBING) -> Listing:
    """The files that a section of the study names, and what lies beside them.

    Args:
        study: the study.
        home: the state folder; generated images go to `home/probing`.
        section: the section that names folders, a list or a generated world.

    Raises:
        StudyError: when a folder or list is missing, the list is no text, or there is not one
            image file.
    """
    images = _images(study, section)
    listings = [_in_folder(study.path(name), name, section, images) for name in images.folders]
    if images.image_list is not None:
        paths = _in_list(study.path(images.image_list), images.image_list, section)
        listings.append(Listing(tuple(paths)))
    if images.world is not None:
        listings.append(Listing(tuple(_world(images.world, home))))
    if images.hard_world is not None:
        listings.append(Listing(tuple(_hard_world(images.hard_world, home))))
    if images.scenes is not None:
        listings.append(Listing(tuple(_tiles(study, images.scenes, home))))
    all_files = merged(listings)
    if not all_files.files:
        raise StudyError(f"the image list {images.image_list!r} names no image; add paths to it.")
    return all_files


def check_paths(study: Study, section: str = PROBING) -> None:
    """See that the folders and list of a section are there, without looking inside.

    Raises:
        StudyError: naming what is missing and what is nearest.
    """
    images = _images(study, section)
    for name in images.folders:
        _check_folder(study.path(name), name, section)
    if images.scenes is not None:
        from dnd_assets.known_answers.land_cover.land_scenes import cover_names, scene_files

        folder = study.path(images.scenes.folder)
        scene_files(folder)
        cover_names(folder)
    if images.image_list is not None:
        _check_list(study.path(images.image_list), images.image_list, section)


def _images(study: Study, section: str) -> Images:
    images: Images | None = getattr(study, section)
    return needed(images, section, study, "images")


def _check_folder(folder: Path, name: str, section: str) -> None:
    if in_bucket(folder) or (folder.is_file() and (holds_many(folder) or is_slide(folder))):
        return
    if not folder.is_dir():
        raise StudyError(f"{section}.folders names {name!r}, but {_missing(folder, 'folder')}")


def _check_list(path: Path, name: str, section: str) -> None:
    if not path.is_file():
        raise StudyError(f"{section}.image_list names {name!r}, but {_missing(path, 'file')}")


def _in_folder(folder: Path, name: str, section: str, images: Images) -> Listing:
    _check_folder(folder, name, section)
    columns, tiles = images.columns.as_read, images.tiles
    if in_bucket(folder):
        contents = bucket_listing(folder, columns)
    else:
        contents = listing(folder, columns, None if tiles is None else tiles.as_read)
    if not contents.files:
        raise StudyError(
            f"folder {shown_name(folder)} {no_images(contents)}. Put images there or name "
            f"another folder under {section}.folders."
        )
    return contents


def no_images(contents: Listing) -> str:
    """What to say of a folder without images: which files would count, and what lies there."""
    description = contents.told() or "it is empty"
    return f"holds no image file ({', '.join(sorted(readable_suffixes()))}); {description}"


def _in_list(path: Path, name: str, section: str) -> list[Path]:
    _check_list(path, name, section)
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise StudyError(f"{path} is no UTF-8 text: {error}. Save the list as UTF-8.") from error
    return [path.parent / line.strip() for line in lines if line.strip()]


def _missing(path: Path, kind: str) -> str:
    if path.parent.is_dir():
        close = nearest(path.name, sorted(p.name for p in path.parent.iterdir()))
        hint = f"{path.parent} holds: {', '.join(close) or 'nothing'}"
    else:
        hint = f"its folder {path.parent} does not exist either"
    return f"there is no {kind} {path}; {hint}. Correct the path in the study."


def _world(world: World, home: Path) -> list[Path]:
    # Imported late: only studies of the generated world need it.
    from dnd_assets.known_answers.world import write_probing_set

    count, seed = world.count, world.seed
    return write_probing_set(home / "probing" / f"known-answers-{count}-{seed}", count, seed)


def _hard_world(world: World, home: Path) -> list[Path]:
    from dnd_assets.known_answers.hard.hard_scenes import write_hard_set

    count, seed = world.count, world.seed
    return write_hard_set(home / "probing" / f"hard-world-{count}-{seed}", count, seed)


def _tiles(study: Study, scenes: Scenes, home: Path) -> list[Path]:
    # Imported late: only studies of land cover need it.
    from dnd_assets.study.scenes import tiles_of

    return [tile.picture for tile in tiles_of(study, scenes, home).tiles]


def scan(
    paths: Sequence[Path],
    max_pixels: int,
    cache: Path | None = None,
    advance: Callable[[int], None] = lambda _: None,
    code: str = "",
    reading: Reading = AS_FILES_SAY,
    states: Mapping[Path, str] = MappingProxyType({}),
) -> Manifest:
    """Read, hash and decode every file once.

    Args:
        paths: the files.
        max_pixels: images with more pixels are quarantined before they are decoded.
        cache: where to remember files that have not changed (by size, times and inode).
        advance: called with the number of files done since the last call.
        code: version of the code that reads them; files that another one saw are read again.
        reading: what the study says of its files.
        states: what changes with the content of files, where that is known already.

    Returns:
        The manifest; it depends on the files' bytes alone.
    """
    cached = _read_cache(cache)
    declared = () if reading == AS_FILES_SAY else (reading,)

    def inspected(path: Path) -> tuple[str, ImageFile]:
        stamp = _stamp(states.get(path) or state(path), max_pixels, code, reading)
        remembered = cached.get(str(path))
        if stamp and remembered and remembered[0] == stamp:
            return stamp, remembered[1]
        return stamp, inspect(path, max_pixels, *declared)

    entries: dict[str, tuple[str, ImageFile]] = {}
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for path, entry in zip(paths, pool.map(inspected, paths), strict=True):
            entries[str(path)] = entry
            advance(1)
    if cache is not None and entries != cached:
        _write_cache(cache, entries)
    return Manifest(tuple(file for _, file in (entries[name] for name in sorted(entries))))


def scan_listing(
    listed: Listing,
    max_pixels: int,
    cache: Path | None = None,
    advance: Callable[[int], None] = lambda _: None,
    code: str = "",
    reading: Reading = AS_FILES_SAY,
) -> Manifest:
    """As `scan`, of a listing: folders and special files that cannot be read are set aside, too."""
    manifest = scan(listed.files, max_pixels, cache, advance, code, reading, listed.states)
    set_aside = [
        ImageFile(shown_name(skipped.path), quarantined=f"{_UNREAD[skipped.why]}: {skipped.detail}")
        for skipped in listed.skipped
        if skipped.why in _UNREAD
    ]
    files = tuple(sorted([*manifest.files, *set_aside], key=lambda file: file.path))
    return Manifest(
        files, tuple(skipped for skipped in listed.skipped if skipped.why not in _UNREAD)
    )


def inspect(path: Path, max_pixels: int, reading: Reading = AS_FILES_SAY) -> ImageFile:
    """Read and decode one file; whatever is wrong with it ends in `quarantined`."""
    try:
        str(path).encode()
    except UnicodeEncodeError:  # bytes of another encoding, which no record could spell
        name = os.fsencode(path).decode("utf-8", "backslashreplace")
        return ImageFile(name, quarantined="its name is no UTF-8 text; rename it")
    name = shown_name(path)
    try:
        special = _special(path)  # asked first: opening a FIFO would wait
        if special:
            return ImageFile(name, quarantined=f"cannot be read: it is a {special}, no file")
        data = read_bytes(path)
    except (OSError, ValueError) as error:  # a name may hold a zero
        reason = getattr(error, "strerror", None) or str(error)
        return ImageFile(name, quarantined=f"cannot be read: {reason}")
    file = ImageFile(name, sha256(data), bytes=len(data))
    try:
        image, raster = looked_at(data, max_pixels, reading)
    except UnreadableImage as error:
        reason = how_to_read(path, data) or error.reason
        if reason == NOT_FINITE:
            reason += _NO_DATA
        return ImageFile(**{**asdict(file), "quarantined": reason})
    if raster is None:
        return replace(_of_pillow(file, data), doubt=near_black_or_white(image))
    rendering = rendered(raster, reading)
    doubt = doubt_of(raster, rendering)
    try:
        image_file = _of_pillow(file, data)
    except (OSError, ValueError, SyntaxError):  # a format, or a TIFF, that Pillow does not open
        image_file = ImageFile(
            file.path, file.hash, *raster.size, raster.mode, raster.kind, file.bytes
        )
    if raster.kind in ("TIFF", "GeoTIFF", "DICOM"):
        image_file = replace(image_file, animated=raster.pages > 1 and reading.pages == "first")
        image_file = replace(image_file, mode=raster.mode, format=raster.kind)
    return replace(image_file, told=rendering.told, doubt=doubt)


def _special(path: Path) -> str:
    """What a place is that is neither file nor folder; empty for others and what lies in files."""
    try:
        return "" if in_bucket(path) else special_kind(path.stat().st_mode)
    except NotADirectoryError:
        return ""


def _of_pillow(file: ImageFile, data: bytes) -> ImageFile:
    """What Pillow says of a picture that it opens."""
    with Image.open(BytesIO(data), formats=FORMATS) as header:
        animated = pages_of(data) > 1 if data.startswith(STARTS) else _animated(header)
        return ImageFile(
            file.path, file.hash, header.width, header.height, header.mode, header.format or "",
            file.bytes, animated=animated,
        )  # fmt: skip


def _animated(image: Image.Image) -> bool:
    """Whether there are further frames; those of MPO, a JPEG with extras, are no pages."""
    try:
        return image.format != "MPO" and bool(getattr(image, "is_animated", False))
    except (OSError, ValueError, SyntaxError, EOFError):  # the first is sound, what follows is not
        return True


def _stamp(file_state: str, max_pixels: int, code: str, reading: Reading) -> str:
    """Changes whenever the file may have, or how it is read; empty when it cannot be looked at."""
    conditions = (
        f"{max_pixels} {_decoders()} {code}{'' if reading == AS_FILES_SAY else f' {reading}'}"
    )
    return f"{file_state} {conditions}" if file_state else ""


def _decoders() -> str:
    """What a remembered verdict on a file rests on, besides the file and the code."""
    return f"{_DECODER} {' '.join(name for name in EXTRAS if installed(name))}"


def _read_cache(cache: Path | None) -> dict[str, tuple[str, ImageFile]]:
    try:
        table = json.loads(cache.read_text(encoding="utf-8")) if cache else {}
        return {path: (stamp, ImageFile(**file)) for path, (stamp, file) in table.items()}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}  # a cache that cannot be read costs time, nothing else


def _write_cache(cache: Path, entries: dict[str, tuple[str, ImageFile]]) -> None:
    table = {path: [stamp, asdict(file)] for path, (stamp, file) in entries.items()}
    write_atomic(cache, json.dumps(table).encode())


def image_rows(files: Iterable[ImageFile]) -> list[dict[str, object]]:
    """Rows of the lineage table `images`."""
    left_out = ("animated", "told", "doubt")
    return [{k: v for k, v in asdict(file).items() if k not in left_out} for file in files]
