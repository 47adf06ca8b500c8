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
        self._kept: OrderedDict[tuple[int, str], pa.ChunkedArray] = OrderedDict()

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
            held = f", only the path {path!r}; save the data set with its pictures" if path else ""
            raise MemberError(
                f"row {row} of column {unquote(column)!r} of {self.source.place} holds no picture"
                f"{held}"
            )
        return data

    def truths(self) -> Mapping[str, PictureTruth]:
        """See `Container`: the columns of captions and labels."""
        image, _ = self._image
        caption = self._column_of(self.columns.caption, _CAPTIONS)
        label = self._column_of(self.columns.label, _LABELS)
        if not image or not (caption or label):
            return {}
        names = self._class_names(label)
        found = {}
        for part, start in enumerate(self._rows.starts[:-1]):
            count = self._rows.starts[part + 1] - start
            said = self._rows.column(part, caption).to_pylist() if caption else [None] * count
            shown = self._rows.column(part, label).to_pylist() if label else [None] * count
            for row in range(count):
                truth = PictureTruth(_words(said[row]), _named(shown[row], names))
                found[f"{quote(image, safe='')}/{start + row}"] = truth
        return found

    def _value(self, column: str, row: int) -> object:
        if column not in self._names:
            raise KeyError(column)
        part = next(n for n, end in enumerate(self._rows.starts[1:]) if row < end)
        with self._lock:
            held = self._kept.get((part, column))
            if held is None:
                held = self._rows.column(part, column)
                self._kept[part, column] = held
                if len(self._kept) > _GROUPS_KEPT:
                    self._kept.popitem(last=False)
            return held[row - self._rows.starts[part]].as_py()

    @cached_property
    def _rows(self) -> _OpenTable:
        return _opened(self.source)

    @property
    def _names(self) -> Sequence[str]:
        return list(self._rows.kinds)

    @cached_property
    def _image(self) -> tuple[str, str]:
        """The column of pictures, empty where there is none; and why it cannot be told."""
        asked = self.columns.image
        if asked is not None:
            return (asked, "") if asked in self._rows.kinds else ("", "")
        features = self._rows.features
        said = [name for name in self._names if _type_of(features.get(name)) == "Image"]
        found = said or [name for name in self._names if self._looks(name)]
        if len(found) > 1:
            return "", (
                f"its columns {', '.join(map(repr, found))} hold pictures; say which counts: "
                f'columns = {{image = "{found[0]}"}} under the section that names its folder'
            )
        return (found[0], "") if found else ("", "")

    def _looks(self, name: str) -> bool:
        kind = self._rows.kinds[name]
        if kind == "struct":
            return True
        if kind != "bytes" or not self._rows.starts[-1]:
            return False
        column = self._rows.column(0, name)
        values = (column[row].as_py() for row in range(min(len(column), 16)))
        first = next((one for one in values if isinstance(one, bytes)), b"")
        return self.starts(first)

    def _column_of(self, asked: str | None, usual: Sequence[str]) -> str:
        if asked is not None:
            if asked not in self._rows.kinds:
                raise MemberError(
                    f"{self.source.place} has no column {asked!r}; it has {', '.join(self._names)}"
                )
            return asked
        lower = {name.lower(): name for name in self._names}
        return next((lower[name] for name in usual if name in lower), "")

    def _class_names(self, label: str) -> Sequence[str]:
        feature = self._rows.features.get(label)
        names = feature.get("names") if isinstance(feature, dict) else None
        return [str(one) for one in names] if isinstance(names, list) else []


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
        held = json.loads((folder / _STATE).read_bytes())
        return frozenset(str(one["filename"]) for one in held["_data_files"])
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
        said = " ".join(str(error).split())
        raise MemberError(f"{source.place} is damaged: {said}"[:300]) from error


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
        held = json.loads((metadata or {}).get(b"huggingface", b"{}"))
        found: Mapping[str, object] = held.get("info", {}).get("features", {})
        return found if isinstance(found, dict) else {}
    except (ValueError, AttributeError):
        return {}


def _type_of(feature: object) -> str:
    return str(feature.get("_type")) if isinstance(feature, dict) else ""


def _words(value: object) -> str:
    if isinstance(value, list):
        value = value[0] if value else ""
    return " ".join(str(value).split()) if isinstance(value, str | int) else ""


def _named(value: object, names: Sequence[str]) -> str:
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < len(names):
        return names[value]
    return _words(value)
