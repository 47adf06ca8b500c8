"""Text-to-image of the harder generated world: its own renderer, with places."""

import re
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace

from PIL.Image import Image, fromarray

from dnd_assets.known_answers import world
from dnd_assets.known_answers.hard import scenes
from dnd_assets.lineage.fingerprint import Json
from resources.model import ModelPart, built_in
from resources.runtime.compute import in_order
from resources.runtime.progress import Progress
from resources.text_to_image.base import Painting, PaintRequest, TextToImage


class HardWorldPainter(TextToImage):
    """Draws scenes of which a concept is true, textures at full contrast."""

    def title(self) -> str:
        """What it draws with."""
        return "renderer of the harder generated world"

    def check(self) -> None:
        """Nothing can be missing."""

    def parts(self) -> list[ModelPart]:
        """No file at all."""
        return [built_in(self.title())]

    def fingerprint(self) -> dict[str, Json]:
        """The code of the world and of its renderer."""
        return {"kind": "hard_world", "code": self.code()}

    def paint(
        self,
        requests: Sequence[PaintRequest],
        batch_size: int,
        on_batch: Callable[[Sequence[PaintRequest], Sequence[Painting]], None] | None = None,
        progress: Progress | None = None,
    ) -> list[Painting]:
        """One picture for each request, in order; see `TextToImage.paint`."""

        def run(batch: Sequence[PaintRequest]) -> list[Painting]:
            return [Painting(_draw(request), rejected=False) for request in batch]

        return in_order(requests, run, batch_size, on_batch, progress)


def _draw(request: PaintRequest) -> Image:
    """A scene of which the concept is true, RGB, 64 x 64; what it leaves open is drawn.

    Three large objects fit on no side: asked for there, they stand anywhere.
    """
    import numpy as np

    rng = np.random.default_rng([8, request.seed])
    facts = world.parse(request.concept)
    places = [one for one in scenes.PLACES if re.search(rf"\b{one}\b", request.concept.lower())]
    while True:
        drawn = scenes.hard_scene(int(rng.integers(1 << 31)))
        found = drawn
        for name, some in facts.items():
            chosen = some[int(rng.integers(len(some)))]
            found = scenes.HardScene(**{**asdict(found), name: chosen})
        if places:
            found = replace(found, place=places[int(rng.integers(len(places)))])
        crowded = (found.count, found.size) == (3, "large")
        if crowded and places and not {"count", "size"} <= facts.keys():
            continue
        shown = replace(found, place=scenes.NOWHERE) if crowded else found
        return fromarray(scenes.draw(shown, request.seed, contrast=1.0))
