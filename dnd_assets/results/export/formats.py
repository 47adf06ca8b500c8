"""Tables as files: CSV, JSON lines, Parquet and a Hugging Face data set, written in batches.

Every format gives back what was put in: types, missing values, nested lists, any text.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol, Self

import pandas as pd
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from dnd_assets.files.csv_tables import guarded, unguarded
from dnd_assets.lineage.rows import Row
from dnd_assets.results.tables.columns import Column, Type
from dnd_assets.results.tables.lineage_tables import PICTURES

if TYPE_CHECKING:
    from pyarrow.parquet import ParquetWriter

Format = Literal["csv", "parquet", "jsonl", "hf"]
FORMATS: Final[tuple[Format, ...]] = ("csv", "parquet", "jsonl", "hf")
EMBEDDED: Final = "picture"
"""The column of a data set that holds pictures themselves."""
_ROWS_AT_ONCE: Final = 4096
_BYTES_AT_ONCE: Final = 32_000_000
_SHARD_BYTES: Final = 400_000_000
_LONGEST_CELL: Final = 1 << 30
_SCORED: Final = pa.struct([("label", pa.string()), ("score", pa.float64())])
_ARROW: Final[Mapping[Type, object]] = {
    "text": pa.string(),
    "int": pa.int64(),
    "uint": pa.uint64(),
    "number": pa.float64(),
    "flag": pa.bool_(),
    "texts": pa.list_(pa.string()),
    "ints": pa.list_(pa.int64()),
    "numbers": pa.list_(pa.float64()),
    "scored": pa.list_(_SCORED),
    "json": pa.string(),
}
_NESTED: Final = ("texts", "ints", "numbers", "scored")
_IMAGE: Final = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


class TableWriter(Protocol):
    """Takes rows of one table in batches; a file is whole when the block ends well."""

    rows: int
    files: list[Path]

    def write(self, rows: Iterable[Row]) -> None:
        """Add rows."""

    def __enter__(self) -> Self: ...
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...  # fmt: skip


def writer(folder: Path, name: str, columns: Sequence[Column], kind: Format) -> TableWriter:
    """A writer of one table.

    Args:
        folder: where its file goes.
        name: of the table.
        columns: its columns.
        kind: the format.
    """
    if kind == "csv":
        return _CsvWriter(folder / f"{name}.csv", columns)
    if kind == "jsonl":
        return _JsonWriter(folder / f"{name}.jsonl", columns)
    if kind == "parquet":
        return _ParquetWriter(folder / f"{name}.parquet", columns)
    shard_folder = folder / "data" / name
    shard_folder.mkdir(parents=True, exist_ok=True)
    shard = shard_folder / f"{name}-00000.parquet"
    return _ParquetWriter(shard, columns, hub=True, embedded=name == PICTURES.name)


class _Batches:
    """Gathers rows until they are worth writing."""

    def __init__(self, path: Path, columns: Sequence[Column]) -> None:
        self.rows = 0
        self.path = path
        self.files = [path]
        self.columns = columns
        self._waiting: list[Row] = []
        self._bytes = 0

    def write(self, rows: Iterable[Row]) -> None:
        for row in rows:
            self._waiting.append(row)
            picture = row.get(EMBEDDED)
            self._bytes += len(picture["bytes"]) if picture else 0
            if len(self._waiting) >= _ROWS_AT_ONCE or self._bytes >= _BYTES_AT_ONCE:
                self._flush()

    def _flush(self) -> None:
        self.rows += len(self._waiting)
        waiting, self._waiting, self._bytes = self._waiting, [], 0
        self._put(waiting)

    def _put(self, rows: Sequence[Row]) -> None:
        raise NotImplementedError

    def _close(self) -> None:
        raise NotImplementedError

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:  # fmt: skip
        try:
            if error is None and self._waiting:
                self._flush()
        finally:
            self._close()


class _CsvWriter(_Batches):
    """CSV: text in quotes, missing values without, lists as JSON, formulas escaped."""

    def __init__(self, path: Path, columns: Sequence[Column]) -> None:
        super().__init__(path, columns)
        self._schema = pa.schema([(column.name, _flat_type(column)) for column in columns])
        options = pyarrow.csv.WriteOptions(quoting_style="needed")
        self._file = pyarrow.csv.CSVWriter(path, self._schema, write_options=options)

    def _put(self, rows: Sequence[Row]) -> None:
        cells = {
            column.name: [_cell(row[column.name], column) for row in rows]
            for column in self.columns
        }
        self._file.write_table(pa.table(cells, schema=self._schema))

    def _close(self) -> None:
        self._file.close()


def _flat_type(column: Column) -> object:
    return pa.string() if column.type in _NESTED else _ARROW[column.type]


def _cell(value: object, column: Column) -> object:
    if value is None:
        return None
    if column.type in _NESTED:
        return json.dumps(value, ensure_ascii=False, allow_nan=False)
    return guarded(value) if isinstance(value, str) else value


class _JsonWriter(_Batches):
    """One JSON object a line; every digit of a number."""

    def __init__(self, path: Path, columns: Sequence[Column]) -> None:
        super().__init__(path, columns)
        self._file = path.open("w", encoding="utf-8", newline="\n")

    def _put(self, rows: Sequence[Row]) -> None:
        for row in rows:
            line = json.dumps(row, ensure_ascii=False, allow_nan=False)
            self._file.write(f"{line}\n")

    def _close(self) -> None:
        self._file.close()


class _ParquetWriter(_Batches):
    """Parquet; for the hub in shards, with the features that its readers look for."""

    def __init__(
        self, path: Path, columns: Sequence[Column], *, hub: bool = False, embedded: bool = False
    ) -> None:
        super().__init__(path, columns)
        fields = [(column.name, _ARROW[column.type]) for column in columns]
        self._hub = hub
        if embedded:
            fields.append((EMBEDDED, _IMAGE))
        self._schema = pa.schema(fields)
        if hub:
            info = {"info": {"features": hub_features(self._schema)}}
            self._schema = self._schema.with_metadata({"huggingface": json.dumps(info)})
        self._file: ParquetWriter = pyarrow.parquet.ParquetWriter(
            path, self._schema, compression="zstd"
        )

    def _put(self, rows: Sequence[Row]) -> None:
        if self._hub and self.files[-1].stat().st_size > _SHARD_BYTES:
            self._file.close()
            stem = self.path.stem.removesuffix("-00000")
            self.files.append(self.path.with_name(f"{stem}-{len(self.files):05d}.parquet"))
            self._file = pyarrow.parquet.ParquetWriter(
                self.files[-1], self._schema, compression="zstd"
            )
        self._file.write_table(pa.Table.from_pylist(list(rows), schema=self._schema))

    def _close(self) -> None:
        self._file.close()


def hub_features(schema: Any) -> dict[str, Any]:
    """A schema as the `features` of Hugging Face `datasets`."""
    return {field.name: _feature(field.type) for field in schema}


def _feature(kind: Any) -> Any:
    if kind == _IMAGE:
        return {"_type": "Image"}
    if pa.types.is_list(kind):
        return {"feature": _feature(kind.value_type), "_type": "List"}
    if pa.types.is_struct(kind):
        return {field.name: _feature(field.type) for field in kind}
    names = {pa.string(): "string", pa.float64(): "float64", pa.bool_(): "bool"}
    return {"dtype": names.get(kind, str(kind)), "_type": "Value"}


def read(files: Sequence[Path], columns: Sequence[Column], kind: Format) -> pd.DataFrame:
    """A table back as a frame, with the types of its columns; see `as_frame`.

    Args:
        files: its files, in order.
        columns: its columns.
        kind: the format.
    """
    names = [column.name for column in columns]
    if kind in ("parquet", "hf"):
        tables = [pyarrow.parquet.read_table(file, columns=names) for file in files]
        values = {name: pa.concat_tables(tables).column(name).to_pylist() for name in names}
    elif kind == "jsonl":
        rows = [json.loads(line) for line in _lines(files)]
        values = {name: [row[name] for row in rows] for name in names}
    else:
        values = _read_csv(files[0], columns)
    return as_frame(values, columns)


def _lines(files: Sequence[Path]) -> Iterable[str]:
    for path in files:
        with path.open(encoding="utf-8", newline="\n") as file:
            yield from file


def _read_csv(file: Path, columns: Sequence[Column]) -> dict[str, list[object]]:
    convert = pyarrow.csv.ConvertOptions(
        column_types={column.name: _flat_type(column) for column in columns},
        null_values=[""],
        strings_can_be_null=True,
        quoted_strings_can_be_null=False,
    )
    size = min(max(file.stat().st_size, 1 << 20), _LONGEST_CELL)
    table = pyarrow.csv.read_csv(
        file,
        read_options=pyarrow.csv.ReadOptions(block_size=size),
        parse_options=pyarrow.csv.ParseOptions(newlines_in_values=True),
        convert_options=convert,
    )
    return {
        column.name: [_uncell(value, column) for value in table.column(column.name).to_pylist()]
        for column in columns
    }


def _uncell(value: object, column: Column) -> object:
    if not isinstance(value, str):
        return value
    return json.loads(value) if column.type in _NESTED else unguarded(value)


def as_frame(values: Mapping[str, Sequence[object]], columns: Sequence[Column]) -> pd.DataFrame:
    """Columns of plain values as a frame.

    Texts are pandas' `str`, integers `Int64` or `UInt64`, numbers `float64`, flags `boolean`, each
    with its own missing value; lists are Python's, or None.
    """
    series = {column.name: _series(list(values[column.name]), column.type) for column in columns}
    return pd.DataFrame(series, columns=[column.name for column in columns])


_FRAMES: Final[Mapping[Type, str]] = {
    "text": "str", "json": "str", "int": "Int64", "uint": "UInt64", "number": "float64",
    "flag": "boolean",
}  # fmt: skip


def _series(values: list[object], kind: Type) -> pd.Series[Any]:
    if kind in _FRAMES:
        return pd.Series(values, dtype=_FRAMES[kind])
    return pd.Series(values, dtype=object)
