"""A network whose neurons mean nothing, and an autoencoder whose latents are the known detectors.

The 16 maps of the world network's `planted` layer are turned into 24 channels by a matrix of
orthonormal columns, and a vector is added: no channel of `mixed` is a detector any more. An
autoencoder with that matrix turned back, and the vector as its decoder's bias, finds them again:
its truths are known by construction, not by training. Its latents stand in another order than the
detectors, and the rest of them are dead.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import torch
from torch import Tensor, nn

from dnd_assets.known_answers.target import (
    CHECKPOINT,
    Truth,
    WorldNet,
    load_world_net,
    planted_names,
    truths,
)
from dnd_assets.known_answers.target import transforms as _transforms

DICTIONARY: Final = CHECKPOINT.parent / "dictionary"
CHANNELS: Final = 24
LATENTS: Final = 40
_SEED: Final = 20_260_607
_THRESHOLD: Final = 1e-4
"""What passes it is no dust of rounding: detectors are 0 or far above it."""


class Mixed(nn.Module):
    """Mixes 16 maps into 24 channels, so that no channel is one of the maps."""

    turn: Tensor
    offset: Tensor

    def __init__(self) -> None:
        super().__init__()
        basis, offset = _mixture()
        self.register_buffer("turn", basis)
        self.register_buffer("offset", offset)

    def forward(self, maps: Tensor) -> Tensor:
        """Channels (B, 24, H, W) of maps (B, 16, H, W)."""
        channels = torch.einsum("cd,bdhw->bchw", self.turn, maps)
        return channels + self.offset[:, None, None]


class MixedWorld(nn.Module):
    """The world's network with its hidden detectors mixed; logits (B, 27) are the same."""

    def __init__(self, world: WorldNet) -> None:
        super().__init__()
        self.world = world
        self.mixed = Mixed()

    def forward(self, images: Tensor) -> Tensor:
        """Logits of normalised images (B, 3, 64, 64)."""
        features = self.world.trunk(images)
        channels = self.mixed(self.world.planted(images, features))
        maps = torch.einsum(
            "cd,bchw->bdhw", self.mixed.turn, channels - self.mixed.offset[:, None, None]
        )
        pooled = [features.mean(dim=(2, 3)), features.amax(dim=(2, 3)), maps.mean(dim=(2, 3))]
        logits: Tensor = self.world.head(torch.cat(pooled, dim=1))
        return logits


def mixed_world_net() -> nn.Module:
    """The trained world network with mixed detectors, in eval mode."""
    world = load_world_net()
    assert isinstance(world, WorldNet), "the checkpoint is of that network"
    return MixedWorld(world).eval()


def transforms() -> nn.Module:
    """The preprocessing, that of the world's network."""
    return _transforms()


def latent_truths() -> dict[int, Truth]:
    """The truth of each latent; those that belong to no detector are dead."""
    detector_truths = truths()
    dead_truths = dict.fromkeys(range(LATENTS), Truth("dead", ()))
    return dead_truths | {
        latent: detector_truths["planted", detector] for detector, latent in enumerate(_places())
    }


def write_dictionary(folder: Path = DICTIONARY) -> None:
    """Write the autoencoder as SAELens saves one: a JumpReLU with a small threshold."""
    import json

    from safetensors.torch import save_file

    basis, offset = _mixture()
    encoder = torch.zeros(CHANNELS, LATENTS)
    encoder[:, _places()] = basis
    tensors = {
        "W_enc": encoder,
        "b_enc": torch.zeros(LATENTS),
        "W_dec": encoder.T.contiguous(),
        "b_dec": offset,
        "threshold": torch.full((LATENTS,), _THRESHOLD),
    }
    config: dict[str, object] = {
        "architecture": "jumprelu",
        "d_in": CHANNELS,
        "d_sae": LATENTS,
        "dtype": "float32",
        "apply_b_dec_to_input": True,
        "normalize_activations": "none",
        "metadata": {"sae_lens_version": "6.0.0"},
    }
    folder.mkdir(parents=True, exist_ok=True)
    save_file(tensors, folder / "sae_weights.safetensors")
    (folder / "cfg.json").write_text(json.dumps(config, indent=1) + "\n", encoding="utf-8")


def _mixture() -> tuple[Tensor, Tensor]:
    """Orthonormal columns (24, 16), and what is added to the channels, (24,)."""
    generator = torch.Generator().manual_seed(_SEED)
    count = len(planted_names())
    raw = torch.randn(CHANNELS, count, generator=generator, dtype=torch.float64)
    # Gram and Schmidt by hand: a library's decomposition may choose other signs elsewhere.
    columns: list[Tensor] = []
    for column in raw.T:
        residual = column - sum(
            (previous * (previous @ column) for previous in columns), torch.zeros_like(column)
        )
        columns.append(residual / residual.norm())
    offset = torch.randn(CHANNELS, generator=generator, dtype=torch.float64)
    return torch.stack(columns, dim=1).float(), offset.float()


def _places() -> list[int]:
    """The latent of each detector, in their order."""
    generator = torch.Generator().manual_seed(_SEED + 1)
    latents = torch.randperm(LATENTS, generator=generator)[: len(planted_names())]
    return [int(latent) for latent in latents]
