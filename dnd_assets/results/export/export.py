"""`dnd export`: everything a study has, as tables that other programs read, and back again.

The records are read once, so that a run beside changes nothing halfway; products come in batches,
so that thousands of units need little memory; the folder appears when it is complete.
"""

from __future__ import annotations

import json
import shutil
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import pandas as pd

from dnd_assets.engine.cache.stored_pictures import Pictures
from dnd_assets.errors import StoreError, StudyError, TableError, not_found
from dnd_assets.files.atomic import rename, sync, write
from dnd_assets.lineage.rows import Row
from dnd_assets.results.export.dataset_card import data_set_card
from dnd_assets.results.export.formats import (
    EMBEDDED,
    FORMATS,
    Format,
    TableWriter,
    as_frame,
    read,
    writer,
)
from dnd_assets.results.tables.columns import COLUMN_TYPES, Column, Table
from dnd_assets.results.tables.lineage_tables import LLM_CALLS, PICTURES, PROVIDERS, WHOLE_TABLES
from dnd_assets.results.tables.table_source import TableSource
from resources.runtime.progress import Progress

MANIFEST: Final = "export.json"
"""The file that says what an export holds: format, tables, files, rows, columns."""
_PICTURES_AT_ONCE: Final = 64
_IMAGE_COLUMNS: Final = ("image", "crop", "masked")
_KINDS: Final = {
    b"\x89PNG": "png", b"\xff\xd8": "jpg", b"GIF8": "gif", b"BM": "bmp", b"RIFF": "webp",
    b"II*\0": "tif", b"MM\0*": "tif",
}  # fmt: skip


@dataclass(frozen=True)
class Written:
    """What `export` wrote.

    Attributes:
        folder: the folder.
        rows: rows of each table.
        pictures: pictures that were written or embedded.
        missing: pictures that could not be.
    """

    folder: Path
    rows: Mapping[str, int]
    pictures: int
    missing: int


@dataclass
class _NamedPictures:
    """Pictures that tables name, with the tables that do."""

    tables: dict[str, set[str]] = field(default_factory=dict)

    def note_all(self, table: Table, rows: Iterable[Row]) -> None:
        """Note the pictures of some rows of a table."""
        for row in rows:
            for name in _IMAGE_COLUMNS:
                if row.get(name):
                    self.tables.setdefault(row[name], set()).add(table.name)


def export(
    source: TableSource,
    pictures: Pictures,
    folder: Path,
    kind: Format,
    *,
    with_pictures: bool = False,
    log: Callable[[str], None] = lambda _: None,
) -> Written:
    """Write every table of a study to a new folder.

    Args:
        source: the study's records.
        pictures: where its pictures lie.
        folder: what to write; must not exist, or be empty.
        kind: csv, parquet, jsonl or hf, a folder that `datasets.load_dataset` opens.
        with_pictures: write the pictures, too: as files, or for hf into the table of pictures.
        log: takes lines of progress.

    Raises:
        StudyError: when the folder exists, or nothing was recorded of the study.
        StoreError: when the disk refuses.
    """
    if kind not in FORMATS:
        raise not_found("format", kind, FORMATS)
    if not source.newest:
        raise StudyError(f"study {source.study!r} has no products yet. Run `dnd run` on it.")
    with new_folder(folder) as root:
        named_pictures, rows, files = _NamedPictures(), {}, {}
        tables = source.tables()
        with ExitStack() as stack:
            writers = {
                table.name: stack.enter_context(writer(root, table.name, table.columns, kind))
                for table in tables
            }
            _write_products(source, tables, writers, named_pictures, log)
            _write_whole_tables(source, writers)
            picture_counts = _write_pictures(
                source, pictures, root, writers[PICTURES.name], named_pictures.tables, kind,
                with_pictures, log,
            )  # fmt: skip
        for name, table_writer in writers.items():
            rows[name] = table_writer.rows
            files[name] = [str(file.relative_to(root).as_posix()) for file in table_writer.files]
        manifest = _manifest(source.study, kind, tables, files, rows)
        write(root / MANIFEST, json.dumps(manifest, indent=1, ensure_ascii=False).encode())
        if kind == "hf":
            card = data_set_card(source.study, tables, files, rows)
            write(root / "README.md", card.encode())
    return Written(folder, rows, *picture_counts)


