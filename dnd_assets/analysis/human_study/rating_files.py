"""Ratings of a human study, read from where they were made."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from dnd_assets.analysis.human_study.forms import REMARKS, SCALE
from dnd_assets.analysis.human_study.questionnaire import Asked
from dnd_assets.analysis.human_study.ratings import Ratings, Sheet
from dnd_assets.errors import TableError, not_found
from dnd_assets.files.csv_tables import CsvTable, read_csv, read_text

_WIDE: Final = re.compile(r"(?P<method>.+) (?P<rater>\S+) rating", re.IGNORECASE)
_TRUE: Final = frozenset({"true", "1", "yes"})
_FALSE: Final = frozenset({"false", "0", "no", ""})


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
        ratings = _label_studio(path, _needed(key, path))
    else:
        table = read_csv(path)
        if table.find(["input.task"]) is not None:
            ratings = _mturk(table, _needed(key, path))
        else:
            ratings = _wide(table)
    seen_sheets = set()
    for sheet in ratings.sheets:
        if (sheet.unit, sheet.rater) in seen_sheets:
            raise TableError(
                f"{path}: rater {sheet.rater} has two sheets of unit {sheet.unit}. Keep one."
            )
        seen_sheets.add((sheet.unit, sheet.rater))
    return ratings


def _wide(table: CsvTable) -> Ratings:
    layer, unit = table.column(["layer"], "layer"), table.column(["unit"], "unit")
    rating_columns = [
        (i, m) for i, name in enumerate(table.columns) if (m := _WIDE.fullmatch(name))
    ]
    if not rating_columns:
        raise TableError(
            f"{table.path} has no ratings. Columns of ratings read '<method> <rater> Rating' in a "
            "table with a row for each unit; results of MTurk hold 'Input.task'."
        )
    raters = dict.fromkeys(match["rater"] for _, match in rating_columns)
    sheets = []
    for line, row in table.rows:
        for rater in raters:
            scores = {
                match["method"]: score
                for i, match in rating_columns
                if match["rater"] == rater and (score := _score(row[i], table.path, line))
            }
            remarks = _ticked(table, line, row, {n: f"{n} {rater}".lower() for n in REMARKS})
            name = f"{row[layer].strip()}/{row[unit].strip()}"
            if scores or remarks:  # not every rater sees every unit
                sheets.append(Sheet(row[layer].strip(), name, rater, scores, remarks))
    return Ratings(
        tuple(sheets), tuple(dict.fromkeys(match["method"] for _, match in rating_columns))
    )


def _mturk(table: CsvTable, key: Mapping[str, Asked]) -> Ratings:
    task, worker = table.column(["input.task"], "task"), table.column(["workerid"], "worker")
    status = table.find(["assignmentstatus"])
    sheets, withdrawn, path = [], 0, table.path
    for line, row in table.rows:
        if status is not None and row[status].strip().lower() == "rejected":
            withdrawn += 1
            continue
        subject = _subject_of(row[task].strip(), key)
        scores = {
            method: score
            for i, method in enumerate(subject.methods)
            if (score := _score(row[table.column([f"answer.rating {i}"], "rating")], path, line))
        }
        remarks = _ticked(table, line, row, {name: f"answer.{name}" for name in REMARKS})
        sheets.append(_sheet(subject, row[worker].strip(), scores, remarks))
    return Ratings(tuple(sheets), _methods(key), withdrawn)


def _label_studio(path: Path, key: Mapping[str, Asked]) -> Ratings:
    try:
        content = json.loads(read_text(path))
        rater_annotations = list(_annotations(content))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise TableError(
            f"{path} is no export of Label Studio ({type(error).__name__}: {error}). Export the "
            "project in the format JSON, not JSON-MIN."
        ) from error
    sheets = []
    for task, rater, annotation in rater_annotations:
        subject = _subject_of(task, key)
        answers = {answer["from_name"]: answer["value"] for answer in annotation.get("result", [])}
        scores = {
            method: score
            for i, method in enumerate(subject.methods)
            if (score := _score(_point(answers.get(f"rating_{i}", {})), path, f"task {task}"))
        }
        ticked = answers.get("remarks", {}).get("choices", [])
        remarks = frozenset(n for n, wording in REMARKS.items() if n in ticked or wording in ticked)
        sheets.append(_sheet(subject, rater, scores, remarks))
    withdrawn = sum(bool(a.get("was_cancelled")) for t in content for a in t["annotations"])
    return Ratings(tuple(sheets), _methods(key), withdrawn)


def _annotations(content: Any) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """(task, rater, annotation) of all that were not cancelled."""
    for task in content:
        for annotation in task["annotations"]:
            if annotation.get("was_cancelled"):
                continue
            completed_by = annotation.get("completed_by", "")
            rater = (
                str(completed_by.get("email") or completed_by["id"])
                if isinstance(completed_by, dict)
                else str(completed_by)
            )
            yield str(task["data"]["task"]), rater, annotation


def _point(value: Mapping[str, Any]) -> str:
    """The point of an answer: `{"choices": ["4 agree"]}` or `{"rating": 4}`."""
    choices = value.get("choices") or [""]
    return str(value.get("rating") or choices[0]).partition(" ")[0]


def _score(text: str, path: Path, place: int | str) -> int | None:
    """A point of the scale; None when it was left blank."""
    digits = text.strip().removesuffix(".0")
    if not digits:
        return None
    if digits in {str(point) for point in SCALE}:
        return int(digits)
    location = f"line {place:,}" if isinstance(place, int) else place
    scale = f"{min(SCALE)} to {max(SCALE)}"
    raise TableError(f"{path}, {location}: the rating {text!r} is none of {scale}.")


def _ticked(
    table: CsvTable, line: int, row: Sequence[str], columns: Mapping[str, str]
) -> frozenset[str]:
    """The remarks that a rater ticked: those whose column holds TRUE."""
    ticked = set()
    for name, column in columns.items():
        index = table.find([column])
        cell = "" if index is None else row[index].strip().lower()
        if cell not in _TRUE | _FALSE:
            raise TableError(
                f"{table.path}, line {line:,}: {row[index or 0]!r} in column {column!r} is neither "
                "TRUE nor FALSE."
            )
        if cell in _TRUE:
            ticked.add(name)
    return frozenset(ticked)


def _sheet(subject: Asked, rater: str, scores: Mapping[str, int], remarks: frozenset[str]) -> Sheet:
    return Sheet(subject.unit.rpartition("/")[0], subject.unit, rater, scores, remarks)


def _subject_of(task: str, key: Mapping[str, Asked]) -> Asked:
    if task in key:
        return key[task]
    raise not_found("task", task, key, "Give the key that was written with this study.")


def _methods(key: Mapping[str, Asked]) -> tuple[str, ...]:
    return tuple(sorted({method for subject in key.values() for method in subject.methods}))


def _needed(key: Mapping[str, Asked] | None, path: Path) -> Mapping[str, Asked]:
    if key is None:
        raise TableError(
            f"{path} does not tell which method wrote what; that is in the key.json of the "
            "study. Give it: --key FILE."
        )
    return key
