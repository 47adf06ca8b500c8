"""The encoder is the one its tag means: activation and preprocessing of every tag of open_clip."""

import json
import shutil
import warnings

import numpy as np
import open_clip
import pytest
import torch
from open_clip import factory, pretrained

from dnd_assets.errors import NotFoundError, StudyError
from resources.checkpoints import Checkpoint, file_hash
from resources.encoders import open_clip as clip
from resources.encoders.open_clip import OpenClip
from tests.resources import hub

PAIRS = open_clip.list_pretrained()


class _Recorder(torch.nn.Module):
    """Stands for a model of open_clip: keeps what it is built with."""

    def __init__(self, **settings):
        super().__init__()
        settings.pop("cast_dtype")
        self.settings = {"quick_gelu": False, **settings}
        self.visual = torch.nn.Module()
        self.visual.image_size = settings["vision_cfg"].get("image_size", 224)


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """(architecture, tag) to what open_clip builds, and to what the product builds."""
    file = tmp_path_factory.mktemp("weights") / "weights.safetensors"
    file.write_bytes(b"weights")
    theirs, ours = {}, {}
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name in ("CLIP", "CustomTextCLIP", "CoCa"):
            patch.setattr(factory, name, type(name, (_Recorder,), {}))
        patch.setattr(factory, "load_checkpoint", lambda *_, **__: None)
        patch.setattr(factory, "download_pretrained", lambda *_, **__: str(file))
        found = Checkpoint.of_file(file, "hub")
        patch.setattr(clip, "_cached", lambda *_: found)
        for architecture, tag in PAIRS:
            model, _, transform = open_clip.create_model_and_transforms(architecture, tag)
            theirs[architecture, tag] = (model, transform)
            encoder = OpenClip(model=architecture, pretrained=tag, compute=_compute())
            ours[architecture, tag] = clip._built(encoder._find())
    return theirs, ours


def _compute():
    from resources.runtime.compute import Compute

    return Compute(device="cpu")


def _config(model):
    return type(model).__name__, model.settings, model.visual.preprocess_cfg


def test_every_tag_is_built_as_open_clip_builds_it_but_for_the_activation_it_warns_of(built):
    theirs, ours = built
    assert len(PAIRS) > 190
    for pair in PAIRS:
        (their_model, their_transform), (our_model, our_transform) = theirs[pair], ours[pair]
        name, settings, preprocess = _config(their_model)
        own = bool(settings["quick_gelu"])
        trained = bool(open_clip.get_pretrained_cfg(*pair).get("quick_gelu", own))
        assert _config(our_model) == (name, {**settings, "quick_gelu": trained}, preprocess), pair
        assert str(our_transform) == str(their_transform), pair
        assert our_model.visual.preprocess_cfg["size"] == our_model.visual.image_size


def test_quickgelu_tags_are_what_open_clip_builds_of_their_quickgelu_architecture(built):
    """Of each such tag open_clip has a second architecture, which differs in that alone."""
    theirs, ours = built
    names = {name for name, _ in PAIRS}
    seen = 0
    for architecture, tag in PAIRS:
        twin = (f"{architecture}-quickgelu", tag)
        if twin[0] not in names or twin not in theirs:
            continue
        seen += 1
        assert ours[architecture, tag][0].settings["quick_gelu"] is True
        assert _config(ours[architecture, tag][0]) == _config(theirs[twin][0])
        assert str(ours[architecture, tag][1]) == str(theirs[twin][1])
    assert seen >= 27
    assert ours["ViT-B-16", "openai"][0].settings["quick_gelu"] is True
    assert ours["ViT-B-16", "laion2b_s34b_b88k"][0].settings["quick_gelu"] is False
    assert ours["roberta-ViT-B-32", "laion2b_s12b_b32k"][0].settings["quick_gelu"] is True


