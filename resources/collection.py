"""A collection of captioned pictures: tables of files and captions, embedded once."""

import io
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL.Image import Image
from pydantic import Field

from dnd_assets.errors import StudyError
from dnd_assets.files.atomic import sha256, write_atomic
from dnd_assets.files.containers.bucket import in_bucket
from dnd_assets.files.containers.bucket_listing import bucket_listing
from dnd_assets.files.containers.container_places import (
    exists,
    holds_many,
    home_of,
    read_bytes,
    state,
    truths_of,
)
from dnd_assets.files.csv_tables import read_csv
from dnd_assets.files.image_folders import listing
from dnd_assets.files.images import UnreadableImage, decode
from dnd_assets.lineage.code import code_version
from dnd_assets.lineage.fingerprint import Json, digest
from dnd_assets.methods import retrieval
from resources.checkpoints import file_hash
from resources.encoders.base import ImageTextEncoder
from resources.runtime.compute import load_once
from resources.runtime.resource import Resource

Vectors = NDArray[np.float32]
FILE_COLUMNS = ("file", "image", "path", "file name")
CAPTION_COLUMNS = ("caption", "text", "description")
_BATCH = 16
_MOST_PIXELS = 1 << 18
"""Pixels of the largest picture that stays decoded; 512 of them take 400 MB at most."""


@dataclass(frozen=True)
class Captioned:
    """A picture of a collection.

    Attributes:
        file: where it lies.
        caption: its text.
        id: hash of its bytes and caption; equal entries count once.
    """

    file: Path
    caption: str
    id: str


class CaptionedCollection(Resource):
    """Pictures with captions, found by embedding.

    Attributes:
        tables: CSV files with columns `file` and `caption`; or shards and tables of pictures that
            have captions, or folders of such.
        folders: where each table's files lie, one for each table; none: beside the table.
        base: folder that relative paths start from.
        cache: folder that keeps the embeddings; None keeps them in memory.
        encoder: the space in which pictures and texts are compared.
    """

    tables: list[str]
    folders: list[str] = Field(default=[])
    base: str | None = None
    cache: str | None = None
    encoder: ImageTextEncoder

    def entries(self) -> list[Captioned]:
        """The pictures with their captions, by id.

        Rows without a caption do not count. Read again only when a table or a picture has another
        size or time of change.

        Raises:
            NotFoundError: when a table is missing.
            StudyError: when a picture is missing, or no row has a caption.
            TableError: when a table cannot be understood.
        """
        rows = [row for number in range(len(self.tables)) for row in self._rows(number)]
        captioned = _entries(tuple((file, caption, state(file)) for file, caption in rows))
        if not captioned:
            raise StudyError(
                f"the collection ({', '.join(self.tables)}) has no captioned picture. Name tables "
                "with columns 'file' and 'caption'."
            )
        return captioned

    def fingerprint(self) -> dict[str, Json]:
        """Content of the pictures and captions, and the encoder that compares them."""
        return self._identity(self.entries())

    def _identity(self, entries: Sequence[Captioned]) -> dict[str, Json]:
        return {
            "collection": digest([entry.id for entry in entries]),
            "encoder": self.encoder.fingerprint(),
            "code": code_version(type(self)),
        }

    def captions_of(self, images: Sequence[Image], batch_size: int) -> list[str]:
        """For each picture the caption of the picture nearest to it; ties by id."""
        entries = self.entries()
        image_vectors, _ = self._embedded(entries)
        query_vectors = self.encoder.embed_images(images, batch_size)
        nearest = retrieval.nearest_rows(
            query_vectors, image_vectors, [entry.id for entry in entries]
        )
        return [entries[rows[0]].caption for rows in nearest]

    def pictures_of(self, ranks: Mapping[str, Collection[int]]) -> dict[str, dict[int, Image]]:
        """Pictures by how near their captions are to texts, 0 for the nearest; ties by id.

        Args:
            ranks: which pictures are wanted of each text.

        Raises:
            StudyError: when the collection has fewer, or a picture cannot be read.
        """
        entries = self.entries()
        count = max(max(wanted) for wanted in ranks.values()) + 1
        if count > len(entries):
            raise StudyError(
                f"{count:,} pictures of one concept are asked for, but the collection has only "
                f"{len(entries):,}. Lower dissection.images_per_concept, or add pictures."
            )
        _, caption_vectors = self._embedded(entries)
        ids = [entry.id for entry in entries]
        nearest = retrieval.nearest_rows(
            self.encoder.embed_texts(list(ranks)), caption_vectors, ids, count
        )
        return {
            text: {rank: _picture(entries[rows[rank]]) for rank in wanted}
            for (text, wanted), rows in zip(ranks.items(), nearest, strict=True)
        }

    def learn(self, texts: Sequence[str]) -> None:
        """Embed texts ahead of `pictures_of`: many at once are faster."""
        if len(set(texts)) > 1:
            self.encoder.embed_texts(sorted(set(texts)))

    def _rows(self, number: int) -> tuple[tuple[Path, str], ...]:
        """Pictures and captions of one table."""
        base = Path(self.base or ".")
        table = self.tables[number]
        path = Path(table) if in_bucket(table) else base / Path(table).expanduser()
        if in_bucket(table) or path.is_dir() or holds_many(path):
            return _rows_of_set(path)
        folder = base / Path(self.folders[number]).expanduser() if self.folders else path.parent
        if not path.is_file():
            read_csv(path)  # says what is missing
        return _captions(path, folder, state(path))

    def _embedded(self, entries: Sequence[Captioned]) -> tuple[Vectors, Vectors]:
        """Embeddings of pictures and captions, (M, D) each, in the order of `entries`."""
        # A fingerprint looks at all files of the encoder: once for each state of the collection.
        if self._last_asked.get("entries") is not entries:
            self._last_asked.update(entries=entries, name=digest(self._identity(entries)))
        name = str(self._last_asked["name"])
        return load_once(("collection", name), lambda: self._read_or_embed(name, entries))

    @cached_property
    def _last_asked(self) -> dict[str, object]:
        """The entries that were embedded last, and the name of their file of embeddings."""
        return {}

    def _read_or_embed(self, name: str, entries: Sequence[Captioned]) -> tuple[Vectors, Vectors]:
        file = Path(self.cache) / f"{name}.npy" if self.cache else None
        if file is not None and file.is_file():
            try:
                image_vectors, caption_vectors = np.load(file, allow_pickle=False)
                return image_vectors, caption_vectors
            except (OSError, ValueError):
                file.unlink()  # damaged: it is made again below
        image_vectors = self.encoder.embed_images([_picture(entry) for entry in entries], _BATCH)
        caption_vectors = self.encoder.embed_texts([entry.caption for entry in entries])
        if file is not None:
            buffer = io.BytesIO()
            np.save(buffer, np.stack([image_vectors, caption_vectors]), allow_pickle=False)
            write_atomic(file, buffer.getvalue())
        return image_vectors, caption_vectors


