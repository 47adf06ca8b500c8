"""Tables given by people: CSV files of any origin, read with care and refused with reasons."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from dnd_assets.errors import NotFoundError, TableError, nearest

FORMULA: Final = ("=", "+", "-", "@", "\t", "\r", "\n")
"""What a spreadsheet takes for the start of a formula."""
_DELIMITERS: Final = (",", ";", "\t")
_LONGEST_FIELD: Final = 10_000_000


@dataclass(frozen=True)
class CsvTable:
    """A CSV file.

    Attributes:
        path: where it lies.
        columns: names of the header, without spaces around them.
        rows: (number of the row's last line in the file, its fields), each as many as columns.
    """

    path: Path
    columns: tuple[str, ...]
    rows: tuple[tuple[int, tuple[str, ...]], ...]

    def column(self, names: Sequence[str], what: str) -> int:
        """Place of the first of `names` that the header holds, whatever the case.

        Raises:
            TableError: when there is none; names the columns that would do and those there are.
        """
        position = self.find(names)
        if position is None:
            existing = ", ".join(repr(name) for name in nearest(names[0], self.columns))
            raise TableError(
                f"{self.path} has no column for the {what}; such a column is called "
                f"{', '.join(names)}; the file has {existing}. Rename one of them."
            )
        return position

    def find(self, names: Iterable[str]) -> int | None:
        """Place of the first of `names` that the header holds, or None."""
        lowered = [name.lower().replace("_", " ") for name in self.columns]
        return next((lowered.index(name) for name in names if name in lowered), None)


def read_text(path: Path) -> str:
    """A file's text, UTF-8 with or without a byte order mark.

    Raises:
        NotFoundError: when there is no such file; names the nearest beside it.
        TableError: when it cannot be read or is not UTF-8.
    """
    try:
        if path.exists() and not path.is_file():  # opening a FIFO would wait for ever
            raise TableError(f"cannot read {path}: it is no file.")
        return path.read_bytes().decode("utf-8-sig")
    except (FileNotFoundError, NotADirectoryError) as error:
        siblings = [p.name for p in path.parent.iterdir()] if path.parent.is_dir() else []
        close = ", ".join(nearest(path.name, sorted(siblings))) or "nothing"
        raise NotFoundError(f"no file {path}; {path.parent} holds: {close}.") from error
    except OSError as error:
        raise TableError(f"cannot read {path}: {error.strerror or error}.") from error
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise TableError(
            f"{path}, line {line:,}: not UTF-8 text (byte {error.start:,}). Save it as CSV in "
            "UTF-8."
        ) from error


def read_csv(path: Path) -> CsvTable:
    """A CSV file with a header; commas, semicolons or tabs; blank lines do not count.

    Raises:
        NotFoundError: when there is no such file.
        TableError: when it is no text, has no header or row, repeats a column, has an open
            quote, or a row has more or fewer fields than the header; names the line.
    """
    text = read_text(path)
    first = text.lstrip("\r\n").partition("\n")[0]
    delimiter = max(_DELIMITERS, key=first.count)
    csv.field_size_limit(_LONGEST_FIELD)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        lines = [(reader.line_num, tuple(row)) for row in reader if any(row)]
    except csv.Error as error:
        raise TableError(
            f"{path}, line {reader.line_num:,}: {error}. Close every quote, and double quotes "
            "inside a quoted field."
        ) from error
    if len(lines) < 2:
        raise TableError(f"{path} has {'a header but no' if lines else 'no header and no'} rows.")
    columns = tuple(name.strip() for name in lines[0][1])
    repeated = sorted({name for name in columns if columns.count(name) > 1})
    if repeated:
        raise TableError(f"{path} has several columns named {', '.join(map(repr, repeated))}.")
    for line, row in lines[1:]:
        if len(row) != len(columns):
            raise TableError(
                f"{path}, line {line:,}: {len(row)} fields, but the header has {len(columns)}. "
                f'Put text with a {delimiter!r} into quotes, as in "tench, Tinca tinca".'
            )
    return CsvTable(path, columns, tuple(lines[1:]))


def guarded(text: str) -> str:
    """Text that no spreadsheet runs: what starts like a formula gets an apostrophe before it.

    So does what starts like a guarded formula, so that `unguarded` gives every text back.

    >>> guarded("=1+1"), guarded("'=1+1"), guarded("it's")
    ("'=1+1", "''=1+1", "it's")
    """
    return f"'{text}" if text.lstrip("'").startswith(FORMULA) else text


def unguarded(text: str) -> str:
    """Text without the apostrophe that keeps a spreadsheet from running it as a formula."""
    return text[1:] if text.startswith("'") and text.lstrip("'").startswith(FORMULA) else text