@pytest.fixture
def tiny_tags(clip_folder, tmp_path, monkeypatch):
    """The tiny model as an architecture of open_clip with tags; sets what the tags say."""
    monkeypatch.setattr(factory, "_MODEL_CONFIG_PATHS", [*factory._MODEL_CONFIG_PATHS])
    monkeypatch.setattr(factory, "_MODEL_CONFIGS", dict(factory._MODEL_CONFIGS))
    config = json.loads((clip_folder / "open_clip_config.json").read_text())["model_cfg"]
    (tmp_path / "Tiny-B-8.json").write_text(json.dumps(config))
    open_clip.add_model_config(tmp_path / "Tiny-B-8.json")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    plain = {"mean": (0.5,) * 3, "std": (0.5,) * 3, "interpolation": "bicubic"}

    def tags(**settings):
        made = {name: {"hf_hub": f"org/{name}/", **plain, **one} for name, one in settings.items()}
        monkeypatch.setitem(pretrained._PRETRAINED, "Tiny-B-8", made)
        for name in made:
            copy = tmp_path / f"weights-{name}"
            copy.mkdir(exist_ok=True)
            shutil.copy(clip_folder / "open_clip_model.safetensors", copy)
            if not (tmp_path / "hub" / f"models--org--{name}").exists():
                hub.publish(tmp_path / "hub", f"org/{name}", copy)
        return tmp_path

    return tags


def _tiny(cpu, **settings):
    return OpenClip(model="Tiny-B-8", compute=cpu, **settings)


def test_quickgelu_of_a_tag_changes_the_vectors_to_those_of_the_trained_activation(
    tiny_tags, clip_folder, cpu, photos, tmp_path
):
    tiny_tags(plain={}, quick={"quick_gelu": True})
    folder = shutil.copytree(clip_folder, tmp_path / "quick")
    config = json.loads((folder / "open_clip_config.json").read_text())
    config["model_cfg"]["quick_gelu"] = True
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    model, _, transform = open_clip.create_model_and_transforms(f"local-dir:{folder}")
    with torch.inference_mode():
        pixels = torch.stack([transform(photo) for photo in photos])
        wanted = model.eval().encode_image(pixels, normalize=True).numpy()

    quick = _tiny(cpu, pretrained="quick").embed_images(photos, 4)
    plain = _tiny(cpu, pretrained="plain").embed_images(photos, 4)

    assert np.abs(quick - wanted).max() < 1e-4
    assert np.abs(plain - wanted).max() > 1e-3
    assert _tiny(cpu, pretrained="quick").assumptions() == []
    assert (
        _tiny(cpu, pretrained="quick").fingerprint() != _tiny(cpu, pretrained="plain").fingerprint()
    )


@pytest.mark.parametrize(
    "change",
    [
        {"quick_gelu": True},
        {"mean": (0.4, 0.5, 0.5)},
        {"std": (0.4, 0.5, 0.5)},
        {"interpolation": "bilinear"},
        {"resize_mode": "squash"},
    ],
)
def test_every_setting_of_a_tag_is_in_the_key(tiny_tags, cpu, change):
    tiny_tags(one={})
    before = _tiny(cpu, pretrained="one").fingerprint()
    tiny_tags(one=change)

    assert _tiny(cpu, pretrained="one").fingerprint() != before


def test_a_file_is_known_by_its_place_or_by_its_bytes(tiny_tags, clip_folder, cpu, tmp_path):
    tiny_tags(plain={}, quick={"quick_gelu": True})
    cached = next((tmp_path / "hub" / "models--org--quick").rglob("*.safetensors"))
    by_place = _tiny(cpu, pretrained=str(cached))
    assert by_place._find().settings.quick_gelu is True

    own = shutil.copy(clip_folder / "open_clip_model.safetensors", tmp_path / "own.safetensors")
    start = file_hash(own)[:8]
    url = f"https://github.com/mlfoundations/open_clip/releases/download/v0/tiny-{start}.pt"
    tiny_tags(plain={}, quick={"quick_gelu": True, "url": url})
    by_bytes = _tiny(cpu, pretrained=str(own))
    assert by_bytes._find().settings.quick_gelu is True
    assert by_place.assumptions() == by_bytes.assumptions() == []
    with pytest.raises(StudyError, match=r"holds the weights 'quick'.*clip\.pretrained = 'quick'"):
        _tiny(cpu, pretrained="plain", weights=str(own)).check()


