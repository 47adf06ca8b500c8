"""Text-to-image of the generated world: its own renderer, for studies with known answers.

It stands in for a diffusion pipeline where none has been trained well enough on the world: what a
concept says of a scene is drawn, what it leaves open is drawn at random from the seed.
"""

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

from PIL.Image import Image, fromarray

from dnd_assets.known_answers import render, world
from dnd_assets.lineage.fingerprint import Json
from resources.model import ModelPart, built_in
from resources.runtime.compute import in_order
from resources.runtime.progress import Progress
from resources.text_to_image.base import Painting, PaintRequest, TextToImage


class WorldPainter(TextToImage):
    """Draws scenes of which a concept is true; the same request draws the same picture.

    Attributes:
        KIND: what tells it from painters of other worlds in keys.
        WORLD: the world, for people.
    """

    KIND: ClassVar[str] = "world"
    WORLD: ClassVar[str] = "generated world"

    def title(self) -> str:
        """What it draws with."""
        return f"renderer of the {self.WORLD}"

    def check(self) -> None:
        """Nothing can be missing."""

    def parts(self) -> list[ModelPart]:
        """No file at all."""
        return [built_in(self.title())]

    def fingerprint(self) -> dict[str, Json]:
        """The code of the world and of its renderer."""
        return {"kind": self.KIND, "code": self.code()}

    def paint(
        self,
        requests: Sequence[PaintRequest],
        batch_size: int,
        on_batch: Callable[[Sequence[PaintRequest], Sequence[Painting]], None] | None = None,
        progress: Progress | None = None,
    ) -> list[Painting]:
        """One picture for each request, in order; see `TextToImage.paint`."""

        def run(batch: Sequence[PaintRequest]) -> list[Painting]:
            return [Painting(self._draw(request), rejected=False) for request in batch]

        return in_order(requests, run, batch_size, on_batch, progress)

    def _draw(self, request: PaintRequest) -> Image:
        """A scene of which the concept is true, RGB, 64 x 64."""
        import numpy as np

        rng = np.random.default_rng([3, request.seed])
        facts = world.parse(request.concept)
        values: dict[str, Any] = {}
        for name, choices in _CHOICES.items():
            allowed = facts.get(name, choices)
            values[name] = allowed[int(rng.integers(len(allowed)))]
        return fromarray(render.render(world.Scene(**values), request.seed))


_CHOICES: dict[str, tuple[int | str, ...]] = {
    "count": world.COUNTS,
    "size": world.SIZES,
    "colour": world.COLOURS,
    "shape": world.SHAPES,
    "texture": world.TEXTURES,
    "background": world.BACKGROUNDS,
}
