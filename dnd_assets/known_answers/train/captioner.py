"""Training of the tiny BLIP captioner on pictures and cut-outs of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from transformers import (
    BertTokenizer,
    BlipConfig,
    BlipForConditionalGeneration,
    BlipImageProcessor,
    BlipProcessor,
)

from dnd_assets.known_answers.render import object_boxes
from dnd_assets.known_answers.train.common import (
    Average,
    Examples,
    LossLog,
    batches,
    draw,
    halve_files,
    learning_rate,
    log,
    set_learning_rate,
)
from dnd_assets.known_answers.train.tokens import bert_tokenizer
from dnd_assets.known_answers.train.views import SceneView, cut, cut_masks, one_hot, random_view
from dnd_assets.known_answers.world import TRAINING_SEEDS, VALUES

TOKENS = 20
WIDTH = 128


@dataclass(frozen=True)
class CaptionerTraining:
    """Sizes and lengths of the training.

    Attributes:
        images: Scenes of the first stage, seen again and again.
        steps: Steps of the first stage, in which hints help the vision tower.
        fresh_steps: Steps of the second stage, on scenes seen once: they undo what was learned
            by heart.
        rate: Peak learning rate of the first stage.
        fresh_rate: Peak learning rate of the second stage.
    """

    images: int = 16_000
    steps: int = 5_000
    fresh_steps: int = 2_000
    batch: int = 64
    rate: float = 1.2e-3
    fresh_rate: float = 5e-4
    save_every: int = 1_000
    seed: int = 41


class Hints(nn.Module):
    """Linear readings of the vision tower, for training only.

    Patches learn what they show long before the words of captions would teach them.
    """

    def __init__(self) -> None:
        super().__init__()
        self.sizes = [len(values) for values in VALUES.values()]
        self.patches = nn.Linear(WIDTH, sum(self.sizes) + 1)
        self.picture = nn.Linear(WIDTH, sum(self.sizes))

    def forward(self, states: Tensor, masks: Tensor, views: list[SceneView]) -> Tensor:
        """Loss of reading the attributes from each patch and from the class token.

        Args:
            states: float32, (B, 65, 128): the class token, then 8x8 patches.
            masks: bool, (B, 64, 64): the objects of the whole pictures.
            views: What each picture shows.
        """
        share = cut_masks(masks, views, 8).flatten(1)
        truth, visible = one_hot(views)
        local = self.patches(states[:, 1:])
        loss = nn.functional.binary_cross_entropy_with_logits(local[:, :, -1], share)
        patches = torch.split(local[:, :, :-1], self.sizes, dim=2)
        picture = torch.split(self.picture(states[:, 0]), self.sizes, dim=1)
        for name, patch_logits, picture_logits, value, visible_values in zip(
            VALUES,
            patches,
            picture,
            torch.split(truth, self.sizes, dim=1),
            torch.split(visible, self.sizes, dim=1),
            strict=True,
        ):
            known_mask, target = visible_values[:, 0] > 0, value.argmax(dim=1)
            patch_mask = known_mask[:, None] & (
                (share < 0.5) if name == "background" else (share > 0.25)
            )
            targets = target[:, None].expand_as(patch_mask)
            loss = loss + _mean_error(patch_logits[patch_mask], targets[patch_mask])
            loss = loss + _mean_error(picture_logits[known_mask], target[known_mask])
        return loss / len(VALUES)


def _mean_error(logits: Tensor, targets: Tensor) -> Tensor:
    """Mean cross-entropy; zero where there is nothing to read."""
    return nn.functional.cross_entropy(logits, targets, reduction="sum") / max(1, len(targets))


def new_captioner(tokenizer: BertTokenizer) -> BlipForConditionalGeneration:
    """Return an untrained model: 4 vision and 2 text layers of width 128."""
    special = {
        "bos_token_id": tokenizer.cls_token_id,
        "eos_token_id": tokenizer.sep_token_id,
        "sep_token_id": tokenizer.sep_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    text = {
        "vocab_size": len(tokenizer),
        "hidden_size": WIDTH,
        "encoder_hidden_size": WIDTH,
        "intermediate_size": 2 * WIDTH,
        "projection_dim": WIDTH,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "max_position_embeddings": TOKENS,
        **special,
    }
    vision = {
        "hidden_size": WIDTH,
        "intermediate_size": 4 * WIDTH,
        "projection_dim": WIDTH,
        "num_hidden_layers": 4,
        "num_attention_heads": 4,
        "image_size": 64,
        "patch_size": 8,
        "initializer_range": 0.02,
    }
    config = BlipConfig(text_config=text, vision_config=vision, projection_dim=WIDTH)
    model = BlipForConditionalGeneration(config)
    # Starting from waves, patches find their neighbours much sooner than from noise.
    embeddings = model.vision_model.embeddings
    embeddings.position_embedding.data[0, 1:] = 0.5 * _waves(8, WIDTH)
    return model


@torch.no_grad()
def whiten(model: BlipForConditionalGeneration, images: Tensor, floor: float = 2e-3) -> None:
    """Start the patch embedding from the principal components of patches, at unit variance.

    Outlines and textures, faint beside a patch's mean colour, so count from the first step.

    Args:
        model: Changed in place.
        images: uint8, (N, 3, 64, 64).
        floor: Added to variances, so that noise is not blown up.
    """
    layer = model.vision_model.embeddings.patch_embedding
    side = layer.kernel_size[0]
    pixels = images.float() / 127.5 - 1
    patches = nn.functional.unfold(pixels, side, stride=side).transpose(1, 2).flatten(0, 1)
    mean = patches.mean(dim=0)
    values, vectors = torch.linalg.eigh(torch.cov(patches.T))
    largest = values.argsort(descending=True)[: layer.out_channels]
    rows = vectors[:, largest].T / (values[largest] + floor).sqrt()[:, None]
    layer.weight.copy_(rows.view_as(layer.weight))
    layer.bias.copy_(-rows @ mean)


def _waves(side: int, width: int) -> Tensor:
    """Sine-cosine codes of the places of a grid, float32 (side * side, width)."""
    rates = 1.0 / 100 ** (torch.arange(width // 4) / (width // 4 - 1))
    angles = torch.arange(side)[:, None] * rates
    codes = torch.cat([angles.sin(), angles.cos()], dim=1)
    rows = codes[:, None].expand(side, side, -1)
    columns = codes[None].expand(side, side, -1)
    return torch.cat([rows, columns], dim=2).reshape(side * side, width)


def new_processor(tokenizer: BertTokenizer) -> BlipProcessor:
    """Return the processor: pictures to 64x64 in [-1, 1], words to tokens."""
    pictures = BlipImageProcessor(
        size={"height": 64, "width": 64}, image_mean=[0.5] * 3, image_std=[0.5] * 3
    )
    return BlipProcessor(pictures, tokenizer)


def train_captioner(
    out: Path, settings: CaptionerTraining | None = None, start: Path | None = None
) -> BlipForConditionalGeneration:
    """Train the captioner, save model and processor in `out`, return it in eval mode.

    Args:
        out: Folder of the model; intermediate averages are saved there, too.
        settings: Lengths.
        start: Folder of a captioner after the first stage, to do only the second.
    """
    settings = settings or CaptionerTraining()
    torch.manual_seed(settings.seed)
    tokenizer = bert_tokenizer(out, TOKENS)
    model = new_captioner(tokenizer)
    if start is None:
        seeds = TRAINING_SEEDS[4_000_000 : 4_000_000 + settings.images]
        data = draw(seeds)
        whiten(model, data.images[:2_000])
        batch_stream = _repeated_batches(data, seeds, settings)
        model = _stage(out, model, Hints(), batch_stream, settings.steps, settings.rate, settings)
    else:
        model = BlipForConditionalGeneration.from_pretrained(start)
    batch_stream = _fresh_batches(settings)
    model = _stage(
        out, model, None, batch_stream, settings.fresh_steps, settings.fresh_rate, settings
    )
    return model.eval()


_Show = tuple[Examples, Sequence[npt.NDArray[np.float32]]]


def _repeated_batches(
    data: Examples, seeds: Sequence[int], settings: CaptionerTraining
) -> Iterator[_Show]:
    """Batches of one set of scenes, with the objects' squares."""
    boxes = [object_boxes(scene, seed) for scene, seed in zip(data.scenes, seeds, strict=True)]
    for indices in batches(len(data), settings.batch, settings.steps, settings.seed):
        rows = indices.tolist()
        part = Examples([data.scenes[i] for i in rows], data.images[indices], data.masks[indices])
        yield part, [boxes[i] for i in rows]


