"""What readers are told of a product: the one description that all ways of reading rest on.

Whoever reads a trace imports all of these, so what only the interface shows is imported where it is
drawn.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich.tree import Tree

from dnd_assets.lineage.records import Payload, Product
from dnd_assets.lineage.trace import Trace
from dnd_assets.results.tables.columns import Table

if TYPE_CHECKING:
    from PIL.Image import Image

    from dnd_assets.engine.context import StudyContext


@dataclass(frozen=True)
class Grid:
    """Rows that the interface shows as a table.

    Attributes:
        rows: one mapping a row.
        columns: what to show of it.
        texts: those of the columns that hold text; numbers are shown with four digits.
    """

    rows: Sequence[Mapping[str, object]]
    columns: tuple[str, ...]
    texts: tuple[str, ...] = ()


@dataclass(frozen=True)
class Strip:
    """Pictures that the interface shows side by side, by hash; nothing where there are none."""

    images: tuple[str, ...]


Shown = dict[str, object]
"""What the interface shows of a product by name, in order: numbers, texts, `Grid`s and `Strip`s."""


def _no_lines(branch: Tree, trace: Trace, payload: Payload) -> None:
    pass


@dataclass(frozen=True)
class ProductView:
    """All that readers are told of the products of one asset.

    Attributes:
        name: the asset.
        tables: tables that only this asset gives rows: columns with their meaning, and where each
            stands in the product. Exports, frames, the data dictionary and the database's views
            come of them.
        trace: adds what `dnd trace` says of a product to its branch of the tree.
        shown: what the interface shows of a product.
        drawn: pictures that have to be drawn: of a unit's network, by its name, and the product.
    """

    name: str
    tables: tuple[Table, ...] = ()
    trace: Callable[[Tree, Trace, Payload], None] = _no_lines
    shown: Callable[[StudyContext, Product], Shown] = lambda context, product: {}
    drawn: Callable[[StudyContext, str, Product], Sequence[Image]] | None = None


def column_of(name: str, texts: Sequence[str]) -> Grid:
    """Texts below each other; a table shows them as they are, where Markdown would read them."""
    return Grid([{name: text} for text in texts], (name,), (name,))


def pictures(entries: Sequence[Payload]) -> Strip:
    """The pictures of entries that have one each."""
    return Strip(tuple(entry["image"] for entry in entries))


def is_one_of(*names: str) -> Callable[[str], bool]:
    """A test of whether an asset is one of `names`."""
    return lambda asset: asset in names
