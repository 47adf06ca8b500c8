"""A classifier of all attributes that judges painted pictures; no other training sees it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from dnd_assets.known_answers.target import Residual
from dnd_assets.known_answers.train.clip import noisy
from dnd_assets.known_answers.train.common import (
    Average,
    LossLog,
    batches,
    draw,
    fresh,
    halve_files,
    learning_rate,
    log,
    set_learning_rate,
)
from dnd_assets.known_answers.train.prompt_loss import by_attribute, misread
from dnd_assets.known_answers.train.views import one_hot, whole
from dnd_assets.known_answers.world import TRAINING_SEEDS, VALUES


@dataclass(frozen=True)
class RecogniserSettings:
    """Sizes and lengths of the training."""

    images: int = 16_000
    steps: int = 700
    batch: int = 96
    rate: float = 3e-3
    seed: int = 61


CRITIC = RecogniserSettings(seed=62)
"""Another such network, whose reading the painter is trained by; the judge stays unseen."""


class Recogniser(nn.Module):
    """A convolutional network with one group of logits for each attribute."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(3, 24, 5, 2, 2, bias=False), nn.BatchNorm2d(24), nn.ReLU()
        )
        self.blocks = nn.Sequential(
            Residual(24, 48, stride=2), Residual(48, 96, stride=2), Residual(96, 128)
        )
        self.head = nn.Linear(256, sum(len(values) for values in VALUES.values()))

    def forward(self, pixels: Tensor) -> Tensor:
        """Logits (B, 29), in the order of `VALUES`, of pictures (B, 3, 64, 64) in [0, 1]."""
        return self.features(pixels)[1]

    def features(self, pixels: Tensor) -> tuple[list[Tensor], Tensor]:
        """Feature maps of the stem and of each block, and the logits, of such pictures."""
        maps = [self.stem((pixels - 0.5) / 0.25)]
        for block in self.blocks:
            maps.append(block(maps[-1]))
        pooled = torch.cat([maps[-1].mean(dim=(2, 3)), maps[-1].amax(dim=(2, 3))], dim=1)
        return maps, self.head(pooled)

    @torch.no_grad()
    def read(self, pixels: Tensor) -> list[dict[str, int | str]]:
        """The likeliest value of each attribute, for each picture (B, 3, 64, 64) in [0, 1]."""
        parts = by_attribute(self(pixels))
        best = torch.stack([part.argmax(dim=1) for part in parts], dim=1).tolist()
        return [
            {name: VALUES[name][at] for name, at in zip(VALUES, row, strict=True)} for row in best
        ]


def recognised(
    readings: Mapping[str, int | str], facts: Mapping[str, tuple[int | str, ...]]
) -> bool:
    """Whether every attribute that a prompt names (see `parse`) is read from its picture."""
    return all(readings[name] in values for name, values in facts.items())


def train_recogniser(out: Path, settings: RecogniserSettings | None = None) -> Recogniser:
    """Train on blurred and noisy pictures, save `weights.safetensors` in `out`."""
    settings = settings or RecogniserSettings()
    torch.manual_seed(settings.seed)
    rng = np.random.default_rng(settings.seed)
    data = draw(TRAINING_SEEDS[6_000_000 : 6_000_000 + settings.images])
    truth, _ = one_hot([whole(scene) for scene in data.scenes])
    net = Recogniser().train()
    average = Average(net, 0.99)
    optimiser = torch.optim.AdamW(net.parameters(), lr=settings.rate, weight_decay=1e-3)
    progress = LossLog("recogniser", settings.steps, every=100)
    order = batches(len(data), settings.batch, settings.steps, settings.seed)
    for step, indices in enumerate(order):
        set_learning_rate(optimiser, learning_rate(step, settings.steps, settings.rate))
        pixels = noisy(data.images[indices].float() / 255, rng)
        loss = misread(net(pixels), truth[indices])
        optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        average.update(net)
        progress(step, loss.item())
    net.load_state_dict(average.state)
    save_file(net.state_dict(), fresh(out) / "weights.safetensors")
    log.info("recogniser saved, %.2f MB", halve_files(out) / 1e6)
    return load_recogniser(out)


def load_recogniser(folder: Path) -> Recogniser:
    """Return the trained classifier in eval mode."""
    net = Recogniser()
    net.load_state_dict(load_file(folder / "weights.safetensors"))
    return net.eval()
