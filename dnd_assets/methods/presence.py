"""Presence of a label on images, by an image-text encoder.

A cosine of CLIP is no probability: it hardly ever exceeds 0.3. So the cosines of one label with
all images are split in two at Otsu's threshold, and shifted so that the threshold lies at 0.5,
where the detection metrics expect it. A correlation does not see the shift, and no other label
matters.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from skimage.filters import threshold_otsu

from dnd_assets.methods.detection import THRESHOLD

Floats = NDArray[np.floating[Any]]


def presence(images: Floats, text: Floats) -> NDArray[np.float64]:
    """How much an image shows what a text says: its cosine, shifted to a threshold of 0.5.

    Args:
        images: embeddings of the images, unit vectors (N, D).
        text: embedding of the text, a unit vector (D,).

    Returns:
        float64 (N,): cosine - Otsu's threshold + 0.5. Images above 0.5 count as showing it; none
        does when all cosines are equal.

    Raises:
        ValueError: when there is no image, shapes do not fit, or a value is not finite.
    """
    if images.ndim != 2 or not len(images) or text.shape != images.shape[1:]:
        raise ValueError(
            f"embeddings of images (N, D) and of a text (D,) are of shapes {images.shape} and "
            f"{text.shape}"
        )
    # One label at a time, since a product of matrices may round otherwise in other company.
    cosines = images.astype(np.float64) @ text.astype(np.float64)
    if not np.isfinite(cosines).all():
        raise ValueError("embeddings hold NaN or infinite values")
    if cosines.max() == cosines.min():
        return np.full(len(cosines), THRESHOLD)
    return np.asarray(cosines - threshold_otsu(cosines) + THRESHOLD, dtype=np.float64)


def shown(present: Floats) -> NDArray[np.bool_]:
    """Which images show it, bool (N,), from their presence."""
    return np.asarray(present > THRESHOLD)
