"""Metrics of labels, by any method."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from rich.markup import escape
from rich.tree import Tree

from dnd_assets.lineage.records import METRICS_SUFFIX, Payload, Product
from dnd_assets.lineage.rows import Row
from dnd_assets.lineage.trace import Trace
from dnd_assets.methods.dissection.painted import told
from dnd_assets.results.products.product_view import Grid, ProductView, Shown, pictures
from dnd_assets.results.tables.columns import ASSET, PAINTED, UNIT, Column, NewestProduct, Table

if TYPE_CHECKING:
    from dnd_assets.engine.context import StudyContext


def _shown(context: StudyContext, product: Product) -> Shown:
    from dnd_assets.assets.label_metrics import in_order

    payload = product.payload
    metrics = payload["metrics"]
    rows = [
        {"metric": name, "value": metrics[name], "why none": payload["reasons"].get(name, "")}
        for name in in_order(metrics)
    ]
    return {
        "label": payload["label"],
        **({} if payload["truth"] is None else {"truth": payload["truth"]}),
        **{name: value for name, value in metrics.items() if value is not None},
        "metrics": Grid(rows, ("metric", "value", "why none"), ("metric", "why none")),
        "held-out images that show it": payload["shown"],
        "fresh pictures": pictures(
            [picture for picture in payload["pictures"] if not picture["rejected"]]
        ),
    }


def _trace(branch: Tree, trace: Trace, payload: Payload) -> None:
    if not payload:
        return
    branch.add(f"label: {escape(payload['label'])}, truth: {escape(payload['truth'] or 'unknown')}")
    for name, value in payload["metrics"].items():
        text = f"{value:9.4f}" if value is not None else f"{'-':>9}"
        reason = payload["reasons"].get(name, "")
        branch.add(escape(f"{text}  {name}{': ' * bool(reason)}{reason}"))
    for image in payload["pictures"]:
        word = f" {told(image)}".rstrip()
        branch.add(f"{image['index']:3d}  seed {image['seed']}  {image['image'][:16]}…{word}")


def _values(record: NewestProduct) -> Iterator[Row]:
    """The metrics of a label."""
    payload = record.product.payload
    for name, value in payload.get("metrics", {}).items():
        yield {
            "asset": record.asset, "label": payload["label"], "truth": payload["truth"],
            "metric": name, "value": value, "reason": payload["reasons"].get(name),
        }  # fmt: skip


def _is_metrics(asset: str) -> bool:
    return asset.endswith(METRICS_SUFFIX)


LABEL_METRICS = ProductView(
    METRICS_SUFFIX,
    tables=(
        Table(
            "metrics",
            "A metric of a label; docs/evaluation.md says what each measures.",
            "every `…_metrics`",
            (
                UNIT,
                ASSET,
                Column("label", "text", "the label that is measured"),
                Column("truth", "text", "what the unit is known to answer to"),
                Column("metric", "text", "name of the metric"),
                Column("value", "number", "its value", "the metric's own scale"),
                Column("reason", "text", "why there is no value"),
            ),
            _is_metrics,
            rows=_values,
        ),
        Table(
            "fresh_pictures",
            "A picture painted of a finished label, to measure it.",
            "every `…_metrics`",
            (UNIT, ASSET, Column("label", "text", "the label", path="^.label"), *PAINTED),
            _is_metrics,
            entries=("pictures",),
        ),
    ),
    trace=_trace,
    shown=_shown,
)
"""Of every asset whose name ends so."""
