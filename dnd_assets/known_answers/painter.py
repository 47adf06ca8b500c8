"""The world's renderer as a painter of phrases: what a perfect text-to-image model would paint."""

from __future__ import annotations

import numpy as np

from dnd_assets.known_answers.render import Image, render
from dnd_assets.known_answers.world import VALUES, Scene, parse


def scene_for(prompt: str, seed: int) -> Scene:
    """Draw a scene of which the prompt is true.

    Args:
        prompt: A phrase or a painting prompt; words outside the world are ignored.
        seed: Decides on the attributes that the prompt leaves open, evenly.
    """
    rng = np.random.default_rng([3, seed])
    facts = parse(prompt)
    chosen = {}
    for name, values in VALUES.items():
        # One number is drawn for each attribute, named or not: then prompts that differ in one
        # word share all else, as pictures of one seed should.
        allowed, number = facts.get(name, values), rng.random()
        chosen[name] = allowed[int(number * len(allowed))]
    return Scene(**chosen)  # type: ignore[arg-type]


def paint(prompt: str, seed: int) -> Image:
    """Draw a picture of which the prompt is true.

    Returns:
        uint8, (64, 64, 3), RGB. It depends on the arguments only.
    """
    return render(scene_for(prompt, seed), seed)
