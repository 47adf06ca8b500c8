"""Pictures of the generated world with exact masks: which attribute is true of which pixels."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from dnd_assets.files.atomic import write_atomic
from dnd_assets.files.segmentation_masks import Concept, MaskedImage, MaskLayer, MaskSet
from dnd_assets.known_answers.render import SIDE, render_with_mask
from dnd_assets.known_answers.world import (
    COUNT_WORDS,
    VALUES,
    Scene,
    probing_seed,
    scene,
    write_probing_set,
)

OF_OBJECTS: Final = ("shape", "colour", "texture", "size")
"""Attributes that are true of the objects' pixels."""


def write_masked_world(folder: Path, count: int, seed: int) -> MaskSet:
    """Write pictures and the masks of their objects; return which concepts hold where.

    Shape, colour, texture and size are true of the objects' pixels, the background of all others,
    the number of objects of the whole picture. Each attribute is a category.

    Args:
        folder: where to write; pictures of a known name that are there already are kept.
        count: how many pictures.
        seed: which ones, as of `write_probing_set`.

    Raises:
        ValueError: when the count or the seed is out of range.
    """
    pictures = write_probing_set(folder / "images", count, seed)
    concepts = concepts_of_the_world()
    code_of = {concept: code for code, concept in enumerate(concepts)}
    images = []
    for index, picture in enumerate(pictures):
        number = probing_seed(index, seed)
        world_scene = scene(number)
        path = folder / "masks" / picture.name
        if not _is_mask(path):
            _, mask = render_with_mask(world_scene, number)
            write_atomic(path, _png(mask.astype(np.uint8)))
        images.append(
            MaskedImage(picture, (SIDE, SIDE), _layers(path, world_scene, code_of), (SIDE, SIDE))
        )
    return MaskSet(concepts, tuple(images), ())


def concepts_of_the_world() -> tuple[Concept, ...]:
    """Every value of every attribute, counts in words."""
    return tuple(
        Concept(_name(attribute, value), attribute)
        for attribute, values in VALUES.items()
        for value in values
    )


def _name(attribute: str, value: int | str) -> str:
    return COUNT_WORDS[int(value)] if attribute == "count" else str(value)


def _layers(path: Path, world_scene: Scene, code_of: dict[Concept, int]) -> tuple[MaskLayer, ...]:
    def code(attribute: str) -> int:
        return code_of[Concept(_name(attribute, getattr(world_scene, attribute)), attribute)]

    inside = tuple(sorted(code(attribute) for attribute in OF_OBJECTS))
    codes = {0: (code("background"),), 1: inside}
    return MaskLayer(path, "index", codes), MaskLayer(None, "broden", {0: (code("count"),)})


def _png(codes: NDArray[np.uint8]) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(codes).save(buffer, format="PNG", compress_level=6)
    return buffer.getvalue()


def _is_mask(path: Path) -> bool:
    try:
        with Image.open(path, formats=["PNG"]) as image:
            image.verify()
            return image.size == (SIDE, SIDE)
    except (UnidentifiedImageError, OSError, SyntaxError):
        return False
