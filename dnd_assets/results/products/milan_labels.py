"""MILAN's labels."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.markup import escape
from rich.tree import Tree

from dnd_assets.lineage.records import Payload, Product
from dnd_assets.lineage.trace import Trace
from dnd_assets.results.products.product_view import Grid, ProductView, Shown, pictures

if TYPE_CHECKING:
    from dnd_assets.engine.context import StudyContext


def _shown(context: StudyContext, product: Product) -> Shown:
    payload = product.payload
    names = ("label", "score", "log_given_images", "log_prior")
    return {
        "label": payload["label"],
        "score": payload["score"],
        "candidates": payload["candidates"],
        "top captions": Grid(payload["labels"], names, ("label",)),
        "exemplars": pictures([entry["masked"] or entry for entry in payload["exemplars"]]),
    }


def _trace(branch: Tree, trace: Trace, payload: Payload) -> None:
    for entry in payload.get("labels", []):
        branch.add(
            f"{entry['score']:9.4f}  {escape(entry['label'])}: log p given the images "
            f"{entry['log_given_images']:.4g}, by itself {entry['log_prior']:.4g}"
        )
    for image in payload.get("exemplars", []):
        branch.add(f"{image['activation']:10.4f}  {image['image'][:16]}…")


MILAN_LABELS = ProductView("milan_labels", trace=_trace, shown=_shown)
