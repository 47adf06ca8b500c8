"""How often latents fire: on how many pictures each one is above zero."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dnd_assets.methods.dissection.exemplars import ZERO
from dnd_assets.methods.sparse_matrix import SparseMatrix


@dataclass(frozen=True)
class Firing:
    """What is counted of the latents of a layer.

    Attributes:
        images: pictures looked at.
        pictures: on how many of them each latent fires, int64 (latents,).
        largest: the largest code of each, float32 (latents,).
        mean: mean code of each over the pictures on which it fires, float32 (latents,); 0 for
            those that never do.
    """

    images: int
    pictures: NDArray[np.int64]
    largest: NDArray[np.float32]
    mean: NDArray[np.float32]

    @property
    def dead(self) -> int:
        """How many latents fire on no picture."""
        return int((self.pictures == 0).sum())

    @property
    def per_picture(self) -> float:
        """How many latents fire on a picture, on average: L0."""
        return float(self.pictures.sum() / self.images) if self.images else 0.0


def firing(values: SparseMatrix) -> Firing:
    """Count how often each latent fires; codes that are NaN or infinite do not count.

    Args:
        values: pooled codes (pictures, latents), none of them negative.
    """
    images, latents = values.shape
    matrix: Any = values.held
    finite = np.isfinite(matrix.data)
    columns, codes = matrix.indices[finite], matrix.data[finite]
    largest = np.zeros(latents, dtype=np.float32)
    np.maximum.at(largest, columns, codes)
    fires = codes > largest[columns] * ZERO
    counts = np.bincount(columns[fires], minlength=latents).astype(np.int64)
    sums = np.bincount(columns[fires], weights=codes[fires].astype(np.float64), minlength=latents)
    mean = (sums / np.maximum(counts, 1)).astype(np.float32)
    return Firing(images, counts, largest, mean)
