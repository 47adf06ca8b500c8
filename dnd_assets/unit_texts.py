"""Files of labels and truths, as people give them: a text for each unit."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar

from dnd_assets.errors import TableError, nearest
from dnd_assets.tables import CsvTable, read_csv, read_text, unguarded
from dnd_assets.units import Unit

UNIT_COLUMNS: Final = ("unit", "neuron id", "neuron", "unit id", "id", "key", "index")
LABEL_COLUMNS: Final = ("label", "description", "explanation", "concept")
TRUTH_COLUMNS: Final = ("truth", "ground truth", "class name", "class", "target", "name", "label")
_Entry = TypeVar("_Entry")


@dataclass(frozen=True)
class Texts:
    """A text for each unit, as a file has them.

    Attributes:
        path: of the file.
        by_unit: texts in the order of the file.
        repeated: units that came again with the same text; counted once.
        blank: units without a text; left out.
    """

    path: Path
    by_unit: dict[str, str]
    repeated: tuple[str, ...] = ()
    blank: tuple[str, ...] = ()


def read_labels(path: Path) -> Texts:
    """The label of each unit of a CSV file.

    A unit is a number or a key such as `net/fc/3`. Apostrophes that guard formulas are taken off.

    Raises:
        NotFoundError: when there is no such file.
        TableError: when it is no such table, or a unit has two different labels.
    """
    table = read_csv(path)
    return _texts(table, table.column(LABEL_COLUMNS, "label"))


def read_truths(path: Path, *, beside: bool = False) -> Texts:
    """What units respond to: a CSV file, or a text file whose line i, from 0, is unit i's.

    Args:
        path: of the file; `.csv` and `.tsv` are tables, all else is lines.
        beside: take a column that is not the label's, from the file of the labels.

    Raises:
        NotFoundError: when there is no such file.
        TableError: when it cannot be understood, or a unit has two different truths.
    """
    if not beside and path.suffix.lower() not in (".csv", ".tsv"):
        lines = read_text(path).removesuffix("\n").split("\n")
        return _collect(path, ((i, str(i), line.strip()) for i, line in enumerate(lines)))
    table = read_csv(path)
    names = [name for name in TRUTH_COLUMNS if not (beside and name in LABEL_COLUMNS)]
    if beside and table.find(names) is None:
        raise TableError(
            f"{path} has no column of truths ({', '.join(names)}). Give them in a file of their "
            "own: --truths FILE, a CSV file or one truth on each line."
        )
    return _texts(table, table.column(names, "truth"))


def by_key(texts: Texts, found: Mapping[str, _Entry], units: Sequence[Unit]) -> dict[str, _Entry]:
    """A file's entries by key, for those of the units that it holds.

    Args:
        texts: the file.
        found: its entries by unit as the file names them: by key, or by number in one layer.
        units: the units that are asked for.

    Raises:
        TableError: when it holds none of them.
    """
    keyed = {unit.key: found[unit.key] for unit in units if unit.key in found}
    if keyed:
        return keyed
    numbered = {u.key: found[str(u.neuron)] for u in units if str(u.neuron) in found}
    layers = sorted({unit.key.rpartition("/")[0] for unit in units})
    if numbered and len(layers) == 1:
        return numbered
    if numbered:
        raise TableError(
            f"{texts.path} numbers its units, which does not tell the layers "
            f"{', '.join(layers[:3])} apart. Name them by whole keys, such as "
            f"{units[0].key}, or ask for one layer alone: {layers[0]}"
        )
    one = next(iter(found), "none")
    close = ", ".join(nearest(one, [unit.key for unit in units]))
    raise TableError(
        f"{texts.path} holds none of the units that are compared. A unit of the file: {one}; "
        f"units compared: {close}. Name the units alike."
    )


def _texts(table: CsvTable, place: int) -> Texts:
    unit = table.column(UNIT_COLUMNS, "unit")
    rows = ((line, _unit(row[unit]), unguarded(row[place]).strip()) for line, row in table.rows)
    return _collect(table.path, rows)


def _collect(path: Path, rows: Iterable[tuple[int, str, str]]) -> Texts:
    """Texts by unit; equal repetitions are counted, different ones refused."""
    found: dict[str, str] = {}
    repeated, blank = [], []
    for line, unit, text in rows:
        if not unit:
            raise TableError(f"{path}, line {line:,}: no unit. Fill it in or remove the row.")
        if not text:
            blank.append(unit)
        elif unit not in found:
            found[unit] = text
        elif found[unit] == text:
            repeated.append(unit)
        else:
            raise TableError(
                f"{path}, line {line:,}: unit {unit} is {text!r} here and {found[unit]!r} "
                "before. Keep one of the rows."
            )
    return Texts(path, found, tuple(repeated), tuple(blank))


def _unit(text: str) -> str:
    """A unit as written, numbers without leading zeros or the `.0` of a column of floats."""
    plain = unguarded(text).strip()
    number = plain.removesuffix(".0")
    return str(int(number)) if number.isascii() and number.isdigit() else plain
