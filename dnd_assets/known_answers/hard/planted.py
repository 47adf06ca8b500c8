"""Which concept each unit of the harder world's network is planted with, drawn from seeds.

Each layer has the same kinds of units in the same order, once for each of `SEEDS`, which were used
for nothing else; what concept a unit gets, and how much noise, is drawn.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from dnd_assets.known_answers.hard.hard_scenes import PLACES
from dnd_assets.known_answers.target import Truth, words
from dnd_assets.known_answers.world import BACKGROUNDS, COLOURS, SHAPES, SIZES, TEXTURES

SEEDS: Final = (21, 22, 23, 24, 25)
LAYERS: Final = ("early", "late", "head")
KINDS: Final = (
    *("attribute",) * 4, *("conjunction",) * 3, *("disjunction",) * 2, *("negation",) * 2,
    *("faint texture",) * 2, *("position",) * 2, *("count",) * 2, *("superstimulus",) * 2,
    *("polysemantic",) * 1, *("very sparse",) * 2, "dead", *("random",) * 2,
)  # fmt: skip
"""Kinds of units, in turn: 25 of each layer and seed."""
FACTS: Final = (*COLOURS, *SHAPES, *TEXTURES[1:], *SIZES, "two", "three", *BACKGROUNDS, *PLACES)
"""What the network tells of a picture, one word of the world each."""
NOISE: Final = (0.0, 0.1, 0.3)
"""Noise on activations, as a share of what the concept adds."""

_GROUPS: Final = (COLOURS, SHAPES, BACKGROUNDS, SIZES)
_SHARED: Final = {"conjunction": 2, "disjunction": 2, "polysemantic": 2, "very sparse": 3}
_SINGLE: Final = {"faint texture": TEXTURES[1:], "position": PLACES, "count": ("two", "three")}


@dataclass(frozen=True)
class PlantedUnit:
    """A unit whose concept is known.

    Attributes:
        kind: one of `KINDS`.
        facts: what the concept is made of, out of `FACTS`; none of a dead or random unit.
        noise: one of `NOISE`.
        seed: out of `SEEDS`.
    """

    kind: str
    facts: tuple[str, ...]
    noise: float
    seed: int

    @property
    def truth(self) -> Truth:
        """What a right label says; a negation says "not"."""
        if self.kind == "dead":
            return Truth("dead", ())
        if self.kind == "random":
            return Truth("random", None)
        if self.kind in ("disjunction", "polysemantic"):
            return Truth("or", tuple(words(fact) for fact in self.facts))
        fact_words = tuple(word for fact in self.facts for word in words(fact))
        return Truth("planted", (("not", *fact_words) if self.kind == "negation" else fact_words,))


def planted_units(layer: str, seeds: Sequence[int] = SEEDS) -> tuple[PlantedUnit, ...]:
    """The units of a layer in order, those of the first seed first.

    Raises:
        ValueError: for another layer.
    """
    layer_index = LAYERS.index(layer)
    units = []
    for seed in seeds:
        rng = np.random.default_rng([6, seed, layer_index])
        units += [_unit(kind, seed, rng) for kind in KINDS]
    return tuple(units)


def hard_truths() -> dict[tuple[str, int], PlantedUnit]:
    """Every unit by layer and index."""
    return {
        (layer, index): unit for layer in LAYERS for index, unit in enumerate(planted_units(layer))
    }


def _unit(kind: str, seed: int, rng: np.random.Generator) -> PlantedUnit:
    noise = float(rng.choice(NOISE))
    if kind in ("dead", "random"):
        return PlantedUnit(kind, (), noise, seed)
    if kind in _SINGLE:
        choice = _SINGLE[kind]
        return PlantedUnit(kind, (choice[int(rng.integers(len(choice)))],), noise, seed)
    # Sizes are never negated: "not large" would be the same pictures as "small".
    free = _GROUPS[:3] if kind == "negation" else _GROUPS
    groups = rng.choice(len(free), size=_SHARED.get(kind, 1), replace=False).tolist()
    facts = tuple(free[group][int(rng.integers(len(free[group])))] for group in sorted(groups))
    return PlantedUnit(kind, facts, noise, seed)
