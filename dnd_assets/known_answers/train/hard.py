"""Training of the harder world's readout, on the features of the plain world's trunk."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from dnd_assets.known_answers.hard.hard_network import HardNet, pooled
from dnd_assets.known_answers.hard.hard_scenes import FAINT, draw, hard_scene, shows
from dnd_assets.known_answers.hard.planted import FACTS
from dnd_assets.known_answers.target import load_world_net
from dnd_assets.known_answers.train.common import batches, fresh, learning_rate, set_learning_rate
from dnd_assets.known_answers.train.target import normalised
from dnd_assets.known_answers.world import HELD_OUT_SEEDS, TRAINING_SEEDS


@dataclass(frozen=True)
class HardSettings:
    """Sizes and lengths of the training."""

    images: int = 16_000
    steps: int = 4_000
    batch: int = 128
    rate: float = 2e-3
    seed: int = 31


def train_hard(out: Path, settings: HardSettings | None = None) -> HardNet:
    """Train the readout, save `weights.safetensors` in `out` and return the network."""
    settings = settings or HardSettings()
    torch.manual_seed(settings.seed)
    net = HardNet()
    net.trunk.load_state_dict(load_world_net().state_dict())
    net.eval()
    start = 3_000_000
    features, labels = examples(net, TRAINING_SEEDS[start : start + settings.images])
    net.readout.train()
    optimiser = torch.optim.AdamW(net.readout.parameters(), lr=settings.rate, weight_decay=1e-3)
    for step, indices in enumerate(
        batches(len(features), settings.batch, settings.steps, settings.seed)
    ):
        set_learning_rate(optimiser, learning_rate(step, settings.steps, settings.rate))
        logits = net.readout(features[indices])
        loss = nn.functional.binary_cross_entropy_with_logits(logits, labels[indices])
        optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
    net.eval()
    save_file(net.state_dict(), fresh(out) / "weights.safetensors")
    return net


def load_hard_net(folder: Path) -> HardNet:
    """The network with the weights of `folder`, in eval mode."""
    net = HardNet()
    net.load_state_dict(load_file(folder / "weights.safetensors"))
    return net.eval()


@torch.no_grad()
def examples(net: HardNet, seeds: range, faint: bool = False) -> tuple[Tensor, Tensor]:
    """Pooled features, (N, 576), and which facts hold, (N, facts), of scenes.

    Args:
        net: the network, in eval mode.
        seeds: of the scenes.
        faint: all textures at the contrast of probing pictures; otherwise from that up to full,
            since painted pictures have full contrast.
    """
    features, rows = [], []
    for start in range(0, len(seeds), 256):
        part = seeds[start : start + 256]
        scenes = [hard_scene(seed) for seed in part]
        levels = [FAINT if faint else _contrast(seed) for seed in part]
        pictures = [draw(*drawing) for drawing in zip(scenes, part, levels, strict=True)]
        images = torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2)
        features.append(pooled(net.trunk.trunk(normalised(images))))
        rows += [[shows(scene, name) for name in FACTS] for scene in scenes]
    return torch.cat(features), torch.tensor(rows, dtype=torch.float32)


def held_out_accuracy(net: HardNet, count: int = 2_000) -> dict[str, float]:
    """Share of held-out pictures, textures faint, on which the readout tells each fact."""
    features, labels = examples(net, HELD_OUT_SEEDS[500_000 : 500_000 + count], faint=True)
    with torch.no_grad():
        accuracies = ((net.readout(features) > 0) == (labels > 0.5)).float().mean(dim=0)
    return {name: round(float(value), 4) for name, value in zip(FACTS, accuracies, strict=True)}


def _contrast(seed: int) -> float:
    """Half of the pictures are as faint as those of probing sets, the others less so."""
    chance, level = np.random.default_rng([7, seed]).random(2)
    return FAINT if chance < 0.5 else FAINT + float(level) * (1 - FAINT)
