"""Captions of the pictures that activate a unit most."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.markup import escape
from rich.tree import Tree

from dnd_assets.lineage.records import Payload, Product
from dnd_assets.lineage.trace import Trace
from dnd_assets.results.products.product_view import (
    ProductView,
    Shown,
    column_of,
    is_one_of,
    pictures,
)
from dnd_assets.results.tables.columns import IMAGE, POSITION, UNIT, Column, Table

if TYPE_CHECKING:
    from dnd_assets.engine.context import StudyContext


def _shown(context: StudyContext, product: Product) -> Shown:
    captions = product.payload["captions"]
    grid = column_of("caption", [entry["caption"] for entry in captions])
    return {"captioned": pictures(captions), "captions": grid}


def _trace(branch: Tree, trace: Trace, payload: Payload) -> None:
    for entry in payload.get("captions", []):
        text = entry["caption"] or entry.get("raw", "")
        read = f"  (read as: {entry['read']})" if "read" in entry else ""
        if "status" in entry:
            read = f"  ({entry['status']}: {entry['reason']})"
        branch.add(f"{entry['image'][:16]}…  {escape(f'{text}{read}')}")


CAPTIONS = ProductView(
    "captions",
    tables=(
        Table(
            "captions",
            "The caption of an activating picture.",
            "`captions`",
            (UNIT, POSITION, IMAGE, Column("caption", "text", "what the captioner says of it")),
            is_one_of("captions"),
            entries=("captions",),
            view=True,
        ),
    ),
    trace=_trace,
    shown=_shown,
)
