"""The products that have a description of their own, in the order of the graph."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from dnd_assets.lineage.records import METRICS_SUFFIX, UNPARTITIONED
from dnd_assets.results.products.ablation_effects import ABLATION_EFFECTS
from dnd_assets.results.products.activations import ACTIVATIONS
from dnd_assets.results.products.candidate_concepts import CANDIDATE_CONCEPTS
from dnd_assets.results.products.captions import CAPTIONS
from dnd_assets.results.products.clip_dissect_labels import CLIP_DISSECT_LABELS
from dnd_assets.results.products.concept_activations import CONCEPTS
from dnd_assets.results.products.concept_masks import MASKS
from dnd_assets.results.products.crops import CROPS
from dnd_assets.results.products.detection_scores import DETECTION_SCORES
from dnd_assets.results.products.group_ablation_effects import GROUP_ABLATION_EFFECTS
from dnd_assets.results.products.image_level_labels import IMAGE_LEVEL_LABELS
from dnd_assets.results.products.image_sets import HELD_OUT, PROBING_IMAGES
from dnd_assets.results.products.label_metrics import LABEL_METRICS
from dnd_assets.results.products.labels import LABELS
from dnd_assets.results.products.milan_labels import MILAN_LABELS
from dnd_assets.results.products.named_directions_labels import NAMED_DIRECTIONS_LABELS
from dnd_assets.results.products.other_labels import OTHER_LABELS
from dnd_assets.results.products.pixel_labels import PIXEL_LABELS
from dnd_assets.results.products.polysemantic_labels import POLYSEMANTIC_LABELS
from dnd_assets.results.products.product_view import ProductView
from dnd_assets.results.products.scores import SCORES
from dnd_assets.results.products.synthetic_images import SYNTHETIC_IMAGES
from dnd_assets.results.tables.columns import Table

PRODUCTS: Final[tuple[ProductView, ...]] = (
    PROBING_IMAGES,
    ACTIVATIONS,
    CROPS,
    CAPTIONS,
    CANDIDATE_CONCEPTS,
    DETECTION_SCORES,
    SYNTHETIC_IMAGES,
    SCORES,
    HELD_OUT,
    CONCEPTS,
    MASKS,
    *PIXEL_LABELS,
    *IMAGE_LEVEL_LABELS,
    MILAN_LABELS,
    POLYSEMANTIC_LABELS,
    NAMED_DIRECTIONS_LABELS,
    CLIP_DISSECT_LABELS,
    ABLATION_EFFECTS,
    GROUP_ABLATION_EFFECTS,
    LABELS,
)
_BY_NAME: Final = {view.name: view for view in PRODUCTS}
PRODUCT_TABLES: Final[tuple[Table, ...]] = tuple(
    table for view in (*PRODUCTS, OTHER_LABELS, LABEL_METRICS) for table in view.tables
)
"""The tables of all products, in their order."""


def view_of(asset: str) -> ProductView:
    """What readers are told of an asset's products."""
    if asset in _BY_NAME:
        return _BY_NAME[asset]
    return LABEL_METRICS if asset.endswith(METRICS_SUFFIX) else OTHER_LABELS


def upwards(assets: Iterable[str]) -> list[str]:
    """Assets from labels to what they were made from; first those without a description here.

    The probing set is left out: a trace lists its images one by one.
    """
    names = list(assets)
    undescribed = [asset for asset in names if asset not in _BY_NAME and asset not in UNPARTITIONED]
    described = [view.name for view in reversed(PRODUCTS) if view is not PROBING_IMAGES]
    return [*undescribed, *(name for name in described if name in names)]