def _write_products(
    source: TableSource,
    tables: Sequence[Table],
    writers: Mapping[str, TableWriter],
    named_pictures: _NamedPictures,
    log: Callable[[str], None],
) -> None:
    progress = Progress("products", len(source.newest), log)
    for asset in source.assets:
        asset_tables = [table for table in tables if table.reads(asset)]
        for rows in source.batches(asset, asset_tables):
            for table in asset_tables:
                named_pictures.note_all(table, rows.by_table[table.name])
                writers[table.name].write(rows.by_table[table.name])
            progress.advance(rows.products)


def _write_whole_tables(source: TableSource, writers: Mapping[str, TableWriter]) -> None:
    for name, rows in source.whole_tables():
        writers[name].write(rows)


def _write_pictures(
    source: TableSource,
    pictures: Pictures,
    root: Path,
    table: TableWriter,
    tables_of: Mapping[str, set[str]],
    kind: Format,
    with_pictures: bool,
    log: Callable[[str], None],
) -> tuple[int, int]:
    """Write the table of pictures, and the pictures; return how many were and were not written."""
    probing_files = source.probing_files(tables_of)
    names = pictures.in_order(tables_of)
    progress = Progress("pictures", len(names), log)
    written = lost = 0
    if with_pictures and kind != "hf":
        (root / "pictures").mkdir()
    for name in names:
        row = _picture_row(name, tables_of[name], probing_files)
        if with_pictures:
            data, problem = picture_data(pictures, name)
            written, lost = written + (data is not None), lost + (data is None)
            row |= {"missing": problem, "bytes": None if data is None else len(data)}
            if data is not None:
                row |= _placed(root, name, data, kind)
        table.write([row])
        progress.advance()
    return written, lost


def _picture_row(name: str, tables: Iterable[str], probing_files: Mapping[str, Row]) -> Row:
    row: Row = dict.fromkeys(column.name for column in PICTURES.columns)
    return row | {"image": name, "tables": sorted(tables), **probing_files.get(name, {"paths": []})}


def picture_data(pictures: Pictures, name: str) -> tuple[bytes | None, str | None]:
    """A picture's file as programs show it; or why it is not to be had."""
    try:
        return pictures.file(name), None
    except StoreError as error:
        return None, str(error)


def picture_suffix(data: bytes) -> str:
    """The suffix of a picture file by its first bytes."""
    return next((suffix for start, suffix in _KINDS.items() if data.startswith(start)), "img")


def _placed(root: Path, name: str, data: bytes, kind: Format) -> Row:
    file = f"{name}.{picture_suffix(data)}"
    if kind == "hf":
        return {EMBEDDED: {"bytes": data, "path": file}}
    write(root / "pictures" / file, data)
    return {"file": f"pictures/{file}"}


_TOLD: Final = ("name", "type", "meaning", "unit")
"""What a manifest says of a column."""


def _manifest(
    study: str,
    kind: Format,
    tables: Sequence[Table],
    files: Mapping[str, list[str]],
    rows: Mapping[str, int],
) -> dict[str, object]:
    return {
        "format": kind,
        "study": study,
        "tables": {
            table.name: {
                "meaning": table.meaning,
                "files": files[table.name],
                "rows": rows[table.name],
                "columns": [
                    {name: getattr(column, name) for name in _TOLD} for column in table.columns
                ],
            }
            for table in tables
        },
    }


