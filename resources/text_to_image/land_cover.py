"""Pictures of land cover: windows cut from scenes where a concept covers most."""

from collections.abc import Callable, Sequence

from PIL.Image import fromarray

from resources.land_cover import LandCoverModel
from resources.runtime.compute import in_order
from resources.runtime.progress import Progress
from resources.text_to_image.base import Painting, PaintRequest, TextToImage


class LandCoverPainter(LandCoverModel, TextToImage):
    """Cuts a window for each request: the same one for the same concept and seed."""

    def paint(
        self,
        requests: Sequence[PaintRequest],
        batch_size: int,
        on_batch: Callable[[Sequence[PaintRequest], Sequence[Painting]], None] | None = None,
        progress: Progress | None = None,
    ) -> list[Painting]:
        """One picture for each request, in order; see `TextToImage.paint`."""

        def run(batch: Sequence[PaintRequest]) -> list[Painting]:
            cover = self.cover()
            return [
                Painting(fromarray(cover.painted(one.concept, one.seed)), rejected=False)
                for one in batch
            ]

        return in_order(requests, run, batch_size, on_batch, progress)
