"""Figures of the shipped checkpoints on pictures that no training has seen."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import torch
from diffusers import StableDiffusionPipeline
from torch import Tensor, nn
from transformers import AutoProcessor, BlipForConditionalGeneration

from dnd_assets.known_answers.render import object_boxes
from dnd_assets.known_answers.target import (
    OPPONENTS,
    WorldNet,
    categories,
    holds,
    load_world_net,
    planted_names,
)
from dnd_assets.known_answers.train.clip import noisy
from dnd_assets.known_answers.train.common import Examples, draw, log
from dnd_assets.known_answers.train.hard import held_out_accuracy, load_hard_net
from dnd_assets.known_answers.train.recogniser import Recogniser, load_recogniser, recognised
from dnd_assets.known_answers.train.target import normalised
from dnd_assets.known_answers.train.views import SceneView, cut, random_view, whole
from dnd_assets.known_answers.world import (
    BACKGROUNDS,
    COLOURS,
    HELD_OUT_SEEDS,
    PLACES,
    PLURALS,
    SHAPES,
    VALUES,
    Scene,
    caption,
    parse,
    probing_seed,
)

STEPS = 12
GUIDANCE = 5.0
_TOP = 10


def held_out(count: int, start: int = 0) -> Examples:
    """Draw scenes of the seeds kept for evaluation."""
    return draw(HELD_OUT_SEEDS[start : start + count])


@torch.no_grad()
def read_target(net: nn.Module, images: Tensor) -> dict[str, Tensor]:
    """Mean-pooled responses, float32 (N, units), of "head" and "planted" to uint8 images."""
    assert isinstance(net, WorldNet)
    responses: dict[str, list[Tensor]] = {"head": [], "planted": []}
    hook = net.planted.register_forward_hook(
        lambda _module, _inputs, maps: responses["planted"].append(maps.mean(dim=(2, 3)))
    )
    for batch in torch.split(images, 256):
        responses["head"].append(net(normalised(batch)))
    hook.remove()
    return {layer: torch.cat(parts) for layer, parts in responses.items()}


def is_shown(scene: Scene, name: str) -> bool:
    """Whether the truth of a unit, by the unit's name, holds of a scene."""
    if name in OPPONENTS:
        return scene.colour == name.split("-")[0]
    return any(holds(scene, part) for part in name.split(" or "))


def evaluate_target(folder: Path, probing: int = 4096) -> dict[str, object]:
    """Held-out accuracy of each head unit; share of true pictures among each unit's top ten."""
    net = load_world_net(folder)
    test = held_out(1024)
    logits = read_target(net, test.images)["head"]
    accuracy = {}
    for unit, name in enumerate(categories()):
        truth = torch.tensor([holds(scene, name) for scene in test.scenes])
        accuracy[name] = _share(((logits[:, unit] > 0) == truth).tolist())
    probes = draw([probing_seed(index, 0) for index in range(probing)])
    responses = read_target(net, probes.images)
    purity: dict[str, dict[str, float]] = {"head": {}, "planted": {}}
    for layer, names in (("head", categories()), ("planted", planted_names())):
        for unit, name in enumerate(names):
            top = responses[layer][:, unit].topk(_TOP).indices.tolist()
            purity[layer][name] = _share([is_shown(probes.scenes[at], name) for at in top])
    dead_responses = responses["planted"][:, planted_names().index("dead")]
    del purity["planted"]["dead"], purity["planted"]["random"]
    return {
        "held_out_accuracy": accuracy,
        "top_10_purity": purity,
        "dead_unit_largest_response": float(dead_responses.max()),
    }


