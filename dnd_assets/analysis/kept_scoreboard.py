"""The scoreboard that a document keeps between two markers: written, and held against new figures.

`<!-- scoreboard -->` holds a row for each method. `<!-- scoreboard NAME -->` is of the study of
that name, and holds a row for each kind of unit and method.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final, NamedTuple

from dnd_assets.analysis.compare import Comparison, Method, Row
from dnd_assets.analysis.scoreboard import HEAD, line_of, markdown, percent
from dnd_assets.errors import TableError
from dnd_assets.files.atomic import write_atomic
from dnd_assets.files.csv_tables import read_text
from dnd_assets.methods.metrics.means import Mean

_EXACT: Final = re.compile(r"(\d+) / \d+(?! labelled)\b")
_KINDS: Final = (
    "units", "exact", "precision", "recall", "F1", "words", "hold it", "abstained",
    "seconds a unit", "pictures a unit",
)  # fmt: skip


class _Place(NamedTuple):
    """A document before, between and after the markers; whether these name the study."""

    before: str
    inside: str
    after: str
    start: str
    end: str
    named: bool


def by_kind(comparison: Comparison) -> str:
    """A row for each kind of unit and method, and what making the labels took in the last rows."""
    lines = [line_of(["kind", "method", *_KINDS]), "|" + "---|" * (len(_KINDS) + 2)]
    for group in comparison.groups:
        for method in comparison.methods:
            row = comparison.row(group, method.name)
            if row is not None:
                lines.append(line_of([group, method.name, *_cells_of(row)]))
    lines += [
        line_of(["**all**", method.name, *_totals_of(comparison, method)])
        for method in comparison.methods
    ]
    return "\n".join(lines) + "\n"


def require_place(path: Path, study: str = "") -> None:
    """Make sure that a document has the markers.

    Raises:
        NotFoundError: when there is no such file.
        TableError: when it lacks a marker.
    """
    _place(path, study)


def write(comparison: Comparison, path: Path, study: str = "") -> None:
    """Put the Markdown table between the markers of a document, those of the study if it has any.

    Raises:
        NotFoundError: when there is no such file.
        TableError: when it lacks a marker.
    """
    place = _place(path, study)
    table = by_kind(comparison) if place.named else markdown(comparison)
    text = f"{place.before}{place.start}\n{table}{place.end}{place.after}"
    write_atomic(path, text.encode())


def exact_counts(path: Path, study: str = "") -> dict[tuple[str, str], int]:
    """Labels counted as exact in a document's scoreboard, by method and group.

    Raises:
        NotFoundError: when there is no such file.
        TableError: when it lacks a marker or the table between them.
    """
    return _counts(_place(path, study).inside, path)


def differences(
    comparison: Comparison, path: Path, tolerance: int = 0, study: str = ""
) -> list[str]:
    """Where a document counts other labels as exact than a comparison does; a line for each.

    Args:
        comparison: the comparison.
        path: the document.
        tolerance: how many labels of a group may differ; another processor may turn a close call.
        study: the name of the study that is compared.

    Raises:
        NotFoundError: when there is no such file.
        TableError: when it lacks a marker or the table between them.
    """
    place = _place(path, study)
    old_counts = _counts(place.inside, path)
    new_counts = _counts(by_kind(comparison) if place.named else markdown(comparison), path)
    return [
        f"{path}: {method}, {group}: {old_counts.get((method, group), 'nothing')} exact "
        f"there, {new_counts.get((method, group), 'nothing')} now. "
        f"Write it anew: dnd compare --update {path}"
        for method, group in sorted({*old_counts, *new_counts})
        if not _within(old_counts.get((method, group)), new_counts.get((method, group)), tolerance)
    ]


def _cells_of(row: Row) -> list[str]:
    words = f"{row.words:.1f}" if row.words is not None else "-"
    holds = f"{row.holds.count}" if row.holds else "-"
    abstained = f"{row.units - row.labelled}"
    measures = [_measure(mean) for mean in (row.precision, row.recall, row.f1)]
    return [f"{row.units}", _share(row.exact), *measures, words, holds, abstained, "", ""]


def _totals_of(comparison: Comparison, method: Method) -> list[str]:
    """Cells of the last row of a method: counts over all kinds, and seconds and pictures a unit."""
    rows = [row for row in comparison.rows if row.method == method.name]
    judged = [row for row in rows if row.exact is not None]
    right_count = sum(row.exact.count for row in judged if row.exact)
    total = sum(row.exact.units for row in judged if row.exact)
    costs = method.costs
    cost_cells = [f"{costs.seconds:.2f}", f"{costs.pictures:.1f}"] if costs else ["-", "-"]
    exact = f"{right_count} / {total} ({100 * right_count / total:.0f} %)" if total else "-"
    abstained = sum(row.units - row.labelled for row in rows)
    units = sum(row.units for row in rows)
    return [f"{units}", exact, "", "", "", "", "", f"{abstained}", *cost_cells]


def _share(mean: Mean | None) -> str:
    if mean is None:
        return "-"
    interval = percent(mean)
    return f"{mean.count} / {mean.units}" + (f" ({interval})" if interval else "")


def _measure(mean: Mean | None) -> str:
    if mean is None:
        return "-"
    if mean.low is None or mean.high is None or mean.low == mean.high:
        return f"{mean.mean:.2f}"
    return f"{mean.mean:.2f} ({mean.low:.2f} to {mean.high:.2f})"


def _within(old: int | None, new: int | None, tolerance: int) -> bool:
    return old == new or (old is not None and new is not None and abs(old - new) <= tolerance)


def _counts(text: str, path: Path) -> dict[tuple[str, str], int]:
    rows = [_cells(line) for line in text.splitlines() if line.startswith("| ")]
    if rows and tuple(rows[0]) == ("kind", "method", *_KINDS):
        return {
            (cells[1], cells[0]): int(match[1])
            for cells in rows[1:]
            if (match := _EXACT.match(cells[2 + _KINDS.index("exact")]))
            and not cells[0].startswith("**")
        }
    if not rows or tuple(rows[0][: len(HEAD)]) != HEAD:
        raise TableError(f"{path} has no scoreboard. Write it: dnd compare --update {path}")
    return {
        (cells[0], group): int(match[1])
        for cells in rows[1:]
        for group, cell in zip(rows[0][len(HEAD) :], cells[len(HEAD) :], strict=True)
        if (match := _EXACT.match(cell))
    }


def _cells(line: str) -> list[str]:
    parts = re.split(r"(?<!\\)\|", line)[1:-1]
    return [part.strip().replace("\\|", "|") for part in parts]


def _place(path: Path, study: str) -> _Place:
    """The document split at the markers that name the study, or else at those without a name."""
    text = read_text(path)
    start, end = "<!-- scoreboard -->", "<!-- /scoreboard -->"
    study_place = _between(
        text, start.replace(" -->", f" {study} -->"), end.replace(" -->", f" {study} -->")
    )
    place = study_place if study and study_place else _between(text, start, end)
    if place is None:
        raise TableError(f"{path} has no place for a scoreboard. Add the lines {start} and {end}.")
    return place


def _between(text: str, start: str, end: str) -> _Place | None:
    before, start_mark, remainder = text.partition(start)
    inside, end_mark, after = remainder.partition(end)
    names_study = start != "<!-- scoreboard -->"
    return (
        _Place(before, inside, after, start, end, names_study) if start_mark and end_mark else None
    )
