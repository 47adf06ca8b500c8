"""What is known of scenes without any model: which tile has which cover, in words and in numbers.

It stands in for a captioner, an image-text encoder and a painter where no weights are to be had
that know land from the air. The caption of a tile is what the crop map says of it; the vector of a
picture is the mean cover of the tiles whose colours are most like its own; a painted picture is a
window cut from where a concept covers most. What such captions say is the map's truth and no
model's opinion, so labels made of them tell how good the labelling is, not how good a captioner.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from dnd_assets.files.atomic import sha256
from dnd_assets.known_answers.land_cover.land_scenes import (
    NAMES_FILE,
    LandScene,
    cover_names,
    name_of,
    read_scenes,
    scene_files,
)

LEAST_SHARE: Final = 0.1
"""Of a tile, that a cover has to have to be named in its caption."""
NEAREST: Final = 5
"""Tiles whose mean cover stands for a picture that is none of them."""
_STEP: Final = 10
_RED_GREEN_BLUE: Final = 3
_ALTERNATIVES: Final = re.compile(r"\bor\b|\band\b|,")
_WORD: Final = re.compile(r"[a-z0-9]+")

Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class Window:
    """A square of a scene.

    Attributes:
        scene: its place among the scenes.
        top: first row.
        left: first column.
    """

    scene: int
    top: int
    left: int


class CoverMap:
    """The tiles of a folder of scenes, and what covers them.

    Args:
        folder: the scenes; see `dnd_assets.known_answers.land_cover.land_scenes`.
        side: of a tile, in pixels.
    """

    def __init__(self, folder: Path, side: int) -> None:
        self.scenes: list[LandScene] = read_scenes(folder)
        self.names, self.side = cover_names(folder), side

    @cached_property
    def codes(self) -> list[int]:
        """The codes of the scenes, ascending."""
        return sorted({int(code) for scene in self.scenes for code in np.unique(scene.codes)})

    @cached_property
    def tiles(self) -> list[Window]:
        """The tiles of all scenes, side by side."""
        return self._windows(self.side)

    def _windows(self, step: int) -> list[Window]:
        return [
            Window(scene_index, top, left)
            for scene_index, scene in enumerate(self.scenes)
            for top in range(0, scene.codes.shape[0] - self.side + 1, step)
            for left in range(0, scene.codes.shape[1] - self.side + 1, step)
        ]

    def pixels(self, window: Window) -> Pixels:
        """Red, green and blue of a window, (side, side, 3)."""
        bands = self.scenes[window.scene].bands[self._slices(window)]
        return np.ascontiguousarray(bands[..., :_RED_GREEN_BLUE]).astype(np.uint8)

    def shares(self, window: Window) -> NDArray[np.float64]:
        """Share of each of `codes` in a window, float64 (codes,)."""
        codes = self.scenes[window.scene].codes[self._slices(window)]
        return np.array([(codes == code).mean() for code in self.codes])

    def _slices(self, window: Window) -> tuple[slice, slice]:
        return (
            slice(window.top, window.top + self.side),
            slice(window.left, window.left + self.side),
        )

    @cached_property
    def _shares_by_hash(self) -> dict[str, NDArray[np.float64]]:
        """Shares of each tile, by its pixels."""
        return {_pixels_hash(self.pixels(tile)): self.shares(tile) for tile in self.tiles}

    def caption(self, pixels: Pixels) -> str:
        """What covers a tile, the most first; empty for a picture that is no tile.

        Args:
            pixels: red, green and blue, uint8 (side, side, 3).
        """
        shares = self._shares_by_hash.get(_pixels_hash(pixels))
        if shares is None:
            return ""
        order = [i for i in np.argsort(-shares, kind="stable") if shares[i] >= LEAST_SHARE]
        return " and ".join(name_of(self.codes[i], self.names) for i in order)

    def vector(self, pixels: Pixels) -> NDArray[np.float32]:
        """Cover of a picture, a unit vector float32 (codes + 1,); the last is of other texts.

        Of a tile its own; of other pictures the mean of the tiles of the nearest colours.
        """
        shares = self._shares_by_hash.get(_pixels_hash(pixels))
        if shares is None:
            spread, table = self._colours
            gaps = np.abs((table - colours(pixels)) / spread).sum(axis=1)
            nearest = np.argsort(gaps, kind="stable")[:NEAREST]
            shares = np.mean([self.shares(self.tiles[i]) for i in nearest], axis=0)
        return _unit(np.append(shares, 0.0))

    @cached_property
    def _colours(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        table = np.stack([colours(self.pixels(tile)) for tile in self.tiles])
        spread = table.std(axis=0)
        spread[spread == 0] = 1.0
        return spread, table

    def text_vector(self, text: str) -> NDArray[np.float32]:
        """Cover that a text names, a unit vector as of `vector`; its last entry if it names none.

        "not" before a cover stands for all others, and for whatever else there is.
        """
        cover = np.zeros(len(self.codes) + 1)
        for part in _ALTERNATIVES.split(text.lower()):
            named_codes = self.named(part)
            is_negated = "not" in part.split()
            of_part = [(code in named_codes) != is_negated for code in self.codes]
            cover = np.maximum(cover, [*of_part, is_negated or not named_codes])
        return _unit(cover)

    def named(self, text: str) -> list[int]:
        """Codes whose names a text holds in full; where there are none, those it has a word of."""
        text_words = set(_words(text))
        words = {code: _words(name_of(code, self.names)) for code in self.codes}
        complete = [code for code, name_words in words.items() if text_words.issuperset(name_words)]
        return complete or [
            code for code, name_words in words.items() if text_words.intersection(name_words)
        ]

    def painted(self, text: str, seed: int) -> Pixels:
        """A window where what a text names covers most; anywhere for a text that names nothing.

        Args:
            text: a concept.
            seed: which of the windows.
        """
        columns = [self.codes.index(code) for code in self.named(text)]
        cover = self._cover[:, columns].sum(axis=1)
        best = np.flatnonzero(cover >= 0.9 * cover.max())
        window_index = int(np.random.default_rng([5, seed]).integers(len(best)))
        return self.pixels(self._everywhere[best[window_index]])

    @cached_property
    def _everywhere(self) -> list[Window]:
        return self._windows(_STEP)

    @cached_property
    def _cover(self) -> NDArray[np.float64]:
        return np.stack([self.shares(window) for window in self._everywhere])


def colours(pixels: NDArray[Any]) -> NDArray[np.float64]:
    """Mean, deviation and roughness of red, green and blue, float64 (9,), of (H, W, 3)."""
    values = pixels.astype(np.float64)
    rough = np.abs(np.diff(values, axis=0)).mean(axis=(0, 1))
    return np.concatenate([values.mean(axis=(0, 1)), values.std(axis=(0, 1)), rough])


def scenes_hash(folder: Path) -> str:
    """Hash of all files that are read from a folder of scenes.

    Raises:
        StudyError: when there are none; says where to get some.
    """
    files = [*scene_files(folder), folder / NAMES_FILE]
    cover_names(folder)
    return sha256("".join(sha256(file.read_bytes()) for file in files).encode())


def _pixels_hash(pixels: Pixels) -> str:
    return sha256(str(pixels.shape).encode() + np.ascontiguousarray(pixels).tobytes())


def _words(text: str) -> list[str]:
    """The words of a text in lower case, without the s of a plural."""
    return [word.removesuffix("s") for word in _WORD.findall(text.lower())]


def _unit(values: NDArray[np.float64]) -> NDArray[np.float32]:
    unit_vector: NDArray[np.float32] = (values / np.linalg.norm(values)).astype(np.float32)
    return unit_vector
