"""The lines of `benchmarks.layer_families` put together, one family in a line.

python -m benchmarks.layer_table lines.md more.md
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final

Cells = list[str]
_HEAD: Final = ("source", "family", "network", "layer, layout, units", "at its size", "at another")


def table(lines: Iterable[str]) -> Iterator[str]:
    """The Markdown lines of the table, families in the order in which they come first."""
    yield "| " + " | ".join(_HEAD) + " |"
    yield "|" + "---|" * len(_HEAD)
    families: dict[tuple[str, ...], list[Cells]] = {}
    for cells in _cells(lines):
        families.setdefault(tuple(cells[:3]), []).append(cells)
    for (source, family, network), rows in families.items():
        sizes = list(dict.fromkeys(row[3] for row in rows))
        told = [_verdicts([row for row in rows if row[3] == size], size) for size in sizes[:2]]
        told += [""] * (2 - len(told))
        cells = (source, family, network, _layers(rows, sizes[0]), *told)
        yield f"| {' | '.join(cells)} |"


def _cells(lines: Iterable[str]) -> Iterator[Cells]:
    for text in lines:
        cells = [cell.strip() for cell in text.strip().strip("|").split("|")]
        if len(cells) == 9 and cells[0] not in ("source", "---"):
            yield cells


def _layers(rows: Sequence[Cells], size: str) -> str:
    """The layers that were compared at the published size."""
    compared = [row for row in rows if row[3] == size and row[5] not in ("", "-")]
    return "; ".join(dict.fromkeys(f"{row[4]}: {row[5]}, {row[7]}" for row in compared)) or "-"


def _verdicts(rows: Sequence[Cells], size: str) -> str:
    """Size, distinct verdicts, and how many of all layers that run have units and places."""
    every = [row for row in rows if row[4].startswith("all ")]
    found = "; ".join(dict.fromkeys(row[8] for row in rows if row not in every))
    counts = f" ({every[0][8]} of {every[0][4].split()[1]})" if every else ""
    return f"{size}: {found}{counts}" if size else found


if __name__ == "__main__":
    files = [Path(name).read_text(encoding="utf-8") for name in sys.argv[1:]]
    sys.stdout.write("\n".join(table("\n".join(files).splitlines())) + "\n")
