"""Captions and pictures from a captioned collection, in the place of generative models.

With these a study needs no captioner and no text-to-image model: what is said of a picture is the
caption of the nearest one, and what is painted of a concept are the pictures whose captions are
nearest to it. Labels can then only say what the collection's captions say.
"""

from collections.abc import Callable, Sequence
from typing import Final

from PIL.Image import Image

from dnd_assets.lineage.fingerprint import Json
from resources.captioners.base import Captioner
from resources.collection import CaptionedCollection
from resources.model import Model, ModelPart, find_part
from resources.runtime.compute import in_order
from resources.runtime.progress import Progress
from resources.servers.calls import CallLedger
from resources.text_to_image.base import KeepPaintings, Painting, PaintRequest, TextToImage

_FOUND_TOGETHER: Final = 256
"""Pictures of a batch, at least: they are looked up, and each batch is stored and committed."""


class _Retrieval(Model):
    """A collection in the place of a model."""

    collection: CaptionedCollection

    def title(self) -> str:
        """The tables it reads."""
        return f"retrieval from {', '.join(self.collection.tables)}"

    def check(self) -> object:
        """Read the tables."""
        return self.collection.entries()

    def parts(self) -> list[ModelPart]:
        """The collection alone: its image-text encoder is listed by itself."""
        return [find_part(self.title(), self.check)]

    def fingerprint(self) -> dict[str, Json]:
        """The collection, and the space in which its pictures and captions are near."""
        return {"kind": "retrieval", **self.collection.fingerprint()}


class RetrievalCaptioner(_Retrieval, Captioner):
    """The caption of the collection's nearest picture."""

    def caption(
        self,
        images: Sequence[Image],
        batch_size: int,
        on_batch: Callable[[Sequence[Image], Sequence[str]], None] | None = None,
        progress: Progress | None = None,
    ) -> list[str]:
        """One caption for each picture, in order; see `Captioner.caption`."""

        def run(batch: Sequence[Image]) -> list[str]:
            return self.collection.captions_of(batch, batch_size)

        return in_order(images, run, batch_size, on_batch, progress)


class RetrievalTextToImage(_Retrieval, TextToImage):
    """The collection's pictures whose captions are nearest to a concept, one for each index."""

    def paint_each(
        self,
        requests: Sequence[PaintRequest],
        batch_size: int,
        keep: KeepPaintings,
        ledger: CallLedger,
    ) -> None:
        """As for all painters; first the concepts of all requests are embedded together."""
        self.collection.learn([request.concept for request in requests])
        super().paint_each(requests, batch_size, keep, ledger)

    def paint(
        self,
        requests: Sequence[PaintRequest],
        batch_size: int,
        on_batch: Callable[[Sequence[PaintRequest], Sequence[Painting]], None] | None = None,
        progress: Progress | None = None,
    ) -> list[Painting]:
        """The picture of rank `index` for each request's concept; the seed does not matter."""
        self.collection.learn([request.concept for request in requests])

        def run(batch: Sequence[PaintRequest]) -> list[Painting]:
            ranks: dict[str, set[int]] = {}
            for request in batch:
                ranks.setdefault(request.concept, set()).add(request.index)
            pictures = self.collection.pictures_of(ranks)
            return [
                Painting(pictures[request.concept][request.index], rejected=False)
                for request in batch
            ]

        # Nothing is computed, and what a batch leaves behind costs more than its pictures.
        return in_order(requests, run, max(batch_size, _FOUND_TOGETHER), on_batch, progress)
