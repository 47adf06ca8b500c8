"""Text-to-image of the harder generated world: its own renderer, with places."""

import re
from dataclasses import asdict, replace
from typing import ClassVar

from PIL.Image import Image, fromarray

from dnd_assets.known_answers import world
from dnd_assets.known_answers.hard import hard_scenes
from resources.text_to_image.base import PaintRequest
from resources.text_to_image.known_answers import WorldPainter


class HardWorldPainter(WorldPainter):
    """Draws scenes of which a concept is true, textures at full contrast."""

    KIND: ClassVar[str] = "hard_world"
    WORLD: ClassVar[str] = "harder generated world"

    def _draw(self, request: PaintRequest) -> Image:
        """A scene of which the concept is true, RGB, 64 x 64; what it leaves open is drawn.

        Three large objects fit on no side: asked for there, they stand anywhere.
        """
        import numpy as np

        rng = np.random.default_rng([8, request.seed])
        facts = world.parse(request.concept)
        places = [
            one for one in hard_scenes.PLACES if re.search(rf"\b{one}\b", request.concept.lower())
        ]
        while True:
            drawn = hard_scenes.hard_scene(int(rng.integers(1 << 31)))
            found = drawn
            for name, some in facts.items():
                chosen = some[int(rng.integers(len(some)))]
                found = hard_scenes.HardScene(**{**asdict(found), name: chosen})
            if places:
                found = replace(found, place=places[int(rng.integers(len(places)))])
            crowded = (found.count, found.size) == (3, "large")
            if crowded and places and not {"count", "size"} <= facts.keys():
                continue
            shown = replace(found, place=hard_scenes.NOWHERE) if crowded else found
            return fromarray(hard_scenes.draw(shown, request.seed, contrast=1.0))
