"""Synthetic images: pictures painted of candidate concepts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.markup import escape
from rich.tree import Tree

from dnd_assets.lineage.records import Payload, Product
from dnd_assets.lineage.trace import Trace
from dnd_assets.methods.dissection.painted import told
from dnd_assets.results.products.product_view import (
    ProductView,
    Shown,
    column_of,
    is_one_of,
    pictures,
)
from dnd_assets.results.tables.columns import PAINTED, UNIT, Column, Table

if TYPE_CHECKING:
    from dnd_assets.engine.context import StudyContext


def _shown(context: StudyContext, product: Product) -> Shown:
    concepts = product.payload["concepts"]
    first_images = [entry["images"][0] for entry in concepts if entry["images"]]
    images = [image for entry in concepts for image in entry["images"]]
    return {
        "first picture of each": pictures(first_images),
        "painted": column_of("concept", [entry["concept"] for entry in concepts]),
        "concepts": len(concepts),
        "rejected pictures": sum(image["rejected"] for image in images),
    }


def _trace(branch: Tree, trace: Trace, payload: Payload) -> None:
    for entry in payload.get("concepts", []):
        concept_branch = branch.add(f"prompt: {escape(trace.prompt(entry['concept']))!r}")
        for image in entry["images"]:
            word = f" {told(image)}".rstrip()
            concept_branch.add(
                f"{image['index']:3d}  seed {image['seed']}  {image['image'][:16]}…{word}"
            )

    for concept in trace.steps["synthetic_images"].notes.get("dropped", []):
        branch.add(f"dropped: too many pictures of {escape(concept)!r} were rejected")


SYNTHETIC_IMAGES = ProductView(
    "synthetic_images",
    tables=(
        Table(
            "synthetic_images",
            "A picture painted of a candidate concept.",
            "`synthetic_images`",
            (UNIT, Column("concept", "text", "the candidate concept", path="^.concept"), *PAINTED),
            is_one_of("synthetic_images"),
            entries=("concepts", "images"),
            view=True,
        ),
    ),
    trace=_trace,
    shown=_shown,
)
