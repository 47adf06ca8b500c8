"""Pixel labels from folders: which concept is where on which image.

Three layouts are read: a table of masks (`mask_table`), Broden (`broden`), and index masks as of
ADE20K (`index_masks`). Reading a layout opens every file's header, sets aside what cannot be used,
with the reason, and gives a `MaskSet`; pixels are decoded image by image when asked for.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from dnd_assets.errors import DndError, StudyError, nearest, not_found
from dnd_assets.files.image_folders import listing, shown_name
from dnd_assets.files.images import FORMATS

Encoding = Literal["binary", "broden", "index"]

_MODES: Final[Mapping[Encoding, tuple[str, ...]]] = {
    "binary": ("1", "L", "P"),
    "broden": ("RGB", "RGBA"),
    "index": ("1", "L", "P", "I", "I;16"),
}
_ORIENTATION: Final = 274
_QUARTER_TURNS: Final = (5, 6, 7, 8)
_BRODEN_COLUMNS: Final = ("image", "split", "ih", "iw", "sh", "sw")


@dataclass(frozen=True)
class Concept:
    """A concept that masks are labelled with.

    Attributes:
        name: what it is called.
        category: the kind of labels it belongs to, such as object or colour. An image without any
            label of a category says nothing about the concepts of that category.
    """

    name: str
    category: str

    def __str__(self) -> str:
        return f"{self.name} ({self.category})"


@dataclass(frozen=True)
class MaskLayer:
    """One source of labels of an image.

    Attributes:
        path: a PNG of codes; None where one code is true of the whole image.
        encoding: what its pixels mean. binary: 1 where a pixel is more than half of the largest,
            else 0; broden: red + 256 green; index: the pixel itself.
        concepts: positions of concepts by code; pixels of other codes are not labelled.
    """

    path: Path | None
    encoding: Encoding
    concepts: Mapping[int, tuple[int, ...]]


@dataclass(frozen=True)
class MaskedImage:
    """An image with its labels.

    Attributes:
        file: the image.
        size: width and height of its masks, in pixels.
        layers: where its labels come from.
        picture: width and height of the image itself, in pixels, as seen.
    """

    file: Path
    size: tuple[int, int]
    layers: tuple[MaskLayer, ...]
    picture: tuple[int, int]


@dataclass(frozen=True)
class SetAside:
    """Something that was not used.

    Attributes:
        file: the image, or what the table calls it.
        reason: why.
    """

    file: str
    reason: str


@dataclass(frozen=True)
class MaskSet:
    """Images with pixel labels.

    Attributes:
        concepts: in the order of the tables.
        images: those that can be used, in the order of the table or of their names.
        set_aside: those that cannot.
    """

    concepts: tuple[Concept, ...]
    images: tuple[MaskedImage, ...]
    set_aside: tuple[SetAside, ...]

    def masks(
        self, image: MaskedImage, read: Callable[[Path], bytes] = Path.read_bytes
    ) -> tuple[list[int], NDArray[np.bool_]]:
        """Where the concepts are on an image.

        Args:
            image: one of `images`.
            read: gives the bytes of a mask file; may raise a `DndError` of its own.

        Returns:
            Positions of the labelled concepts, ascending, (n,), and bool masks, (n, H, W). In a
            table of masks a concept is labelled by its row, even where the mask is empty; else
            by having a pixel.

        Raises:
            StudyError: when a mask file is gone, damaged, or of another size than it was.
        """
        width, height = image.size
        by_concept: dict[int, NDArray[np.bool_]] = {}
        for layer in image.layers:
            codes = _codes(layer, image.size, read)
            present = [1] if layer.encoding == "binary" else np.unique(codes).tolist()
            for code in present:
                for concept in layer.concepts.get(code, ()):
                    empty = np.zeros((height, width), dtype=bool)
                    by_concept[concept] = by_concept.get(concept, empty) | (codes == code)
        order = sorted(by_concept)
        stacked = [by_concept[concept] for concept in order]
        return order, np.array(stacked, dtype=bool).reshape(len(order), height, width)


def mask_table(
    table: Path, images: Path, masks: Path, concept_columns: Sequence[str] = ("caption",)
) -> MaskSet:
    """A folder of PNG masks with a table: columns `file`, `mask`, and concepts.

    Each row says that an image shows a concept where the mask is on. An image with several masks
    has several rows. Each concept column is a category of its own; an empty cell labels nothing.

    Args:
        table: CSV, UTF-8.
        images: folder of the column `file`.
        masks: folder of the column `mask`; 1-bit or 8-bit PNG of the size of the image.
        concept_columns: columns that name concepts.

    Raises:
        NotFoundError: when the table is missing.
        StudyError: when columns are missing, or no row can be used.
    """
    if not concept_columns:
        raise StudyError("no concept column was named; name at least one, for example 'caption'")
    _, rows = _read_table(table, ("file", "mask", *concept_columns))
    concepts = _Concepts()
    layers: dict[str, list[tuple[MaskLayer, tuple[int, int]]]] = {}
    set_aside: list[SetAside] = []
    for row in rows:
        try:
            size = _image_size(_inside(images, row["file"]))
            row_concepts = [
                Concept(row[column].strip(), column)
                for column in concept_columns
                if row[column].strip()
            ]
            path = _binary_mask(_inside(masks, row["mask"]), size, row_concepts)
        except _UnusableError as error:
            set_aside.append(SetAside(row["file"], error.reason))
            continue
        layer = MaskLayer(path, "binary", {1: concepts.positions(row_concepts)})
        layers.setdefault(row["file"], []).append((layer, size))
    masked_images = [
        MaskedImage(
            images / name, entries[0][1], tuple(layer for layer, _ in entries), entries[0][1]
        )
        for name, entries in layers.items()
    ]
    return _mask_set(concepts.known, masked_images, set_aside, str(table))


def broden(folder: Path, split: str | None = None) -> MaskSet:
    """Broden's layout: `index.csv`, `label.csv`, and `images/` with pictures and codes.

    In `index.csv` every category has a column: PNG files of codes (red + 256 green) or whole-image
    codes, separated by `;`. `label.csv` names the codes. Masks have a size of their own, `sw` x
    `sh`; they are smaller than the pictures. A concept is a name in a category; where `label.csv`
    has the column `category`, as in `object(1290);part(4)`, only in those.

    Args:
        folder: the folder that holds them, such as `broden1_224`.
        split: only the images of this split (train, val); all where None.

    Raises:
        NotFoundError: when a table or the split is missing.
        StudyError: when columns are missing, a number is none, or no image can be used.
    """
    header, rows = _read_table(folder / "index.csv", _BRODEN_COLUMNS)
    categories = [column for column in header if column not in _BRODEN_COLUMNS]
    labels = _broden_labels(folder / "label.csv", categories)
    splits = list(dict.fromkeys(row["split"] for row in rows))
    if split is not None and split not in splits:
        raise not_found("split", split, splits, f"Splits are those of {folder / 'index.csv'}.")
    concepts = _Concepts()
    codes: dict[str, dict[int, tuple[int, ...]]] = {category: {} for category in categories}
    for number, concept in labels:
        codes[concept.category][number] = concepts.positions([concept])
    masked_images, set_aside = [], []
    for row in rows:
        if split is None or row["split"] == split:
            try:
                masked_images.append(_broden_image(folder / "images", row, codes))
            except _UnusableError as error:
                set_aside.append(SetAside(row["image"], error.reason))
    return _mask_set(concepts.known, masked_images, set_aside, str(folder))


def index_masks(images: Path, masks: Path, names: Path, category: str = "object") -> MaskSet:
    """Index masks: a PNG for each image, of the same name, whose pixels number concepts (ADE20K).

    Args:
        images: folder of the images.
        masks: folder of the masks; 8-bit, palette or 16-bit PNG of the size of the image.
        names: what the numbers mean: CSV with the columns `index` (or `idx`) and `name`, or a JSON
            object of number to name. Numbers that are not named are pixels without label, such as
            0 in ADE20K.
        category: of all concepts.

    Raises:
        NotFoundError: when a folder or the names are missing.
        StudyError: when the names cannot be read, or no image can be used.
    """
    for folder in (images, masks):
        if not folder.is_dir():
            siblings = (
                [sibling.name for sibling in folder.parent.iterdir()]
                if folder.parent.is_dir()
                else []
            )
            raise not_found("folder", folder.name, sorted(siblings), f"Looked in {folder.parent}.")
    concepts = _Concepts()
    codes = {
        code: concepts.positions([Concept(name, category)]) for code, name in _names(names).items()
    }
    masked_images, set_aside = [], []
    contents = listing(images)
    set_aside += [
        SetAside(shown_name(skipped.path), skipped.why)
        for skipped in contents.skipped
        if skipped.loud
    ]
    for file in contents.files:
        mask = masks / file.relative_to(images).with_suffix(".png")
        try:
            size = _image_size(file)
            _check_mask(mask, size, "index")
        except _UnusableError as error:
            set_aside.append(SetAside(file.name, error.reason))
            continue
        masked_images.append(MaskedImage(file, size, (MaskLayer(mask, "index", codes),), size))
    return _mask_set(concepts.known, masked_images, set_aside, str(images))


class _UnusableError(Exception):
    """One image cannot be used."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class _Concepts:
    """Concepts with their positions, in the order in which they are first asked for."""

    def __init__(self) -> None:
        self._known: dict[Concept, int] = {}

    @property
    def known(self) -> tuple[Concept, ...]:
        return tuple(self._known)

    def positions(self, concepts: Iterable[Concept]) -> tuple[int, ...]:
        return tuple(self._known.setdefault(concept, len(self._known)) for concept in concepts)


