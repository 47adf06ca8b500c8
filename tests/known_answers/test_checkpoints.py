"""The shipped checkpoints load in their genuine classes and know the world."""

from __future__ import annotations

import json
import logging
import re
from pathlib import Path

import open_clip
import pytest
import torch
from diffusers import StableDiffusionPipeline
from PIL import Image
from transformers import AutoProcessor, BlipForConditionalGeneration, BlipProcessor

from dnd_assets.known_answers.target import CHECKPOINT, categories, holds, load_world_net
from dnd_assets.known_answers.train.recogniser import load_recogniser
from dnd_assets.known_answers.train.release import FILE_LIMIT_BYTES, LIMIT_BYTES
from dnd_assets.known_answers.train.training_figures import (
    held_out,
    is_shown,
    paint,
    painting_figures,
    read_target,
)
from dnd_assets.known_answers.world import caption, parse

FOLDER = CHECKPOINT.parent


@pytest.fixture(autouse=True)
def _one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def test_set():
    return held_out(96, 50_000)


def files() -> list[Path]:
    return [path for path in FOLDER.rglob("*") if path.is_file()]


def test_files_are_small_and_hold_no_code():
    assert sum(path.stat().st_size for path in files()) <= LIMIT_BYTES
    for path in files():
        assert path.stat().st_size < FILE_LIMIT_BYTES, path
        assert path.suffix in {".safetensors", ".json", ".txt"}, path


def test_configurations_hold_no_paths_of_the_machine_that_trained():
    for path in files():
        if path.suffix == ".json":
            text = path.read_text(encoding="utf-8")
            json.loads(text)
            assert not re.search(r'"/\w+/', text), path


def test_target_knows_held_out_scenes(test_set):
    responses = read_target(load_world_net(), test_set.images)
    truth = torch.tensor([[holds(one, name) for name in categories()] for one in test_set.scenes])
    right = (responses["head"] > 0) == truth
    assert right.float().mean() > 0.97
    assert responses["planted"].shape == (96, 16)
    for unit, name in ((4, "horizontal stripes"), (8, "circle"), (11, "sand"), (0, "red-green")):
        at = int(responses["planted"][:, unit].argmax())
        assert is_shown(test_set.scenes[at], name)


def test_captioner_describes_held_out_pictures(test_set):
    processor = AutoProcessor.from_pretrained(FOLDER / "captioner")
    model = BlipForConditionalGeneration.from_pretrained(FOLDER / "captioner").eval()
    assert isinstance(processor, BlipProcessor)
    assert model.dtype == torch.float32
    pictures = [
        Image.fromarray(image.permute(1, 2, 0).numpy()).resize((96, 96))
        for image in test_set.images
    ]
    inputs = processor(images=pictures, return_tensors="pt")
    texts = processor.batch_decode(
        model.generate(**inputs, max_new_tokens=20), skip_special_tokens=True
    )
    right = [text == caption(one) for text, one in zip(texts, test_set.scenes, strict=True)]
    assert sum(right) >= 0.88 * len(right)
    colours = [
        parse(text)["colour"] == (one.colour,)
        for text, one in zip(texts, test_set.scenes, strict=True)
    ]
    assert sum(colours) >= 0.95 * len(colours)


def test_clip_matches_pictures_and_captions(test_set):
    logging.getLogger().setLevel(logging.WARNING)
    name = f"local-dir:{FOLDER / 'clip'}"
    model, _, preprocess = open_clip.create_model_and_transforms(name)
    tokenizer = open_clip.get_tokenizer(name)
    assert isinstance(model, open_clip.CLIP)
    model.eval()
    pictures = torch.stack(
        [preprocess(Image.fromarray(x.permute(1, 2, 0).numpy())) for x in test_set.images]
    )
    texts = [caption(one) for one in test_set.scenes]
    with torch.no_grad():
        seen = model.encode_image(pictures, normalize=True)
        read = model.encode_text(tokenizer(texts), normalize=True)
    hits = [texts[at] == text for at, text in zip((seen @ read.T).argmax(1), texts, strict=True)]
    assert sum(hits) >= 0.75 * len(hits)


@pytest.fixture(scope="module")
def pipeline():
    pipeline = StableDiffusionPipeline.from_pretrained(FOLDER / "text_to_image")
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def test_painted_pictures_show_what_prompts_name(pipeline):
    concepts = ["red", "yellow", "blue shapes at night", "sand", "purple on grass", "green star"]
    concepts += ["horizontal stripes", "vertical stripes"]
    prompts = [f"One realistic image of {text}" for text in concepts]
    pixels = paint(pipeline, prompts, 3)
    assert pixels.shape == (24, 3, 64, 64)
    figures = painting_figures(load_recogniser(FOLDER / "recogniser"), concepts, pixels, 3)
    assert figures["recognised"] >= 0.8, figures
    assert torch.equal(pixels[:3], paint(pipeline, prompts[:1], 3))


def test_pipeline_is_what_the_paper_uses(pipeline):
    assert type(pipeline.scheduler).__name__ == "DPMSolverMultistepScheduler"
    assert pipeline.scheduler.config.algorithm_type == "dpmsolver++"
    assert pipeline.unet.dtype == pipeline.vae.dtype == torch.float32
    assert pipeline.tokenizer.tokenize("stripes") == ["stripes</w>"]
