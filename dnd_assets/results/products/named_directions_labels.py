"""Labels of directions of an image-text space: the texts that point the same way."""

from __future__ import annotations

from dnd_assets.results.products.labels import scored_lines
from dnd_assets.results.products.other_labels import OTHER_LABELS
from dnd_assets.results.products.product_view import ProductView

NAMED_DIRECTIONS_LABELS = ProductView(
    "named_directions_labels", trace=scored_lines, shown=OTHER_LABELS.shown
)
