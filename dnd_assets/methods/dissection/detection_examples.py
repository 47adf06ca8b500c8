"""Images from the whole range of a unit's activations, with and without a concept."""

from __future__ import annotations

import heapq
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np

from dnd_assets.methods.dissection.candidate_trial import Candidate
from dnd_assets.methods.dissection.detection_label import ReferenceImages
from dnd_assets.methods.seeds import content_seeds

Band = Literal["high", "middle", "low"]
BANDS: Final[tuple[Band, ...]] = ("high", "middle", "low")
"""The thirds of the way from the smallest to the largest activation."""
EACH: Final = 4
"""Images of each band with the concept, and as many without, at most."""


@dataclass(frozen=True)
class Example:
    """An image that shows how well a concept fits.

    Attributes:
        image: SHA-256 of the image.
        activation: the unit's activation on it.
        caption: what the captioner says of it.
        shows: whether the caption has the concept.
        band: where in the range the activation lies.
    """

    image: str
    activation: float
    caption: str
    shows: bool
    band: Band


def examples(
    concept: Candidate, reference: ReferenceImages, activations: Mapping[str, float], unit: str
) -> list[Example]:
    """Reference images of each band, some with the concept and some without, drawn by lot.

    Args:
        concept: what the caption has or has not.
        reference: images with captions.
        activations: of the unit, finite, by image; images that are not in it are left out.
        unit: what seeds the draw, with each image's hash.

    Returns:
        By band, with the concept before without, then by activation, largest first.
    """
    rows = [i for i, name in enumerate(reference.images) if name in activations]
    values = [activations[reference.images[i]] for i in rows]
    low, high = min(values, default=0.0), max(values, default=0.0)
    groups: dict[tuple[Band, bool], list[int]] = {}
    shown = np.any(reference.caption_words.shown(concept.parts), axis=0)
    for i, value in zip(rows, values, strict=True):
        groups.setdefault((_band(value, low, high), bool(shown[i])), []).append(i)
    selected: list[Example] = []
    for band in BANDS:
        for shows in (True, False):
            names = [reference.images[i] for i in groups.get((band, shows), [])]
            lots = dict(zip(names, content_seeds(["example", unit], names), strict=True))
            drawn = set(heapq.nsmallest(EACH, names, key=lambda name: (lots[name], name)))
            selected += sorted(
                (
                    Example(name, activations[name], reference.captions[i], shows, band)
                    for i in groups.get((band, shows), [])
                    if (name := reference.images[i]) in drawn
                ),
                key=lambda example: (-example.activation, example.image),
            )
    return selected


def _band(value: float, low: float, high: float) -> Band:
    """The third of the range that a value lies in; a range without width is all low."""
    place = (value - low) / (high - low) if high > low else 0.0
    return "high" if place >= 2 / 3 else "middle" if place >= 1 / 3 else "low"
