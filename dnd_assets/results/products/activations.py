"""Activations: the images that a unit answers to most, and how it answers to all."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from rich.tree import Tree

from dnd_assets.lineage.records import Payload, Product
from dnd_assets.lineage.remarks import remarks_of
from dnd_assets.lineage.rows import Row
from dnd_assets.lineage.trace import Trace
from dnd_assets.results.products.product_view import ProductView, Shown, is_one_of, pictures
from dnd_assets.results.tables.columns import (
    ACTIVATION,
    IMAGE,
    POSITION,
    STATUS,
    UNIT,
    Column,
    NewestProduct,
    Table,
)

if TYPE_CHECKING:
    from dnd_assets.engine.context import StudyContext


def _shown(context: StudyContext, product: Product) -> Shown:
    exemplars = product.payload["exemplars"]
    return {"exemplars": pictures(exemplars), "largest activation": exemplars[0]["activation"]}


def _trace(branch: Tree, trace: Trace, payload: Payload) -> None:
    for entry in payload.get("exemplars", []):
        branch.add(f"{entry['activation']:10.4f}  {entry['image'][:16]}…")
    summary = trace.steps["activations"].notes.get("summary", {})
    if summary.get("fires") is not None:
        text = f"fires on {summary['fires']:.1%} of {summary['images']:,} images"
        branch.add(f"{text}: activation above {payload['off']:.4g}")


def _summary(record: NewestProduct) -> Iterator[Row]:
    """One row for a unit: how it answers to the probing set."""
    product = record.product
    largest = next(
        (exemplar["activation"] for exemplar in product.payload.get("exemplars", ())), None
    )
    summary = product.outcome.notes.get("summary", {})
    statistics = {
        name: summary.get(name) for name in ("images", "mean", "std", "positive", "fires")
    }
    yield {"status": product.outcome.status, "reason": product.outcome.reason, **statistics,
           "largest": largest, "off": product.payload.get("off"),
           "remarks": list(remarks_of(product.outcome.notes))}  # fmt: skip


ACTIVATIONS = ProductView(
    "activations",
    tables=(
        Table(
            "activations",
            "How a unit answers to the probing set.",
            "`activations`",
            (
                UNIT,
                *STATUS,
                Column("images", "int", "probing images with a finite activation", "images"),
                Column("mean", "number", "mean activation over them", "as the layer gives it"),
                Column("std", "number", "standard deviation over them", "as the layer gives it"),
                Column("positive", "number", "share of images with an activation above 0", "share"),
                Column(
                    "fires",
                    "number",
                    "share of images on which the unit fires; missing where "
                    "nothing tells, as of logits",
                    "share",
                ),
                Column("largest", "number", "largest activation", "as the layer gives it"),
                Column(
                    "off",
                    "number",
                    "activation at or below which the unit is silent",
                    "as the layer gives it",
                ),
                Column("remarks", "texts", "fewer exemplars than asked for; images set aside"),
            ),
            is_one_of("activations"),
            rows=_summary,
        ),
        Table(
            "exemplars",
            "One of the most activating probing images of a unit on which it fires, largest "
            "activation first.",
            "`activations`",
            (UNIT, POSITION, IMAGE, ACTIVATION),
            is_one_of("activations"),
            entries=("exemplars",),
            view=True,
        ),
    ),
    trace=_trace,
    shown=_shown,
)
