"""BLIP-2 and vision-language models that are asked in a chat, on tiny checkpoints."""

import json
import shutil

import pytest

from dnd_assets.errors import StudyError
from resources.captioners.base import PROMPT
from resources.captioners.vlm import Blip2Captioner, VlmCaptioner
from tests.resources import tiny

KINDS = {"blip2": Blip2Captioner, "llava": VlmCaptioner, "idefics3": VlmCaptioner}
ASKED = "a red image of"


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    place = tmp_path_factory.mktemp("vlm")
    return {name: getattr(tiny, name)(place / name) for name in KINDS}


@pytest.fixture(scope="module", params=list(KINDS))
def kind(request):
    return request.param


@pytest.fixture(scope="module")
def images(photos):
    return photos[:6]


@pytest.fixture(scope="module")
def make(folders, cpu):
    def make(kind, folder=None, **settings):
        place = str(folder or folders[kind])
        return KINDS[kind](checkpoint=place, max_new_tokens=6, compute=cpu, **settings)

    return make


def test_captions_are_words_and_differ_between_pictures(make, kind, images):
    captions = make(kind).caption(images, 4)

    assert len(set(captions)) > 2
    assert {word for text in captions for word in text.split()} <= {*tiny.WORDS}
    assert max(len(text.split()) for text in captions) <= 6


def test_neither_batch_nor_order_shows(make, kind, images):
    captions = make(kind).caption(images, 4)
    seen = []

    assert make(kind).caption(images[::-1], 1)[::-1] == captions
    assert make(kind).caption(images[2:3], 32) == captions[2:3]
    make(kind).caption(images, 4, on_batch=lambda _, texts: seen.extend(texts))
    assert seen == captions


def test_pictures_of_different_prompts_share_a_batch(make, kind, images):
    """As on a GPU, where batches are not taken apart: padding goes before the prompt."""
    captioner = make(kind)
    model, processor = captioner._load()

    together = captioner._captions(model, processor, [image.convert("RGB") for image in images])

    assert together == captioner.caption(images, 4)


def test_the_prompt_decides_and_is_no_part_of_the_caption(make, kind, images):
    plain, asked = make(kind), make(kind, prompt=ASKED)
    captions = asked.caption(images, 4)

    assert captions != plain.caption(images, 4)
    assert not any(text.startswith(ASKED) for text in captions)
    assert asked.fingerprint() != plain.fingerprint()
    assert plain.fingerprint()["prompt"] == ("" if kind == "blip2" else PROMPT)


@pytest.mark.parametrize("prompt", ["", ASKED])
def test_blip2_says_what_transformers_says(make, folders, images, prompt):
    """The reference call of its model card, one picture at a time."""
    from transformers import Blip2ForConditionalGeneration, Blip2Processor

    model = Blip2ForConditionalGeneration.from_pretrained(folders["blip2"]).eval()
    processor = Blip2Processor.from_pretrained(folders["blip2"])
    captions = make("blip2", prompt=prompt).caption(images, 4)

    for image, caption in zip(images, captions, strict=True):
        texts = {"text": prompt} if prompt else {}
        inputs = processor(images=image.convert("RGB"), **texts, return_tensors="pt")
        tokens = model.generate(**inputs, max_new_tokens=6, do_sample=False)
        said = processor.decode(tokens[0], skip_special_tokens=True).strip()
        assert said.removeprefix(prompt).strip() == caption


def test_a_chat_model_says_what_transformers_says(make, folders, images):
    from transformers import AutoModelForImageTextToText, AutoProcessor

    model = AutoModelForImageTextToText.from_pretrained(folders["llava"]).eval()
    processor = AutoProcessor.from_pretrained(folders["llava"])
    captions = make("llava").caption(images, 4)

    for image, caption in zip(images, captions, strict=True):
        text = f"user: <image> {PROMPT} image"
        inputs = processor(images=image.convert("RGB"), text=text, return_tensors="pt")
        tokens = model.generate(**inputs, max_new_tokens=6, do_sample=False)[0]
        fresh = tokens[inputs["input_ids"].shape[1] :]
        assert " ".join(processor.decode(fresh, skip_special_tokens=True).split()) == caption


def test_the_model_loads_once_and_is_frozen(make, kind):
    model = make(kind)._load()[0]

    assert make(kind, prompt=ASKED)._load()[0] is model
    assert not model.training
    assert not any(p.requires_grad for p in model.parameters())


def test_the_fingerprint_follows_files_and_template_not_the_place(make, folders, tmp_path):
    before = make("llava").fingerprint()
    moved = shutil.copytree(folders["llava"], tmp_path / "moved")
    assert make("llava", moved).fingerprint() == before

    (moved / "chat_template.jinja").write_text("{{ messages }} <image>")
    assert make("llava", moved).fingerprint() != before


def test_a_checkpoint_of_another_kind_is_refused_at_once(make, folders, vit_folder):
    with pytest.raises(StudyError, match=r"is a 'llava', not a BLIP-2.*'vlm'"):
        make("blip2", folders["llava"]).check()
    with pytest.raises(StudyError, match=r"is a 'vit', which transformers has no model.*nearest"):
        make("llava", vit_folder).check()
    with pytest.raises(StudyError, match=r"no chat template.*'blip2'"):
        make("llava", folders["blip2"]).check()


def test_code_in_a_checkpoint_is_never_run(make, folders, tmp_path):
    folder = shutil.copytree(folders["llava"], tmp_path / "hostile")
    (folder / "own.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\nclass Own: pass\n")
    config = json.loads((folder / "config.json").read_text())
    config["auto_map"] = {"AutoModelForImageTextToText": "own.Own", "AutoConfig": "own.Own"}
    (folder / "config.json").write_text(json.dumps(config))

    make("llava", folder).caption(tiny.pictures(1), 1)  # transformers knows a LLaVA itself
    config["model_type"] = "own"
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(StudyError, match="is never run"):
        make("llava", folder).check()
    assert not (tmp_path / "ran").exists()


def test_weights_that_are_not_safetensors_are_not_read(make, folders, tmp_path):
    folder = shutil.copytree(folders["blip2"], tmp_path / "old")
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")

    with pytest.raises(StudyError, match=r"lacks \*.safetensors"):
        make("blip2", folder).check()
