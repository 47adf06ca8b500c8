"""Crops: what a unit looks at in its exemplars."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.markup import escape
from rich.tree import Tree

from dnd_assets.lineage.records import Payload, Product
from dnd_assets.lineage.trace import Trace
from dnd_assets.results.products.product_view import ProductView, Shown, is_one_of, pictures
from dnd_assets.results.tables.columns import ACTIVATION, IMAGE, POSITION, UNIT, Column, Table

if TYPE_CHECKING:
    from dnd_assets.engine.context import StudyContext


def _shown(context: StudyContext, product: Product) -> Shown:
    entries = product.payload["activating"]
    kinds = [entry["kind"] for entry in entries]
    return {
        "activating set": pictures(entries),
        "crops": len(product.payload["crops"]),
        "crops among them": kinds.count("crop"),
    }


def _trace(branch: Tree, trace: Trace, payload: Payload) -> None:
    crops = {crop["crop"]: crop for crop in payload.get("crops", [])}
    for entry in payload.get("activating", []):
        line = f"{entry['activation']:10.4f}  {entry['kind']:5}  {entry['image'][:16]}…"
        if entry["image"] in crops:
            crop = crops[entry["image"]]
            line += f"  box {crop['box']} of {crop['image'][:16]}… (Otsu {crop['threshold']})"
        branch.add(escape(line))


CROPS = ProductView(
    "crops",
    tables=(
        Table(
            "crops",
            "An attention crop of an exemplar.",
            "`crops`",
            (
                UNIT,
                POSITION,
                IMAGE,
                Column("crop", "text", "SHA-256 of the crop's file; table pictures has it"),
                Column(
                    "box",
                    "ints",
                    "left, top, right, bottom on the picture resized to a square "
                    "of side dissection.crop_size",
                    "pixels",
                ),
                Column("threshold", "int", "Otsu's threshold of the heat map", "0 to 255"),
                Column(
                    "activation",
                    "number",
                    "the unit's pooled activation on the crop",
                    "as the layer gives it",
                ),
            ),
            is_one_of("crops"),
            entries=("crops",),
            view=True,
        ),
        Table(
            "activating_images",
            "One of the K most activating pictures out of exemplars and crops: what is captioned.",
            "`crops`",
            (UNIT, POSITION, IMAGE, Column("kind", "text", "image or crop"), ACTIVATION),
            is_one_of("crops"),
            entries=("activating",),
            view=True,
        ),
    ),
    trace=_trace,
    shown=_shown,
)
