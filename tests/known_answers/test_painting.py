"""How the painter learns: what is read of a picture, and a few steps of each training."""

from functools import partial
from math import log
from pathlib import Path

import pytest
import torch
from diffusers import AutoencoderKL

from dnd_assets import known_answers
from dnd_assets.known_answers.train import text_to_image
from dnd_assets.known_answers.train.common import draw
from dnd_assets.known_answers.train.latent_reader import train_latent_reader
from dnd_assets.known_answers.train.perception import Perception
from dnd_assets.known_answers.train.prompt_loss import by_attribute, named_values, unread
from dnd_assets.known_answers.train.refine import RefineSettings, train_refined
from dnd_assets.known_answers.train.text_to_image import (
    Noised,
    PainterSettings,
    train_text_to_image,
)
from dnd_assets.known_answers.train.vae import DecoderSettings, encode, new_vae, train_decoder
from dnd_assets.known_answers.train.views import one_hot, whole
from dnd_assets.known_answers.world import VALUES

CRITIC = Path(known_answers.__file__).parent / "checkpoints" / "recogniser"


@pytest.fixture(scope="module")
def vae(tmp_path_factory):
    torch.manual_seed(0)
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("vae")
    new_vae().save_pretrained(folder)
    return folder


def test_values_that_a_prompt_names():
    marked = by_attribute(named_values("one realistic image of two blue stars with stripes")[None])
    named = {
        name: [value for value, mark in zip(values, marks[0].tolist(), strict=True) if mark]
        for (name, values), marks in zip(VALUES.items(), marked, strict=True)
    }
    assert named == {
        "count": [2],
        "size": [],
        "colour": ["blue"],
        "shape": ["star"],
        "texture": ["horizontal stripes", "vertical stripes"],
        "background": [],
    }
    assert not named_values("").any()


def test_what_cannot_be_read_by_hand():
    """Equal chances: one of three counts and two of five textures, so -log 1/3 and -log 2/5."""
    named = torch.stack([named_values("two shapes with stripes"), named_values("")])
    logits = torch.zeros(2, 29)
    assert unread(logits, named).item() == pytest.approx((log(3) + log(2.5)) / 2)
    assert unread(logits, named, torch.zeros(2)).item() == 0
    sure = torch.where(named, 30.0, 0.0)
    assert unread(sure, named).item() == pytest.approx(0, abs=1e-5)
    assert unread(logits[1:], named[1:]).item() == 0


def test_the_clean_latents_follow_from_the_true_velocity():
    torch.manual_seed(0)
    clean = torch.randn(5, 16, 8, 8)
    noised = Noised.of(clean)
    assert torch.allclose(noised.clean(noised.target), clean, atol=1e-4)
    assert noised.error(noised.target).item() == 0
    assert noised.error(noised.target + 1).item() > 0.1


def test_a_latent_reader_learns_to_read(vae):
    data = draw(range(96))
    latents = encode(AutoencoderKL.from_pretrained(vae).eval(), data.images)
    truth, _ = one_hot([whole(scene) for scene in data.scenes])
    losses = []
    for steps in (1, 25):
        reader = train_latent_reader(latents / latents.std(), truth, steps)
        named = torch.stack([named_values(scene.background) for scene in data.scenes])
        losses.append(unread(reader(latents / latents.std()), named).item())
    assert losses[1] < losses[0] < 2 * log(5)


def test_pictures_that_look_alike_are_near():
    data = draw(range(8))
    seen = Perception.of(CRITIC, data.scenes)
    pixels, order = data.images.float() / 127.5 - 1, torch.arange(8)
    same = seen.distance(pixels, pixels, order)
    turned = seen.distance(pixels.flip(0), pixels, order)
    assert 0 <= same.item() < 0.1 < turned.item()


def test_each_training_changes_what_it_should(vae, tmp_path, monkeypatch):
    few = DecoderSettings(images=8, steps=2, batch=4)
    train_decoder(tmp_path / "decoder", vae, few, CRITIC)
    kept = changed(vae, tmp_path / "decoder")
    assert kept["decoder.conv_in.weight"]
    assert kept["post_quant_conv.weight"]
    assert not any(kept[name] for name in kept if name.startswith(("encoder", "quant_conv")))

    monkeypatch.setattr(text_to_image, "train_latent_reader", partial(train_latent_reader, steps=2))
    settings = PainterSettings(images=48, steps=2, batch=4, reading=0.05)
    painter = train_text_to_image(tmp_path / "painter", vae, settings)
    refined = train_refined(
        tmp_path / "refined",
        tmp_path / "painter",
        tmp_path / "decoder",
        CRITIC,
        RefineSettings(images=16, steps=2, drawn=4, painted=2),
    )
    before, after = painter.unet.state_dict(), refined.unet.state_dict()
    assert any(not torch.equal(before[name], after[name]) for name in before)
    weights = AutoencoderKL.from_pretrained(tmp_path / "decoder").state_dict()
    assert all(
        torch.equal(weights[name], value) for name, value in refined.vae.state_dict().items()
    )


def changed(before, after):
    one, two = (AutoencoderKL.from_pretrained(path).state_dict() for path in (before, after))
    return {name: not torch.equal(one[name], two[name]) for name in one}