def _fresh_batches(settings: CaptionerTraining) -> Iterator[_Show]:
    """Batches of scenes that are never shown again, with the objects' squares."""
    for step in range(settings.fresh_steps):
        begin = 8_000_000 + step * settings.batch
        seeds = TRAINING_SEEDS[begin : begin + settings.batch]
        data = draw(seeds)
        yield data, [object_boxes(scene, s) for scene, s in zip(data.scenes, seeds, strict=True)]


def _stage(
    out: Path,
    model: BlipForConditionalGeneration,
    hints: Hints | None,
    batch_stream: Iterator[_Show],
    steps: int,
    peak: float,
    settings: CaptionerTraining,
) -> BlipForConditionalGeneration:
    """Train on the batches that are shown; save and return the averaged weights."""
    rng = np.random.default_rng([settings.seed, steps])
    tokenizer = bert_tokenizer(out, TOKENS)
    average = Average(model.train(), 0.998)
    parameters = [*model.parameters(), *(hints.parameters() if hints else ())]
    optimiser = torch.optim.AdamW(parameters, lr=peak, betas=(0.9, 0.98), weight_decay=0.01)
    progress = LossLog("captioner", steps, every=100)
    for step, (data, boxes) in enumerate(batch_stream):
        set_learning_rate(optimiser, learning_rate(step, steps, peak))
        views = [
            random_view(scene, mask, box, rng)
            for scene, mask, box in zip(data.scenes, data.masks.numpy(), boxes, strict=True)
        ]
        words, states = _caption_loss(
            model, tokenizer, _blurred(cut(data.images, views), rng), views
        )
        loss = words + hints(states, data.masks, views) if hints else words
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimiser.step()
        average.update(model)
        progress(step, words.item())
        if (step + 1) % settings.save_every == 0 or step + 1 == steps:
            _save(out, tokenizer, average)
    model.load_state_dict(average.state)
    return model


