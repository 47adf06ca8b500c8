"""Labels from image-level truth: INVERT with p-values, and linear explanations."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.markup import escape
from rich.tree import Tree

from dnd_assets.lineage.records import Payload, Product
from dnd_assets.lineage.trace import Trace
from dnd_assets.results.products.product_view import Grid, ProductView, Shown

if TYPE_CHECKING:
    from dnd_assets.engine.context import StudyContext


def _invert_lines(branch: Tree, trace: Trace, payload: Payload) -> None:
    """A line for each label: AUC, p-value adjusted for all that were compared, images."""
    for entry in payload["labels"]:
        told = f"p {entry['adjusted']:.2g} adjusted, {entry['images']:,} images"
        branch.add(f"AUC {entry['score']:.4f}  {escape(entry['label'])}  ({told})")
    if not payload["significant"]:
        branch.add("not significant: as good a label is to be expected by chance")


def _invert_shown(context: StudyContext, product: Product) -> Shown:
    payload = product.payload
    columns = ("label", "score", "p_value", "adjusted", "images")
    return {
        "label": payload["label"],
        "AUC": payload["score"],
        "significant": payload["significant"],
        "labels": Grid(payload["labels"], columns, ("label",)),
    }


def _linear_lines(branch: Tree, trace: Trace, payload: Payload) -> None:
    """The sum and how well it predicts, then a line for each term."""
    branch.add(
        f"correlation {payload['score']:.3f} on images that had no part in it; "
        f"{payload['intercept']:.3g} where no concept is shown"
    )
    for entry in payload["labels"]:
        branch.add(f"{entry['score']:+9.4g}  {escape(entry['label'])}")


def _linear_shown(context: StudyContext, product: Product) -> Shown:
    payload = product.payload
    terms = [{"concept": one["label"], "weight": one["score"]} for one in payload["labels"]]
    return {
        "label": payload["label"],
        "correlation": payload["score"],
        "intercept": payload["intercept"],
        "terms": Grid(terms, ("concept", "weight"), ("concept",)),
    }


IMAGE_LEVEL_LABELS = (
    ProductView("image_invert_labels", trace=_invert_lines, shown=_invert_shown),
    ProductView("linear_explanation_labels", trace=_linear_lines, shown=_linear_shown),
)
