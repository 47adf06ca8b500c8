"""Polysemantic labels: a label for each concept that a unit answers to."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.markup import escape
from rich.tree import Tree

from dnd_assets.lineage.records import Payload, Product
from dnd_assets.lineage.trace import Trace
from dnd_assets.results.products.product_view import Grid, ProductView, Shown, pictures

if TYPE_CHECKING:
    from dnd_assets.engine.context import StudyContext


def _shown(context: StudyContext, product: Product) -> Shown:
    payload = product.payload
    rows = [{**entry, "exemplars": len(entry["exemplars"])} for entry in payload["concepts"]]
    names = ("label", "score", "response", "mass", "exemplars")
    groups = {
        f"{number}: {entry['label']}": pictures(entry["exemplars"])
        for number, entry in enumerate(payload["concepts"], 1)
    }
    return {
        "label": payload["label"],
        "concepts": payload["count"],
        "by concept": Grid(rows, names, ("label",)),
        **groups,
        "outliers": len(payload["outliers"]),
    }


def _trace(branch: Tree, trace: Trace, payload: Payload) -> None:
    for entry in payload.get("concepts", []):
        concept_branch = branch.add(
            f"{entry['score']:9.4f}  {escape(entry['label'])}: response {entry['response']:.4g}, "
            f"{len(entry['exemplars'])} exemplars, mass {entry['mass']:.4g}"
        )
        for runner_up in entry["runners_up"]:
            concept_branch.add(
                f"[dim]{runner_up['score']:9.4f}  {escape(runner_up['label'])}[/dim]"
            )
        for image in entry["exemplars"]:
            concept_branch.add(_exemplar(image))
    for image in payload.get("outliers", []):
        branch.add(f"outlier {_exemplar(image)}")


def _exemplar(image: Payload) -> str:
    return f"{image['activation']:10.4f}  {image['image'][:16]}…  {escape(image['caption'])}"


POLYSEMANTIC_LABELS = ProductView("polysemantic_labels", trace=_trace, shown=_shown)
