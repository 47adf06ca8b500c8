"""Scores: how well each candidate concept's pictures activate the unit."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from rich.markup import escape
from rich.tree import Tree

from dnd_assets.lineage.records import Payload, Product
from dnd_assets.lineage.trace import Trace
from dnd_assets.results.products.product_view import Grid, ProductView, Shown, is_one_of
from dnd_assets.results.tables.columns import POSITION, UNIT, Column, Table

if TYPE_CHECKING:
    from dnd_assets.engine.context import StudyContext

_FUNCTIONS: Final = (
    "mean_rank", "topk_squared", "image_products", "topk_squared_image_products",
)  # fmt: skip


def _shown(context: StudyContext, product: Product) -> Shown:
    columns = ("concept", "score", *_FUNCTIONS)
    return {"scores": Grid(product.payload["concepts"], columns, ("concept",))}


def _trace(branch: Tree, trace: Trace, payload: Payload) -> None:
    for entry in payload.get("concepts", []):
        branch.add(
            f"{entry['score']:9.4f}  {escape(entry['concept'])}: TopK squared "
            f"{entry['topk_squared']:.3g}, image products {entry['image_products']:.4f}, "
            f"mean rank {entry['mean_rank']:.3g}"
        )


SCORES = ProductView(
    "scores",
    tables=(
        Table(
            "scores",
            "Every scoring function of a candidate concept, best concept first.",
            "`scores`",
            (
                UNIT,
                POSITION,
                Column("concept", "text", "the candidate concept"),
                Column("score", "number", "of the scoring function that the study selects by"),
                Column("mean_rank", "number", "minus the mean rank of the concept's pictures"),
                Column("topk_squared", "number", "TopK squared"),
                Column("image_products", "number", "mean product of image embeddings", "cosine"),
                Column(
                    "topk_squared_image_products", "number", "TopK squared times image products"
                ),
                Column(
                    "activations",
                    "numbers",
                    "the unit's activation on each picture of the concept",
                    "as the layer gives it",
                ),
            ),
            is_one_of("scores"),
            entries=("concepts",),
            view=True,
        ),
    ),
    trace=_trace,
    shown=_shown,
)
