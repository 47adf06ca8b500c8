"""Sets of images: what was found, used, set aside and skipped."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from rich.tree import Tree

from dnd_assets.lineage.records import HELD_OUT_IMAGES, PROBING_SET, Payload, Product
from dnd_assets.lineage.trace import Trace
from dnd_assets.results.products.product_view import Grid, ProductView, Shown

if TYPE_CHECKING:
    from dnd_assets.engine.context import StudyContext

_FIRST: Final = 10


def scan_grids(product: Product) -> Shown:
    """What a scan of files did not use, with the reasons."""
    notes = product.outcome.notes
    quarantined = notes["quarantined"]
    skipped = [{"kind": kind, "files": count} for kind, count in notes.get("skipped", {}).items()]
    return {
        "quarantined": len(quarantined),
        "quarantine": Grid(quarantined[:100], ("path", "reason"), ("path", "reason")),
        "skipped": Grid(skipped, ("kind", "files"), ("kind", "files")),
        "first skipped": ", ".join(notes.get("skipped_first", ())[:_FIRST]),
    }


def _shown(context: StudyContext, product: Product) -> Shown:
    return {
        **scan_grids(product),
        "images": product.payload["images"],
        "files": product.outcome.notes["found"],
        "manifest": product.payload["manifest"],
    }


def _held_out(context: StudyContext, product: Product) -> Shown:
    left_out = product.outcome.notes["in_probing_set"]
    return _shown(context, product) | {"in the probing set, left out": left_out}


def _trace(branch: Tree, trace: Trace, payload: Payload) -> None:
    branch.add(f"{payload['images']:,} images")


PROBING_IMAGES = ProductView(PROBING_SET, shown=_shown)
HELD_OUT = ProductView(HELD_OUT_IMAGES, trace=_trace, shown=_held_out)
