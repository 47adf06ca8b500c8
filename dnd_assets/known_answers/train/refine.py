"""Last training of the painter: what it paints by itself is read by a classifier.

Reward feedback learning (Xu et al., ImageReward, NeurIPS 2023, section 3): the sampler runs as it
does for a study, up to a step drawn at random; the clean picture guessed there is shown to a
classifier, and what it cannot read of the prompt is a loss of that guess. Two thirds of each batch
are drawn pictures to go on learning from, so that paintings stay pictures of this world. The
classifier (the critic) is not the judge that `evaluate` counts by.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL, StableDiffusionPipeline
from torch import Tensor
from transformers import CLIPTokenizer

from dnd_assets.known_answers.train.common import Descent, draw
from dnd_assets.known_answers.train.phrases import random_prompt
from dnd_assets.known_answers.train.prompt_loss import named_values, unread
from dnd_assets.known_answers.train.recogniser import Recogniser, load_recogniser
from dnd_assets.known_answers.train.text_to_image import (
    Noised,
    Painter,
    guess,
    new_scheduler,
    prompt_tokens,
    save_painter,
    start_painter,
)
from dnd_assets.known_answers.train.training_figures import GUIDANCE, STEPS
from dnd_assets.known_answers.train.vae import CHANNELS, encode
from dnd_assets.known_answers.world import TRAINING_SEEDS, Scene


@dataclass(frozen=True)
class RefineSettings:
    """Sizes and lengths of the training.

    Attributes:
        drawn: drawn pictures in a batch.
        painted: paintings in a batch.
        weight: of what the critic cannot read, beside the error of the velocity.
        earliest: first of the sampler's steps whose guess is read; before it, guesses are blurs.
    """

    images: int = 16_000
    steps: int = 1_500
    drawn: int = 48
    painted: int = 24
    rate: float = 2e-4
    weight: float = 0.1
    earliest: int = 3
    seed: int = 78


AGAIN = RefineSettings(steps=800, seed=79)
"""Once more, from what came of the first time."""


def train_refined(
    out: Path, start: Path, vae_folder: Path, critic: Path, settings: RefineSettings | None = None
) -> StableDiffusionPipeline:
    """Train text encoder and UNet further, save the pipeline (float32) in `out` and return it.

    Args:
        out: Folder of the pipeline.
        start: Folder of the pipeline to go on from.
        vae_folder: Folder of the autoencoder that the pipeline will have.
        critic: Folder of the classifier.
        settings: Lengths.
    """
    settings = settings or RefineSettings()
    vae = AutoencoderKL.from_pretrained(vae_folder).eval().requires_grad_(requires_grad=False)
    tokenizer = StableDiffusionPipeline.from_pretrained(start, safety_checker=None).tokenizer
    data = draw(TRAINING_SEEDS[8_000_000 : 8_000_000 + settings.images])
    latents = encode(vae, data.images) * vae.config.scaling_factor
    painter = start_painter(tokenizer, start)
    reader = load_recogniser(critic).requires_grad_(requires_grad=False)
    sampler = _Sampler(painter, tokenizer, vae, reader)
    descent = Descent(
        "refined", out, painter, rate=settings.rate, average=0.98, steps=settings.steps,
        seed=settings.seed, every=25,
    )  # fmt: skip
    for step, indices, rng in descent.steps(len(latents), settings.drawn + settings.painted):
        drawn, painted = indices[: settings.drawn], indices[settings.drawn :]
        noised = Noised.of(latents[drawn])
        prompts = [random_prompt(data.scenes[index], rng) for index in drawn.tolist()]
        error = noised.error(noised.velocity(painter, prompt_tokens(tokenizer, prompts)))
        asked = [_prompt(data.scenes[index], rng) for index in painted.tolist()]
        read_at = int(rng.integers(settings.earliest, STEPS))
        descent.down(step, error + settings.weight * sampler.unread_at(read_at, asked))
    return save_painter(out, vae, tokenizer, descent.average)


def _prompt(scene: Scene, rng: np.random.Generator) -> str:
    """A prompt that is not empty."""
    while not (prompt := random_prompt(scene, rng)):
        pass
    return prompt


@dataclass(frozen=True)
class _Sampler:
    """Paints with gradients, and has the critic read it."""

    painter: Painter
    tokenizer: CLIPTokenizer
    vae: AutoencoderKL
    critic: Recogniser

    def unread_at(self, read_at: int, prompts: list[str]) -> Tensor:
        """What the critic cannot read in the pictures guessed at a step of the sampler.

        Gradients reach the guess of that step, and none before it.
        """
        tokens = prompt_tokens(self.tokenizer, prompts)
        scheduler = new_scheduler()
        scheduler.set_timesteps(STEPS)
        latents = torch.randn(len(prompts), CHANNELS, 8, 8)
        with torch.no_grad():
            for step in scheduler.timesteps[:read_at]:
                velocity = self._guided(latents, step, tokens)
                latents = scheduler.step(velocity, step, latents).prev_sample
        step = scheduler.timesteps[read_at]
        signal = scheduler.alphas_cumprod[int(step)]
        velocity = self._guided(latents, step, tokens)
        pixels = self._decoded(signal.sqrt() * latents - (1 - signal).sqrt() * velocity)
        return unread(self.critic(pixels), torch.stack([named_values(one) for one in prompts]))

    def _guided(self, latents: Tensor, step: Tensor, tokens: Tensor) -> Tensor:
        empty = prompt_tokens(self.tokenizer, [""]).expand(len(latents), -1)
        steps = torch.full((2 * len(latents),), int(step))
        both = guess(self.painter, latents.repeat(2, 1, 1, 1), steps, torch.cat([empty, tokens]))
        without, prompted = both.chunk(2)
        return without + GUIDANCE * (prompted - without)

    def _decoded(self, latents: Tensor) -> Tensor:
        """Pictures (B, 3, 64, 64) in [0, 1] with a little noise; clipping passes gradients on."""
        with torch.autocast("cpu", torch.bfloat16):
            decoded = self.vae.decode(latents / self.vae.config.scaling_factor).sample
        pixels: Tensor = decoded.float() / 2 + 0.5
        pixels = pixels + (pixels.clamp(0, 1) - pixels).detach()
        return pixels + 0.02 * torch.randn_like(pixels)
