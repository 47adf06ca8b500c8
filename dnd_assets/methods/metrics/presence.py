"""Presence of a label on images, by an image-text encoder.

A cosine of CLIP is no probability: it hardly ever exceeds 0.3, and what is high for one text is low
for another. So the cosines of one label with all images are sorted into three classes by Otsu's
criterion (no sign of it, some, clear), and the clear ones count as showing it. Two classes would
split the unclear ones, a third to two thirds of all images. No other label matters.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import skimage
from numpy.typing import NDArray

from dnd_assets.methods.metrics.detection import THRESHOLD

Floats = NDArray[np.floating]
_CLASSES: Final = 3
_BINS: Final = 256


def presence(images: Floats, text: Floats) -> NDArray[np.float64]:
    """How much an image shows what a text says: its cosine, shifted to a threshold of 0.5.

    A correlation does not see the shift; the other detection metrics ask for that threshold.

    Args:
        images: embeddings of the images, unit vectors (N, D).
        text: embedding of the text, a unit vector (D,).

    Returns:
        float64 (N,): cosine - threshold + 0.5. Images above 0.5 count as showing it; none does
        when all cosines are equal.

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
    return np.asarray(cosines - _highest_unclear(cosines) + THRESHOLD, dtype=np.float64)


def shown(present: Floats) -> NDArray[np.bool_]:
    """Which images show it, bool (N,), from their presence."""
    return np.asarray(present > THRESHOLD)


def _highest_unclear(cosines: NDArray[np.float64]) -> float:
    """The largest value below the highest class (Otsu 1979, section III-C, for three classes)."""
    if cosines.max() == cosines.min():
        return float(cosines.max())
    counts, edges = np.histogram(cosines, _BINS)
    classes = min(_CLASSES, int(np.count_nonzero(counts)))
    highest_bin = int(
        skimage.filters.threshold_multiotsu(hist=(counts, np.arange(_BINS)), classes=classes)[-1]
    )
    return float(cosines[cosines < edges[highest_bin + 1]].max())
