"""Concept masks: images with pixel labels."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.tree import Tree

from dnd_assets.lineage.records import CONCEPT_MASKS, Payload, Product
from dnd_assets.lineage.trace import Trace
from dnd_assets.results.products.image_sets import scan_grids
from dnd_assets.results.products.product_view import ProductView, Shown

if TYPE_CHECKING:
    from dnd_assets.engine.context import StudyContext


def _shown(context: StudyContext, product: Product) -> Shown:
    return {
        **scan_grids(product),
        "images": product.payload["images"],
        "concepts": product.payload["concepts"],
        "manifest": product.payload["masks"],
    }


def _trace(branch: Tree, trace: Trace, payload: Payload) -> None:
    branch.add(f"{payload['images']:,} images with masks of {payload['concepts']:,} concepts")


MASKS = ProductView(CONCEPT_MASKS, trace=_trace, shown=_shown)
