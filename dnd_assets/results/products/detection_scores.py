"""Detection scores: which concept predicts best where a unit is active."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from rich.markup import escape
from rich.tree import Tree

from dnd_assets.lineage.records import Payload, Product
from dnd_assets.lineage.rows import Row
from dnd_assets.lineage.trace import Trace
from dnd_assets.results.products.product_view import Grid, ProductView, Shown, is_one_of, pictures
from dnd_assets.results.tables.columns import (
    ACTIVATION,
    IMAGE,
    POSITION,
    STATUS,
    SURENESS,
    UNIT,
    Column,
    Table,
)

if TYPE_CHECKING:
    from dnd_assets.engine.context import StudyContext

_SUPPORT: Final = ("held_out", "stability", "gap", "images")


def _shown(context: StudyContext, product: Product) -> Shown:
    payload = product.payload
    names = ("concept", "mcc", "threshold", "share")
    chosen = [{"label": label, "share": share} for label, share in payload["evidence"]["label_set"]]
    examples = {
        name: pictures([example for example in payload["examples"] if example["shows"] is shows])
        for shows, name in ((True, "images with it"), (False, "images without it"))
    }
    return {
        "label": payload["label"],
        "confidence": payload["confidence"],
        **{name: payload["evidence"][name] for name in _SUPPORT},
        "detection scores": Grid(payload["concepts"], names, ("concept",)),
        "resamples choose": Grid(chosen, ("label", "share"), ("label",)),
        **examples,
    }


def _trace(branch: Tree, trace: Trace, payload: Payload) -> None:
    if "confidence" not in payload:
        return
    evidence = payload["evidence"]
    branch.add(
        f"{escape(payload['label'])}: confidence {payload['confidence']:.2f}, "
        f"{escape(evidence_line(evidence))}"
    )
    chosen = ", ".join(f"{label} {share:.0%}" for label, share in evidence["label_set"])
    branch.add(f"resamples choose: {escape(chosen)}")
    for entry in payload["concepts"]:
        branch.add(
            f"{entry['mcc']:9.4f}  {escape(entry['concept'])}: active from "
            f"{entry['threshold']:.4g}, in {entry['share']:.1%} of images"
        )
    for entry in payload["examples"]:
        word = "with" if entry["shows"] else "without"
        branch.add(
            f"{entry['activation']:10.4f}  {entry['image'][:16]}…  {entry['band']}, {word}: "
            f"{escape(entry['caption'])}"
        )


def evidence_line(evidence: Mapping[str, object]) -> str:
    """What a label by detection rests on."""
    return (
        f"held out {evidence['held_out']:.2f}, stability {evidence['stability']:.2f}, gap "
        f"{evidence['gap']:.2f}, {evidence['images']:,} images"
    )


def _label_set(payload: Payload) -> list[Row]:
    pairs = payload.get("evidence", {}).get("label_set", ())
    return [{"label": label, "score": share} for label, share in pairs]


DETECTION_SCORES = ProductView(
    "detection_scores",
    tables=(
        Table(
            "detection",
            "What detects best where a unit is active, also where it is too unsure to be its "
            "label.",
            "`detection_scores`",
            (
                UNIT,
                Column("label", "text", "the concept; missing where none predicts anything"),
                *SURENESS,
                Column(
                    "images", "int", "images that it rests on", "images", path="evidence.images"
                ),
                Column(
                    "label_set",
                    "scored",
                    "the labels that nine tenths of the resamples choose, with their shares",
                    path="evidence.label_set",
                    made=_label_set,
                ),
                *STATUS,
            ),
            is_one_of("detection_scores"),
            view=True,
        ),
        Table(
            "detection_scores",
            "How well the presence of a concept in captions predicts where a unit is active, best "
            "first.",
            "`detection_scores`",
            (
                UNIT,
                POSITION,
                Column("concept", "text", "the concept"),
                Column("mcc", "number", "Matthews' correlation at the best threshold", "-1 to 1"),
                Column(
                    "threshold",
                    "number",
                    "the unit counts as active from here on",
                    "as the layer gives it",
                ),
                Column("share", "number", "of images whose caption has the concept", "share"),
                Column(
                    "agreement",
                    "number",
                    "correlation of the activation with the encoder's likeness of picture and "
                    "concept; empty where the encoder was not asked",
                    "-1 to 1",
                ),
            ),
            is_one_of("detection_scores"),
            entries=("concepts",),
            view=True,
        ),
        Table(
            "detection_examples",
            "A reference image from the whole range of a unit's activations.",
            "`detection_scores`",
            (
                UNIT,
                POSITION,
                IMAGE,
                ACTIVATION,
                Column("caption", "text", "what the captioner says of it"),
                Column("shows", "flag", "whether the caption has the concept that detects best"),
                Column("band", "text", "high, middle or low third of the range of activations"),
            ),
            is_one_of("detection_scores"),
            entries=("examples",),
            view=True,
        ),
    ),
    trace=_trace,
    shown=_shown,
)
