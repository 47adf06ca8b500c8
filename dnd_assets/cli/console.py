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

    def print(self, *objects: Any, **options: Any) -> None:
        """As Rich prints, but for tables and trees, which are given the room that they need."""
        if len(objects) == 1 and isinstance(objects[0], Table | Tree):
            self._print_whole(objects[0])
        else:
            super().print(*objects, **options)

    def _print_whole(self, table_or_tree: Table | Tree) -> None:
        """Print it as wide as it needs, or as the terminal is where its words fit into that."""
        options = self.options.update(width=_WIDEST)
        if isinstance(table_or_tree, Table):
            if table_or_tree.title:  # it would be cut to the width of its table
                super().print(table_or_tree.title, style="italic")
                table_or_tree.title = None
            width = self._fit(table_or_tree, options)
        else:
            needed = Measurement.get(self, options, table_or_tree)
            width = max(needed.minimum, self.width) if self.is_terminal else needed.maximum
        for line in self.render_lines(table_or_tree, options.update(width=width), pad=False):
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
        widest_cells = [max(cell.maximum for cell in cells) for cells in measured]
        narrowest = [
            widest if column.no_wrap else max(cell.minimum for cell in cells)
            for column, cells, widest in zip(table.columns, measured, widest_cells, strict=True)
        ]
        gaps = 2 * (len(narrowest) - 1)
        room = (self.width if self.is_terminal else _WIDEST) - gaps - sum(narrowest)
        widths = list(narrowest)
        for column_number in sorted(
            range(len(narrowest)),
            key=lambda column_number: widest_cells[column_number] - narrowest[column_number],
        ):
            extra = max(0, min(widest_cells[column_number] - narrowest[column_number], room))
            widths[column_number], room = narrowest[column_number] + extra, room - extra
        for column, width in zip(table.columns, widths, strict=True):
            column.width, column.overflow = width, "fold"
        return sum(widths) + gaps

    def _print_line(self, line: list[Segment]) -> None:
        """A line without the spaces that fill it up."""
        text = Text.assemble(*((segment.text, segment.style or "") for segment in line))
        text.rstrip()
        super().print(text)
