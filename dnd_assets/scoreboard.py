"""A comparison as people and programs read it, and the scoreboard kept in a document."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, Final, Literal

import pandas as pd
from rich.console import Console
from rich.table import Table

from dnd_assets.compare import Comparison, Mean, Row
from dnd_assets.errors import TableError
from dnd_assets.files import write_atomic
from dnd_assets.results import export
from dnd_assets.tables import read_text

START: Final = "<!-- scoreboard -->"
END: Final = "<!-- /scoreboard -->"
_RIGHT: Final = re.compile(r"(\d+) / \d+(?! labelled)\b")


def show(found: Comparison, out: Console) -> None:
    """Print a table for each group: the methods, then how alike they are."""
    for group in found.groups:
        rows = [row for row in found.rows if row.group == group]
        table = Table(box=None, pad_edge=False, title=group, title_justify="left")
        table.add_column("method")
        for name in ("units", "labelled", "right", "95 %", "cosine", "95 %"):
            table.add_column(name, justify="right")
        for row in rows:
            right = f"{row.right.count}/{row.right.units}" if row.right else "-"
            cosine = f"{row.similarity.mean:.4f}" if row.similarity else "-"
            table.add_row(
                row.method,
                f"{row.units:,}",
                f"{row.labelled / row.units:.0%}",
                right,
                _percent(row.right),
                cosine,
                _ends(row.similarity),
            )
        out.print(table)
        for line in _agreement(found, group):
            out.print(f"  {line}", markup=False)
        out.print()


def _agreement(found: Comparison, group: str) -> list[str]:
    return [
        f"{pair.one} and {pair.other}: {pair.exact:.0%} of {pair.units:,} labels are the same"
        + ("" if pair.similarity is None else f", cosine {pair.similarity:.4f}")
        for pair in found.pairs
        if pair.group == group
    ]


def as_text(found: Comparison, form: Literal["csv", "json", "markdown"]) -> str:
    """A comparison as the text of a CSV file, of JSON, or of a Markdown table."""
    if form == "markdown":
        return markdown(found)
    if form == "json":
        return json.dumps(found.as_json(), indent=1, ensure_ascii=False) + "\n"
    return export(_flat(found), "csv").decode()


def _flat(found: Comparison) -> pd.DataFrame:
    """One row for each group and method; the last columns hold the agreement with each method."""
    alike: dict[tuple[str, str, str], tuple[float, float | None]] = {}
    for pair in found.pairs:
        for one, other in ((pair.one, pair.other), (pair.other, pair.one)):
            alike[pair.group, one, other] = (pair.exact, pair.similarity)
    rows = []
    for row in found.rows:
        flat: dict[str, Any] = {"group": row.group, "method": row.method}
        flat |= {"units": row.units, "labelled": row.labelled}
        for name, mean in (("right", row.right), ("cosine", row.similarity)):
            flat[name] = mean.mean if mean else None
            flat |= {f"{name} {end}": getattr(mean, end, None) for end in ("low", "high", "units")}
        for method in found.methods:
            exact, cosine = alike.get((row.group, row.method, method.name), (None, None))
            flat |= {f"same as {method.name}": exact, f"cosine with {method.name}": cosine}
        rows.append(flat)
    return pd.DataFrame(rows)


def markdown(found: Comparison) -> str:
    """One row for each method, one column for each group: right of all, and the interval."""
    groups = found.groups
    lines = [_line(["method", "setting", *groups]), "|" + "---|" * (len(groups) + 2)]
    for method in found.methods:
        cells = [_cell(found.row(group, method.name)) for group in groups]
        lines.append(_line([method.name, f"`{method.setting}`", *cells]))
    return "\n".join(lines) + "\n"


def _line(cells: list[str]) -> str:
    plain = (cell.replace("|", "\\|").replace("\n", " ") for cell in cells)
    return f"| {' | '.join(plain)} |"


def _cell(row: Row | None) -> str:
    if row is None:
        return "-"
    if row.right is None:
        shown = f"{row.labelled} / {row.units} labelled"
    else:
        sure = _percent(row.right)
        shown = f"{row.right.count} / {row.right.units}" + (f" ({sure})" if sure else "")
    if row.similarity is None:
        return shown
    sure = _ends(row.similarity)
    return f"{shown}, cosine {row.similarity.mean:.3f}" + (f" ({sure})" if sure else "")


def _percent(mean: Mean | None) -> str:
    if mean is None or mean.low is None or mean.high is None or mean.low == mean.high:
        return ""  # equal values tell the bootstrap nothing about how sure their mean is
    return f"{mean.low:.0%} to {mean.high:.0%}".replace("%", " %")


def _ends(mean: Mean | None) -> str:
    if mean is None or mean.low is None or mean.high is None:
        return ""
    return f"{mean.low:.3f} to {mean.high:.3f}"


def write(found: Comparison, path: Path) -> None:
    """Put the Markdown table between the markers of a document.

    Raises:
        NotFoundError: when there is no such file.
        TableError: when it lacks a marker.
    """
    before, _, after = _parts(path)
    text = f"{before}{START}\n{markdown(found)}{END}{after}"
    write_atomic(path, text.encode())


def right_counts(path: Path) -> dict[tuple[str, str], int]:
    """Labels counted right in a document's scoreboard, by method and group.

    Raises:
        NotFoundError: when there is no such file.
        TableError: when it lacks a marker or the table between them.
    """
    return _counts(_parts(path)[1], path)


def differences(found: Comparison, path: Path) -> list[str]:
    """Where a document's scoreboard counts other labels right than a comparison; a line for each.

    Raises:
        NotFoundError: when there is no such file.
        TableError: when it lacks a marker or the table between them.
    """
    old, new = right_counts(path), _counts(markdown(found), path)
    return [
        f"{path}: {method}, {group}: {old.get((method, group), 'nothing')} right there, "
        f"{new.get((method, group), 'nothing')} now. Write it anew: dnd compare --update {path}"
        for method, group in sorted({*old, *new})
        if old.get((method, group)) != new.get((method, group))
    ]


def _counts(text: str, path: Path) -> dict[tuple[str, str], int]:
    rows = [_cells(line) for line in text.splitlines() if line.startswith("| ")]
    if not rows or rows[0][:2] != ["method", "setting"]:
        raise TableError(f"{path} has no scoreboard. Write it: dnd compare --update {path}")
    return {
        (cells[0], group): int(right[1])
        for cells in rows[1:]
        for group, cell in zip(rows[0][2:], cells[2:], strict=True)
        if (right := _RIGHT.match(cell))
    }


def _cells(line: str) -> list[str]:
    parts = re.split(r"(?<!\\)\|", line)[1:-1]
    return [part.strip().replace("\\|", "|") for part in parts]


def _parts(path: Path) -> tuple[str, str, str]:
    """A document before, between and after the markers."""
    text = read_text(path)
    before, start, rest = text.partition(START)
    inside, end, after = rest.partition(END)
    if not (start and end):
        raise TableError(f"{path} has no place for a scoreboard. Add the lines {START} and {END}.")
    return before, inside, after
