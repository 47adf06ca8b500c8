"""Scenes of the harder world: those of the plain one, with faint textures and a place.

All objects of a scene stand on the left or on the right, or their place is no matter of note. The
second tone of textures is drawn at a fraction of its contrast.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from dnd_assets.known_answers import render as plain
from dnd_assets.known_answers.world import (
    COUNT_WORDS,
    Scene,
    caption,
    probing_seed,
    scene,
    write_pictures,
)

PLACES: Final = ("left", "right")
NOWHERE: Final = "anywhere"
FAINT: Final = 0.6
"""Contrast of textures in probing pictures, where that of the plain world is 1."""
_EDGES: Final = {"left": (0.0, 27.0), "right": (37.0, float(plain.SIDE))}
"""Where the centres of objects lie, in pixels from the left."""


@dataclass(frozen=True)
class HardScene(Scene):
    """A scene with the place of its objects: `left`, `right`, or `anywhere`."""

    place: str


def hard_scene(seed: int) -> HardScene:
    """Draw the scene of `seed`; three large objects have no place, since no side holds them."""
    base = scene(seed)
    plain_facts = {field.name: getattr(base, field.name) for field in fields(base)}
    place_index = int(np.random.default_rng([4, seed]).integers(3))
    crowded = base.count == 3 and base.size == "large"
    return HardScene(**plain_facts, place=NOWHERE if crowded else (*PLACES, NOWHERE)[place_index])


def hard_caption(scene: HardScene) -> str:
    """Every attribute in a caption: "two small blue squares with dots on sand on the left"."""
    text = caption(scene)
    return text if scene.place == NOWHERE else f"{text} on the {scene.place}"


def shows(scene: HardScene, name: str) -> bool:
    """Whether a word of the world is true of a scene."""
    words = (scene.size, scene.colour, scene.shape, scene.texture, scene.background, scene.place)
    return name == COUNT_WORDS[scene.count] or name in words


def draw(scene: HardScene, seed: int, contrast: float = FAINT) -> plain.Image:
    """The picture of a scene, uint8 (64, 64, 3); it depends on the arguments only.

    Args:
        scene: the scene.
        seed: decides positions, hue, sizes, phases and noise.
        contrast: of textures, 0 to 1.
    """
    rng = np.random.default_rng([5, seed])
    picture = plain._BACKGROUNDS[scene.background](rng)
    mask = np.zeros((plain.SIDE, plain.SIDE), dtype=bool)
    radii = rng.uniform(*plain.RADII[scene.size], size=scene.count)
    main, second = (plain._jitter(np.asarray(tone), rng) for tone in plain.TONES[scene.colour])
    second = (main + np.float32(contrast) * (second - main)).astype(np.float32)
    light = 0.92 if scene.colour in plain._LIGHT_OUTLINE else 0.06
    tones = (main, second, np.full(3, light, dtype=np.float32))
    for centre, radius in zip(_centres(radii, rng, scene.place), radii, strict=True):
        plain._paint(picture, mask, scene, centre, float(radius), tones, rng)
    picture += rng.normal(0.0, 0.015, size=(plain.SIDE, plain.SIDE, 1)).astype(np.float32)
    np.clip(picture, 0.0, 1.0, out=picture)
    return (picture * 255.0 + 0.5).astype(np.uint8)


def write_hard_set(folder: Path | str, count: int = 4096, seed: int = 0) -> list[Path]:
    """Write pictures of the harder world and their captions; see `world.write_probing_set`."""

    def told(index: int) -> str:
        return hard_caption(hard_scene(probing_seed(index, seed)))

    def picture(index: int) -> plain.Image:
        scene_seed = probing_seed(index, seed)
        return draw(hard_scene(scene_seed), scene_seed)

    return write_pictures(Path(folder), count, seed, told, picture)


def _centres(
    radii: npt.NDArray[np.float64], rng: np.random.Generator, place: str
) -> npt.NDArray[np.float64]:
    """Centres (x, y), (count, 2), of objects at the scene's place that do not touch one another."""
    low, high = _EDGES.get(place, (0.0, float(plain.SIDE)))
    while True:
        centres = plain._centres(radii, rng)
        xs = centres[:, 0]
        sided = bool((xs <= _EDGES["left"][1]).all() or (xs >= _EDGES["right"][0]).all())
        if place == NOWHERE and not sided:
            return centres
        if place != NOWHERE and ((xs >= low) & (xs <= high)).all():
            return centres
