"""What the classes of a network lose without a unit."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.markup import escape
from rich.tree import Tree

from dnd_assets.lineage.records import Payload, Product
from dnd_assets.lineage.rows import Row
from dnd_assets.lineage.trace import Trace
from dnd_assets.results.products.product_view import Grid, ProductView, Shown, is_one_of
from dnd_assets.results.tables.columns import POSITION, UNIT, Column, Table

if TYPE_CHECKING:
    from dnd_assets.engine.context import StudyContext

_NAMES = ("class", "images", "score", "without it", "low", "high", "accuracy", "without it, too")


def _line(entry: Payload) -> Row:
    logit, accuracy = entry["logit"], entry["accuracy"]
    has_accuracy = accuracy is not None
    return {
        "class": entry["class"], "images": entry["images"], "score": logit["before"],
        "without it": logit["before"] + logit["change"], "low": logit["low"], "high": logit["high"],
        "accuracy": accuracy["before"] if has_accuracy else None,
        "without it, too": accuracy["before"] + accuracy["change"] if has_accuracy else None,
    }  # fmt: skip


def _shown(context: StudyContext, product: Product) -> Shown:
    payload = product.payload
    rows = [_line(entry) for entry in payload["classes"]]
    overall = payload["accuracy"]
    return {
        "ablation": payload["how"],
        "images": payload["images"],
        "images whose best class changes": payload["chosen"],
        **({} if overall is None else {"change of accuracy": overall["change"]}),
        "classes": Grid(rows, _NAMES, ("class",)),
    }


def _trace(branch: Tree, trace: Trace, payload: Payload) -> None:
    if not payload:
        return
    branch.add(
        f"{payload['how']} ablation on {payload['images']:,} images; the best class changes on "
        f"{payload['chosen']:.1%}"
    )
    for entry in payload["classes"]:
        branch.add(escape(effect_line(entry)))


def effect_line(entry: Payload) -> str:
    """The effect on one class, for people."""
    change, accuracy = entry["logit"], entry["accuracy"]
    line = f"{change['change']:+9.4f}{ends(change)}  {entry['class']}"
    if accuracy is None:
        return line
    after = accuracy["before"] + accuracy["change"]
    return f"{line}: accuracy {accuracy['before']:.1%} to {after:.1%} of {entry['images']:,} images"


def ends(change: Payload) -> str:
    """The interval of a change; nothing where there is none."""
    return "" if change["low"] is None else f" [{change['low']:+.4f}, {change['high']:+.4f}]"


def _of_change(part: str, quantity: str, scale: str) -> tuple[Column, ...]:
    return (
        Column(f"{part}_before", "number", f"{quantity} of the whole network", scale,
               path=f"{part}.before"),
        Column(f"{part}_change", "number", "what ablation adds to it", scale,
               path=f"{part}.change"),
        Column(f"{part}_low", "number", "lower end of the 95 % interval of the change, over images",
               scale, path=f"{part}.low"),
        Column(f"{part}_high", "number", "upper end", scale, path=f"{part}.high"),
    )  # fmt: skip


ABLATION_EFFECTS = ProductView(
    "ablation_effects",
    tables=(
        Table(
            "ablation_effects",
            "What a class loses without a unit, the largest change first.",
            "`ablation_effects`",
            (
                UNIT,
                POSITION,
                Column("class", "text", "the class"),
                Column("how", "text", "zero, mean or resample", path="^.how"),
                Column(
                    "images",
                    "int",
                    "images that it is a mean over: of the class where that is known",
                    "images",
                ),
                *_of_change("logit", "mean score of the class", "the network's own scale"),
                *_of_change("accuracy", "share of the class's images that get it", "share"),
            ),
            is_one_of("ablation_effects"),
            entries=("classes",),
            view=True,
        ),
    ),
    trace=_trace,
    shown=_shown,
)
