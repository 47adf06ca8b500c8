"""Labels: a unit's best concepts in order, or why there are none."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from rich.markup import escape
from rich.tree import Tree

from dnd_assets.lineage.records import Payload, Product
from dnd_assets.lineage.trace import Trace
from dnd_assets.results.products.detection_scores import evidence_line
from dnd_assets.results.products.view import Grid, ProductView, Shown, is_one_of
from dnd_assets.results.tables.columns import LABEL_COLUMNS, Table

if TYPE_CHECKING:
    from dnd_assets.engine.context import Workbench

_SUPPORT: Final = ("held_out", "stability", "gap", "images")


def _shown(bench: Workbench, product: Product) -> Shown:
    payload = product.payload
    found = payload.get("evidence")
    sure: Shown = {}
    if found is not None:
        sure = {name: found[name] for name in (*_SUPPORT, "confirmed")}
        sure |= {} if found["painted"] is None else {"painted pictures active": found["painted"]}
        sure = {"confidence": payload["confidence"], **sure}
    return {
        "label": payload["label"],
        "score": payload["score"],
        **sure,
        "labels": Grid(payload["labels"], ("label", "score"), ("label",)),
    }


def scored_lines(branch: Tree, trace: Trace, payload: Payload) -> None:
    """A line for each label with its score; before them what a label by detection rests on."""
    found = payload.get("evidence")
    if found is not None:
        branch.add(f"confidence {payload['confidence']:.2f}: {escape(evidence_line(found))}")
        branch.add(escape(_painted_evidence(found)))
    for entry in payload.get("labels", []):
        branch.add(f"{entry['score']:9.4f}  {escape(entry['label'])}")


def _painted_evidence(found: Payload) -> str:
    """What painted pictures say of the label, and of it without a word."""
    painted = found["painted"]
    if painted is None:
        return "not confirmed: no picture of it was painted"
    told = "confirmed" if found["confirmed"] else "not confirmed"
    rest = "".join(f", {share:.0%} of {name}" for name, share in found["painted_without"].items())
    return f"{told}: active on {painted:.0%} of its painted pictures{rest}"


def label_table(asset: str) -> Table:
    """The table of one method's labels; all of them have the same columns."""
    whose = "the study's own" if asset == "labels" else "another method's"
    return Table(
        asset,
        f"The newest label of each unit, {whose}.",
        f"`{asset}`",
        LABEL_COLUMNS,
        is_one_of(asset),
        view=asset == "labels",
    )


LABELS = ProductView("labels", tables=(label_table("labels"),), trace=scored_lines, shown=_shown)
