"""A classifier that reads the attributes of a scene from its latent, for the painter's training."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from dnd_assets.known_answers.train.common import (
    Average,
    batches,
    learning_rate,
    set_learning_rate,
)
from dnd_assets.known_answers.train.prompt_loss import misread
from dnd_assets.known_answers.train.vae import CHANNELS
from dnd_assets.known_answers.world import VALUES

_NOISE = 0.4
"""Largest standard deviation of noise on the latents, whose own is 1."""


class LatentReader(nn.Module):
    """A convolutional network with one group of logits for each attribute."""

    def __init__(self, width: int = 96) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Conv2d(CHANNELS, width, 1), nn.ReLU()]
        for _ in range(3):
            layers += [nn.Conv2d(width, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU()]
        self.layers = nn.Sequential(*layers)
        self.head = nn.Linear(2 * width, sum(map(len, VALUES.values())))

    def forward(self, latents: Tensor) -> Tensor:
        """Logits (B, 29), in the order of `VALUES`, of unit-variance latents (B, 16, 8, 8)."""
        features = self.layers(latents)
        pooled = torch.cat([features.mean(dim=(2, 3)), features.amax(dim=(2, 3))], dim=1)
        logits: Tensor = self.head(pooled)
        return logits


def train_latent_reader(latents: Tensor, truth: Tensor, steps: int = 2_500) -> LatentReader:
    """Train on noisy latents, since painted ones are never quite those of drawn pictures.

    Args:
        latents: of unit variance, (N, 16, 8, 8).
        truth: the attributes' values as `one_hot` gives them, (N, 29).
        steps: of training, of 96 latents each.

    Returns:
        The averaged network, in eval mode and without gradients of its own.
    """
    torch.manual_seed(5)
    net = LatentReader().train()
    average = Average(net, 0.99)
    optimiser = torch.optim.AdamW(net.parameters(), lr=2e-3, weight_decay=1e-2)
    for step, indices in enumerate(batches(len(latents), 96, steps, 1)):
        set_learning_rate(optimiser, learning_rate(step, steps, 2e-3))
        clean = latents[indices]
        spread = _NOISE * torch.rand(len(clean), 1, 1, 1)
        loss = misread(net(clean + spread * torch.randn_like(clean)), truth[indices])
        optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        average.update(net)
    net.load_state_dict(average.state)
    return net.eval().requires_grad_(requires_grad=False)
