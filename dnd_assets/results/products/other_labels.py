"""Labels of any method: what all of them have, and all that is told of an imported or own one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Final

from rich.markup import escape
from rich.tree import Tree

from dnd_assets.lineage.records import Payload, Product, is_labels
from dnd_assets.lineage.rows import Row
from dnd_assets.lineage.trace import Trace
from dnd_assets.results.products.product_view import Grid, ProductView, Shown
from dnd_assets.results.tables.columns import (
    ASSET,
    IMAGE,
    POSITION,
    UNIT,
    Column,
    NewestProduct,
    Table,
)

if TYPE_CHECKING:
    from dnd_assets.engine.context import StudyContext


def _shown(context: StudyContext, product: Product) -> Shown:
    entries = product.payload.get("labels", [])
    scored = all("score" in entry for entry in entries)
    labels = {"labels": Grid(entries, ("label", "score"), ("label",))} if scored else {}
    return {"label": product.payload["label"], **labels}


def _trace(branch: Tree, trace: Trace, payload: Payload) -> None:
    for entry in payload.get("labels", []):
        branch.add(escape(entry["label"]))


_MORE_OF_LABELS: Final = ("log_given_images", "log_prior", "response", "mass")


def _ranking(record: NewestProduct) -> Iterator[Row]:
    """The labels that a method kept, best first."""
    payload = record.product.payload
    for position, entry in enumerate(payload.get("concepts") or payload.get("labels", ()), 1):
        details = {name: entry.get(name) for name in _MORE_OF_LABELS}
        yield {
            "asset": record.asset, "position": position, "label": entry["label"],
            "score": entry.get("score"), **details,
        }  # fmt: skip


def _images(record: NewestProduct) -> Iterator[Row]:
    """Pictures that a method itself looked at: of each of its concepts, or of the unit."""
    payload = record.product.payload
    groups: list[tuple[str | None, Sequence[Payload]]] = [
        (entry["label"], entry.get("exemplars", ())) for entry in payload.get("concepts", ())
    ]
    groups += [(None, payload.get(key, ())) for key in ("exemplars", "images", "outliers")]
    for concept, images in groups:
        for position, image in enumerate(images, 1):
            masked = image.get("masked") or {}
            yield {
                "asset": record.asset, "concept": concept, "position": position,
                "image": image["image"], "activation": image["activation"],
                "caption": image.get("caption"), "masked": masked.get("image"),
            }  # fmt: skip


OTHER_LABELS = ProductView(
    "_labels",
    tables=(
        Table(
            "label_ranking",
            "A label that a method kept, best first; of polysemantic_labels, one of the concepts.",
            "`labels` and every `…_labels`",
            (
                UNIT,
                ASSET,
                POSITION,
                Column("label", "text", "the label"),
                Column("score", "number", "its score", "the method's own scale"),
                Column("log_given_images", "number", "MILAN: log p of it given the images", "nats"),
                Column("log_prior", "number", "MILAN: log p of it by itself", "nats"),
                Column(
                    "response",
                    "number",
                    "polysemantic: mean activation on pictures of it",
                    "as the layer gives it",
                ),
                Column(
                    "mass",
                    "number",
                    "polysemantic: sum of its exemplars' activations",
                    "as the layer gives it",
                ),
            ),
            is_labels,
            rows=_ranking,
        ),
        Table(
            "label_images",
            "A picture that a method of labelling looked at, where it does so itself.",
            "every `…_labels` that has pictures of its own",
            (
                UNIT,
                ASSET,
                Column("concept", "text", "the concept that it shows; missing for the whole unit"),
                POSITION,
                IMAGE,
                Column(
                    "activation",
                    "number",
                    "pooled activation, or the peak of the unit's map",
                    "as the layer gives it",
                ),
                Column("caption", "text", "what a captioner says of it"),
                Column(
                    "masked", "text", "SHA-256 of the masked picture that was looked at instead"
                ),
            ),
            is_labels,
            rows=_images,
        ),
    ),
    trace=_trace,
    shown=_shown,
)
"""Of labels that have no file of their own here; its tables are of all labels."""
