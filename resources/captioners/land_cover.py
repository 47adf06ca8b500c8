"""Captions of tiles of land cover, from the crop map that their scenes come with."""

from collections.abc import Callable, Sequence

import numpy as np
from PIL.Image import Image

from resources.captioners.base import Captioner
from resources.land_cover import LandCoverModel
from resources.runtime.compute import in_order
from resources.runtime.progress import Progress


class LandCoverCaptioner(LandCoverModel, Captioner):
    """What covers a tile, the most first; nothing of pictures that are no tile."""

    def caption(
        self,
        images: Sequence[Image],
        batch_size: int,
        on_batch: Callable[[Sequence[Image], Sequence[str]], None] | None = None,
        progress: Progress | None = None,
    ) -> list[str]:
        """One caption for each picture, in order; see `Captioner.caption`."""

        def run(batch: Sequence[Image]) -> list[str]:
            cover = self.cover()
            return [cover.caption(np.asarray(one.convert("RGB"))) for one in batch]

        return in_order(images, run, batch_size, on_batch, progress)
