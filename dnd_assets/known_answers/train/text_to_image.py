"""Training of the tiny Stable Diffusion pipeline: text encoder and UNet on fixed latents."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import torch
from diffusers import (
    AutoencoderKL,
    DPMSolverMultistepScheduler,
    StableDiffusionPipeline,
    UNet2DConditionModel,
)
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from dnd_assets.known_answers.train.common import Average, Descent, draw, log
from dnd_assets.known_answers.train.latent_reader import train_latent_reader
from dnd_assets.known_answers.train.phrases import random_prompt
from dnd_assets.known_answers.train.prompt_loss import named_values, unread
from dnd_assets.known_answers.train.tokens import clip_tokenizer
from dnd_assets.known_answers.train.vae import CHANNELS, encode
from dnd_assets.known_answers.train.views import one_hot, whole
from dnd_assets.known_answers.world import TRAINING_SEEDS, Scene

TOKENS = 24
WIDTH = 96


@dataclass(frozen=True)
class PainterSettings:
    """Sizes and lengths of the training.

    Attributes:
        first: Seed of the first scene.
        average: Decay of the average of the weights, which is what ships.
        reading: Weight of what a classifier cannot read from the guessed clean latents although
            the prompt names it, see `prompt_loss`; 0 trains without it.
    """

    images: int = 32_000
    first: int = 3_000_000
    steps: int = 12_000
    batch: int = 64
    rate: float = 1e-3
    average: float = 0.999
    reading: float = 0.0
    seed: int = 31


READING = PainterSettings(
    images=24_000, first=8_000_000, steps=3_000, rate=3e-4, average=0.995, reading=0.05, seed=77
)
"""Further training in which prompts are read back.

