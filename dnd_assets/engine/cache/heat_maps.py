"""Names of the stored heat maps of exemplars."""

from __future__ import annotations

import json
from typing import Final

from dnd_assets.lineage.fingerprint import canonical

MAPS: Final = "exemplar map"
"""Kind of the stored heat maps of exemplars."""


def map_item(image: str, neuron: int, side: int) -> str:
    """Id of a stored heat map among those of its layer.

    Args:
        image: hash of the picture that it lies over.
        neuron: of the layer.
        side: pixels of the square that the picture was made before it was shown to the network,
            the study's `crop_size`; another one gives another map, and other boxes.
    """
    return canonical([image, neuron, side])


def map_image(item: str) -> str:
    """The picture that a stored heat map lies over."""
    return str(json.loads(item)[0])
