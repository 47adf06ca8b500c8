"""What the classes of a network lose without groups of units."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.markup import escape
from rich.tree import Tree

from dnd_assets.lineage.records import Payload, Product
from dnd_assets.lineage.trace import Trace
from dnd_assets.results.products.ablation_effects import effect_line
from dnd_assets.results.products.product_view import Grid, ProductView, Shown, is_one_of
from dnd_assets.results.tables.columns import POSITION, UNIT, Column, Table

if TYPE_CHECKING:
    from dnd_assets.engine.context import StudyContext


def _beyond_line(group: Payload, name: str) -> str:
    """What a group changes of a class more than random groups do, with its interval."""
    changes = group["accuracies"] or group["scores"]
    change = next((change["beyond"] for change in changes if change["name"] == name), None)
    if change is None or change["low"] is None:
        return ""
    return (
        f"; beyond random groups {change['change']:+.4f} "
        f"[{change['low']:+.4f}, {change['high']:+.4f}]"
    )


def _shown(context: StudyContext, product: Product) -> Shown:
    names = ("group", "units", "class", "change")
    rows = [
        {
            "group": group["name"], "units": group["units"], "class": change["class"],
            "change": change["logit"]["change"],
        }
        for group in product.payload["groups"]
        for change in group["classes"]
    ]  # fmt: skip
    return {"groups": Grid(rows, names, ("group", "class"))}


def _trace(branch: Tree, trace: Trace, payload: Payload) -> None:
    for group in payload.get("groups", ()):
        inner = branch.add(
            f"{escape(group['name'])}: {group['how']} ablation of {group['units']:,} units on "
            f"{group['images']:,} images, beside {group['random']:,} random groups"
        )
        for change in group["classes"]:
            inner.add(escape(effect_line(change) + _beyond_line(group, change["class"])))


GROUP_ABLATION_EFFECTS = ProductView(
    "group_ablation_effects",
    tables=(
        Table(
            "group_ablation_effects",
            "What a class loses without a group that the unit is in, the largest change first.",
            "`group_ablation_effects`",
            (
                UNIT,
                POSITION,
                Column("group", "text", "the group's name in the study", path="^.name"),
                Column("units", "int", "units ablated together", "units", path="^.units"),
                Column("how", "text", "zero, mean or resample", path="^.how"),
                Column("class", "text", "the class"),
                Column(
                    "images",
                    "int",
                    "images that it is a mean over: of the class where that is known",
                    "images",
                ),
                Column(
                    "logit_change",
                    "number",
                    "what ablation adds to the mean score",
                    "the network's own scale",
                    path="logit.change",
                ),
                Column(
                    "logit_low",
                    "number",
                    "lower end of its 95 % interval, over images",
                    "the network's own scale",
                    path="logit.low",
                ),
                Column(
                    "logit_high",
                    "number",
                    "upper end",
                    "the network's own scale",
                    path="logit.high",
                ),
            ),
            is_one_of("group_ablation_effects"),
            entries=("groups", "classes"),
        ),
    ),
    trace=_trace,
    shown=_shown,
)
