"""Ratings of a human study: read from where they were made, and summed up for each layer."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pandas as pd

from dnd_assets.errors import TableError, not_found
from dnd_assets.human_study import Asked
from dnd_assets.methods.agreement import ordinal_alpha
from dnd_assets.rating_forms import REMARKS, SCALE
from dnd_assets.tables import CsvTable, read_csv, read_text

_WIDE: Final = re.compile(r"(?P<method>.+) (?P<rater>\S+) rating", re.IGNORECASE)
_TRUE: Final = frozenset({"true", "1", "yes"})
_FALSE: Final = frozenset({"false", "0", "no", ""})
ALL: Final = "all"


@dataclass(frozen=True)
class Sheet:
    """What one rater said of one unit.

    Attributes:
        layer: of the unit; empty when its key has none.
        unit: its key.
        rater: who.
        scores: for each method a point from 1 to 5; methods left unanswered are missing.
        remarks: of `rating_forms.REMARKS`, those that were ticked.
    """

    layer: str
    unit: str
    rater: str
    scores: Mapping[str, int]
    remarks: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Ratings:
    """All sheets of a study.

    Attributes:
        sheets: in the order of the file.
        methods: all that were asked about, in the order of the file.
        withdrawn: sheets that were cancelled or rejected, and left out.
    """

    sheets: tuple[Sheet, ...]
    methods: tuple[str, ...]
    withdrawn: int = 0


@dataclass(frozen=True)
class Standing:
    """How a method fared in a layer.

    Attributes:
        ratings: how many it got.
        mean: of them; NaN without any.
        best: share of sheets in which no method was rated higher; k that tie have 1/k each.
    """

    ratings: int
    mean: float
    best: float


@dataclass(frozen=True)
class LayerRatings:
    """One layer of a study.

    Attributes:
        layer: its name, or `all`.
        units: how many were rated.
        sheets: of all raters.
        methods: how each fared.
        alpha: agreement of the raters on (unit, method), Krippendorff's alpha, ordinal; NaN when
            nothing was rated twice or all ratings are equal.
        remarks: how many sheets bear each remark.
        unanswered: descriptions that were left unrated.
    """

    layer: str
    units: int
    sheets: int
    methods: dict[str, Standing]
    alpha: float
    remarks: dict[str, int]
    unanswered: int


def read_ratings(path: Path, key: Mapping[str, Asked] | None = None) -> Ratings:
    """Ratings from Label Studio (JSON), MTurk (CSV of results) or a wide table (CSV).

    A wide table has a row for each unit, with columns `Layer`, `Unit`, `<method> <rater> Rating`
    and, if wanted, `Uninterpretable <rater>` and `None <rater>`, as the ratings published with DnD.

    Args:
        path: of the file.
        key: what each task was about, from `human_study.read_key`; a wide table needs none.

    Raises:
        NotFoundError: when there is no such file, or a task is not in the key.
        TableError: when it is none of the three, a key is needed, or a rating is no point of the
            scale, or a rater has two sheets of a unit; names the place.
    """
    if path.suffix.lower() == ".json":
        found = _label_studio(path, _needed(key, path))
    else:
        table = read_csv(path)
        if table.find(["input.task"]) is not None:
            found = _mturk(table, _needed(key, path))
        else:
            found = _wide(table)
    seen = set()
    for sheet in found.sheets:
        if (sheet.unit, sheet.rater) in seen:
            raise TableError(
                f"{path}: rater {sheet.rater} has two sheets of unit {sheet.unit}. Keep one."
            )
        seen.add((sheet.unit, sheet.rater))
    return found


def by_layer(ratings: Ratings, *, skip: Iterable[str] = ()) -> list[LayerRatings]:
    """The figures of each layer, in the order of the file, and of all.

    Args:
        ratings: of one study.
        skip: remarks whose sheets do not count, such as `uninterpretable`.

    Raises:
        TableError: when no sheet is left.
    """
    left = [sheet for sheet in ratings.sheets if not sheet.remarks & set(skip)]
    if not left:
        raise TableError("no sheet with ratings is left; nothing can be summed up.")
    layers: dict[str, list[Sheet]] = {}
    for sheet in left:
        layers.setdefault(sheet.layer, []).append(sheet)
    rows = [_layer(layer, sheets, ratings.methods) for layer, sheets in layers.items()]
    return [*rows, _layer(ALL, left, ratings.methods)] if len(rows) > 1 else rows


def as_table(rows: Sequence[LayerRatings]) -> pd.DataFrame:
    """One line for each layer and method."""
    lines = [
        {
            "layer": row.layer,
            "method": method,
            "mean": standing.mean,
            "best": standing.best,
            "ratings": standing.ratings,
            "units": row.units,
            "alpha": row.alpha,
            "unanswered": row.unanswered,
            **row.remarks,
        }
        for row in rows
        for method, standing in row.methods.items()
    ]
    return pd.DataFrame(lines)


def _layer(layer: str, sheets: Sequence[Sheet], methods: Sequence[str]) -> LayerRatings:
    items: dict[tuple[str, str], list[int]] = {}
    for sheet in sheets:
        for method, score in sheet.scores.items():
            items.setdefault((sheet.unit, method), []).append(score)
    return LayerRatings(
        layer=layer,
        units=len({sheet.unit for sheet in sheets}),
        sheets=len(sheets),
        methods={method: _standing(sheets, method) for method in methods},
        alpha=ordinal_alpha(items.values()),
        remarks={name: sum(name in sheet.remarks for sheet in sheets) for name in REMARKS},
        unanswered=sum(len(methods) - len(sheet.scores) for sheet in sheets),
    )


def _standing(sheets: Sequence[Sheet], method: str) -> Standing:
    scores = [sheet.scores[method] for sheet in sheets if method in sheet.scores]
    if not scores:
        return Standing(0, float("nan"), float("nan"))
    answered = [sheet for sheet in sheets if sheet.scores]
    best = sum(_share(sheet.scores, method) for sheet in answered) / len(answered)
    return Standing(len(scores), sum(scores) / len(scores), best)


def _share(scores: Mapping[str, int], method: str) -> float:
    winners = [name for name, score in scores.items() if score == max(scores.values())]
    return 1 / len(winners) if method in winners else 0.0


def _wide(table: CsvTable) -> Ratings:
    layer, unit = table.column(["layer"], "layer"), table.column(["unit"], "unit")
    places = [(i, m) for i, name in enumerate(table.columns) if (m := _WIDE.fullmatch(name))]
    if not places:
        raise TableError(
            f"{table.path} has no ratings. Columns of ratings read '<method> <rater> Rating' in a "
            "table with a row for each unit; results of MTurk hold 'Input.task'."
        )
    raters = dict.fromkeys(found["rater"] for _, found in places)
    sheets = []
    for line, row in table.rows:
        for rater in raters:
            scores = {
                found["method"]: score
                for i, found in places
                if found["rater"] == rater and (score := _score(row[i], table.path, line))
            }
            remarks = _ticked(table, line, row, {n: f"{n} {rater}".lower() for n in REMARKS})
            name = f"{row[layer].strip()}/{row[unit].strip()}"
            sheets.append(Sheet(row[layer].strip(), name, rater, scores, remarks))
    return Ratings(tuple(sheets), tuple(dict.fromkeys(found["method"] for _, found in places)))


def _mturk(table: CsvTable, key: Mapping[str, Asked]) -> Ratings:
    task, worker = table.column(["input.task"], "task"), table.column(["workerid"], "worker")
    status = table.find(["assignmentstatus"])
    sheets, withdrawn, path = [], 0, table.path
    for line, row in table.rows:
        if status is not None and row[status].strip().lower() == "rejected":
            withdrawn += 1
            continue
        asked = _asked(row[task].strip(), key)
        scores = {
            method: score
            for i, method in enumerate(asked.methods)
            if (score := _score(row[table.column([f"answer.rating {i}"], "rating")], path, line))
        }
        remarks = _ticked(table, line, row, {name: f"answer.{name}" for name in REMARKS})
        sheets.append(_sheet(asked, row[worker].strip(), scores, remarks))
    return Ratings(tuple(sheets), _methods(key), withdrawn)


def _label_studio(path: Path, key: Mapping[str, Asked]) -> Ratings:
    try:
        content = json.loads(read_text(path))
        found = list(_annotations(content))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise TableError(
            f"{path} is no export of Label Studio ({type(error).__name__}: {error}). Export the "
            "project in the format JSON, not JSON-MIN."
        ) from error
    sheets = []
    for task, rater, annotation in found:
        asked = _asked(task, key)
        chosen = {one["from_name"]: one["value"] for one in annotation.get("result", [])}
        scores = {
            method: score
            for i, method in enumerate(asked.methods)
            if (score := _score(_point(chosen.get(f"rating_{i}", {})), path, f"task {task}"))
        }
        ticked = chosen.get("remarks", {}).get("choices", [])
        remarks = frozenset(n for n, says in REMARKS.items() if n in ticked or says in ticked)
        sheets.append(_sheet(asked, rater, scores, remarks))
    withdrawn = sum(bool(a.get("was_cancelled")) for t in content for a in t["annotations"])
    return Ratings(tuple(sheets), _methods(key), withdrawn)


def _annotations(content: Any) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """(task, rater, annotation) of all that were not cancelled."""
    for task in content:
        for annotation in task["annotations"]:
            if annotation.get("was_cancelled"):
                continue
            by = annotation.get("completed_by", "")
            rater = str(by.get("email") or by["id"]) if isinstance(by, dict) else str(by)
            yield str(task["data"]["task"]), rater, annotation


def _point(value: Mapping[str, Any]) -> str:
    """The point of an answer: `{"choices": ["4 agree"]}` or `{"rating": 4}`."""
    choices = value.get("choices") or [""]
    return str(value.get("rating") or choices[0]).partition(" ")[0]


def _score(text: str, path: Path, place: int | str) -> int | None:
    """A point of the scale; None when it was left blank."""
    plain = text.strip().removesuffix(".0")
    if not plain:
        return None
    if plain in {str(point) for point in SCALE}:
        return int(plain)
    where = f"line {place:,}" if isinstance(place, int) else place
    scale = f"{min(SCALE)} to {max(SCALE)}"
    raise TableError(f"{path}, {where}: the rating {text!r} is none of {scale}.")


def _ticked(
    table: CsvTable, line: int, row: Sequence[str], columns: Mapping[str, str]
) -> frozenset[str]:
    """The remarks whose column, where there is one, says yes."""
    ticked = set()
    for name, column in columns.items():
        place = table.find([column])
        said = "" if place is None else row[place].strip().lower()
        if said not in _TRUE | _FALSE:
            raise TableError(
                f"{table.path}, line {line:,}: {row[place or 0]!r} in column {column!r} is neither "
                "TRUE nor FALSE."
            )
        if said in _TRUE:
            ticked.add(name)
    return frozenset(ticked)


def _sheet(asked: Asked, rater: str, scores: Mapping[str, int], remarks: frozenset[str]) -> Sheet:
    return Sheet(asked.unit.rpartition("/")[0], asked.unit, rater, scores, remarks)


def _asked(task: str, key: Mapping[str, Asked]) -> Asked:
    if task in key:
        return key[task]
    raise not_found("task", task, key, "Give the key that was written with this study.")


def _methods(key: Mapping[str, Asked]) -> tuple[str, ...]:
    return tuple(sorted({method for asked in key.values() for method in asked.methods}))


def _needed(key: Mapping[str, Asked] | None, path: Path) -> Mapping[str, Asked]:
    if key is None:
        raise TableError(
            f"{path} does not tell which method wrote what; that is in the key.json of the "
            "study. Give it: --key FILE."
        )
    return key
