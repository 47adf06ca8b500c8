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


class Readout(nn.Module):
    """Tells the words of the harder world by the trunk's features, whole and by side."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(6 * CHANNELS, 96)
        self.outer = nn.Linear(96, len(FACTS))

    def forward(self, pooled: Tensor) -> Tensor:
        """Logits (B, facts) of pooled features (B, 576); see `pooled`."""
        found: Tensor = self.outer(torch.relu(self.inner(pooled)))
        return found


def pooled(features: Tensor) -> Tensor:
    """Means and maxima of features (B, 96, 16, 16): of all, of the left and of the right."""
    parts = (features, features[..., :_SIDE], features[..., -_SIDE:])
    means, peaks = ([how(part, dim=(2, 3)) for part in parts] for how in (torch.mean, torch.amax))
    return torch.cat([*means, *peaks], dim=1)


class PlantedLayer(nn.Module):
    """Units that combine what the readout tells; see `planted.PlantedUnit`."""

    def __init__(self, units: tuple[PlantedUnit, ...]) -> None:
        super().__init__()
        self.units = units

    def forward(self, facts: Tensor, waves: Tensor) -> Tensor:
        """Activations (B, units) of probabilities (B, facts) and of noise (B, units)."""
        columns = [self._value(unit, facts) for unit in self.units]
        level = torch.tensor([unit.noise for unit in self.units]).to(facts)
        live = torch.tensor([unit.kind != "dead" for unit in self.units]).to(facts)
        random = torch.tensor([unit.kind == "random" for unit in self.units]).to(facts)
        return live * (torch.stack(columns, dim=1) + waves * torch.maximum(level, random))

    @staticmethod
    def _value(unit: PlantedUnit, facts: Tensor) -> Tensor:
        """What the concept adds to a unit, (B,)."""
        if not unit.facts:
            return torch.zeros_like(facts[:, 0])
        shown = [facts[:, FACTS.index(name)] for name in unit.facts]
        if unit.kind == "negation":
            return 1 - shown[0]
        if unit.kind == "disjunction":
            return torch.maximum(*shown)
        if unit.kind == "polysemantic":
            return torch.maximum(shown[0], _SECOND * shown[1])
        value = torch.stack(shown).prod(dim=0)
        if unit.kind == "superstimulus":
            extra = torch.stack([facts[:, FACTS.index(name)] for name in _STRONGEST]).sum(dim=0)
            value = value * (1 + extra * 2 / 3)
        return value


class HardNet(nn.Module):
    """Trunk, readout and three layers of planted units."""

    projection: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.trunk = WorldNet()
        self.readout = Readout()
        self.early, self.late, self.head = (PlantedLayer(planted_units(one)) for one in LAYERS)
        generator = torch.Generator().manual_seed(20_261_130)
        # Of pixels, not of features, so that noise follows no concept.
        width = 3 * len(self.early.units)
        drawn = torch.randn(3 * 64 * 64, width, generator=generator) / 64
        self.register_buffer("projection", drawn, persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """Activations of `head`, (B, units), of normalised images (B, 3, 64, 64)."""
        facts = torch.sigmoid(self.readout(pooled(self.trunk.trunk(images))))
        noise = torch.sin(_FREQUENCY * (images.flatten(1) @ self.projection)) * 2**0.5
        early, late, head = noise.chunk(3, dim=1)
        self.early(facts, early)
        self.late(facts, late)
        found: Tensor = self.head(facts, head)
        return found


def hard_net() -> nn.Module:
    """The network, to be given the weights of `checkpoints/hard/weights.safetensors`."""
    return HardNet()
