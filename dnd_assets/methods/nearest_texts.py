"""Naming directions without pictures: the texts whose vectors point the same way.

In the joint space of an image-text encoder a direction is named by the texts of largest cosine to
it, as Discover-then-Name (Rao et al., ECCV 2024) names the vectors of an autoencoder's decoder.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating]


def cosines(directions: Floats, texts: Floats) -> NDArray[np.float64]:
    """Cosine of each direction with each text, float64 (U, N); NaN for directions of zeros.

    Args:
        directions: (U, D).
        texts: (N, D), none of them of zeros.
    """
    vectors, text_vectors = np.asarray(directions, np.float64), np.asarray(texts, np.float64)
    lengths = np.linalg.norm(vectors, axis=1)
    lengths[lengths == 0] = np.nan
    unit_texts = text_vectors / np.linalg.norm(text_vectors, axis=1, keepdims=True)
    products: NDArray[np.float64] = (vectors / lengths[:, None]) @ unit_texts.T
    return products


def best(scores: NDArray[np.float64], count: int) -> list[int]:
    """Places of the largest scores, largest first, ties by place; `scores` is (N,)."""
    return [int(place) for place in np.argsort(-scores, kind="stable")[:count]]
