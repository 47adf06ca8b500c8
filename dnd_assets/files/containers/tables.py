"""Tables that hold pictures: Parquet, and the Arrow files of `datasets.save_to_disk`.

A picture lies in a row of a column of bytes, or of `{bytes, path}` as Hugging Face `datasets`
writes it. Its own name is column and row, from 0: `image/12`. Parquet is read by row groups,
Arrow by memory map, so that neither is unpacked.
"""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Final
from urllib.parse import quote, unquote

from dnd_assets.files.containers.contents import (
    Columns,
    Contents,
    MemberError,
    PictureTruth,
    Source,
)

if TYPE_CHECKING:
    import pyarrow as pa

SUFFIXES: Final = frozenset({".parquet", ".arrow"})
_CAPTIONS: Final = ("caption", "captions", "text", "description", "sentence", "txt")
_LABELS: Final = ("label", "labels", "class", "cls", "class_name", "fine_label")
_GROUPS_KEPT: Final = 2
_STATE: Final = "state.json"


class PictureTable:
    """A table of which one column holds pictures.

    Attributes:
        source: the file.
        columns: which columns are which, as far as the study says it.
        starts: whether bytes begin as a picture's.
    """

    def __init__(self, source: Source, columns: Columns, starts: Callable[[bytes], bool]) -> None:
        self.source = source
        self.columns = columns
        self.starts = starts
        self._lock = Lock()
        self._chunks: OrderedDict[tuple[int, str], pa.ChunkedArray] = OrderedDict()

    def contents(self) -> Contents:
        """See `Container`; a table without pictures holds none."""
        name, damage = self._image
        if not name:
            return Contents((), damage=damage)
        column = quote(name, safe="")
        return Contents(tuple(f"{column}/{row}" for row in range(self._rows.starts[-1])))

    def read(self, name: str) -> bytes:
        """See `Container`."""
        column, _, row = name.rpartition("/")
        if not row.isdigit() or int(row) >= self._rows.starts[-1]:
            raise MemberError(f"{self.source.place} holds no picture {name!r}")
        try:
            value = self._value(unquote(column), int(row))
        except KeyError:
            raise MemberError(f"{self.source.place} has no column {unquote(column)!r}") from None
        data, path = value, ""
        if isinstance(value, dict):
            data, path = value.get("bytes"), str(value.get("path") or "")
        if not isinstance(data, bytes):
            hint = f", only the path {path!r}; save the data set with its pictures" if path else ""
            raise MemberError(
                f"row {row} of column {unquote(column)!r} of {self.source.place} holds no picture"
                f"{hint}"
            )
        return data

    def truths(self) -> Mapping[str, PictureTruth]:
        """See `Container`: the columns of captions and labels."""
        image, _ = self._image
        caption = self._column_of(self.columns.caption, _CAPTIONS)
        label = self._column_of(self.columns.label, _LABELS)
        if not image or not (caption or label):
            return {}
        class_names = self._class_names(label)
        by_picture = {}
        for part, start in enumerate(self._rows.starts[:-1]):
            count = self._rows.starts[part + 1] - start
            captions = self._rows.column(part, caption).to_pylist() if caption else [None] * count
            labels = self._rows.column(part, label).to_pylist() if label else [None] * count
            for row in range(count):
                truth = PictureTruth(_words(captions[row]), _class_name(labels[row], class_names))
                by_picture[f"{quote(image, safe='')}/{start + row}"] = truth
        return by_picture

    def _value(self, column: str, row: int) -> object:
        if column not in self._names:
            raise KeyError(column)
        part = next(index for index, end in enumerate(self._rows.starts[1:]) if row < end)
        with self._lock:
            chunk = self._chunks.get((part, column))
            if chunk is None:
                chunk = self._rows.column(part, column)
                self._chunks[part, column] = chunk
                if len(self._chunks) > _GROUPS_KEPT:
                    self._chunks.popitem(last=False)
            return chunk[row - self._rows.starts[part]].as_py()

    @cached_property
    def _rows(self) -> _OpenTable:
        return _opened(self.source)

    @property
    def _names(self) -> Sequence[str]:
        return list(self._rows.kinds)

    @cached_property
    def _image(self) -> tuple[str, str]:
        """The column of pictures, empty where there is none; and why it cannot be told."""
        column_name = self.columns.image
        if column_name is not None:
            return (column_name, "") if column_name in self._rows.kinds else ("", "")
        features = self._rows.features
        declared = [name for name in self._names if _type_of(features.get(name)) == "Image"]
        candidates = declared or [name for name in self._names if self._looks_like_pictures(name)]
        if len(candidates) > 1:
            return "", (
                f"its columns {', '.join(map(repr, candidates))} hold pictures; say which counts: "
                f'columns = {{image = "{candidates[0]}"}} under the section that names its folder'
            )
        return (candidates[0], "") if candidates else ("", "")

    def _looks_like_pictures(self, name: str) -> bool:
        kind = self._rows.kinds[name]
        if kind == "struct":
            return True
        if kind != "bytes" or not self._rows.starts[-1]:
            return False
        column = self._rows.column(0, name)
        values = (column[row].as_py() for row in range(min(len(column), 16)))
        first = next((value for value in values if isinstance(value, bytes)), b"")
        return self.starts(first)

    def _column_of(self, column_name: str | None, default_names: Sequence[str]) -> str:
        if column_name is not None:
            if column_name not in self._rows.kinds:
                raise MemberError(
                    f"{self.source.place} has no column {column_name!r}; it has "
                    f"{', '.join(self._names)}"
                )
            return column_name
        lower = {name.lower(): name for name in self._names}
        return next((lower[name] for name in default_names if name in lower), "")

    def _class_names(self, label: str) -> Sequence[str]:
        feature = self._rows.features.get(label)
        names = feature.get("names") if isinstance(feature, dict) else None
        return [str(name) for name in names] if isinstance(names, list) else []


