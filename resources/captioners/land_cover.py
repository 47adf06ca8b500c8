"""Captions, vectors and pictures of land cover from a crop map, in the place of models.

See `dnd_assets.known_answers.land_cover.cover`: what is said is the truth of the map that scenes
come with, and no model's opinion.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from PIL.Image import Image, fromarray

from dnd_assets.known_answers.land_cover.cover import CoverMap, scenes_hash
from dnd_assets.lineage.fingerprint import Json
from resources.captioners.base import Captioner
from resources.encoders.base import Embeddings, ImageTextEncoder
from resources.model import Model, ModelPart, find_part
from resources.runtime.compute import in_order, load_once
from resources.runtime.progress import Progress
from resources.text_to_image.base import Painting, PaintRequest, TextToImage


class _LandCover(Model):
    """Knows of tiles what the crop map says.

    Attributes:
        scenes: folder of scenes.
        tile_side: of a tile, in pixels.
        base: folder that a relative path starts from.
    """

    scenes: str
    tile_side: int = 50
    base: str | None = None

    def title(self) -> str:
        """The scenes."""
        return f"crop map of {self.scenes}"

    def check(self) -> object:
        """Find the scenes.

        Raises:
            StudyError: when there are none; says where to get some.
        """
        return scenes_hash(self._folder())

    def parts(self) -> list[ModelPart]:
        """The scenes alone."""
        return [find_part(self.title(), self.check)]

    def fingerprint(self) -> dict[str, Json]:
        """The content of the scenes and the code."""
        scenes = scenes_hash(self._folder())
        return {"kind": "land_cover", "scenes": scenes, "side": self.tile_side, "code": self.code()}

    def cover(self) -> CoverMap:
        """What is known of the scenes, read once."""
        folder, side = self._folder(), self.tile_side
        cover_map: CoverMap = load_once(
            ("land cover", scenes_hash(folder), side), lambda: CoverMap(folder, side)
        )
        return cover_map

    def _folder(self) -> Path:
        return (Path(self.base or ".") / Path(self.scenes).expanduser()).resolve()


class LandCoverCaptioner(_LandCover, Captioner):
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
            return [cover.caption(np.asarray(image.convert("RGB"))) for image in batch]

        return in_order(images, run, batch_size, on_batch, progress)


class LandCoverEncoder(_LandCover, ImageTextEncoder):
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
            return [cover.vector(np.asarray(image.convert("RGB"))) for image in batch]

        vectors = in_order(images, run, batch_size, on_batch, progress)
        return np.stack(vectors) if vectors else self._no_vectors()

    def embed_texts(self, texts: Sequence[str], batch_size: int = 64) -> Embeddings:
        """Unit vectors of texts, float32 (N, covers + 1)."""
        vectors = [self.cover().text_vector(text) for text in texts]
        return np.stack(vectors) if vectors else self._no_vectors()

    def _no_vectors(self) -> Embeddings:
        return np.zeros((0, len(self.cover().codes) + 1), np.float32)


class LandCoverPainter(_LandCover, TextToImage):
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
                Painting(fromarray(cover.painted(request.concept, request.seed)), rejected=False)
                for request in batch
            ]

        return in_order(requests, run, batch_size, on_batch, progress)
