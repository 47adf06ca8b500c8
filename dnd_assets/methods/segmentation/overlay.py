"""A unit's thresholded map drawn over the image: lit where it is on, dark elsewhere, with a rim."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from dnd_assets.methods.lazy import torch
from dnd_assets.methods.segmentation.input_region import View
from dnd_assets.methods.segmentation.network_dissection import thresholded

_DARK: Final = 0.35
_RIM: Final = (255, 220, 0)


def overlay(
    picture: Image.Image, heatmap: NDArray[np.float32], threshold: float, view: View
) -> Image.Image:
    """Draw a map over what a network sees of a picture.

    Args:
        picture: RGB.
        heatmap: the unit's map, float32, (h, w).
        threshold: above which it is on.
        view: the part of the picture that the map lies over.

    Returns:
        The picture, RGB, of its own size: dark where the map is off and where no map is.
    """
    left, top, right, bottom = view.box(picture.width, picture.height)
    maps = torch.from_numpy(np.array(heatmap, dtype=np.float32))[None]
    size = (bottom - top, right - left)
    lit = np.zeros((picture.height, picture.width), dtype=bool)
    inside = thresholded(maps, torch.tensor([threshold], dtype=torch.float32), size)[0]
    lit[top:bottom, left:right] = inside.reshape(size).numpy()
    pixels = np.asarray(picture.convert("RGB"), dtype=np.float32)
    shaded = np.where(lit[..., None], pixels, pixels * _DARK).astype(np.uint8)
    shaded[_rim(lit)] = _RIM
    return Image.fromarray(shaded)


def _rim(lit: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Pixels that are off beside one that is on."""
    grown = lit.copy()
    grown[1:] |= lit[:-1]
    grown[:-1] |= lit[1:]
    grown[:, 1:] |= lit[:, :-1]
    grown[:, :-1] |= lit[:, 1:]
    return np.asarray(grown & ~lit)
