"""Labels by methods that compare a unit's maps or activations with pixel labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from rich.tree import Tree

from dnd_assets.lineage.records import Payload, Product
from dnd_assets.lineage.trace import Trace
from dnd_assets.results.products.labels import scored_lines
from dnd_assets.results.products.product_view import Grid, ProductView, Shown

if TYPE_CHECKING:
    from PIL.Image import Image

    from dnd_assets.engine.context import StudyContext


def concept_grid(labels: Sequence[Mapping[str, object]], score: str) -> Grid:
    """Labels that were chosen from a fixed set of concepts, with what their score is called."""
    rows = [{"concept": entry["label"], score: entry["score"]} for entry in labels]
    return Grid(rows, ("concept", score), ("concept",))


def exact_line(found: Payload) -> str:
    """What an exact search says of the formula: the best of all, or how much it may fall short."""
    more = f"; the beam search alone reached {found['beam']:.4f}"
    if found["complete"]:
        return f"the best formula of all, by exact search{more}"
    return (
        f"no formula scores above {found['bound']:.4f}, {found['missed']:.4f} more than this, "
        f"after {found['formulas']:,} formulas{more}"
    )


def _lines(branch: Tree, trace: Trace, payload: Payload) -> None:
    if "exact" in payload:
        branch.add(exact_line(payload["exact"]))
    scored_lines(branch, trace, payload)


def _shown(context: StudyContext, product: Product) -> Shown:
    payload = product.payload
    names = ("label", "score", "interpretable", "threshold")
    exact = {"search": exact_line(payload["exact"])} if "exact" in payload else {}
    return {
        **{name: payload[name] for name in names if name in payload},
        **exact,
        "top concepts": concept_grid(payload["labels"], "score"),
    }


def _drawn(context: StudyContext, model: str, product: Product) -> Sequence[Image]:
    from dnd_assets.assets.segmentation.map_pictures import drawn_maps

    return drawn_maps(context, model, product)


PIXEL_LABELS = tuple(
    ProductView(name, trace=_lines, shown=_shown, drawn=_drawn)
    for name in ("invert_labels", "compositions_labels", "network_dissection_labels")
)
