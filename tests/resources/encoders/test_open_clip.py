"""open_clip on a tiny model: a folder, an architecture with a file, a tag in the cache."""

import json
import shutil
import time

import numpy as np
import open_clip
import pytest
import torch

from dnd_assets.errors import NotFoundError, StudyError
from resources.checkpoints import Checkpoint
from resources.encoders.open_clip import (
    _ENDINGS,
    _LOCAL,
    _USUAL,
    OpenClip,
    _configuration,
    _weights_of,
)
from tests.resources import tiny


@pytest.fixture(scope="module")
def clip(clip_folder, cpu):
    return OpenClip(model=str(clip_folder), compute=cpu)


@pytest.fixture
def architecture(clip_folder, tmp_path, monkeypatch):
    """The tiny model as a named architecture of open_clip, with one tag of weights."""
    from open_clip import factory, pretrained

    monkeypatch.setattr(factory, "_MODEL_CONFIG_PATHS", [*factory._MODEL_CONFIG_PATHS])
    monkeypatch.setattr(factory, "_MODEL_CONFIGS", dict(factory._MODEL_CONFIGS))
    config = json.loads((clip_folder / "open_clip_config.json").read_text())["model_cfg"]
    (tmp_path / "Tiny-B-8.json").write_text(json.dumps(config))
    open_clip.add_model_config(tmp_path / "Tiny-B-8.json")
    tag = {"hf_hub": "org/tiny-clip/", "mean": (0.5,) * 3, "std": (0.5,) * 3}
    monkeypatch.setitem(pretrained._PRETRAINED, "Tiny-B-8", {"noise": tag})
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    return "Tiny-B-8"


def test_a_folders_weights_and_shape_are_those_that_open_clip_takes(clip_folder, tmp_path):
    from open_clip.factory import _find_checkpoint_in_dir, get_model_config

    names = [*_USUAL, *(f"{stem}{end}" for stem in ("a", "zz") for end in _ENDINGS)]
    dice = np.random.default_rng(0)
    for number in range(60):
        place = tmp_path / str(number)
        place.mkdir()
        for name in dice.choice(names, size=dice.integers(1, 6), replace=False):
            (place / name).touch()
        found = _weights_of(Checkpoint(place, "here"))
        assert str(found) == _find_checkpoint_in_dir(place), sorted(place.iterdir())
    assert _configuration(f"{_LOCAL}{clip_folder}") == get_model_config(f"{_LOCAL}{clip_folder}")


def test_embeddings_are_unit_vectors(clip, photos):
    images, texts = clip.embed_images(photos, 4), clip.embed_texts(["red", "blue", "red"])

    assert images.shape == (7, 12)
    assert images.dtype == texts.dtype == np.float32
    assert np.allclose(np.linalg.norm(images, axis=1), 1, atol=1e-4)
    assert np.allclose(np.linalg.norm(texts, axis=1), 1, atol=1e-4)
    assert np.array_equal(texts[0], texts[2])
    assert not np.allclose(texts[0], texts[1], atol=1e-3)


def test_they_match_open_clip_itself(clip, clip_folder, photos):
    model, _, transform = open_clip.create_model_and_transforms(f"local-dir:{clip_folder}")
    tokens = open_clip.get_tokenizer(f"local-dir:{clip_folder}")(["a red circle"])
    with torch.inference_mode():
        pixels = torch.stack([transform(photo) for photo in photos])
        images = model.eval().encode_image(pixels, normalize=True).numpy()
        text = model.encode_text(tokens, normalize=True).numpy()

    assert np.abs(clip.embed_images(photos, 3) - images).max() < 1e-4
    assert np.abs(clip.embed_texts(["a red circle"]) - text).max() < 1e-4


def test_order_and_company_do_not_matter(clip, photos):
    whole = clip.embed_images(photos, 4)

    assert np.array_equal(clip.embed_images(photos[::-1], 4)[::-1], whole)
    assert np.array_equal(clip.embed_images(photos[2:3], 4), whole[2:3])
    assert np.abs(clip.embed_images(photos, 7) - whole).max() < 1e-4


def test_nothing_gives_an_empty_table(clip):
    assert clip.embed_images([], 4).shape == (0, 12)
    assert clip.embed_texts([]).shape == (0, 12)


def test_a_folder_may_hold_its_own_tokenizer(clip_folder, cpu, tmp_path):
    own = shutil.copytree(clip_folder, tmp_path / "own")
    tiny.words_tokenizer(own, ["red", "blue"])

    vectors = OpenClip(model=str(own), compute=cpu).embed_texts(["red", "blue", "green", "mauve"])

    assert not np.allclose(vectors[0], vectors[1], atol=1e-3)
    assert np.array_equal(vectors[2], vectors[3])  # both unknown to the folder's vocabulary


def test_an_architecture_takes_a_weights_file(architecture, clip, clip_folder, cpu, photos):
    file = clip_folder / "open_clip_model.safetensors"
    named = OpenClip(model=architecture, pretrained=str(file), compute=cpu)

    assert named.embed_images(photos, 4).shape == (7, 12)
    assert np.array_equal(named.embed_texts(["red"]), clip.embed_texts(["red"]))


def test_a_tag_comes_from_the_cache_with_its_preprocessing(
    architecture, clip, clip_folder, cpu, photos, tmp_path
):
    named = OpenClip(model=architecture, pretrained="noise", compute=cpu)
    command = "hf download org/tiny-clip open_clip_model.safetensors"
    with pytest.raises(StudyError, match=command):
        named.check()

    repository = tmp_path / "hub" / "models--org--tiny-clip"
    snapshot = repository / "snapshots" / ("c" * 40)
    snapshot.mkdir(parents=True)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("c" * 40)
    shutil.copy(clip_folder / "open_clip_model.safetensors", snapshot)

    assert np.array_equal(named.embed_images(photos, 4), clip.embed_images(photos, 4))


def test_real_weights_that_are_missing_name_the_command_at_once(cpu, tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    for model in ("ViT-B-16", "ViT-B/16"):
        start = time.perf_counter()
        with pytest.raises(StudyError, match=r"hf download timm/vit_base_patch16_clip_224\.openai"):
            OpenClip(model=model, pretrained="openai", compute=cpu).check()
        assert time.perf_counter() - start < 1.0


def test_wrong_names_list_the_nearest(cpu):
    with pytest.raises(NotFoundError, match="'ViT-B-17'; nearest: ViT-B-16"):
        OpenClip(model="ViT-B-17", pretrained="openai", compute=cpu).check()
    with pytest.raises(NotFoundError, match="'opnai'; nearest: openai"):
        OpenClip(model="ViT-B-16", pretrained="opnai", compute=cpu).check()
    with pytest.raises(NotFoundError, match="weights of ViT-B-16"):
        OpenClip(model="ViT-B-16", compute=cpu).check()


def test_the_fingerprint_follows_the_weights_not_the_place(clip, clip_folder, cpu, tmp_path):
    moved = shutil.copytree(clip_folder, tmp_path / "moved")
    assert (
        OpenClip(model="moved", base=str(tmp_path), compute=cpu).fingerprint() == clip.fingerprint()
    )

    weights = moved / "open_clip_model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    changed = OpenClip(model=str(moved), compute=cpu)
    assert changed.fingerprint() != clip.fingerprint()
