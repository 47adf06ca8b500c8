"""Files of labels and truths, as people give them: a text for each unit."""

from __future__ import annotations

import json
import re
from ast import literal_eval
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, TypeVar

from dnd_assets.errors import TableError, nearest
from dnd_assets.files.csv_tables import CsvTable, read_csv, read_text, unguarded
from dnd_assets.units import Unit

UNIT_COLUMNS: Final = ("unit", "neuron id", "neuron", "unit id", "group", "id", "key", "index")
LABEL_COLUMNS: Final = ("label", "description", "explanation", "concept")
RANKED_COLUMNS: Final = ("label 1", "label1", "label 0", "label0", "concept 0", "concept0")
"""The best of several labels that have a column each: DnD's, Linear Explanations'."""
LISTED_COLUMNS: Final = ("concept set words", "concept set noun phrases")
"""Lists of (word, weight), the best first: FALCON's."""
TRUTH_COLUMNS: Final = ("truth", "ground truth", "class name", "class", "target", "name", "label")
LAYER_COLUMNS: Final = ("layer", "layer name")
LAYOUTS: Final = (
    "DnD (Neuron ID, label or Label 1, …), CLIP-Dissect (layer, unit, description), MILAN and "
    "Network Dissection (unit, label), INVERT (neuron, concept), FALCON (group, "
    "concept_set_words), Linear Explanations (unit, weight0, concept0, …), MAIA (JSON, objects "
    "with label)"
)
"""The layouts that are read, for people."""
First = Literal[0, 1]
"""The number of a layer's first unit."""
_Entry = TypeVar("_Entry")
_KEYED: Final = (
    "names units by key, or by layer and number, which count from 0; a first unit of 1 does not "
    "apply to it. If its numbers count from 1, keep the rows of one layer and name units by number"
)
_LONGEST_LIST: Final = 100_000
_RANKED: Final = re.compile(r"(label|concept)(\d+)")


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

    @property
    def numbers(self) -> list[int]:
        """The numbers of all units within their layer; none where one of them is no number."""
        last_parts = [unit.rpartition("/")[2] for unit in (*self.by_unit, *self.blank)]
        return (
            [int(part) for part in last_parts]
            if all(part.isdecimal() for part in last_parts)
            else []
        )

    def shifted(self, first: First) -> Texts:
        """The same with units counted from 0, of a file that counts them from `first`."""
        if not first:
            return self
        repeated, blank = (tuple(map(_one_less, units)) for units in (self.repeated, self.blank))
        texts = {_one_less(unit): text for unit, text in self.by_unit.items()}
        return Texts(self.path, texts, repeated, blank)


@dataclass(frozen=True)
class Numbering:
    """How a file counts the units of a layer.

    Attributes:
        first: the number of the first unit.
        told: what there is to be said of it; empty where it is plain.
        is_open: whether the numbers leave it open, so that `first` is an assumption.
    """

    first: First
    told: str = ""
    is_open: bool = False


def numbering(
    texts: Texts, count: int | None, first: First | None = None, ask: str = "say first_unit = 1"
) -> Numbering:
    """Whether a file counts the units of a layer from 0 or from 1.

    A file with a unit 0 counts from 0. One without, whose largest number is the layer's number of
    units, counts from 1, as Network Dissection's tables do: counted from 0 there is no such unit.
    Of any other it cannot be told; it is read as counted from 0, and that is said.

    Args:
        texts: the file.
        count: how many units the layer has; None if it is not known.
        first: what the user says of it.
        ask: what the user is to do if it counts from 1.

    Raises:
        TableError: when the user says 1 and there is a unit 0.
    """
    numbers = texts.numbers
    if not numbers or any("/" in unit for unit in texts.by_unit):
        # Keys are this project's own, and count from 0.
        return Numbering(0, f"{texts.path} {_KEYED}" if first else "")
    low, high = min(numbers), max(numbers)
    if first is not None:
        if low < first:
            raise TableError(
                f"{texts.path} is said to count units from {first}, but has a unit {low}. Say 0 of "
                "it, or nothing."
            )
        return Numbering(first)
    if low == 0:
        return Numbering(0)
    if high == count:
        message = f"{texts.path} counts units from 1: its last is {high:,}, of {count:,} units"
        return Numbering(1, f"{message}; unit 1 there is unit 0 here")
    total = f" of {count:,}" if count is not None else ""
    message = (
        f"{texts.path} has units {low:,} to {high:,}{total} and no unit 0: whether it counts from "
        "0 or from 1 cannot be told. It is read as counted from 0: the layer's first unit is "
        f"taken to be called 0, and {low:,} there is unit {low:,} here. If it counts from 1, {ask}"
    )
    return Numbering(0, message, is_open=True)