def evaluate_captioner(folder: Path, count: int = 512) -> dict[str, object]:
    """Share of held-out captions that state each attribute exactly, of pictures and cut-outs."""
    processor = AutoProcessor.from_pretrained(folder)
    model = BlipForConditionalGeneration.from_pretrained(folder).eval()
    test = held_out(count, 10_000)
    rng = np.random.default_rng(7)
    seeds = HELD_OUT_SEEDS[10_000 : 10_000 + count]
    crops = [
        random_view(scene, mask, object_boxes(scene, seed), rng, whole_share=0.0)
        for scene, mask, seed in zip(test.scenes, test.masks.numpy(), seeds, strict=True)
    ]
    crops = [view if len(view.shown) < len(VALUES) else whole(view.scene) for view in crops]

    def write(pixels: Tensor) -> list[str]:
        texts: list[str] = []
        for part in torch.split((pixels - 0.5) / 0.5, 128):
            tokens = model.generate(pixel_values=part, max_new_tokens=20)
            texts += processor.batch_decode(tokens, skip_special_tokens=True)
        return texts

    pictures = [whole(scene) for scene in test.scenes]
    return {
        "pictures": _caption_figures(write(cut(test.images, pictures)), pictures),
        "cut_outs": _caption_figures(write(cut(test.images, crops)), crops),
    }


def _caption_figures(texts: Sequence[str], views: Sequence[SceneView]) -> dict[str, float]:
    parsed = [parse(text) for text in texts]
    expected = [parse(view.caption) for view in views]
    figures = {
        name: _share([a.get(name) == b.get(name) for a, b in zip(parsed, expected, strict=True)])
        for name in VALUES
    }
    exact = [text == view.caption for text, view in zip(texts, views, strict=True)]
    return figures | {"whole_caption": _share(exact)}


@torch.no_grad()
def evaluate_clip(folder: Path, count: int = 512) -> dict[str, object]:
    """Retrieval among held-out captions, and choice of each attribute's word by similarity."""
    model, _, _ = open_clip.create_model_and_transforms(f"local-dir:{folder}")
    tokenizer = open_clip.get_tokenizer(f"local-dir:{folder}")
    model.eval()
    test = held_out(count, 20_000)
    image_vectors = model.encode_image((test.images.float() / 255 - 0.5) / 0.5, normalize=True)

    def read(texts: Sequence[str]) -> Tensor:
        vectors: Tensor = model.encode_text(tokenizer(list(texts)), normalize=True)
        return vectors

    captions = sorted({caption(scene) for scene in test.scenes})
    caption_index = torch.tensor([captions.index(caption(scene)) for scene in test.scenes])
    order = (image_vectors @ read(captions).T).argsort(dim=1, descending=True)
    figures: dict[str, object] = {
        f"caption_in_top_{top}_of_{len(captions)}": _share(
            (order[:, :top] == caption_index[:, None]).any(dim=1).tolist()
        )
        for top in (1, 5)
    }
    for name, texts in (("colour", COLOURS), ("shape", SHAPES), ("background", BACKGROUNDS)):
        choices = (image_vectors @ read(texts).T).argmax(dim=1).tolist()
        pairs = zip(test.scenes, choices, strict=True)
        figures[f"{name}_by_word"] = _share([holds(scene, texts[at]) for scene, at in pairs])
    return figures


def evaluate_recogniser(folder: Path, count: int = 1024) -> dict[str, float]:
    """Held-out accuracy of the judge for each attribute, on blurred and noisy pictures."""
    test = held_out(count, 30_000)
    rng = np.random.default_rng(8)
    net = load_recogniser(folder)
    readings: list[dict[str, int | str]] = []
    for part in torch.split(test.images, 64):
        readings += net.read(noisy(part.float() / 255, rng))
    pairs = list(zip(readings, test.scenes, strict=True))
    return {
        name: _share([row[name] == getattr(scene, name) for row, scene in pairs]) for name in VALUES
    }


def concepts() -> list[str]:
    """Concepts as summarised captions name them: one word, two, three, or a whole caption."""
    texts: list[str] = [*COLOURS, *SHAPES, *BACKGROUNDS, "small", "large", "two", "three"]
    texts += ["horizontal stripes", "vertical stripes", "checks", "dots"]
    for index in range(16):
        example = draw([HELD_OUT_SEEDS[40_000 + index]]).scenes[0]
        texts.append(f"{example.colour} {example.shape}")
        texts.append(f"two {example.colour} {PLURALS[example.shape]}")
        texts.append(f"{example.colour} {example.shape} {PLACES[example.background]}")
        if example.texture != "plain":
            texts.append(f"{example.shape} with {example.texture}")
            texts.append(f"large {example.colour} {example.shape} with {example.texture}")
    return list(dict.fromkeys(texts))