@dataclass(frozen=True)
class _OpenTable:
    """A table of which nothing but its schema was read.

    Attributes:
        kinds: columns, with `bytes` or `struct` for those that can hold pictures.
        features: what Hugging Face `datasets` notes of columns.
        starts: first row of each part, and the number of rows.
        column: a column of one part.
    """

    kinds: Mapping[str, str]
    features: Mapping[str, object]
    starts: Sequence[int]
    column: Callable[[int, str], pa.ChunkedArray]


def data_files(folder: Path) -> frozenset[str] | None:
    """Names of the Arrow files of a folder that `save_to_disk` wrote; None for another folder.

    Beside them lie what `map` and `filter` kept, which are no part of the data set.
    """
    try:
        state = json.loads((folder / _STATE).read_bytes())
        return frozenset(str(entry["filename"]) for entry in state["_data_files"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _opened(source: Source) -> _OpenTable:
    """A table of which nothing but its schema was read.

    Raises:
        MemberError: when it is damaged.
    """
    import pyarrow as pa

    try:
        return _parquet(source) if source.place.endswith(".parquet") else _arrow(source)
    except (pa.ArrowException, OSError) as error:
        reason = " ".join(str(error).split())
        raise MemberError(f"{source.place} is damaged: {reason}"[:300]) from error


def _parquet(source: Source) -> _OpenTable:
    import pyarrow.parquet as pq

    file = pq.ParquetFile(source.open())
    starts = [0]
    for group in range(file.num_row_groups):
        starts.append(starts[-1] + file.metadata.row_group(group).num_rows)

    def column(part: int, name: str) -> pa.ChunkedArray:
        return file.read_row_group(part, columns=[name]).column(name)

    return _of_schema(file.schema_arrow, starts, column)


def _arrow(source: Source) -> _OpenTable:
    import pyarrow as pa

    file = pa.memory_map(source.place) if Path(source.place).is_file() else source.open()
    try:
        table = pa.ipc.open_stream(file).read_all()
    except pa.ArrowInvalid:
        file.seek(0)
        table = pa.ipc.open_file(file).read_all()

    return _of_schema(table.schema, [0, table.num_rows], lambda _, name: table.column(name))


def _of_schema(
    schema: pa.Schema, starts: Sequence[int], column: Callable[[int, str], pa.ChunkedArray]
) -> _OpenTable:
    kinds = {field.name: _kind(field.type) for field in schema}
    return _OpenTable(kinds, _features(schema.metadata), starts, column)


def _kind(kind: pa.DataType) -> str:
    import pyarrow as pa

    if pa.types.is_struct(kind):
        names = {kind.field(n).name for n in range(kind.num_fields)}
        return "struct" if "bytes" in names else ""
    binary = pa.types.is_binary(kind) or pa.types.is_large_binary(kind)
    return "bytes" if binary else ""


def _features(metadata: Mapping[bytes, bytes] | None) -> Mapping[str, object]:
    """What Hugging Face `datasets` notes of columns."""
    try:
        notes = json.loads((metadata or {}).get(b"huggingface", b"{}"))
        features: Mapping[str, object] = notes.get("info", {}).get("features", {})
        return features if isinstance(features, dict) else {}
    except (ValueError, AttributeError):
        return {}


def _type_of(feature: object) -> str:
    return str(feature.get("_type")) if isinstance(feature, dict) else ""


def _words(value: object) -> str:
    if isinstance(value, list):
        value = value[0] if value else ""
    return " ".join(str(value).split()) if isinstance(value, str | int) else ""


def _class_name(value: object, names: Sequence[str]) -> str:
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < len(names):
        return names[value]
    return _words(value)