def _mask_set(
    concepts: tuple[Concept, ...], images: list[MaskedImage], set_aside: list[SetAside], source: str
) -> MaskSet:
    if not images:
        first = f"; the first, {set_aside[0].file}: {set_aside[0].reason}" if set_aside else ""
        raise StudyError(
            f"{source} gives no image with masks: {len(set_aside):,} were set aside{first}. Check "
            "that the folders of images and of masks are the right ones"
        )
    return MaskSet(concepts, tuple(images), tuple(set_aside))


def _binary_mask(path: Path, size: tuple[int, int], concepts: Sequence[Concept]) -> Path:
    """`path`, if it is a mask that can be used."""
    if not concepts:
        raise _UnusableError("the row names no concept")
    _check_mask(path, size, "binary")
    return path


def _broden_image(
    images: Path, row: Mapping[str, str], codes: Mapping[str, Mapping[int, tuple[int, ...]]]
) -> MaskedImage:
    file = _inside(images, row["image"])
    if not row["sw"].isdecimal() or not row["sh"].isdecimal():
        raise _UnusableError(f"the size of its masks, {row['sw']!r} x {row['sh']!r}, is no number")
    size = int(row["sw"]), int(row["sh"])
    picture = _image_size(file)
    layers = []
    for category, concepts in codes.items():
        for entry in filter(None, map(str.strip, row[category].split(";"))):
            if entry.isdecimal():
                whole_image = {0: concepts[int(entry)]} if int(entry) in concepts else {}
                layers.append(MaskLayer(None, "broden", whole_image))
            else:
                path = _inside(images, entry)
                _check_mask(path, size, "broden")
                layers.append(MaskLayer(path, "broden", concepts))
    return MaskedImage(file, size, tuple(layers), picture)