def test_a_file_that_no_tag_is_known_by_is_asked_for_where_tags_differ(
    tiny_tags, clip_folder, cpu, tmp_path
):
    tiny_tags(plain={}, quick={"quick_gelu": True})
    own = shutil.copy(clip_folder / "open_clip_model.safetensors", tmp_path / "own.safetensors")

    with pytest.raises(StudyError, match=r"plain \(GELU.*quick \(QuickGELU.*clip\.weights"):
        _tiny(cpu, pretrained=str(own)).check()
    said = _tiny(cpu, pretrained="quick", weights=str(own))
    assert said._find().settings.quick_gelu is True
    assert said.assumptions() == []
    assert said.fingerprint() == _tiny(cpu, pretrained="quick").fingerprint()
    with pytest.raises(NotFoundError, match="'quik'; nearest: quick"):
        _tiny(cpu, pretrained="quik", weights=str(own)).check()


def test_where_all_tags_agree_their_settings_are_taken_and_it_is_said(
    tiny_tags, clip_folder, cpu, tmp_path
):
    tiny_tags(one={"resize_mode": "squash"}, two={"resize_mode": "squash"})
    own = shutil.copy(clip_folder / "open_clip_model.safetensors", tmp_path / "own.safetensors")
    encoder = _tiny(cpu, pretrained=str(own))

    assert encoder._find().settings.preprocess["resize_mode"] == "squash"
    (said,) = encoder.assumptions()
    assert "names no tag" in said
    assert "resize_mode squash" in said


def test_a_configuration_beside_a_file_says_its_settings(tiny_tags, clip_folder, cpu, tmp_path):
    tiny_tags(plain={}, quick={"quick_gelu": True})
    folder = shutil.copytree(clip_folder, tmp_path / "beside")
    path = folder / "open_clip_config.json"
    config = json.loads(path.read_text())
    config["model_cfg"]["quick_gelu"] = True
    config["preprocess_cfg"]["mean"] = [0.1, 0.2, 0.3]
    path.write_text(json.dumps(config))
    encoder = _tiny(cpu, pretrained=str(folder / "open_clip_model.safetensors"))

    settings = encoder._find().settings
    assert (settings.quick_gelu, settings.preprocess["mean"]) == (True, [0.1, 0.2, 0.3])
    assert encoder.assumptions() == []
    config["model_cfg"]["vision_cfg"]["layers"] = 7
    path.write_text(json.dumps(config))
    with pytest.raises(StudyError, match=r"vision_cfg\.layers is 7, not 1"):
        encoder.check()


def test_tags_are_read_as_open_clip_reads_them(tiny_tags, cpu):
    tiny_tags(two_b={})

    assert _tiny(cpu, pretrained="Two-B").fingerprint() == (
        _tiny(cpu, pretrained="two_b").fingerprint()
    )


def test_the_file_that_is_loaded_from_a_folder_is_the_one_in_the_key(clip_folder, cpu, tmp_path):
    """A hub folder often holds weights for transformers beside those of open_clip."""
    folder = shutil.copytree(clip_folder, tmp_path / "two")
    state = factory.load_state_dict(str(folder / "open_clip_model.safetensors"))
    (folder / "open_clip_model.safetensors").rename(folder / "model.safetensors")
    torch.save(state, folder / "open_clip_pytorch_model.bin")
    encoder = OpenClip(model=str(folder), compute=cpu)
    before, texts = encoder.fingerprint(), encoder.embed_texts(["red"])

    other = {name: value.flip(0) if value.ndim > 1 else value for name, value in state.items()}
    torch.save(other, folder / "open_clip_pytorch_model.bin")

    assert not np.allclose(encoder.embed_texts(["red"]), texts, atol=1e-3)
    assert encoder.fingerprint() != before


def test_a_clip_tokenizer_in_a_folder_does_not_replace_open_clips_own(clip_folder, cpu, tmp_path):
    """Its `open_clip_config.json` names none; it lies there for transformers."""
    folder = shutil.copytree(clip_folder, tmp_path / "both")
    (folder / "tokenizer_config.json").write_text('{"tokenizer_class": "CLIPTokenizer"}')
    encoder = OpenClip(model=str(folder), compute=cpu)

    assert type(encoder._load()._tokenize).__name__ == "SimpleTokenizer"
    assert encoder.assumptions() == []
    tokens = encoder._load()._tokenize(["A Café, red!"])
    assert torch.equal(tokens, open_clip.get_tokenizer(f"local-dir:{folder}")(["A Café, red!"]))