The error of the velocity hardly tells textures apart: the phase of stripes is random, so what is
guessed from much noise is their mean, which is plain whatever the prompt says.
"""


class Painter(nn.Module):
    """Text encoder and UNet, trained together."""

    def __init__(self, tokenizer: CLIPTokenizer) -> None:
        super().__init__()
        self.text = CLIPTextModel(
            CLIPTextConfig(
                vocab_size=len(tokenizer),
                hidden_size=WIDTH,
                intermediate_size=2 * WIDTH,
                num_hidden_layers=2,
                num_attention_heads=4,
                max_position_embeddings=TOKENS,
                projection_dim=WIDTH,
                bos_token_id=tokenizer.bos_token_id,
                eos_token_id=tokenizer.eos_token_id,
                pad_token_id=tokenizer.pad_token_id,
            )
        )
        self.unet = UNet2DConditionModel(
            sample_size=8,
            in_channels=CHANNELS,
            out_channels=CHANNELS,
            # All objects of a picture share their attributes, so the pooled text, added to the
            # time embedding, tells all blocks most of it; attention at 8x8 would nearly double
            # the cost of a step.
            addition_embed_type="text",
            addition_embed_type_num_heads=8,
            time_embedding_dim=192,
            resnet_time_scale_shift="scale_shift",
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
            block_out_channels=(128, 128),
            layers_per_block=1,
            cross_attention_dim=WIDTH,
            attention_head_dim=4,
            norm_num_groups=16,
        )

    def forward(self, latents: Tensor, steps: Tensor, tokens: Tensor) -> Tensor:
        """Predicted velocity (B, 16, 8, 8) of noisy latents at steps (B,) given token ids."""
        states = self.text(input_ids=tokens).last_hidden_state
        velocity: Tensor = self.unet(latents, steps, states).sample
        return velocity


def new_scheduler() -> DPMSolverMultistepScheduler:
    """The noise schedule of training and painting."""
    return DPMSolverMultistepScheduler(
        num_train_timesteps=1000,
        beta_schedule="squaredcos_cap_v2",
        prediction_type="v_prediction",
        timestep_spacing="trailing",
        steps_offset=1,
    )


_SIGNAL: Final = new_scheduler().alphas_cumprod
_CLEAR: Final = 0.9
"""Share of the signal from which latents show their attributes whatever the painter guesses."""


def train_text_to_image(
    out: Path, vae_folder: Path, settings: PainterSettings | None = None, start: Path | None = None
) -> StableDiffusionPipeline:
    """Train text encoder and UNet, save the pipeline (float32) in `out` and return it.

    Args:
        out: Folder of the pipeline; intermediate averages are saved there, too.
        vae_folder: Folder of the trained autoencoder.
        settings: Lengths.
        start: Folder of an earlier pipeline to go on from.
    """
    settings = settings or PainterSettings()
    torch.manual_seed(settings.seed)
    vae = AutoencoderKL.from_pretrained(vae_folder).eval()
    tokenizer = clip_tokenizer(out / "tokenizer", TOKENS)
    data = draw(TRAINING_SEEDS[settings.first : settings.first + settings.images])
    latents = encode(vae, data.images) * vae.config.scaling_factor
    log.info("%d latents, standard deviation %.3f", len(latents), latents.std().item())
    read = _reader(settings, latents, data.scenes)
    painter = start_painter(tokenizer, start)
    descent = Descent(
        "text to image", out, painter, rate=settings.rate, average=settings.average,
        steps=settings.steps, seed=settings.seed, warmup=0.02, every=100,
    )  # fmt: skip
    for step, indices, rng in descent.steps(len(latents), settings.batch):
        prompts = [random_prompt(data.scenes[index], rng) for index in indices.tolist()]
        noised = Noised.of(latents[indices])
        velocity = noised.velocity(painter, prompt_tokens(tokenizer, prompts))
        if descent.down(step, noised.error(velocity) + read(noised, velocity, prompts)):
            save_painter(out, vae, tokenizer, descent.average)
    return save_painter(out, vae, tokenizer, descent.average)


def _reader(
    settings: PainterSettings, latents: Tensor, scenes: list[Scene]
) -> Callable[[Noised, Tensor, list[str]], Tensor]:
    """The weighted loss of what is not read back from a batch; always zero without weight."""
    if not settings.reading:
        return lambda _noised, velocity, _prompts: velocity.new_zeros(())
    truth, _ = one_hot([whole(scene) for scene in scenes])
    reader = train_latent_reader(latents, truth)

    def read(noised: Noised, velocity: Tensor, prompts: list[str]) -> Tensor:
        named = torch.stack([named_values(prompt) for prompt in prompts])
        guessed = noised.signal.flatten() < _CLEAR  # the others show their attributes as they are
        logits = reader(noised.clean(velocity))
        return settings.reading * unread(logits, named, guessed.float())

    return read


def start_painter(tokenizer: CLIPTokenizer, start: Path | None) -> Painter:
    """A painter with the weights of an earlier pipeline, or with random ones, in training mode."""
    painter = Painter(tokenizer)
    if start is not None:
        old = StableDiffusionPipeline.from_pretrained(start)
        painter.text.load_state_dict(old.text_encoder.state_dict())
        painter.unet.load_state_dict(old.unet.state_dict())
    return painter.train()


def prompt_tokens(tokenizer: CLIPTokenizer, prompts: Sequence[str]) -> Tensor:
    """Token numbers of prompts, (B, TOKENS)."""
    tokens: Tensor = tokenizer(
        list(prompts),
        padding="max_length",
        truncation=True,
        max_length=TOKENS,
        return_tensors="pt",
    ).input_ids
    return tokens


@dataclass(frozen=True)
class Noised:
    """Clean latents with noise of random strength, and what the painter has to guess from them.

    Attributes:
        latents: noisy latents, (B, 16, 8, 8).
        steps: of the noise schedule, (B,).
        signal: share of the clean latents in the variance, (B, 1, 1, 1).
        target: the velocity, (B, 16, 8, 8).
    """

    latents: Tensor
    steps: Tensor
    signal: Tensor
    target: Tensor

    @classmethod
    def of(cls, clean: Tensor) -> Noised:
        """Latents with noise drawn by torch's generator."""
        noise = torch.randn_like(clean)
        steps = torch.randint(0, len(_SIGNAL), (len(clean),))
        signal = _SIGNAL[steps][:, None, None, None]
        noisy = signal.sqrt() * clean + (1 - signal).sqrt() * noise
        return cls(noisy, steps, signal, signal.sqrt() * noise - (1 - signal).sqrt() * clean)

    def velocity(self, painter: Painter, tokens: Tensor) -> Tensor:
        """What the painter guesses, float32."""
        return guess(painter, self.latents, self.steps, tokens)

    def error(self, velocity: Tensor) -> Tensor:
        """Velocity error, in which steps of little noise count less.

        As an error of clean latents it is weighted by 1 + SNR, clipped at 6. Unlike min-SNR, this
        keeps the weight of very noisy steps, in which prompts decide on the picture.
        """
        weight = (6.0 * (1 - self.signal)).clamp(max=1.0)  # 1 + SNR = 1 / (1 - signal)
        loss: Tensor = (weight * (velocity - self.target).square()).mean()
        return loss

    def clean(self, velocity: Tensor) -> Tensor:
        """The clean latents that follow from a guessed velocity."""
        return self.signal.sqrt() * self.latents - (1 - self.signal).sqrt() * velocity


def guess(painter: Painter, latents: Tensor, steps: Tensor, tokens: Tensor) -> Tensor:
    """Predicted velocity in float32, computed in bfloat16.

    On CPUs, plain attention and contiguous group norms take 60 % of the time of the fused kernels
    and of channels-last.
    """
    with torch.autocast("cpu", torch.bfloat16), sdpa_kernel(SDPBackend.MATH):
        velocity: Tensor = painter(latents, steps, tokens)
    return velocity.float()


def save_painter(
    out: Path, vae: AutoencoderKL, tokenizer: CLIPTokenizer, average: Average
) -> StableDiffusionPipeline:
    """Save the averaged weights as a pipeline in `out`, and return it."""
    painter = Painter(tokenizer)
    painter.load_state_dict(average.state)
    painter.eval()
    pipeline = StableDiffusionPipeline(
        vae=vae,
        text_encoder=painter.text,
        tokenizer=tokenizer,
        unet=painter.unet,
        scheduler=new_scheduler(),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline.save_pretrained(out, safe_serialization=True)
    return pipeline
