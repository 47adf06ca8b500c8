"""Training of the tiny CLIP: pictures beside phrases, with all true pairs as positives."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import open_clip
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import CLIPTokenizer

from dnd_assets.known_answers.render import object_boxes
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
from dnd_assets.known_answers.train.phrases import PREFIX, random_phrase
from dnd_assets.known_answers.train.tokens import clip_tokenizer
from dnd_assets.known_answers.train.views import SceneView, cut, random_view
from dnd_assets.known_answers.world import TRAINING_SEEDS, VALUES, parse

TOKENS = 24


@dataclass(frozen=True)
class ClipSettings:
    """Sizes and lengths of the training."""

    images: int = 16_000
    steps: int = 1_200
    batch: int = 128
    rate: float = 1.5e-3
    save_every: int = 300
    seed: int = 51


def model_config(vocabulary_size: int) -> dict[str, object]:
    """Return the open_clip configuration: a small ResNet beside a small text transformer."""
    return {
        "embed_dim": 128,
        "vision_cfg": {
            "image_size": 64,
            "layers": [1, 1, 1, 1],
            "width": 16,
            "head_width": 64,
            "patch_size": None,
        },
        "text_cfg": {
            "context_length": TOKENS,
            "vocab_size": vocabulary_size,
            "width": 128,
            "heads": 4,
            "layers": 2,
            "hf_tokenizer_name": "clip",
            "tokenizer_kwargs": {"clean": "lower"},
        },
    }


def new_clip(vocabulary_size: int) -> open_clip.CLIP:
    """Return an untrained model."""
    return open_clip.CLIP(**model_config(vocabulary_size))


def train_clip(out: Path, settings: ClipSettings | None = None) -> open_clip.CLIP:
    """Train the model, save an open_clip folder in `out` and return it in eval mode."""
    settings = settings or ClipSettings()
    torch.manual_seed(settings.seed)
    rng = np.random.default_rng(settings.seed)
    seeds = TRAINING_SEEDS[5_000_000 : 5_000_000 + settings.images]
    data = draw(seeds)
    boxes = [object_boxes(scene, seed) for scene, seed in zip(data.scenes, seeds, strict=True)]
    # Pooling takes the largest token id, the end token, so padding needs a smaller one.
    tokenizer = clip_tokenizer(out, TOKENS, padding="!")
    model = new_clip(len(tokenizer)).train()
    average = Average(model, 0.995)
    optimiser = torch.optim.AdamW(model.parameters(), lr=settings.rate, weight_decay=0.01)
    progress = LossLog("clip", settings.steps, every=100)
    order = batches(len(data), settings.batch, settings.steps, settings.seed)
    for step, indices in enumerate(order):
        set_learning_rate(optimiser, learning_rate(step, settings.steps, settings.rate))
        views = [
            random_view(data.scenes[at], data.masks[at].numpy(), boxes[at], rng, 0.8)
            for at in indices.tolist()
        ]
        texts = [_text(view, rng) for view in views]
        loss = _loss(model, tokenizer, noisy(cut(data.images[indices], views), rng), views, texts)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        with torch.no_grad():
            model.logit_scale.clamp_(max=float(np.log(50)))
        average.update(model)
        progress(step, loss.item())
        if (step + 1) % settings.save_every == 0 or step + 1 == settings.steps:
            _save(out, len(tokenizer), average)
    model.load_state_dict(average.state)
    return model.eval()


def noisy(pixels: Tensor, rng: np.random.Generator) -> Tensor:
    """Blur and add noise to a batch at random, as painted pictures differ from drawn ones."""
    if rng.random() < 0.5:
        side = int(rng.integers(36, 60))
        reduced = nn.functional.interpolate(pixels, (side, side), mode="bilinear", antialias=True)
        pixels = nn.functional.interpolate(reduced, (64, 64), mode="bicubic")
    noise_level = float(rng.uniform(0, 0.05))
    noise = torch.from_numpy(rng.standard_normal(tuple(pixels.shape), dtype=np.float32))
    return (pixels + noise_level * noise).clamp(0, 1)


def _text(view: SceneView, rng: np.random.Generator) -> str:
    """A phrase true of a view; of a whole picture, often in the words of a painting prompt."""
    if len(view.shown) < len(VALUES):
        return view.caption
    text = random_phrase(view.scene, rng, full=0.5)
    return f"{PREFIX} {text}" if rng.random() < 0.2 else text


def matches(views: list[SceneView], texts: list[str]) -> Tensor:
    """Which texts are true of which views, bool (views, texts), from what the views show."""
    pairs = torch.ones(len(views), len(texts), dtype=torch.bool)
    facts = [parse(text) for text in texts]
    for name, values in VALUES.items():
        view_values = torch.tensor(
            [
                [name in v.shown and getattr(v.scene, name) == value for value in values]
                for v in views
            ]
        )
        text_values = torch.tensor(
            [[name not in fact or value in fact[name] for value in values] for fact in facts]
        )
        unnamed = torch.tensor([name not in fact for fact in facts])
        pairs &= ((view_values.float() @ text_values.float().T) > 0) | unnamed[None]
    return pairs


def _loss(
    model: open_clip.CLIP,
    tokenizer: CLIPTokenizer,
    pixels: Tensor,
    views: list[SceneView],
    texts: list[str],
) -> Tensor:
    """Symmetric cross-entropy against an even spread over all true pairs of a row or column."""
    tokens = tokenizer(
        texts, padding="max_length", truncation=True, max_length=TOKENS, return_tensors="pt"
    ).input_ids
    with torch.autocast("cpu", torch.bfloat16):
        image_vectors = model.encode_image((pixels - 0.5) / 0.5)
        text_vectors = model.encode_text(tokens)
    image_vectors = nn.functional.normalize(image_vectors.float(), dim=-1)
    text_vectors = nn.functional.normalize(text_vectors.float(), dim=-1)
    logits = model.logit_scale.exp() * image_vectors @ text_vectors.T
    pairs = matches(views, texts).float()
    rows = pairs / pairs.sum(dim=1, keepdim=True).clamp(min=1)
    columns = pairs / pairs.sum(dim=0, keepdim=True).clamp(min=1)
    by_text = nn.functional.cross_entropy(logits.T, columns.T)
    return 0.5 * (nn.functional.cross_entropy(logits, rows) + by_text)


def _save(out: Path, vocabulary_size: int, average: Average) -> None:
    picture = {"mean": [0.5] * 3, "std": [0.5] * 3, "interpolation": "bicubic"}
    config = {
        "model_cfg": model_config(vocabulary_size),
        "preprocess_cfg": {**picture, "resize_mode": "squash"},
    }
    text = json.dumps(config, indent=2) + "\n"
    (fresh(out) / "open_clip_config.json").write_text(text, encoding="utf-8")
    state = {name: value.contiguous() for name, value in average.state.items()}
    save_file(state, out / "open_clip_model.safetensors", metadata={"format": "pt"})
    size = halve_files(out)
    log.info("clip saved, %.2f MB", size / 1e6)
