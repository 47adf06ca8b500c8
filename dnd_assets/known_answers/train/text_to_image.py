"""Training of the tiny Stable Diffusion pipeline: text encoder and UNet on fixed latents."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
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

from dnd_assets.known_answers.train.common import (
    Average,
    LossLog,
    Snapshots,
    batches,
    draw,
    learning_rate,
    log,
    seed_step,
    set_learning_rate,
)
from dnd_assets.known_answers.train.phrases import random_prompt
from dnd_assets.known_answers.train.tokens import clip_tokenizer
from dnd_assets.known_answers.train.vae import CHANNELS, encode
from dnd_assets.known_answers.world import TRAINING_SEEDS, Scene

TOKENS = 24
WIDTH = 96


@dataclass(frozen=True)
class PainterSettings:
    """Sizes and lengths of the training.

    Attributes:
        floor: Share of the peak learning rate that is kept until the end; 0 for a full decay.
    """

    images: int = 32_000
    steps: int = 12_000
    batch: int = 64
    rate: float = 1e-3
    floor: float = 0.0
    seed: int = 31


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
    data = draw(TRAINING_SEEDS[3_000_000 : 3_000_000 + settings.images])
    latents = encode(vae, data.images) * vae.config.scaling_factor
    log.info("%d latents, standard deviation %.3f", len(latents), latents.std().item())
    painter = _start(tokenizer, start)
    average = Average(painter, 0.999)
    optimiser = torch.optim.AdamW(painter.parameters(), lr=settings.rate, weight_decay=1e-3)
    scales = new_scheduler().alphas_cumprod
    snapshots = Snapshots(out.with_suffix(".snapshot"), painter, average, optimiser)
    done_steps = snapshots.resume()
    progress = LossLog("text to image", settings.steps, every=100)
    order = batches(len(latents), settings.batch, settings.steps, settings.seed)
    for step, indices in islice(enumerate(order), done_steps, None):
        rng = seed_step(settings.seed, step)
        rate = learning_rate(step, settings.steps, settings.rate * (1 - settings.floor), 0.02)
        set_learning_rate(optimiser, rate + settings.rate * settings.floor)
        tokens = _tokens(tokenizer, [data.scenes[index] for index in indices.tolist()], rng)
        loss = _loss(painter, latents[indices], tokens, scales)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(painter.parameters(), 1.0)
        optimiser.step()
        average.update(painter)
        progress(step, loss.item())
        if snapshots(step + 1):
            _save(out, vae, tokenizer, average)
    return _save(out, vae, tokenizer, average)


def _start(tokenizer: CLIPTokenizer, start: Path | None) -> Painter:
    painter = Painter(tokenizer)
    if start is not None:
        old = StableDiffusionPipeline.from_pretrained(start)
        painter.text.load_state_dict(old.text_encoder.state_dict())
        painter.unet.load_state_dict(old.unet.state_dict())
    return painter.train()


def _tokens(tokenizer: CLIPTokenizer, scenes: list[Scene], rng: np.random.Generator) -> Tensor:
    prompts = [random_prompt(scene, rng) for scene in scenes]
    token_ids: Tensor = tokenizer(
        prompts, padding="max_length", truncation=True, max_length=TOKENS, return_tensors="pt"
    ).input_ids
    return token_ids


def _loss(painter: Painter, clean: Tensor, tokens: Tensor, scales: Tensor) -> Tensor:
    """Velocity error, in which steps of little noise count less.

    As an error of clean latents it is weighted by 1 + SNR, clipped at 6. Unlike min-SNR, this
    keeps the weight of very noisy steps, in which prompts decide on the picture.
    """
    noise = torch.randn_like(clean)
    steps = torch.randint(0, len(scales), (len(clean),))
    signal = scales[steps][:, None, None, None]
    noisy = signal.sqrt() * clean + (1 - signal).sqrt() * noise
    target = signal.sqrt() * noise - (1 - signal).sqrt() * clean
    # On CPUs, plain attention and contiguous group norms take 60 % of the time of the fused
    # kernels and of channels-last.
    with torch.autocast("cpu", torch.bfloat16), sdpa_kernel(SDPBackend.MATH):
        guess = painter(noisy, steps, tokens)
    weight = (6.0 * (1 - signal)).clamp(max=1.0)  # 1 + SNR = 1 / (1 - signal)
    loss: Tensor = (weight * (guess.float() - target).square()).mean()
    return loss


def _save(
    out: Path, vae: AutoencoderKL, tokenizer: CLIPTokenizer, average: Average
) -> StableDiffusionPipeline:
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
