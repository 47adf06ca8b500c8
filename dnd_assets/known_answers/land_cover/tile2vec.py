"""Tile2Vec: a ResNet-18 of five stages for tiles of four bands (Jean et al., AAAI 2019).

As its authors' code has it (github.com/ermongroup/tile2vec): a 3 x 3 convolution without pooling,
five stages of two basic blocks, each stage from the second on at half the size, and the mean over
what is left. Only the width is a setting: theirs is 64 channels, which takes a GPU to train.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional

CHECKPOINT: Final = Path(__file__).parent / "checkpoints" / "tile2vec"
BANDS: Final = 4
SIDE: Final = 50
SCALE: Final = 255.0
PUBLISHED_WIDTH: Final = 64
SHIPPED_WIDTH: Final = 16


class BasicBlock(nn.Module):
    """Two convolutions and a shortcut (He et al. 2016)."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.shortcut = nn.Sequential()
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs)
            )

    def forward(self, values: Tensor) -> Tensor:
        """Maps of half the size where the stride is 2."""
        maps = functional.relu(self.bn1(self.conv1(values)))
        maps = self.bn2(self.conv2(maps))
        return functional.relu(maps + self.shortcut(values))


class Tile2Vec(nn.Module):
    """The network.

    Args:
        width: channels of the first stage; the fifth has eight times as many.
        bands: of a tile.
    """

    def __init__(self, width: int = PUBLISHED_WIDTH, bands: int = BANDS) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(bands, width, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        widths = [width, 2 * width, 4 * width, 8 * width, 8 * width]
        for number, (inputs, outputs) in enumerate(
            zip([width, *widths[:-1]], widths, strict=True), 1
        ):
            stride = 1 if number == 1 else 2
            stage = nn.Sequential(
                BasicBlock(inputs, outputs, stride), BasicBlock(outputs, outputs, 1)
            )
            self.add_module(f"layer{number}", stage)

    def forward(self, tiles: Tensor) -> Tensor:
        """Embeddings, float (B, 8 x width), of tiles (B, bands, H, W)."""
        values = functional.relu(self.bn1(self.conv1(tiles)))
        for number in range(1, 6):
            values = self.get_submodule(f"layer{number}")(values)
        return values.mean(dim=(2, 3))


def tile2vec() -> Tile2Vec:
    """The network as the study ships it, without weights."""
    return Tile2Vec(SHIPPED_WIDTH)


def published_tile2vec() -> Tile2Vec:
    """The network in the width of its authors, without weights."""
    return Tile2Vec(PUBLISHED_WIDTH)


def triplet_loss(anchor: Tensor, neighbour: Tensor, distant: Tensor, margin: float) -> Tensor:
    """Triplet loss of embeddings (B, D): neighbours near, others at least a margin farther."""
    near_distance = torch.linalg.vector_norm(anchor - neighbour, dim=1)
    far_distance = torch.linalg.vector_norm(anchor - distant, dim=1)
    return functional.relu(near_distance - far_distance + margin).mean()
