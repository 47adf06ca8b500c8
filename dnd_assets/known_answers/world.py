"""Grammar of a small generated world: scenes, their captions and partial phrases.

Every picture of this world shows one to three equal objects in front of a background. The
attributes of a scene are known exactly, hence also the true answer to "what does this neuron
respond to?" for neurons that were built to respond to one attribute.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

Pixels = npt.NDArray[np.uint8]

COUNTS: Final = (1, 2, 3)
SIZES: Final = ("small", "large")
COLOURS: Final = ("red", "orange", "yellow", "green", "blue", "purple", "white", "black")
SHAPES: Final = ("circle", "square", "triangle", "star", "cross", "ring")
TEXTURES: Final = ("plain", "horizontal stripes", "vertical stripes", "checks", "dots")
BACKGROUNDS: Final = ("grass", "sand", "sky", "night", "brick")
ATTRIBUTES: Final = ("count", "size", "colour", "shape", "texture", "background")

VALUES: Final[dict[str, tuple[int | str, ...]]] = {
    "count": COUNTS,
    "size": SIZES,
    "colour": COLOURS,
    "shape": SHAPES,
    "texture": TEXTURES,
    "background": BACKGROUNDS,
}

COUNT_WORDS: Final = {1: "one", 2: "two", 3: "three"}
PLURALS: Final = {shape: shape + ("es" if shape == "cross" else "s") for shape in SHAPES}
PLACES: Final = {
    "grass": "on grass",
    "sand": "on sand",
    "sky": "in the sky",
    "night": "at night",
    "brick": "on brick",
}

# Disjoint ranges of scene seeds: no training picture is ever probed or used for evaluation.
TRAINING_SEEDS: Final = range(1 << 32)
HELD_OUT_SEEDS: Final = range(1 << 32, 1 << 33)
PROBING_SEEDS: Final = range(1 << 33, 1 << 53)
_PROBING_STRIDE: Final = 1 << 20


@dataclass(frozen=True)
class Scene:
    """Attributes shared by all objects of one picture, and its background."""

    count: int
    size: str
    colour: str
    shape: str
    texture: str
    background: str


def scene(seed: int) -> Scene:
    """Draw the scene of `seed` (a non-negative integer), uniformly over all 7,200 scenes."""
    rng = np.random.default_rng([1, seed])
    return Scene(
        count=COUNTS[rng.integers(len(COUNTS))],
        size=SIZES[rng.integers(len(SIZES))],
        colour=COLOURS[rng.integers(len(COLOURS))],
        shape=SHAPES[rng.integers(len(SHAPES))],
        texture=TEXTURES[rng.integers(len(TEXTURES))],
        background=BACKGROUNDS[rng.integers(len(BACKGROUNDS))],
    )


def caption(scene: Scene) -> str:
    """Describe every attribute of `scene`, e.g. "two small blue squares with dots on sand"."""
    return phrase(scene, ATTRIBUTES)


def phrase(scene: Scene, attributes: Collection[str], plural: bool | None = None) -> str:
    """Describe only the named attributes of `scene`.

    Args:
        scene: The scene to describe.
        attributes: Names out of `ATTRIBUTES`; the order does not matter.
        plural: Number of the noun where the count is not among the attributes; None stands for
            the scene's own number.

    Returns:
        A phrase in lower case, such as "red", "large rings" or "two squares with dots". A
        count without a shape is given as "two shapes". Empty for no attributes.

    Raises:
        ValueError: If an attribute is unknown.
    """
    unknown = set(attributes) - set(ATTRIBUTES)
    if unknown:
        raise ValueError(f"unknown attributes {sorted(unknown)}; choose from {ATTRIBUTES}")
    is_plural = scene.count > 1 if plural is None or "count" in attributes else plural
    words: list[str] = []
    if "count" in attributes:
        words.append("a" if scene.count == 1 else COUNT_WORDS[scene.count])
    if "size" in attributes:
        words.append(scene.size)
    if "colour" in attributes:
        words.append(scene.colour)
    if "shape" in attributes:
        words.append(PLURALS[scene.shape] if is_plural else scene.shape)
    elif "count" in attributes:
        words.append("shapes" if is_plural else "shape")
    if "texture" in attributes and scene.texture != "plain":
        words.append(f"with {scene.texture}" if words else scene.texture)
    if "background" in attributes:
        words.append(PLACES[scene.background] if words else scene.background)
    return _article(" ".join(words))


def _article(text: str) -> str:
    return "an " + text[2:] if text.startswith("a orange") else text


_NOUNS: Final = {**{plural: shape for shape, plural in PLURALS.items()}, "stripe": "stripes"}
_NOUNS.update({"dot": "dots", "dotted": "dots", "check": "checks", "checked": "checks"})
_NOUNS.update({"checkered": "checks", "striped": "stripes", "a": "one", "an": "one"})
_PROMPT: Final = re.compile(r"^\W*one realistic image of ")


def parse(text: str) -> dict[str, tuple[int | str, ...]]:
    """Read back what a caption, a phrase or a painting prompt says.

    Args:
        text: Words of the world in any order and number, such as "two blue stars" or
            "One realistic image of a red circle on sand"; other words are ignored.

    Returns:
        For each attribute that is named, the values that would make the text true: one, or
        several where the text leaves it open ("stripes"; "red and blue" takes either).
    """
    text = _PROMPT.sub("", text.lower())
    tokens = [_NOUNS.get(word, word) for word in re.findall(r"[a-z]+", text)]
    joined = " ".join(tokens)
    facts: dict[str, tuple[int | str, ...]] = {}
    facts["count"] = tuple(count for count, word in COUNT_WORDS.items() if word in tokens)
    facts["size"] = tuple(size for size in SIZES if size in tokens)
    facts["colour"] = tuple(colour for colour in COLOURS if colour in tokens)
    facts["shape"] = tuple(shape for shape in SHAPES if shape in tokens)
    facts["texture"] = tuple(texture for texture in TEXTURES if texture in joined)
    if not facts["texture"] and "stripes" in tokens:
        facts["texture"] = tuple(texture for texture in TEXTURES if "stripes" in texture)
    facts["background"] = tuple(place for place in BACKGROUNDS if place in tokens)
    return {name: values for name, values in facts.items() if values}


def is_true(scene: Scene, facts: Mapping[str, Collection[int | str]]) -> bool:
    """Whether all facts, as `parse` returns them, hold of a scene."""
    return all(getattr(scene, name) in values for name, values in facts.items())


def probing_seed(index: int, seed: int) -> int:
    """Scene seed of picture `index` of probing set `seed`.

    Raises:
        ValueError: If the index or the seed leaves the range of probing seeds.
    """
    if not 0 <= index < _PROBING_STRIDE:
        raise ValueError(f"index {index} is not in [0, {_PROBING_STRIDE})")
    value = PROBING_SEEDS.start + seed * _PROBING_STRIDE + index
    if seed < 0 or value not in PROBING_SEEDS:
        raise ValueError(f"probing set seed {seed} is out of range")
    return value


def write_probing_set(folder: Path | str, count: int = 4096, seed: int = 0) -> list[Path]:
    """Write `count` pictures (PNG, 64x64 RGB) and `captions.csv` (file, caption) into a folder.

    Pictures are named by their index ("000123.png"). Equal arguments give equal bytes. Each
    file appears under its name only once it is complete, so that an interrupted call can be
    repeated; pictures already there are kept.

    Args:
        folder: Where to write; created when missing.
        count: How many pictures.
        seed: Which probing set.

    Returns:
        The paths of the pictures, in order.

    Raises:
        ValueError: If the count or the seed is out of range.
    """

    def told(index: int) -> str:
        return caption(scene(probing_seed(index, seed)))

    def picture(index: int) -> Pixels:
        from dnd_assets.known_answers.render import render

        scene_seed = probing_seed(index, seed)
        return render(scene(scene_seed), scene_seed)

    return write_pictures(Path(folder), count, seed, told, picture)


def write_pictures(
    folder: Path,
    count: int,
    seed: int,
    caption_of: Callable[[int], str],
    picture: Callable[[int], Pixels],
) -> list[Path]:
    """As `write_probing_set`, of a world whose captions and pictures are given by their index.

    Raises:
        ValueError: If the count or the seed is out of range.
    """
    if count < 1:
        raise ValueError(f"count must be positive, not {count}")
    folder.mkdir(parents=True, exist_ok=True)
    probing_seed(count - 1, seed)
    paths = [folder / f"{index:06d}.png" for index in range(count)]
    stored = _read_captions(folder / "captions.csv")
    expected = {path.name: caption_of(index) for index, path in enumerate(paths)}
    for index, path in enumerate(paths):
        # A file of another set has another caption, save by chance: then none is reused.
        if stored != expected or not _is_picture(path):
            _write_picture(path, picture(index))
    if stored != expected:
        _write_captions(folder / "captions.csv", expected)
    return paths


def _is_picture(path: Path) -> bool:
    from PIL import Image, UnidentifiedImageError

    if not path.is_file():
        return False
    try:
        with Image.open(path) as image:
            image.verify()
            return image.size == (64, 64) and image.mode == "RGB"
    except (UnidentifiedImageError, OSError, SyntaxError):
        return False


def _write_picture(path: Path, pixels: Pixels) -> None:
    from PIL import Image

    partial = path.with_name(path.name + ".partial")
    Image.fromarray(pixels).save(partial, format="PNG", compress_level=6)
    partial.replace(path)


def _read_captions(path: Path) -> dict[str, str]:
    if not path.is_file():
        return {}
    with path.open(encoding="utf-8", newline="") as stream:
        return {
            row["file"]: row["caption"]
            for row in csv.DictReader(stream)
            if row.get("file") and row.get("caption")
        }


def _write_captions(path: Path, captions: dict[str, str]) -> None:
    partial = path.with_name(path.name + ".partial")
    with partial.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(["file", "caption"])
        writer.writerows(captions.items())
    partial.replace(path)