def _rows_of_set(path: Path) -> tuple[tuple[Path, str], ...]:
    """Pictures and captions of shards and tables of pictures."""
    bucket = in_bucket(path)
    if not (bucket or path.exists()):
        raise StudyError(
            f"the collection names {str(path)!r}, which is not there. Name a CSV with columns "
            "'file' and 'caption', or a shard, a Parquet file or a folder of them with captions."
        )
    listed = (bucket_listing if bucket else listing)(path)
    homes = dict.fromkeys(filter(None, map(home_of, listed.files)))
    try:
        truths = [item for home in homes for item in truths_of(home).items()]
    except OSError as error:
        raise StudyError(f"captions of {path} cannot be read: {error}. Mend the file.") from error
    return tuple((file, truth.caption) for file, truth in truths if truth.caption)


@lru_cache(maxsize=16)
def _captions(path: Path, folder: Path, _state: str) -> tuple[tuple[Path, str], ...]:
    """Pictures and captions of a table of a given state, in its order."""
    table = read_csv(path)
    file_column, caption_column = (
        table.column(FILE_COLUMNS, "files"),
        table.column(CAPTION_COLUMNS, "captions"),
    )
    captioned = []
    for line, row in table.rows:
        if not row[caption_column].strip():
            continue
        picture = folder / row[file_column]
        if not exists(picture):
            raise StudyError(
                f"{path}, line {line:,}: there is no picture {picture}. Name the folder of "
                "this table's files in collection.folders."
            )
        captioned.append((picture, " ".join(row[caption_column].split())))
    return tuple(captioned)


@lru_cache(maxsize=4)
def _entries(rows: tuple[tuple[Path, str, str], ...]) -> list[Captioned]:
    """Pictures of given states with their captions, by id."""
    missing = [file for file, _, state in rows if not state]
    if missing:
        raise StudyError(
            f"picture {missing[0]} of the collection is no longer there. Bring it back, or take "
            "its row out of the table."
        )
    captioned = [Captioned(file, text, digest([_hash(file), text])) for file, text, _ in rows]
    by_id = {entry.id: entry for entry in captioned}
    return [by_id[name] for name in sorted(by_id)]


def _hash(file: Path) -> str:
    if home_of(file) is None and not in_bucket(file):
        return file_hash(file)
    try:
        return sha256(read_bytes(file))
    except OSError as error:
        raise StudyError(
            f"picture {file} of the collection cannot be read: {error}. Mend its file."
        ) from error


def _picture(entry: Captioned) -> Image:
    """The picture; small ones are decoded once, since many concepts are near to the same ones."""
    if in_bucket(entry.file):
        return _read(entry.file)
    return _decoded(entry.file, *_state(home_of(entry.file) or entry.file))


def _state(file: Path) -> tuple[int, int]:
    """Size and time of change of a file; zeros for one that is not there."""
    try:
        status = file.stat()
    except OSError:
        return 0, 0
    return status.st_size, status.st_mtime_ns


@lru_cache(maxsize=512)
def _decoded_if_small(file: Path, _size: int, _changed: int) -> list[Image]:
    """The decoded picture of a file in a given state, as a list; empty for a large picture."""
    image = _read(file)
    return [image] if image.width * image.height <= _MOST_PIXELS else []


def _decoded(file: Path, size: int, changed: int) -> Image:
    decoded = _decoded_if_small(file, size, changed)
    return decoded[0] if decoded else _read(file)


def _read(file: Path) -> Image:
    try:
        return decode(read_bytes(file))
    except (OSError, UnreadableImage) as error:
        raise StudyError(
            f"picture {file} of the collection cannot be read: {error}. Mend it, or take its "
            "row out of the table."
        ) from error
