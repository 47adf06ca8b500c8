"""Scenes of the harder world: faint textures, places, captions that tell them."""

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from dnd_assets.known_answers.hard import hard_captions, hard_scenes
from dnd_assets.known_answers.world import probing_seed
from resources.text_to_image.base import PaintRequest
from resources.text_to_image.hard_world import HardWorldPainter

SEEDS = [probing_seed(index, 7) for index in range(60)]


def test_a_scene_and_its_picture_depend_on_the_seed_alone():
    for seed in SEEDS[:5]:
        shown = hard_scenes.hard_scene(seed)
        assert shown == hard_scenes.hard_scene(seed)
        assert (hard_scenes.draw(shown, seed) == hard_scenes.draw(shown, seed)).all()


def test_three_large_objects_have_no_place_and_all_places_occur():
    found = [hard_scenes.hard_scene(seed) for seed in range(400)]
    assert {one.place for one in found} == {"left", "right", "anywhere"}
    assert all(one.place == "anywhere" for one in found if (one.count, one.size) == (3, "large"))


@pytest.mark.parametrize("place", ["left", "right"])
def test_objects_stand_where_the_caption_says(place):
    """A black object on sand: the dark pixels' middle lies on the side that is told."""
    base = next(one for one in map(hard_scenes.hard_scene, range(99)) if one.count == 1)
    shown = replace(base, colour="black", texture="plain", background="sand", place=place)
    for seed in range(5):
        dark = hard_scenes.draw(shown, seed).mean(axis=2) < 60
        middle = np.flatnonzero(dark.any(axis=0)).mean()
        assert (middle < 32) == (place == "left")
    assert hard_scenes.hard_caption(shown).endswith(f"on the {place}")
    assert "on the" not in hard_scenes.hard_caption(replace(shown, place="anywhere"))


def test_textures_are_fainter_than_painted_ones():
    base = hard_scenes.hard_scene(3)
    shown = replace(base, texture="dots", colour="white", background="night", size="large")
    faint, full = (hard_scenes.draw(shown, 1, contrast=value).astype(float) for value in (0.4, 1.0))
    plain = hard_scenes.draw(replace(shown, texture="plain"), 1).astype(float)
    assert 0.2 < np.abs(faint - plain).sum() / np.abs(full - plain).sum() < 0.6


def test_the_captioner_knows_probing_pictures_and_no_others(monkeypatch):
    monkeypatch.setattr(hard_captions, "COUNT", 3)
    hard_captions._caption_by_hash.cache_clear()
    try:
        for index in range(3):
            seed = probing_seed(index, hard_captions.SEED)
            shown = hard_scenes.hard_scene(seed)
            picture = Image.fromarray(hard_scenes.draw(shown, seed))
            assert hard_captions.caption(picture) == hard_scenes.hard_caption(shown)
        assert hard_captions.caption(Image.new("RGB", (64, 64))) == ""
    finally:
        hard_captions._caption_by_hash.cache_clear()


def test_a_set_on_disk_has_the_captions_of_its_pictures(tmp_path):
    paths = hard_scenes.write_hard_set(tmp_path, 3, seed=2)
    assert [path.name for path in paths] == ["000000.png", "000001.png", "000002.png"]
    told = (tmp_path / "captions.csv").read_text().splitlines()[1:]
    shown = [hard_scenes.hard_scene(probing_seed(index, 2)) for index in range(3)]
    assert told == [
        f"{p.name},{hard_scenes.hard_caption(s)}" for p, s in zip(paths, shown, strict=True)
    ]


def test_painted_pictures_show_the_concept():
    painter = HardWorldPainter()
    asked = [PaintRequest("red on the left", seed, seed) for seed in range(4)]
    asked += [PaintRequest("three large circles on the left", 1)]
    found = [np.asarray(one.image).astype(int) for one in painter.paint(asked, 4)]
    for pixels in found[:4]:
        red = (pixels[..., 0] - pixels[..., 1:].max(axis=2)) > 120
        assert np.flatnonzero(red.any(axis=0)).mean() < 32
