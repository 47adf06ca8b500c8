"""CLIP-Dissect's labels."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dnd_assets.lineage.records import Product
from dnd_assets.results.products.labels import scored_lines
from dnd_assets.results.products.pixel_labels import concept_grid
from dnd_assets.results.products.product_view import ProductView, Shown

if TYPE_CHECKING:
    from dnd_assets.engine.context import StudyContext


def _shown(context: StudyContext, product: Product) -> Shown:
    payload = product.payload
    return {
        "label": payload["label"],
        "score": payload["score"],
        "interpretable": payload["interpretable"],
        "top concepts": concept_grid(payload["labels"], "similarity"),
    }


CLIP_DISSECT_LABELS = ProductView("clip_dissect_labels", trace=scored_lines, shown=_shown)
