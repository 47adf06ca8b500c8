"""Rows of the lineage database, and what asks for them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

Row = dict[str, Any]
"""A row by column. The database decides the type of each value, so the checker cannot know it: what
a row means is read into a record, or looked at, where the row is asked for."""

Shared = dict[str, Any]
"""Stored results of models by item: a caption, a picture's pack, vectors. The kind under which they
are stored decides what each of them is."""

Query = Callable[[str, Sequence[object]], list[Row]]
"""SQL and its parameters to rows, as `Lineage.query`."""
