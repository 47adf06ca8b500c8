"""Pictures and texts by land cover: an axis for each cover of some scenes."""

from collections.abc import Callable, Sequence

import numpy as np
from PIL.Image import Image

from resources.encoders.base import Embeddings, ImageTextEncoder
from resources.land_cover import LandCoverModel
from resources.runtime.compute import in_order
from resources.runtime.progress import Progress


class LandCoverEncoder(LandCoverModel, ImageTextEncoder):
    """Cover of tiles by the crop map, of other pictures by their colours, of texts by name."""

    def embed_images(
        self,
        images: Sequence[Image],
        batch_size: int,
        on_batch: Callable[[Sequence[Image], Sequence[Embeddings]], None] | None = None,
        progress: Progress | None = None,
    ) -> Embeddings:
        """Unit vectors of pictures, float32 (N, covers + 1)."""

        def run(batch: Sequence[Image]) -> list[Embeddings]:
            cover = self.cover()
            return [cover.vector(np.asarray(one.convert("RGB"))) for one in batch]

        found = in_order(images, run, batch_size, on_batch, progress)
        return np.stack(found) if found else self._none()

    def embed_texts(self, texts: Sequence[str], batch_size: int = 64) -> Embeddings:
        """Unit vectors of texts, float32 (N, covers + 1)."""
        found = [self.cover().text_vector(text) for text in texts]
        return np.stack(found) if found else self._none()

    def _none(self) -> Embeddings:
        return np.zeros((0, len(self.cover().codes) + 1), np.float32)