def _broden_labels(path: Path, categories: Sequence[str]) -> list[tuple[int, Concept]]:
    """Every code with its concepts, one for each category; code 0 is no label."""
    _, rows = _read_table(path, ("number", "name"))
    names = _numbered(rows, "number", "name", path)
    labels = []
    for row, (number, name) in zip(rows, names.items(), strict=True):
        listed = re.sub(r"\(\d*\)", "", row["category"]).split(";") if "category" in row else []
        fitting = [category for category in categories if not listed or category in listed]
        labels += [(number, Concept(name, category)) for category in fitting if number != 0]
    return labels


def _names(path: Path) -> dict[int, str]:
    if path.suffix.lower() == ".json":
        return _json_names(path)
    header, _ = _read_table(path, ())
    lowered = {column.lower(): column for column in header}
    index = lowered.get("index") or lowered.get("idx") or "index"
    _, rows = _read_table(path, (index, lowered.get("name", "name")))
    return _numbered(rows, index, lowered["name"], path)


def _json_names(path: Path) -> dict[int, str]:
    try:
        names = json.loads(_read_text(path))
    except json.JSONDecodeError as error:
        raise StudyError(f"{path} is no JSON ({error}); mend it") from error
    if not isinstance(names, dict) or not all(isinstance(name, str) for name in names.values()):
        raise StudyError(
            f"{path} holds no object of number to name; write it as "
            '{"1": "wall", "2": "building"}'
        )
    rows = [{"index": index, "name": name} for index, name in names.items()]
    return _numbered(rows, "index", "name", path)


def _numbered(
    rows: Sequence[Mapping[str, str]], number: str, name: str, path: Path
) -> dict[int, str]:
    names: dict[int, str] = {}
    for position, row in enumerate(rows, start=1):
        if not row[number].strip().isdecimal():
            raise StudyError(
                f"{path}, entry {position:,}: {row[number]!r} in column {number!r} is no number "
                "from 0"
            )
        code = int(row[number])
        if code in names:
            raise StudyError(
                f"{path}, entry {position:,}: number {code} is {row[name].strip()!r} here and "
                f"{names[code]!r} before; give each number one name"
            )
        names[code] = row[name].strip()
    return names


