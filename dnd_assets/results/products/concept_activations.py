"""Concept activations: a fixed set of concepts before the image-text encoder."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from rich.tree import Tree

from dnd_assets.lineage.records import CONCEPT_ACTIVATIONS, Payload, Product
from dnd_assets.lineage.trace import Trace
from dnd_assets.results.products.product_view import ProductView, Shown, column_of

if TYPE_CHECKING:
    from dnd_assets.engine.context import StudyContext

_FIRST: Final = 10


def _shown(context: StudyContext, product: Product) -> Shown:
    from dnd_assets.assets.concept_activations import texts_of

    return {
        "concepts": product.payload["count"],
        "duplicates": product.outcome.notes["duplicates"],
        "blank lines": product.outcome.notes["blanks"],
        "first texts": column_of("text", texts_of(context, product)[:_FIRST]),
        "encoder": product.payload["encoder"],
    }


def _trace(branch: Tree, trace: Trace, payload: Payload) -> None:
    branch.add(f"{payload['count']:,} concepts")


CONCEPTS = ProductView(CONCEPT_ACTIVATIONS, trace=_trace, shown=_shown)
