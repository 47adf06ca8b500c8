"""Pictures of what activates a unit, with its thresholded maps drawn over them."""

from __future__ import annotations

from PIL import Image

from dnd_assets.engine.context import StudyContext
from dnd_assets.lineage.records import Product


def drawn_maps(context: StudyContext, model: str, product: Product) -> list[Image.Image]:
    """A unit's best images, dark where its map is not above its threshold.

    Args:
        context: the study's context.
        model: the unit's network.
        product: its label by Network Dissection, Compositional Explanations, or INVERT, which
            has no maps: then the images as they are.

    Raises:
        StoreError: when an image or the maps are gone.
    """
    from dnd_assets.methods.segmentation.input_region import view
    from dnd_assets.methods.segmentation.overlay import overlay  # need torch: readers load none

    best_images = product.payload["images"]
    pictures = context.pictures.load([entry["image"] for entry in best_images])
    place = product.outcome.notes.get("maps")
    if place is None:
        return pictures
    maps = context.store.arrays(place["file"])["maps"][place["row"]]
    transform = context.targets.transforms(model)
    threshold = float(product.payload["threshold"])
    return [
        overlay(picture, maps[rank], threshold, view(transform, *picture.size))
        for rank, picture in enumerate(pictures)
    ]
