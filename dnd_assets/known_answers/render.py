"""Pixels and exact object masks of the generated world's scenes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np
import numpy.typing as npt

from dnd_assets.known_answers.world import Scene

SIDE: Final = 64
_SCALE: Final = 2  # objects are drawn at twice the resolution and averaged down

_Array = npt.NDArray[np.float32]
Image = npt.NDArray[np.uint8]
_Mask = npt.NDArray[np.bool_]

RADII: Final = {"small": (8.4, 9.4), "large": (13.6, 14.8)}

# Main tone, and the second tone of textures: darker, or lighter where the main tone is dark.
TONES: Final[dict[str, tuple[tuple[float, float, float], tuple[float, float, float]]]] = {
    "red": ((0.90, 0.09, 0.11), (0.36, 0.02, 0.04)),
    "orange": ((0.99, 0.54, 0.06), (0.45, 0.20, 0.02)),
    "yellow": ((0.98, 0.91, 0.10), (0.50, 0.44, 0.04)),
    "green": ((0.08, 0.74, 0.18), (0.02, 0.28, 0.06)),
    "blue": ((0.10, 0.20, 0.92), (0.55, 0.70, 1.00)),
    "purple": ((0.56, 0.12, 0.72), (0.86, 0.68, 0.95)),
    "white": ((0.97, 0.97, 0.97), (0.45, 0.45, 0.47)),
    "black": ((0.04, 0.04, 0.05), (0.52, 0.52, 0.54)),
}
_LIGHT_OUTLINE: Final = ("blue", "purple", "black")


def render(scene: Scene, seed: int) -> Image:
    """Draw `scene`; the seed decides positions, hue, sizes, phases and noise.

    Returns:
        The picture, uint8, (64, 64, 3), RGB. It depends on the arguments only.
    """
    return render_with_mask(scene, seed)[0]


def render_with_mask(scene: Scene, seed: int) -> tuple[Image, _Mask]:
    """Draw `scene` like `render`, along with the mask of its objects.

    Returns:
        The picture, uint8, (64, 64, 3), and a bool array, (64, 64), true on pixels at least
        half covered by an object (its outline included).
    """
    rng = np.random.default_rng([2, seed])
    picture = _BACKGROUNDS[scene.background](rng)
    mask = np.zeros((SIDE, SIDE), dtype=bool)
    low, high = RADII[scene.size]
    radii = rng.uniform(low, high, size=scene.count)
    main, second = (_jitter(np.asarray(tone), rng) for tone in TONES[scene.colour])
    outline = np.full(3, 0.92 if scene.colour in _LIGHT_OUTLINE else 0.06, dtype=np.float32)
    for centre, radius in zip(_centres(radii, rng), radii, strict=True):
        _paint(picture, mask, scene, centre, float(radius), (main, second, outline), rng)
    picture += rng.normal(0.0, 0.015, size=(SIDE, SIDE, 1)).astype(np.float32)
    np.clip(picture, 0.0, 1.0, out=picture)
    return (picture * 255.0 + 0.5).astype(np.uint8), mask


def object_boxes(scene: Scene, seed: int) -> npt.NDArray[np.float32]:
    """Bounding squares of the objects that `render` draws for the same arguments.

    Returns:
        float32, (count, 4): left, top, right, bottom in pixels.
    """
    rng = np.random.default_rng([2, seed])
    _BACKGROUNDS[scene.background](rng)
    low, high = RADII[scene.size]
    radii = rng.uniform(low, high, size=scene.count)
    for tone in TONES[scene.colour]:
        _jitter(np.asarray(tone), rng)
    centres = _centres(radii, rng)
    reach = radii[:, None]
    return np.concatenate([centres - reach, centres + reach], axis=1).astype(np.float32)


def _jitter(tone: npt.NDArray[np.float64], rng: np.random.Generator) -> _Array:
    jittered = tone + rng.uniform(-0.025, 0.025, size=3)
    return np.clip(jittered, 0.0, 1.0).astype(np.float32)


def _centres(radii: npt.NDArray[np.float64], rng: np.random.Generator) -> npt.NDArray[np.float64]:
    """Centres (x, y) in pixels, (count, 2), inside the picture and clear of one another."""
    first, second = np.triu_indices(len(radii), k=1)
    clearance = radii[first] + radii[second] + 1.5
    low, high = radii[:, None] + 1.0, SIDE - 1.0 - radii[:, None]
    while True:
        attempts = low + (high - low) * rng.random((48, len(radii), 2))
        gaps = np.linalg.norm(attempts[:, first] - attempts[:, second], axis=-1)
        clear = np.flatnonzero((gaps > clearance).all(axis=1))
        if len(clear):
            return np.asarray(attempts[clear[0]])


def _paint(
    picture: _Array,
    mask: _Mask,
    scene: Scene,
    centre: npt.NDArray[np.float64],
    radius: float,
    tones: tuple[_Array, _Array, _Array],
    rng: np.random.Generator,
) -> None:
    """Draw one object into `picture` and `mask`, both in place."""
    left, top = (max(0, int(np.floor(value - radius - 1))) for value in centre)
    right, bottom = (min(SIDE, int(np.ceil(value + radius + 1))) for value in centre)
    xs = ((np.arange((right - left) * _SCALE) + 0.5) / _SCALE + left).astype(np.float32)[None]
    ys = ((np.arange((bottom - top) * _SCALE) + 0.5) / _SCALE + top).astype(np.float32)[:, None]
    angle = np.float32(rng.uniform(-0.15, 0.15))
    cos, sin = np.cos(angle), np.sin(angle)
    x, y = xs - np.float32(centre[0]), ys - np.float32(centre[1])
    distance = _SHAPES[scene.shape](cos * x + sin * y, cos * y - sin * x, np.float32(radius))
    phase = rng.uniform(0.0, 8.0, size=2).astype(np.float32)
    pattern = np.broadcast_to(
        _TEXTURES[scene.texture](xs + phase[0], ys + phase[1]), distance.shape
    )
    main, second, outline = tones
    colours = np.where(pattern[..., None], second, main)
    colours[distance > -0.8] = outline
    inside = distance <= 0
    colours[~inside] = 0.0
    share = _shrink(inside.astype(np.float32)[..., None])
    window = (slice(top, bottom), slice(left, right))
    picture[window] = picture[window] * (1.0 - share) + _shrink(colours)
    mask[window] |= share[..., 0] >= 0.5


def _shrink(values: _Array) -> _Array:
    height, width, channels = values.shape
    blocks = values.reshape(height // _SCALE, _SCALE, width // _SCALE, _SCALE, channels)
    return np.asarray(blocks.mean(axis=(1, 3)))


# Shapes: signed distance-like values in pixels, negative inside, for centred coordinates.


def _circle(x: _Array, y: _Array, r: np.float32) -> _Array:
    return np.asarray(np.hypot(x, y) - r)


def _square(x: _Array, y: _Array, r: np.float32) -> _Array:
    return np.asarray(np.maximum(np.abs(x), np.abs(y)) - r * np.float32(0.82))


def _triangle(x: _Array, y: _Array, r: np.float32) -> _Array:
    sides = np.abs(x) * np.float32(0.872) - y * np.float32(0.489) - r * np.float32(0.47)
    return np.asarray(np.maximum(sides, y - r * np.float32(0.82)))


def _star(x: _Array, y: _Array, r: np.float32) -> _Array:
    step = np.float32(2 * np.pi / 5)
    angle = np.abs(np.mod(np.arctan2(x, -y) + step / 2, step) - step / 2)
    distance = np.hypot(x, y)
    u, v = distance * np.cos(angle), distance * np.sin(angle)
    # One edge runs from the tip (r, 0) to the notch at half a step and 0.5 r.
    notch = 0.5 * r * np.asarray([np.cos(step / 2), np.sin(step / 2)], dtype=np.float32)
    normal = np.asarray([notch[1], r - notch[0]], dtype=np.float32)
    normal /= np.linalg.norm(normal)
    return np.asarray((u - r) * normal[0] + v * normal[1])


def _cross(x: _Array, y: _Array, r: np.float32) -> _Array:
    wide, thick = r * np.float32(0.97), r * np.float32(0.40)
    ax, ay = np.abs(x), np.abs(y)
    upright = np.maximum(ax - thick, ay - wide)
    return np.asarray(np.minimum(upright, np.maximum(ay - thick, ax - wide)))


def _ring(x: _Array, y: _Array, r: np.float32) -> _Array:
    middle, half_width = r * np.float32(0.68), r * np.float32(0.32)
    return np.asarray(np.abs(np.hypot(x, y) - middle) - half_width)


_SHAPES: Final[dict[str, Callable[[_Array, _Array, np.float32], _Array]]] = {
    "circle": _circle,
    "square": _square,
    "triangle": _triangle,
    "star": _star,
    "cross": _cross,
    "ring": _ring,
}


# Textures: true where the second tone shows, for shifted pixel coordinates.


def _plain(x: _Array, y: _Array) -> npt.NDArray[np.generic]:
    return np.zeros((1, 1), dtype=bool)


def _horizontal(x: _Array, y: _Array) -> npt.NDArray[np.generic]:
    return np.asarray(np.mod(y, 5.0) < 2.4)


def _vertical(x: _Array, y: _Array) -> npt.NDArray[np.generic]:
    return np.asarray(np.mod(x, 5.0) < 2.4)


def _checks(x: _Array, y: _Array) -> npt.NDArray[np.generic]:
    return np.asarray((np.mod(x, 8.0) < 4.0) != (np.mod(y, 8.0) < 4.0))


def _dots(x: _Array, y: _Array) -> npt.NDArray[np.generic]:
    return np.asarray(np.hypot(np.mod(x, 5.5) - 2.75, np.mod(y, 5.5) - 2.75) < 1.7)


_TEXTURES: Final[dict[str, Callable[[_Array, _Array], npt.NDArray[np.generic]]]] = {
    "plain": _plain,
    "horizontal stripes": _horizontal,
    "vertical stripes": _vertical,
    "checks": _checks,
    "dots": _dots,
}


# Backgrounds: float32, (64, 64, 3), values in [0, 1].


def _tinted(shade: _Array, tone: tuple[float, float, float]) -> _Array:
    return np.asarray(shade[..., None] * np.asarray(tone, dtype=np.float32))


def _grass(rng: np.random.Generator) -> _Array:
    speckle = rng.random((SIDE + 7, SIDE), dtype=np.float32)
    sums = np.cumsum(speckle, axis=0)
    blades = (sums[7:] - sums[:-7]) / 7.0  # averaged downwards: upright blades
    return _tinted(0.55 + 0.9 * blades, (0.37, 0.52, 0.22))


def _sand(rng: np.random.Generator) -> _Array:
    axis = np.arange(SIDE, dtype=np.float32)
    phase, slope = rng.uniform(0, 6.28), rng.uniform(-0.15, 0.15)
    ripples = np.sin(0.45 * axis[:, None] + slope * axis[None] + phase)
    grain = rng.random((SIDE, SIDE), dtype=np.float32)
    return _tinted((0.91 + 0.03 * ripples + 0.14 * (grain - 0.5)), (0.92, 0.80, 0.58))


def _sky(rng: np.random.Generator) -> _Array:
    height = np.linspace(0.0, 1.0, SIDE, dtype=np.float32)[:, None]
    puffs = rng.random((6, 5), dtype=np.float32) ** 2
    at = np.linspace(0.0, 1.0, SIDE, dtype=np.float32)
    rows = _blend(puffs, at * 4.999, 0)
    clouds = _blend(rows, at * 3.999, 1)
    share = np.clip(0.35 * height + 0.75 * clouds, 0.0, 1.0)[..., None]
    deep = np.asarray((0.42, 0.68, 0.94), dtype=np.float32)
    pale = np.asarray((0.88, 0.94, 0.99), dtype=np.float32)
    return np.asarray(deep * (1.0 - share) + pale * share)


def _blend(values: _Array, at: _Array, axis: int) -> _Array:
    """Linear interpolation of `values` along one axis at fractional indices `at`."""
    below = at.astype(np.int64)
    part = (at - below)[:, None] if axis == 0 else (at - below)[None]
    lower, upper = np.take(values, below, axis), np.take(values, below + 1, axis)
    return np.asarray(lower * (1.0 - part) + upper * part)


def _night(rng: np.random.Generator) -> _Array:
    height = np.linspace(0.8, 1.5, SIDE, dtype=np.float32)[:, None]
    picture = _tinted(np.broadcast_to(height, (SIDE, SIDE)), (0.05, 0.06, 0.16))
    at = rng.integers(0, SIDE, size=(2, 26))
    picture[at[0], at[1]] = rng.uniform(0.5, 0.95, size=(26, 1)).astype(np.float32)
    return picture


def _brick(rng: np.random.Generator) -> _Array:
    shift = rng.integers(0, 16, size=2)
    rows = np.arange(SIDE) + shift[0]
    course = rows // 8
    columns = np.arange(SIDE)[None] + shift[1] + 8 * (course[:, None] % 2)
    tint = rng.uniform(0.8, 1.15, size=(12, 8)).astype(np.float32)
    shade = tint[course[:, None] % 12, (columns // 16) % 8]
    picture = _tinted(shade, (0.58, 0.35, 0.29))
    mortar = ((rows % 8) == 0)[:, None] | ((columns % 16) == 0)
    picture[mortar] = 0.70
    return picture


_BACKGROUNDS: Final[dict[str, Callable[[np.random.Generator], _Array]]] = {
    "grass": _grass,
    "sand": _sand,
    "sky": _sky,
    "night": _night,
    "brick": _brick,
}
