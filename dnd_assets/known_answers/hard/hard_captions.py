"""The captioner of the harder world: it knows every picture of the probing set.

So the labelling method is on trial, and no captioner.
"""

from __future__ import annotations

import hashlib
from functools import cache
from typing import Final

from PIL.Image import Image

from dnd_assets.known_answers.hard.hard_scenes import draw, hard_caption, hard_scene
from dnd_assets.known_answers.world import probing_seed

COUNT: Final = 4096
"""Pictures of the probing set."""
SEED: Final = 0


def caption(picture: Image) -> str:
    """Every attribute of a probing picture; empty for any other."""
    return _caption_by_hash().get(hashlib.sha256(picture.tobytes()).digest(), "")


@cache
def _caption_by_hash() -> dict[bytes, str]:
    """The captions of all probing pictures, by the hash of their pixels; takes ten seconds."""
    seeds = [probing_seed(index, SEED) for index in range(COUNT)]
    scenes = {seed: hard_scene(seed) for seed in seeds}
    return {
        hashlib.sha256(draw(world_scene, seed).tobytes()).digest(): hard_caption(world_scene)
        for seed, world_scene in scenes.items()
    }