def read_labels(path: Path) -> Texts:
    """The label of each unit of a table, in any of `LAYOUTS`.

    A unit is a number or a key such as `net/fc/3`; of a table of several layers it is
    `layer/number`. Apostrophes that guard formulas are taken off. Of several labels of a unit the
    first counts, of weighted concepts the one with the largest weight.

    Raises:
        NotFoundError: when there is no such file.
        TableError: when it is no such table, or a unit has two different labels.
    """
    if path.suffix.lower() == ".json":
        return _collect(path, _of_json(path))
    table = read_csv(path)
    listed = table.find(LISTED_COLUMNS)
    if listed is not None:
        return _texts(table, lambda line, row: _heaviest(table.path, line, row[listed]))
    if table.find(LABEL_COLUMNS) is None and table.find(RANKED_COLUMNS) is not None:
        return _texts(table, _best_of(table))
    column = _column(table, LABEL_COLUMNS, "label")
    return _texts(table, lambda _, row: row[column])


def read_truths(path: Path, *, beside: bool = False) -> Texts:
    """What units respond to: a CSV file, or a text file whose line i, from 0, is unit i's.

    Args:
        path: of the file; `.csv` and `.tsv` are tables, all else is lines.
        beside: take a column that is not the label's, from the file of the labels.

    Raises:
        NotFoundError: when there is no such file.
        TableError: when it cannot be understood, or a unit has two different truths.
    """
    if not beside and path.suffix.lower() == ".json":
        return _collect(path, _of_json(path))
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
    column = table.column(names, "truth")
    return _texts(table, lambda _, row: row[column])


def by_key(texts: Texts, entries: Mapping[str, _Entry], units: Sequence[Unit]) -> dict[str, _Entry]:
    """A file's entries by key, for those of the units that it holds.

    Args:
        texts: the file.
        entries: its entries by unit as the file names them: by key, by layer and number, or by
            number in one layer.
        units: the units that are asked for.

    Raises:
        TableError: when it holds none of them.
    """
    keyed = {
        unit.key: entries[name]
        for unit in units
        for name in reversed(names_of(unit))
        if name in entries
    }
    if keyed:
        return keyed
    numbered = {
        unit.key: entries[str(unit.neuron)] for unit in units if str(unit.neuron) in entries
    }
    layers = sorted({unit.key.rpartition("/")[0] for unit in units})
    if numbered and len(layers) == 1:
        return numbered
    if numbered:
        raise TableError(
            f"{texts.path} numbers its units, which does not tell the layers "
            f"{', '.join(layers[:3])} apart. Name them by whole keys, such as "
            f"{units[0].key}, or ask for one layer alone: {layers[0]}"
        )
    example = next(iter(entries), "none")
    close = ", ".join(nearest(example, [unit.key for unit in units]))
    raise TableError(
        f"{texts.path} holds none of the units that are compared. A unit of the file: {example}; "
        f"units compared: {close}. Name the units alike."
    )


def names_of(unit: Unit) -> tuple[str, str]:
    """What a table may call a unit besides its number: its key, or layer and number."""
    return unit.key, f"{unit.layer}/{unit.neuron}"


def _texts(table: CsvTable, text: Callable[[int, Sequence[str]], str]) -> Texts:
    """Texts of a table; `text` gives that of a line's row."""
    unit, layer = _column(table, UNIT_COLUMNS, "unit"), table.find(LAYER_COLUMNS)
    several_layers = layer is not None and len({row[layer] for _, row in table.rows}) > 1

    def name(row: Sequence[str]) -> str:
        unit_name = _unit(row[unit])
        needs_layer = several_layers and layer is not None and unit_name and "/" not in unit_name
        return (
            f"{unguarded(row[layer]).strip()}/{unit_name}"
            if needs_layer and layer is not None
            else unit_name
        )

    rows = ((line, name(row), unguarded(text(line, row)).strip()) for line, row in table.rows)
    return _collect(table.path, rows)


