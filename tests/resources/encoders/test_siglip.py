"""SigLIP through open_clip: a sigmoid-trained CLIP with another tower, tokenizer and resizing."""

import json
import shutil
import time

import numpy as np
import pytest
import torch
from PIL import Image

from dnd_assets.errors import StudyError
from resources.encoders.open_clip import OpenClip
from tests.resources import tiny

TEXTS = ["a red circle", "one blue square", "sand", "a red circle on sand"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny.siglip(tmp_path_factory.mktemp("tiny") / "siglip")


@pytest.fixture(scope="module")
def encoder(folder, cpu):
    return OpenClip(model=str(folder), compute=cpu)


def test_the_classes_are_those_of_siglip(encoder):
    net = encoder._load()

    assert type(net._model).__name__ == "CustomTextCLIP"
    assert type(net._model.visual.trunk).__module__.startswith("timm.")
    assert type(net._tokenize).__name__ == "HFTokenizer"


def test_vectors_are_of_length_one_and_differ(encoder, photos):
    faces, texts = encoder.embed_images(photos, 3), encoder.embed_texts(TEXTS)

    assert faces.shape == (len(photos), 64)
    assert texts.shape == (len(TEXTS), 64)
    for rows in (faces, texts):
        assert np.allclose(np.linalg.norm(rows, axis=1), 1.0, atol=1e-5)
        products = rows @ rows.T - np.eye(len(rows))
        assert products.max() < 0.999


def test_neither_batch_nor_order_shows(encoder, photos):
    faces = encoder.embed_images(photos, 3)

    assert np.array_equal(encoder.embed_images(photos[::-1], 7)[::-1], faces)
    assert np.array_equal(encoder.embed_texts(TEXTS[::-1])[::-1], encoder.embed_texts(TEXTS))


def test_it_embeds_what_open_clip_embeds(encoder, folder, photos):
    """The reference call of the model card."""
    import open_clip

    name = f"local-dir:{folder}"
    model, transform = open_clip.create_model_from_pretrained(name)
    tokenizer = open_clip.get_tokenizer(name)
    with torch.no_grad():
        pixels = torch.stack([transform(image.convert("RGB")) for image in photos])
        faces = model.eval().encode_image(pixels, normalize=True).numpy()
        texts = model.encode_text(tokenizer(TEXTS), normalize=True).numpy()

    assert np.abs(encoder.embed_images(photos, 3) - faces).max() < 1e-4
    assert np.abs(encoder.embed_texts(TEXTS) - texts).max() < 1e-4


def test_pictures_are_squashed_to_a_square_with_siglips_own_mean(encoder):
    """Its preprocessing: both sides to 160 by bicubic interpolation, then (x - 0.5) / 0.5."""
    rng = np.random.default_rng(0)
    wide = Image.fromarray(rng.integers(0, 256, (40, 120, 3), dtype=np.uint8))
    squashed = np.asarray(wide.resize((160, 160), Image.Resampling.BICUBIC), np.float32)

    seen = encoder._load()._transform(wide).permute(1, 2, 0).numpy()

    assert np.abs(seen - (squashed / 255 - 0.5) / 0.5).max() < 0.02


def test_texts_are_canonicalised_as_siglip_was_trained(encoder):
    plain, dressed = encoder.embed_texts(["a red circle", "  A Red, circle! "])

    assert np.array_equal(plain, dressed)


def test_the_tokenizer_counts_in_the_fingerprint_and_the_place_does_not(
    encoder, folder, cpu, tmp_path
):
    moved = shutil.copytree(folder, tmp_path / "moved")
    assert OpenClip(model=str(moved), compute=cpu).fingerprint() == encoder.fingerprint()

    words = moved / "tokenizer.json"
    words.write_text(words.read_text() + " ")
    assert OpenClip(model=str(moved), compute=cpu).fingerprint() != encoder.fingerprint()


def test_a_folder_without_its_tokenizer_is_refused_before_loading(folder, cpu, tmp_path):
    moved = shutil.copytree(folder, tmp_path / "moved")
    (moved / "tokenizer_config.json").unlink()

    with pytest.raises(StudyError, match=r"lacks tokenizer_config\.json"):
        OpenClip(model=str(moved), compute=cpu).check()
    (moved / "open_clip_config.json").write_text(json.dumps({"model_cfg": []}))
    with pytest.raises(StudyError, match="no configuration of open_clip"):
        OpenClip(model=str(moved), compute=cpu).check()


def test_an_architecture_that_is_not_here_names_the_command(cpu, tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    encoder = OpenClip(model="ViT-B-16-SigLIP", pretrained="webli", compute=cpu)
    import open_clip  # its import is not what is timed

    assert "ViT-B-16-SigLIP" in open_clip.list_models()
    started = time.perf_counter()
    with pytest.raises(StudyError, match="hf download timm/ViT-B-16-SigLIP"):
        encoder.check()
    assert time.perf_counter() - started < 1.0
