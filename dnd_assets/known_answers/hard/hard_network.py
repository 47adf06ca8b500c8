"""The network of the harder world: two hidden layers and a head of planted units.

The trunk is that of `known_answers.target.WorldNet`, as it was trained on the plain world. On it a
small readout was trained to tell the words of the harder world. The layers `early`, `late` and
`head` combine these: their units are planted, and learn nothing.
"""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor, nn

from dnd_assets.known_answers.hard.planted import FACTS, LAYERS, PlantedUnit, planted_units
from dnd_assets.known_answers.target import WorldNet, transforms

__all__ = ["HardNet", "PlantedLayer", "Readout", "hard_net", "pooled", "transforms"]

CHANNELS: Final = 96
_SIDE: Final = 5
"""Columns of the trunk's map, of 16, that are pooled by themselves on the left and on the right."""
_STRONGEST: Final = ("large", "red", "three")
_SECOND: Final = 0.8
"""How much the second meaning of a polysemantic unit adds, where the first adds 1."""
_FREQUENCY: Final = 60.0
_MOST: Final = 3
"""Facts that a unit's concept has at most."""
_KINDS: Final = (
    ("attribute", "conjunction", "faint texture", "position", "count", "very sparse"),
    ("disjunction", "polysemantic"),
    ("negation",),
    ("superstimulus",),
)
"""Kinds by how their facts are combined: all, either, none, all and more of the strongest."""


class Readout(nn.Module):
    """Logits of the harder world's facts from the trunk's features, pooled whole and by side."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(6 * CHANNELS, 96)
        self.outer = nn.Linear(96, len(FACTS))

    def forward(self, pooled: Tensor) -> Tensor:
        """Logits (B, facts) of pooled features (B, 576); see `pooled`."""
        logits: Tensor = self.outer(torch.relu(self.inner(pooled)))
        return logits


def pooled(features: Tensor) -> Tensor:
    """Means and maxima of features (B, 96, 16, 16): of all, of the left and of the right."""
    parts = (features, features[..., :_SIDE], features[..., -_SIDE:])
    means, peaks = (
        [reduction(part, dim=(2, 3)) for part in parts] for reduction in (torch.mean, torch.amax)
    )
    return torch.cat([*means, *peaks], dim=1)


class PlantedLayer(nn.Module):
    """Units that combine what the readout tells; see `planted.PlantedUnit`."""

    facts: Tensor
    scale: Tensor
    by_kind: Tensor
    level: Tensor
    live: Tensor

    def __init__(self, units: tuple[PlantedUnit, ...]) -> None:
        super().__init__()
        rows = [[FACTS.index(name) for name in unit.facts] for unit in units]
        # Units of fewer facts than the most are filled up with one more fact, which always holds.
        rows = [row + [len(FACTS)] * (_MOST - len(row)) for row in rows]
        scale = [[1.0, _SECOND if unit.kind == "polysemantic" else 1.0] for unit in units]
        kinds = [[unit.kind in names for unit in units] for names in _KINDS]
        level = [1.0 if unit.kind == "random" else unit.noise for unit in units]
        live = [unit.kind != "dead" for unit in units]
        for name, values in (
            ("facts", torch.tensor(rows)),
            ("scale", torch.tensor(scale)),
            ("by_kind", torch.tensor(kinds).float()),
            ("level", torch.tensor(level)),
            ("live", torch.tensor(live).float()),
        ):
            self.register_buffer(name, values, persistent=False)

    def forward(self, facts: Tensor, waves: Tensor) -> Tensor:
        """Activations (B, units) of probabilities (B, facts) and of noise (B, units)."""
        padded = torch.cat([facts, torch.ones_like(facts[:, :1])], dim=1)
        unit_facts = padded[:, self.facts]
        conjunction = unit_facts.prod(dim=2)
        disjunction = (unit_facts[..., :2] * self.scale).amax(dim=2)
        strongest = facts[:, [FACTS.index(name) for name in _STRONGEST]].sum(dim=1, keepdim=True)
        super_stimulus = conjunction * (1 + strongest * 2 / 3)
        values = torch.stack([conjunction, disjunction, 1 - conjunction, super_stimulus])
        concept = (values * self.by_kind[:, None]).sum(dim=0)
        return self.live * (concept + waves * self.level)


class HardNet(nn.Module):
    """Trunk, readout and three layers of planted units."""

    projection: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.trunk = WorldNet()
        self.readout = Readout()
        self.early, self.late, self.head = (PlantedLayer(planted_units(layer)) for layer in LAYERS)
        generator = torch.Generator().manual_seed(20_261_130)
        # Noise is made of pixels, not of features, so that it follows no concept.
        width = 3 * len(self.early.level)
        projection = torch.randn(3 * 8 * 8, width, generator=generator) / 8
        self.register_buffer("projection", projection, persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """Activations of `head`, (B, units), of normalised images (B, 3, 64, 64)."""
        facts = torch.sigmoid(self.readout(pooled(self.trunk.trunk(images))))
        noise = (
            torch.sin(_FREQUENCY * (images[..., ::8, ::8].flatten(1) @ self.projection)) * 2**0.5
        )
        early, late, head = noise.chunk(3, dim=1)
        self.early(facts, early)
        self.late(facts, late)
        activations: Tensor = self.head(facts, head)
        return activations


def hard_net() -> nn.Module:
    """The network, to be given the weights of `checkpoints/hard/weights.safetensors`."""
    return HardNet()
