"""Training of the target network: labels for the head, exact masks for planted detectors."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from dnd_assets.known_answers.target import (
    EITHER,
    LEARNED,
    MEAN,
    STD,
    WorldNet,
    categories,
    holds,
)
from dnd_assets.known_answers.train.common import (
    Average,
    Examples,
    LossLog,
    batches,
    draw,
    fresh,
    learning_rate,
    log,
    set_learning_rate,
)
from dnd_assets.known_answers.world import BACKGROUNDS, TRAINING_SEEDS


@dataclass(frozen=True)
class TargetSettings:
    """Sizes and lengths of the training."""

    images: int = 20_000
    steps: int = 1_200
    batch: int = 64
    rate: float = 2e-3
    seed: int = 21


def normalised(images: Tensor) -> Tensor:
    """Network input, float32, of uint8 images (N, 3, 64, 64)."""
    return (images.float() / 255 - MEAN) / STD


def train_target(out: Path, settings: TargetSettings | None = None) -> WorldNet:
    """Train the network, save `weights.safetensors` in `out` and return it in eval mode."""
    settings = settings or TargetSettings()
    torch.manual_seed(settings.seed)
    data = draw(TRAINING_SEEDS[2_000_000 : 2_000_000 + settings.images])
    labels, concepts = _labels(data, categories()), _labels(data, LEARNED + EITHER)
    net = WorldNet()
    average = Average(net, 0.99)
    optimiser = torch.optim.AdamW(net.parameters(), lr=settings.rate, weight_decay=1e-3)
    progress = LossLog("target", settings.steps)
    for step, indices in enumerate(
        batches(len(data), settings.batch, settings.steps, settings.seed)
    ):
        if step == settings.steps * 7 // 10:
            _balance(net, data)
        set_learning_rate(optimiser, learning_rate(step, settings.steps, settings.rate))
        images = normalised(data.images[indices])
        loss = nn.functional.binary_cross_entropy_with_logits(net(images), labels[indices])
        maps = _map_targets(data.masks[indices], concepts[indices])
        loss = loss + _map_loss(net.planted.evidences(net.trunk(images)), maps)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        average.update(net)
        progress(step, loss.item())
    net.load_state_dict(average.state)
    net.eval()
    save_file(net.state_dict(), fresh(out) / "weights.safetensors")
    log.info("target saved after %.1f min", progress.minutes)
    return net


def _labels(data: Examples, names: tuple[str, ...]) -> Tensor:
    rows = [[holds(scene, name) for name in names] for scene in data.scenes]
    return torch.tensor(rows, dtype=torch.float32)


def _map_targets(masks: Tensor, concepts: Tensor) -> Tensor:
    """Share of each 4x4 cell that shows each concept, (B, concepts, 16, 16)."""
    share = nn.functional.avg_pool2d(masks[:, None].float(), 4)
    names = LEARNED + EITHER
    behind = torch.tensor([name in BACKGROUNDS for name in names])[None, :, None, None]
    return torch.where(behind, 1 - share, share) * concepts[:, :, None, None]


def _map_loss(evidence: Tensor, targets: Tensor) -> Tensor:
    """Squares towards the share where a concept shows; elsewhere below a margin under zero.

    The margin makes the ReLU's maps exactly zero away from the concept.
    """
    positive = targets > 0
    squared_error = (evidence - targets).square()
    margin_loss = torch.relu(evidence + 0.3).square()
    return 4.0 * torch.where(positive, 3.0 * squared_error, margin_loss).mean()


@torch.no_grad()
def _balance(net: WorldNet, data: Examples, count: int = 4096, top: int = 8) -> None:
    """Set the gains so that the strongest pictures of both concepts of the unit are level."""
    net.eval()
    images = normalised(data.images[:count])
    levels = torch.cat(
        [
            torch.relu(net.planted.evidences(net.trunk(part)))[:, len(LEARNED) :].mean((2, 3))
            for part in torch.split(images, 256)
        ]
    )
    concept_labels = _labels(Examples(data.scenes[:count], data.images, data.masks), EITHER)
    strongest = []
    for unit in range(len(EITHER)):
        alone = (concept_labels[:, unit] == 1) & (concept_labels.sum(dim=1) == 1)
        values = levels[alone, unit]
        strongest.append(values.topk(min(top, len(values))).values.mean())
    gains = strongest[1] / torch.stack(strongest).clamp(min=1e-6)
    net.planted.gains.copy_(gains.clamp(0.2, 5.0)[:, None, None])
    net.train()