def paint(
    pipeline: StableDiffusionPipeline, prompts: Sequence[str], per_prompt: int, seed: int = 0
) -> Tensor:
    """Paint each prompt several times.

    Returns:
        float32, (prompts * per_prompt, 3, 64, 64), in [0, 1]; pictures of a prompt lie together.
    """
    parts = []
    generator = torch.Generator().manual_seed(seed)
    for prompt in prompts:
        pixels = pipeline(
            [prompt] * per_prompt,
            num_inference_steps=STEPS,
            guidance_scale=GUIDANCE,
            generator=generator,
            output_type="pt",
        ).images
        parts.append((pixels * 255).round() / 255)  # what a PNG file keeps
    return torch.cat(parts)


def evaluate_text_to_image(folder: Path, judge: Path, per_prompt: int = 10) -> dict[str, object]:
    """Share of painted pictures in which the judge reads every attribute of the prompt."""
    pipeline = StableDiffusionPipeline.from_pretrained(folder, safety_checker=None)
    pipeline.set_progress_bar_config(disable=True)
    net = load_recogniser(judge)
    texts = concepts()
    started = time.process_time()
    pixels = paint(pipeline, [f"One realistic image of {text}" for text in texts], per_prompt)
    cpu_seconds = time.process_time() - started
    figures = painting_figures(net, texts, pixels, per_prompt)
    return figures | {"cpu_seconds_per_picture": round(cpu_seconds / len(pixels), 4)}


def painting_figures(
    net: Recogniser, texts: Sequence[str], pixels: Tensor, per_prompt: int
) -> dict[str, object]:
    """Recognised share over all pictures, by attribute, by number named, and the worst concepts."""
    readings = net.read(pixels)
    by_concept: dict[str, float] = {}
    by_attribute: dict[str, list[bool]] = {name: [] for name in VALUES}
    by_number: dict[str, list[bool]] = {}
    for index, text in enumerate(texts):
        facts = parse(text)
        rows = readings[index * per_prompt : (index + 1) * per_prompt]
        hits = [recognised(row, facts) for row in rows]
        by_concept[text] = _share(hits)
        by_number.setdefault(f"{len(facts)}_named", []).extend(hits)
        for name, values in facts.items():
            by_attribute[name] += [row[name] in values for row in rows]
    worst = sorted(by_concept, key=lambda text: (by_concept[text], text))[:8]
    return {
        "pictures": len(readings),
        "recognised": _share([hit for hits in by_number.values() for hit in hits]),
        "by_number": {name: _share(hits) for name, hits in sorted(by_number.items())},
        "by_attribute": {name: _share(hits) for name, hits in by_attribute.items() if hits},
        "worst": {text: by_concept[text] for text in worst},
    }


def evaluate_hard(folder: Path) -> dict[str, dict[str, float]]:
    """How the readout of the harder world tells its words on held-out pictures."""
    return {"held_out_accuracy": held_out_accuracy(load_hard_net(folder))}


def evaluate_all(checkpoints: Path, per_prompt: int = 10) -> dict[str, Any]:
    """Figures of every checkpoint that is there, by model; `per_prompt` pictures a concept."""
    tasks: dict[str, Callable[[], dict[str, Any]]] = {
        "target": lambda: evaluate_target(checkpoints / "target"),
        "captioner": lambda: evaluate_captioner(checkpoints / "captioner"),
        "clip": lambda: evaluate_clip(checkpoints / "clip"),
        "recogniser": lambda: evaluate_recogniser(checkpoints / "recogniser"),
        "hard": lambda: evaluate_hard(checkpoints / "hard"),
        "text_to_image": lambda: evaluate_text_to_image(
            checkpoints / "text_to_image", checkpoints / "recogniser", per_prompt
        ),
    }
    figures = {}
    for name, task in tasks.items():
        if (checkpoints / name).is_dir():
            figures[name] = task()
            log.info("%s: %s", name, figures[name])
    return figures


def _share(hits: Sequence[bool]) -> float:
    return round(sum(hits) / len(hits), 4)