def _blurred(pixels: Tensor, rng: np.random.Generator) -> Tensor:
    """Send half of the batches through 96x96 and back, as the workflow does with crops."""
    if rng.random() < 0.5:
        return pixels
    large = nn.functional.interpolate(pixels, (96, 96), mode="bicubic")
    reduced = nn.functional.interpolate(large, (64, 64), mode="bicubic", antialias=True)
    return reduced.clamp(0, 1)


def _caption_loss(
    model: BlipForConditionalGeneration,
    tokenizer: BertTokenizer,
    pixels: Tensor,
    views: list[SceneView],
) -> tuple[Tensor, Tensor]:
    """Mean loss of the captions' next words, and the vision tower's states (B, 65, 128)."""
    text = tokenizer([view.caption for view in views], padding=True, return_tensors="pt")
    labels = text.input_ids.masked_fill(text.attention_mask == 0, -100)
    with torch.autocast("cpu", torch.bfloat16):
        output = model(
            pixel_values=(pixels - 0.5) / 0.5,
            input_ids=text.input_ids,
            attention_mask=text.attention_mask,
            labels=labels,
        )
    return output.loss.float(), output.last_hidden_state.float()


def _save(out: Path, tokenizer: BertTokenizer, average: Average) -> None:
    model = new_captioner(tokenizer)
    model.load_state_dict(average.state)
    model.eval().save_pretrained(out)
    new_processor(tokenizer).save_pretrained(out)
    size = halve_files(out)
    log.info("captioner saved, %.2f MB", size / 1e6)