def _column(table: CsvTable, names: Sequence[str], content: str) -> int:
    position = table.find(names)
    if position is not None:
        return position
    raise TableError(
        f"{table.path} has no column for the {content}; such a column is called "
        f"{', '.join(names)}; the file has {', '.join(map(repr, table.columns))}. Layouts that are "
        f"read: {LAYOUTS}. Rename one of the columns."
    )


def _best_of(table: CsvTable) -> Callable[[int, Sequence[str]], str]:
    """The best of the labels that a row has in columns of their own."""
    lowered = [re.sub("[ _]", "", name.lower()) for name in table.columns]
    numbered = {
        int(match[2]): column
        for column, name in enumerate(lowered)
        if (match := _RANKED.fullmatch(name))
    }
    labels = [numbered[number] for number in sorted(numbered)]
    weights = {
        column: lowered.index(f"weight{number}")
        for number, column in numbered.items()
        if f"weight{number}" in lowered
    }

    def best(line: int, row: Sequence[str]) -> str:
        filled = [column for column in labels if row[column].strip()]
        if not weights:
            return row[filled[0]] if filled else ""
        weighed = {
            column: _weight(table.path, line, row[weights[column]])
            for column in filled
            if column in weights
        }
        top = max(weighed, key=lambda column: weighed[column], default=None)
        return row[top] if top is not None and weighed[top] > 0 else ""

    return best


def _weight(path: Path, line: int, text: str) -> float:
    try:
        return float(text)
    except ValueError as error:
        raise TableError(f"{path}, line {line:,}: the weight {text!r} is no number.") from error


def _heaviest(path: Path, line: int, text: str) -> str:
    """The word with the largest weight out of a list of (word, weight), as Python writes it."""
    try:
        if len(text) > _LONGEST_LIST:
            raise ValueError("it is too long")
        pairs = literal_eval(text) if text.strip() else []
        weighed = [(str(word), float(weight)) for word, weight in pairs]
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError) as error:
        raise TableError(
            f"{path}, line {line:,}: {text[:60]!r} is no list of (word, weight): {error}."
        ) from error
    return max(weighed, key=lambda pair: pair[1])[0] if weighed else ""


def _of_json(path: Path) -> Iterator[tuple[int, str, str]]:
    """Line, unit and text of a JSON file: an object by unit, or a list in the order of units."""
    try:
        content = json.loads(read_text(path))
    except ValueError as error:
        raise TableError(f"{path} is no JSON: {error}.") from error
    if not isinstance(content, dict | list) or not content:
        raise TableError(f"{path} is neither a JSON object by unit nor a list with one per unit.")
    pairs = content.items() if isinstance(content, dict) else enumerate(content)
    for line, (unit, entry) in enumerate(pairs, 1):
        if not isinstance(entry, dict):
            yield line, _unit(str(unit)), str(entry or "").strip()
            continue
        fields = {str(name).lower().replace("_", " "): value for name, value in entry.items()}
        label = next((fields[name] for name in LABEL_COLUMNS if name in fields), None)
        if label is None:
            raise TableError(
                f"{path}, entry {line:,}: no label ({', '.join(LABEL_COLUMNS)}); it has "
                f"{', '.join(map(repr, entry))}. Layouts that are read: {LAYOUTS}."
            )
        unit_name = next((fields[name] for name in UNIT_COLUMNS if name in fields), unit)
        yield line, _unit(str(unit_name)), str(label or "").strip()


def _collect(path: Path, rows: Iterable[tuple[int, str, str]]) -> Texts:
    """Texts by unit; equal repetitions are counted, different ones refused."""
    texts: dict[str, str] = {}
    repeated, blank = [], []
    for line, unit, text in rows:
        if not unit:
            raise TableError(f"{path}, line {line:,}: no unit. Fill it in or remove the row.")
        if not text:
            blank.append(unit)
        elif unit not in texts:
            texts[unit] = text
        elif texts[unit] == text:
            repeated.append(unit)
        else:
            raise TableError(
                f"{path}, line {line:,}: unit {unit} is {text!r} here and {texts[unit]!r} "
                "before. Keep one of the rows."
            )
    return Texts(path, texts, tuple(repeated), tuple(blank))


def _one_less(unit: str) -> str:
    return str(int(unit) - 1) if unit.isdecimal() else unit


def _unit(text: str) -> str:
    """A unit as written, numbers without leading zeros or the `.0` of a column of floats."""
    name = unguarded(text).strip()
    number = name.removesuffix(".0")
    return str(int(number)) if number.isascii() and number.isdigit() else name
