"""Training of the tiny AutoencoderKL: 64x64 RGB to 16 channels of 8x8 and back."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from diffusers import AutoencoderKL
from torch import Tensor, nn

from dnd_assets.known_answers.train.common import Descent, draw, log
from dnd_assets.known_answers.train.perception import Perception
from dnd_assets.known_answers.world import TRAINING_SEEDS

CHANNELS = 16
"""Channels of a latent."""


@dataclass(frozen=True)
class VaeSettings:
    """Sizes and lengths of the training.

    Attributes:
        kl: Weight of the divergence, reached at `kl_from` of the steps. It is strong enough that
            latents leave out the grain of backgrounds, which no prompt mentions and which would
            take up the painter.
        kl_from: Share of the steps during which the weight rises from zero.
    """

    images: int = 12_000
    steps: int = 4_500
    batch: int = 16
    rate: float = 2e-3
    kl: float = 0.02
    kl_from: float = 0.4
    seed: int = 11


def new_vae() -> AutoencoderKL:
    """Return an untrained autoencoder: 1.7 M parameters, factor 8, 16 latent channels.

    Latents of 8x8 make a step of the painter's training several times cheaper than those of
    16x16; textures, whose period is 4 to 8 pixels, need the many channels.
    """
    return AutoencoderKL(
        in_channels=3,
        out_channels=3,
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(16, 32, 64, 96),
        layers_per_block=1,
        latent_channels=CHANNELS,
        norm_num_groups=8,
        sample_size=64,
        mid_block_add_attention=False,
    )


def train_vae(out: Path, settings: VaeSettings | None = None) -> AutoencoderKL:
    """Train the autoencoder and save it in `out` (float32); return its averaged weights.

    The saved `scaling_factor` brings latents of the world's pictures to unit variance.
    """
    settings = settings or VaeSettings()
    torch.manual_seed(settings.seed)
    data = draw(TRAINING_SEEDS[1_000_000 : 1_000_000 + settings.images])
    vae = new_vae()
    descent = Descent(
        "vae", out, vae, rate=settings.rate, average=0.995, steps=settings.steps,
        seed=settings.seed, weight_decay=1e-4,
    )  # fmt: skip
    vae.train()
    for step, indices, _ in descent.steps(len(data), settings.batch):
        kl = settings.kl * min(1.0, step / (settings.kl_from * settings.steps))
        descent.down(step, _loss(vae, data.images[indices], data.masks[indices], kl))
    vae.load_state_dict(descent.average.state)
    vae.eval()
    vae.register_to_config(scaling_factor=1.0 / float(encode(vae, data.images[:1024]).std()))
    vae.save_pretrained(out, safe_serialization=True)
    log.info("vae saved, scaling factor %.4f", vae.config.scaling_factor)
    return vae


def _loss(vae: AutoencoderKL, images: Tensor, masks: Tensor, kl: float) -> Tensor:
    pixels = images.float() / 127.5 - 1
    with torch.autocast("cpu", torch.bfloat16):
        posterior = vae.encode(pixels).latent_dist
        restored = vae.decode(posterior.sample()).sample
    rebuilt = _distance(restored.float(), pixels, masks)
    mean, spread = posterior.mean.float(), posterior.logvar.float()
    divergence = 0.5 * (mean.square() + spread.exp() - 1 - spread).mean()
    loss: Tensor = rebuilt + kl * divergence
    return loss


@dataclass(frozen=True)
class DecoderSettings:
    """Sizes and lengths of the decoder's further training.

    Attributes:
        first: Seed of the first scene.
        noise: Standard deviation of the noise on unit-variance latents, since painted latents
            lie a little beside those of drawn pictures.
        average: Decay of the average of the weights.
    """

    images: int = 12_000
    first: int = 7_000_000
    steps: int = 1_600
    batch: int = 16
    rate: float = 1.5e-3
    noise: float = 0.08
    average: float = 0.995
    seed: int = 12


SHARP = DecoderSettings(first=9_000_000, rate=1e-3, average=0.99, seed=13)
"""Further training by what a classifier sees: checks of few pixels are a blur to pixel errors."""


def train_decoder(
    out: Path,
    vae_folder: Path,
    settings: DecoderSettings | None = None,
    critic: Path | None = None,
) -> AutoencoderKL:
    """Train only the decoder further, save the autoencoder in `out` and return it.

    Latents stay as they are, so this can run beside the painter's training.

    Args:
        out: Folder of the autoencoder.
        vae_folder: Folder of the trained autoencoder.
        settings: Lengths.
        critic: Folder of a classifier whose features and reading of the decoded pictures count,
            too (a perceptual loss, Johnson et al., ECCV 2016); None for pixels alone.
    """
    settings = settings or DecoderSettings()
    torch.manual_seed(settings.seed)
    vae = AutoencoderKL.from_pretrained(vae_folder)
    data = draw(TRAINING_SEEDS[settings.first : settings.first + settings.images])
    seen = Perception.of(critic, data.scenes) if critic else None
    latents = encode(vae.eval(), data.images)
    noise = settings.noise / vae.config.scaling_factor
    decoder = nn.ModuleList([vae.post_quant_conv, vae.decoder]).train()
    descent = Descent(
        "decoder", out, decoder, rate=settings.rate, average=settings.average,
        steps=settings.steps, seed=settings.seed, weight_decay=1e-4,
    )  # fmt: skip
    for step, indices, _ in descent.steps(len(data), settings.batch):
        noisy_latents = latents[indices] + noise * torch.randn_like(latents[indices])
        with torch.autocast("cpu", torch.bfloat16):
            restored = vae.decode(noisy_latents).sample
        pixels = data.images[indices].float() / 127.5 - 1
        loss = _distance(restored.float(), pixels, data.masks[indices])
        if seen is not None:
            loss = loss + seen.distance(restored.float(), pixels, indices)
        descent.down(step, loss)
    decoder.load_state_dict(descent.average.state)
    vae.eval().save_pretrained(out, safe_serialization=True)
    return vae


def _distance(restored: Tensor, pixels: Tensor, masks: Tensor) -> Tensor:
    """Mean absolute plus squared error; pixels of objects count three times.

    Objects cover little of a picture but carry most of its attributes.
    """
    weight = 1.0 + 2.0 * masks[:, None].float()
    error = restored - pixels
    return (weight * (error.abs() + error.square())).mean()


@torch.no_grad()
def encode(vae: AutoencoderKL, images: Tensor, batch: int = 256) -> Tensor:
    """Latent means, unscaled float32 (N, 16, 8, 8), of uint8 images (N, 3, 64, 64)."""
    parts = []
    for start in range(0, len(images), batch):
        with torch.autocast("cpu", torch.bfloat16):
            posterior = vae.encode(images[start : start + batch].float() / 127.5 - 1).latent_dist
        parts.append(posterior.mean.float())
    return torch.cat(parts)