def _read_table(path: Path, columns: Sequence[str]) -> tuple[list[str], list[dict[str, str]]]:
    """Header and rows of a CSV that has to have `columns`; missing cells are empty."""
    reader = csv.DictReader(io.StringIO(_read_text(path), newline=""), restval="", strict=True)
    try:
        header = list(reader.fieldnames or ())
        rows = [{str(key): str(value) for key, value in row.items()} for row in reader]
    except csv.Error as error:
        raise StudyError(f"{path}, line {reader.line_num:,}: {error}; mend the table") from error
    missing = [column for column in columns if column not in header]
    if missing:
        close = nearest(missing[0], header)
        raise StudyError(
            f"{path} has no column {missing[0]!r}; it has {', '.join(header) or 'none'}"
            + (f" (nearest: {close[0]})" if close else "")
            + ". Name the column as it is, or add it to the table"
        )
    return header, rows


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        siblings = path.parent.iterdir() if path.parent.is_dir() else ()
        names = sorted(file.name for file in siblings if file.is_file())
        raise not_found("table", path.name, names, f"Looked in {path.parent}.") from None
    except UnicodeDecodeError as error:
        raise StudyError(
            f"{path} is not UTF-8 (byte 0x{error.object[error.start]:02x} at offset "
            f"{error.start:,}); save it as UTF-8"
        ) from error
    except OSError as error:
        raise StudyError(f"{path} cannot be read ({error.strerror or error})") from error


def _inside(folder: Path, name: str) -> Path:
    """The file of that name in `folder`; tables may name subfolders, but nothing outside."""
    relative = Path(name.strip())
    if not relative.name or relative.is_absolute() or ".." in relative.parts:
        raise _UnusableError(f"{name!r} is no file inside {folder}")
    return folder / relative


def _image_size(path: Path) -> tuple[int, int]:
    """Width and height as seen, after the turn that EXIF asks for."""
    with _opened(path, "image", FORMATS) as image:
        try:
            turned = image.getexif().get(_ORIENTATION) in _QUARTER_TURNS
        except Exception as error:  # decoders raise anything on damaged data
            raise _UnusableError(f"image {path.name} is damaged: {error}") from error
        return image.size[::-1] if turned else image.size


def _check_mask(path: Path, size: tuple[int, int], encoding: Encoding) -> None:
    with _opened(path, "mask", ("PNG",)) as image:
        if image.mode not in _MODES[encoding]:
            raise _UnusableError(
                f"mask {path.name} has pixels of mode {image.mode}, not one of "
                f"{', '.join(_MODES[encoding])}"
            )
        if image.size != size:
            raise _UnusableError(
                f"mask {path.name} has {image.size[0]} x {image.size[1]} pixels, not "
                f"{size[0]} x {size[1]}"
            )
        try:
            image.verify()
        except Exception as error:  # decoders raise anything on damaged data
            raise _UnusableError(f"mask {path.name} is damaged: {error}") from error


def _opened(path: Path, kind: str, formats: tuple[str, ...]) -> Image.Image:
    try:
        return Image.open(path, formats=formats)
    except FileNotFoundError:
        raise _UnusableError(f"{kind} {path.name} is missing in {path.parent}") from None
    except Exception as error:  # decoders raise anything on damaged data
        raise _UnusableError(f"{kind} {path.name} cannot be read: {error}") from error


def _codes(
    layer: MaskLayer, size: tuple[int, int], read: Callable[[Path], bytes]
) -> NDArray[np.int64]:
    """The code of every pixel, (H, W)."""
    width, height = size
    if layer.path is None:
        return np.zeros((height, width), dtype=np.int64)
    try:
        with Image.open(io.BytesIO(read(layer.path)), formats=["PNG"]) as image:
            pixels = np.asarray(image).astype(np.int64)
    except DndError:
        raise
    except Exception as error:  # decoders raise anything on damaged data
        raise StudyError(
            f"the mask {layer.path} could be read before, but not now ({error}); bring it back or "
            "read the folder again"
        ) from error
    if pixels.shape[:2] != (height, width):
        raise StudyError(f"the mask {layer.path} has changed its size; read the folder again")
    if layer.encoding == "broden":
        return pixels[..., 0] + 256 * pixels[..., 1]
    if layer.encoding == "binary":
        return np.asarray(2 * pixels > pixels.max(initial=0), dtype=np.int64)
    return pixels
