"""Labels: a unit's best concepts in order, or why there are none."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from rich.markup import escape
from rich.tree import Tree

from dnd_assets.lineage.records import Payload, Product
from dnd_assets.lineage.trace import Trace
from dnd_assets.results.products.detection_scores import evidence_line
from dnd_assets.results.products.product_view import Grid, ProductView, Shown, is_one_of
from dnd_assets.results.tables.columns import LABEL_COLUMNS, Table

if TYPE_CHECKING:
    from dnd_assets.engine.context import StudyContext

_SUPPORT: Final = ("held_out", "stability", "gap", "images")


def _shown(context: StudyContext, product: Product) -> Shown:
    payload = product.payload
    evidence = payload.get("evidence")
    support: Shown = {}
    if evidence is not None:
        support = {name: evidence[name] for name in (*_SUPPORT, "confirmed")}
        support |= (
            {} if evidence["painted"] is None else {"painted pictures active": evidence["painted"]}
        )
        support = {"confidence": payload["confidence"], **support}
    return {
        "label": payload["label"],
        "score": payload["score"],
        **support,
        "labels": Grid(payload["labels"], ("label", "score"), ("label",)),
    }


def scored_lines(branch: Tree, trace: Trace, payload: Payload) -> None:
    """A line for each label with its score; before them what a label by detection rests on."""
    evidence = payload.get("evidence")
    if evidence is not None:
        branch.add(f"confidence {payload['confidence']:.2f}: {escape(evidence_line(evidence))}")
        branch.add(escape(_painted_evidence(evidence)))
    for entry in payload.get("labels", []):
        branch.add(f"{entry['score']:9.4f}  {escape(entry['label'])}")


def _painted_evidence(evidence: Payload) -> str:
    """How many pictures of the label, and of it with a word left out, activate the unit."""
    painted = evidence["painted"]
    if painted is None:
        return "not confirmed: no picture of it was painted"
    verdict = "confirmed" if evidence["confirmed"] else "not confirmed"
    contrasts = "".join(
        f", {share:.0%} of {name}" for name, share in evidence["painted_without"].items()
    )
    return f"{verdict}: active on {painted:.0%} of its painted pictures{contrasts}"


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
