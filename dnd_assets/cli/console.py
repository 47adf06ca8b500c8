"""The console that all commands print to: nothing is ever cut.

Rich crops what is wider than the terminal, also in the middle of a number, and where there is no
terminal it takes 80 columns for granted. Here lines that go to a file or a pipe are as long as they
need to be. On a terminal tables and trees are wrapped between words; where a word alone is wider
than there is room, lines are longer than the terminal, which then breaks them itself and copies
them whole.
"""

from __future__ import annotations

from typing import Any

from rich.console import Console as RichConsole
from rich.console import ConsoleOptions
from rich.measure import Measurement
from rich.segment import Segment
from rich.table import Table
from rich.text import Text
from rich.tree import Tree

_WIDEST = 100_000
"""Wider than any line."""


class Console(RichConsole):
    """Prints text as it is, and tables and trees without cutting a word."""

    def __init__(self, **settings: Any) -> None:
        # Text is the user's: digits are not coloured and `:dog:` does not become a picture.
        super().__init__(highlight=False, soft_wrap=True, emoji=False, **settings)

    def print(self, *objects: Any, **how: Any) -> None:
        """As Rich prints, but for tables and trees, which are given the room that they need."""
        if len(objects) == 1 and isinstance(objects[0], Table | Tree):
            self._print_whole(objects[0])
        else:
            super().print(*objects, **how)

    def _print_whole(self, shown: Table | Tree) -> None:
        options = self.options.update(width=_WIDEST)
        if isinstance(shown, Table):
            if shown.title:  # it would be cut to the width of its table
                super().print(shown.title, style="italic")
                shown.title = None
            width = self._fit(shown, options)
        else:
            needed = Measurement.get(self, options, shown)
            width = max(needed.minimum, self.width) if self.is_terminal else needed.maximum
        for line in self.render_lines(shown, options.update(width=width), pad=False):
            self._print_line(line)

    def _fit(self, table: Table, options: ConsoleOptions) -> int:
        """Give each column of a table without a box the room of its longest word, or more.

        Returns:
            The table's width.
        """
        measured = [
            [self.measure(cell, options=options) for cell in (column.header, *column.cells)]
            for column in table.columns
        ]
        most = [max(cell.maximum for cell in cells) for cells in measured]
        least = [
            widest if column.no_wrap else max(cell.minimum for cell in cells)
            for column, cells, widest in zip(table.columns, measured, most, strict=True)
        ]
        gaps = 2 * (len(least) - 1)
        left = (self.width if self.is_terminal else _WIDEST) - gaps - sum(least)
        widths = list(least)
        for at in sorted(range(len(least)), key=lambda at: most[at] - least[at]):
            more = max(0, min(most[at] - least[at], left))
            widths[at], left = least[at] + more, left - more
        for column, width in zip(table.columns, widths, strict=True):
            column.width, column.overflow = width, "fold"
        return sum(widths) + gaps

    def _print_line(self, line: list[Segment]) -> None:
        """A line without the spaces that fill it up."""
        text = Text.assemble(*((one.text, one.style or "") for one in line))
        text.rstrip()
        super().print(text)
