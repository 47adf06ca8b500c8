"""Training of Tile2Vec: triplets cut from scenes, without any label."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file
from torch import Tensor

from dnd_assets.known_answers.land_cover.land_scenes import read_scenes
from dnd_assets.known_answers.land_cover.tile2vec import (
    SCALE,
    SHIPPED_WIDTH,
    SIDE,
    Tile2Vec,
    triplet_loss,
)
from dnd_assets.known_answers.land_cover.triplets import draw_triplets

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainingSettings:
    """Sizes and lengths of the training; margin, penalty and optimiser are the authors'.

    Attributes:
        width: of the network; the authors' is 64.
        steps: batches.
        batch: triplets in a batch.
        reach: pixels between the middles of anchor and neighbour, at most.
        margin: by which a distant tile is to be farther than a neighbour.
        penalty: weight of the embeddings' mean length.
        rate: of Adam, whose first moment decays by 0.5.
        seed: of weights and triplets.
    """

    width: int = SHIPPED_WIDTH
    steps: int = 240
    batch: int = 32
    reach: int = 50
    margin: float = 10.0
    penalty: float = 0.01
    rate: float = 1e-3
    seed: int = 0


@dataclass(frozen=True)
class Trained:
    """What training gives.

    Attributes:
        net: the network, in eval mode.
        figures: share of fresh triplets whose neighbour is nearer than the distant tile, before and
            after; losses; seconds.
    """

    net: Tile2Vec
    figures: dict[str, float]


def train_tile2vec(folder: Path, settings: TrainingSettings | None = None) -> Trained:
    """Train on the scenes of a folder.

    Raises:
        StudyError: when there are none.
    """
    settings = settings or TrainingSettings()
    torch.manual_seed(settings.seed)
    scenes = [scene.bands for scene in read_scenes(folder)]
    net = Tile2Vec(settings.width, scenes[0].shape[2]).train()
    held_out = draw_triplets(scenes, 4 * settings.batch, SIDE, settings.reach, 1 + settings.seed)
    share_before, started = ordered_share(net, held_out), time.monotonic()
    losses = _train(net, scenes, settings)
    net.eval()
    figures = {
        "ordered_before": share_before,
        "ordered_after": ordered_share(net, held_out),
        "loss_first": float(np.mean(losses[:10])),
        "loss_last": float(np.mean(losses[-10:])),
        "seconds": round(time.monotonic() - started, 1),
    }
    return Trained(net, figures)


def _train(
    net: Tile2Vec, scenes: Sequence[NDArray[np.integer]], settings: TrainingSettings
) -> list[float]:
    optimiser = torch.optim.Adam(net.parameters(), lr=settings.rate, betas=(0.5, 0.999))
    losses = []
    for step in range(settings.steps):
        seed = 1_000_000 * (settings.seed + 1) + step
        triplets = draw_triplets(scenes, settings.batch, SIDE, settings.reach, seed)
        anchor, neighbour, distant = (net(_tensor(triplets[:, role])) for role in range(3))
        lengths = torch.stack(
            [embedding.norm(dim=1).mean() for embedding in (anchor, neighbour, distant)]
        ).sum()
        loss = (
            triplet_loss(anchor, neighbour, distant, settings.margin) + settings.penalty * lengths
        )
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        losses.append(float(loss.detach()))
        if step % 25 == 0:
            _LOG.info("step %d of %d: loss %.3f", step, settings.steps, losses[-1])
    return losses


def _tensor(tiles: NDArray[np.integer]) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(tiles)).float() / SCALE


def ordered_share(net: Tile2Vec, triplets: NDArray[np.integer]) -> float:
    """Share of triplets whose anchor is nearer to its neighbour than to the distant tile."""
    training = net.training
    net.eval()
    with torch.inference_mode():
        anchor, neighbour, distant = (net(_tensor(triplets[:, role])) for role in range(3))
    net.train(training)
    gaps = (anchor - distant).norm(dim=1) - (anchor - neighbour).norm(dim=1)
    return float((gaps > 0).float().mean())


def save_weights(net: Tile2Vec, file: Path) -> None:
    """Write the weights as safetensors, those of convolutions in half precision, which is enough.

    Statistics of normalisation stay in full precision.
    """
    weights = {
        name: value.half() if value.ndim == 4 else value for name, value in net.state_dict().items()
    }
    file.parent.mkdir(parents=True, exist_ok=True)
    save_file({name: value.contiguous() for name, value in weights.items()}, file)
