"""Encoders that put pictures and texts into one space: what they all offer."""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from PIL.Image import Image

from resources.model import Model
from resources.runtime.progress import Progress

Embeddings = NDArray[np.float32]


class ImageTextEncoder(Model):
    """Base of all image-text encoders."""

    def embed_images(
        self,
        images: Sequence[Image],
        batch_size: int,
        on_batch: Callable[[Sequence[Image], Sequence[Embeddings]], None] | None = None,
        progress: Progress | None = None,
    ) -> Embeddings:
        """Unit vectors of pictures.

        Args:
            images: pictures of any size and mode.
            batch_size: pictures in a batch; batches are filled up.
            on_batch: called with the pictures and vectors of each finished batch.
            progress: counts finished pictures.

        Returns:
            float32 (N, D), rows of Euclidean norm 1, rounded so that the batch does not show.
        """
        raise NotImplementedError

    def embed_texts(self, texts: Sequence[str], batch_size: int = 64) -> Embeddings:
        """Unit vectors of texts, float32 (N, D); texts beyond the context are cut off."""
        raise NotImplementedError

    def encode(self, texts: Sequence[str]) -> Embeddings:
        """`embed_texts` under the name that the metrics of labels ask for."""
        return self.embed_texts(texts)