@contextmanager
def new_folder(folder: Path) -> Iterator[Path]:
    """A temporary folder beside `folder` that becomes it when the block ends well."""
    folder = folder.expanduser().absolute()
    if folder.is_symlink() or folder.is_file() or (folder.is_dir() and any(folder.iterdir())):
        raise StudyError(f"{folder} exists and is left as it is. Name another with --output.")
    temporary = folder.parent / f".{folder.name[:40]}.{uuid.uuid4().hex}.tmp"
    try:
        temporary.mkdir(parents=True)
        yield temporary
        for file in temporary.rglob("*"):
            if file.is_file() and file.parent.name != "pictures":
                sync(file)
        rename(temporary, folder)
        sync(folder.parent)
    except OSError as error:
        raise StoreError(
            f"cannot write {folder}: {error.strerror or error}. Nothing was left there; free some "
            "space or name another folder with --output."
        ) from error
    finally:
        with suppress(OSError):
            shutil.rmtree(temporary, ignore_errors=True)


def read_export(folder: Path | str) -> dict[str, pd.DataFrame]:
    """The tables of an export as frames, by name; the same from every format.

    Pictures themselves are left in their files; column `file` of table `pictures` names them.

    Raises:
        TableError: when the folder is no export, or a file of it is missing.
    """
    root = Path(folder)
    try:
        manifest = json.loads((root / MANIFEST).read_text(encoding="utf-8"))
        kind, tables = manifest["format"], manifest["tables"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise TableError(
            f"{root} is no export: {MANIFEST} is missing or damaged ({error}). Name a folder that "
            "`dnd export` wrote."
        ) from error
    if kind not in FORMATS:
        raise TableError(f"{root / MANIFEST} names the format {kind!r}; known: {FORMATS}.")
    return {name: _read_table(root, name, entry, kind) for name, entry in tables.items()}


def _read_table(root: Path, name: str, entry: Mapping[str, Any], kind: Format) -> pd.DataFrame:
    try:
        columns = [Column(**fields) for fields in entry["columns"]]
        files = [root / str(file) for file in entry["files"]]
    except (KeyError, TypeError) as error:
        raise _foreign(root, name) from error
    if not files or any(column.type not in COLUMN_TYPES for column in columns):
        raise _foreign(root, name)
    for file in files:
        if not file.resolve().is_relative_to(root.resolve()) or not file.is_file():
            raise TableError(f"{root} lacks {file}, which holds {name}. Export the study again.")
    return read(files, columns, kind)


def _foreign(root: Path, name: str) -> TableError:
    return TableError(
        f"{root / MANIFEST} describes {name} in a way this version does not know. Read it with "
        "the version that wrote it, or export the study again."
    )


def frame(source: TableSource, name: str) -> pd.DataFrame:
    """One table of a study as a frame, as `read_export` gives it of an export without pictures.

    Raises:
        NotFoundError: when the study has no such table; names the nearest.
    """
    table = source.table(name)
    values: dict[str, list[object]] = {column.name: [] for column in table.columns}
    for row in _rows(source, table):
        for column in table.columns:
            values[column.name].append(row[column.name])
    return as_frame(values, table.columns)


def _rows(source: TableSource, table: Table) -> Iterator[Row]:
    if table not in WHOLE_TABLES:
        for asset in filter(table.reads, source.assets):
            for rows in source.batches(asset, [table]):
                yield from rows.by_table[table.name]
        return
    named_pictures = _NamedPictures()
    if table in (PICTURES, PROVIDERS, LLM_CALLS):  # what products name, so all of them are read
        tables = [
            product_table for product_table in source.tables() if product_table not in WHOLE_TABLES
        ]
        for asset in source.assets:
            asset_tables = [product_table for product_table in tables if product_table.reads(asset)]
            for rows in source.batches(asset, asset_tables):
                for product_table in asset_tables:
                    named_pictures.note_all(product_table, rows.by_table[product_table.name])
    if table == PICTURES:
        probing_files = source.probing_files(named_pictures.tables)
        for name in sorted(named_pictures.tables):
            yield _picture_row(name, named_pictures.tables[name], probing_files)
        return
    yield from dict(source.whole_tables())[table.name]
