"""Candidate concepts: what a unit's captions share."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.markup import escape
from rich.tree import Tree

from dnd_assets.lineage.records import Payload, Product
from dnd_assets.lineage.trace import Trace
from dnd_assets.results.products.product_view import ProductView, Shown, column_of, is_one_of
from dnd_assets.results.tables.columns import POSITION, UNIT, Column, Table

if TYPE_CHECKING:
    from dnd_assets.engine.context import StudyContext


def _shown(context: StudyContext, product: Product) -> Shown:
    return {"candidate concepts": column_of("concept", product.payload["candidates"])}


def _trace(branch: Tree, trace: Trace, payload: Payload) -> None:
    for concept in payload.get("candidates", []):
        branch.add(escape(concept))


CANDIDATE_CONCEPTS = ProductView(
    "candidate_concepts",
    tables=(
        Table(
            "candidate_concepts",
            "A candidate concept, in the summariser's order.",
            "`candidate_concepts`",
            (UNIT, POSITION, Column("concept", "text", "the concept", path=".")),
            is_one_of("candidate_concepts"),
            entries=("candidates",),
            view=True,
        ),
    ),
    trace=_trace,
    shown=_shown,
)
