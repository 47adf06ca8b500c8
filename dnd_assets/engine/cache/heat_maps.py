"""Names of the stored heat maps of exemplars."""

from __future__ import annotations

import json
from typing import Final

from dnd_assets.lineage.fingerprint import canonical

MAPS: Final = "exemplar map"
"""Kind of the stored heat maps of exemplars."""


def map_item(image: str, neuron: int) -> str:
    """Id of a stored heat map among those of its layer."""
    return canonical([image, neuron])


def map_image(item: str) -> str:
    """The picture that a stored heat map lies over."""
    return str(json.loads(item)[0])
