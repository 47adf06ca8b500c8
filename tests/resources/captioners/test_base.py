"""The BLIP captioner on a tiny checkpoint of the same class."""

import os
import shutil
import time

import pytest
import torch

from dnd_assets.errors import StudyError
from resources.captioners.base import BlipCaptioner
from resources.runtime.exact_passes import Exact
from tests.resources import tiny


@pytest.fixture(scope="module")
def captioner(blip_folder, cpu):
    return BlipCaptioner(checkpoint=str(blip_folder), max_new_tokens=8, min_length=3, compute=cpu)


@pytest.fixture(scope="module")
def images(photos):
    return [*photos, *tiny.pictures(5, seed=9)]


@pytest.fixture(scope="module")
def captions(captioner, images):
    return captioner.caption(images, 4)


def test_captions_differ_between_pictures_and_are_plain_words(captions):
    assert len(set(captions)) > 2
    assert {word for text in captions for word in text.split()} <= {*tiny.WORDS, "[UNK]"}
    assert all(text == text.strip() for text in captions)


def test_a_caption_is_the_same_again_alone_and_in_any_order(captioner, images, captions):
    assert captioner.caption(images, 4) == captions
    assert captioner.caption(images[::-1], 4) == captions[::-1]
    assert captioner.caption(images[4:5], 4) == captions[4:5]


@pytest.mark.parametrize("batch_size", [1, 5, 32])
def test_the_batch_size_does_not_matter(captioner, images, captions, batch_size):
    assert captioner.caption(images, batch_size) == captions


def test_it_generates_what_transformers_generates(blip_folder, captioner, images, captions):
    """The reference call of the paper's code, one picture at a time."""
    from transformers import BlipForConditionalGeneration, BlipProcessor

    model = BlipForConditionalGeneration.from_pretrained(blip_folder).eval()
    processor = BlipProcessor.from_pretrained(blip_folder)

    for image, caption in zip(images[:5], captions[:5], strict=True):
        inputs = processor(images=image.convert("RGB"), return_tensors="pt")
        tokens = model.generate(**inputs, max_new_tokens=8, min_length=3)
        assert processor.decode(tokens[0], skip_special_tokens=True).strip() == caption


def test_length_limits_hold(blip_folder, cpu, images):
    short = BlipCaptioner(
        checkpoint=str(blip_folder), max_new_tokens=2, min_length=1, compute=cpu
    ).caption(images, 4)

    assert max(len(text.split()) for text in short) == 2


def test_each_batch_is_handed_over_once(captioner, images, captions):
    seen = []

    captioner.caption(images, 5, on_batch=lambda batch, texts: seen.append((batch, texts)))

    assert [image for batch, _ in seen for image in batch] == images
    assert [text for _, texts in seen for text in texts] == captions


def test_memory_that_runs_out_changes_nothing(captioner, images, captions, monkeypatch):
    whole, full = BlipCaptioner._captions, [True, True]

    def short_of_memory(self, model, processor, batch):
        if full:
            full.pop()
            raise torch.OutOfMemoryError("full")
        return whole(self, model, processor, batch)

    monkeypatch.setattr(BlipCaptioner, "_captions", short_of_memory)

    assert captioner.caption(images, 8) == captions


def test_a_call_that_never_fits_is_told_with_its_pictures(captioner, images, monkeypatch):
    def too_large(*_):
        raise torch.OutOfMemoryError("full")

    monkeypatch.setattr(BlipCaptioner, "_captions", too_large)
    with pytest.raises(StudyError, match="a call of 4 items does not fit"):
        captioner.caption(images, 8)


def test_no_caption_depends_on_its_neighbours_in_a_call(captioner, images, captions):
    assert captioner._exact(captioner._load()[0]) == Exact(4, at_once=True)
    alone = [captioner.caption([image], 1)[0] for image in images]
    assert alone == captions == captioner.caption(images[::-1], 3)[::-1]


def test_the_model_loads_once_and_is_frozen(captioner, blip_folder, cpu):
    again = BlipCaptioner(checkpoint=str(blip_folder), max_new_tokens=3, compute=cpu)

    model = captioner._load()[0]

    assert again._load()[0] is model
    assert not model.training
    assert not any(p.requires_grad for p in model.parameters())


def test_the_fingerprint_follows_settings_and_weights_not_the_place(
    captioner, blip_folder, cpu, tmp_path
):
    before = captioner.fingerprint()
    moved = shutil.copytree(blip_folder, tmp_path / "moved")
    settings = {"max_new_tokens": 8, "min_length": 3, "compute": cpu}
    assert BlipCaptioner(checkpoint="moved", base=str(tmp_path), **settings).fingerprint() == before
    longer = {**settings, "max_new_tokens": 9}
    assert BlipCaptioner(checkpoint=str(moved), **longer).fingerprint() != before

    weights = moved / "model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    os.utime(weights, ns=(1, 1))
    assert BlipCaptioner(checkpoint=str(moved), **settings).fingerprint() != before


def test_a_missing_checkpoint_names_the_command_at_once(cpu, tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    captioner = BlipCaptioner(checkpoint="Salesforce/blip-image-captioning-base", compute=cpu)

    start = time.perf_counter()
    with pytest.raises(StudyError, match="hf download Salesforce/blip-image-captioning-base`"):
        captioner.check()
    assert time.perf_counter() - start < 1.0
