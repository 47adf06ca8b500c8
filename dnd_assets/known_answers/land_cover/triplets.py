"""Triplets of tiles cut from scenes: an anchor, a neighbour of it, and a distant tile."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Tiles = NDArray[np.integer]


def draw_triplets(
    scenes: Sequence[Tiles], count: int, side: int, reach: int, seed: int
) -> NDArray[np.integer]:
    """Triplets at random, the same for the same seed.

    As Tile2Vec samples them: the neighbour's middle lies within `reach` pixels of the anchor's
    along both axes; the distant tile is of another scene, or, where there is one scene alone, does
    not overlap the anchor. Each triplet is turned and mirrored at random, all three alike.

    Args:
        scenes: bands of scenes, (H, W, bands) each, at least twice `side` wide and high.
        count: how many triplets.
        side: of a tile, in pixels.
        reach: in pixels.
        seed: of the draws.

    Returns:
        (count, 3, bands, side, side), of the scenes' type.

    Raises:
        ValueError: when a scene is too small.
    """
    too_small = [scene.shape[:2] for scene in scenes if min(scene.shape[:2]) < 2 * side]
    if too_small or not scenes:
        raise ValueError(f"scenes of {2 * side} pixels a side at least are needed, not {too_small}")
    rng = np.random.default_rng([19, seed])
    triplets = []
    for _ in range(count):
        scene_index = int(rng.integers(len(scenes)))
        scene = scenes[scene_index]
        anchor = _corner(rng, scene, side)
        neighbour = tuple(
            int(np.clip(start + rng.integers(-reach, reach + 1), 0, length - side))
            for start, length in zip(anchor, scene.shape[:2], strict=True)
        )
        distant_scene, distant = _distant(rng, scenes, scene_index, anchor, side)
        tiles = [
            _tile(tile_scene, corner, side)
            for tile_scene, corner in (
                (scene, anchor),
                (scene, neighbour),
                (distant_scene, distant),
            )
        ]
        triplets.append(_turned(np.stack(tiles), rng))
    return np.stack(triplets)


def _corner(rng: np.random.Generator, scene: Tiles, side: int) -> tuple[int, int]:
    top, left = (int(rng.integers(length - side + 1)) for length in scene.shape[:2])
    return top, left


def _distant(
    rng: np.random.Generator,
    scenes: Sequence[Tiles],
    scene_index: int,
    anchor: tuple[int, int],
    side: int,
) -> tuple[Tiles, tuple[int, int]]:
    if len(scenes) > 1:
        other_scene = scenes[(scene_index + 1 + int(rng.integers(len(scenes) - 1))) % len(scenes)]
        return other_scene, _corner(rng, other_scene, side)
    while True:
        corner = _corner(rng, scenes[0], side)
        if max(abs(a - b) for a, b in zip(corner, anchor, strict=True)) >= side:
            return scenes[0], corner


def _tile(scene: Tiles, corner: tuple[int, ...], side: int) -> Tiles:
    top, left = corner
    return scene[top : top + side, left : left + side].transpose(2, 0, 1)


def _turned(triplet: Tiles, rng: np.random.Generator) -> Tiles:
    rotated = np.rot90(triplet, int(rng.integers(4)), axes=(2, 3))
    return rotated[..., ::-1] if rng.integers(2) else rotated
