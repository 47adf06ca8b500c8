"""Scenes, captions, phrases, pictures and masks of the generated world."""

from __future__ import annotations

import hashlib
from itertools import product

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from dnd_assets.known_answers import world
from dnd_assets.known_answers.render import (
    RADII,
    TONES,
    object_boxes,
    render,
    render_with_mask,
)
from dnd_assets.known_answers.train.phrases import random_phrase, random_prompt
from dnd_assets.known_answers.world import Scene

SCENE = Scene(1, "large", "red", "circle", "horizontal stripes", "grass")


def all_scenes() -> list[Scene]:
    values = (
        world.COUNTS,
        world.SIZES,
        world.COLOURS,
        world.SHAPES,
        world.TEXTURES,
        world.BACKGROUNDS,
    )
    return [Scene(*row) for row in product(*values)]


def test_caption_by_hand():
    assert world.caption(SCENE) == "a large red circle with horizontal stripes on grass"
    other = Scene(3, "small", "orange", "cross", "plain", "night")
    assert world.caption(other) == "three small orange crosses at night"
    assert world.phrase(other, {"count"}) == "three shapes"
    assert world.phrase(other, {"background"}) == "night"
    assert world.phrase(SCENE, {"texture"}) == "horizontal stripes"
    assert world.phrase(SCENE, {"colour", "shape"}) == "red circle"
    assert world.phrase(other, {"colour", "shape"}, plural=False) == "orange cross"


def test_every_caption_is_read_back_and_belongs_to_one_scene():
    scenes = all_scenes()
    captions = {world.caption(scene) for scene in scenes}
    assert len(scenes) == len(captions) == 7200
    for scene in scenes:
        facts = world.parse(world.caption(scene))
        if scene.texture == "plain":
            assert "texture" not in facts
            facts["texture"] = ("plain",)
        assert facts == {name: (getattr(scene, name),) for name in world.ATTRIBUTES}


def test_parse_of_prompts_and_loose_words():
    said = world.parse("One realistic image of two Blue stars at night")
    assert said == {
        "count": (2,),
        "colour": ("blue",),
        "shape": ("star",),
        "background": ("night",),
    }
    assert world.parse("One realistic image of stripes") == {
        "texture": ("horizontal stripes", "vertical stripes")
    }
    assert world.parse("rings or crosses")["shape"] == ("cross", "ring")
    assert world.parse("a zebra") == {"count": (1,)}


def test_random_phrases_are_true_and_use_known_words():
    rng = np.random.default_rng(0)
    for seed in range(400):
        scene = world.scene(seed)
        for text in (random_phrase(scene, rng), random_prompt(scene, rng)):
            assert world.is_true(scene, world.parse(text)), text


def test_is_true_rejects_a_false_phrase():
    assert not world.is_true(SCENE, world.parse("blue circle"))
    assert not world.is_true(SCENE, world.parse("two red circles"))


def test_unknown_attribute_is_named():
    with pytest.raises(ValueError, match="hue"):
        world.phrase(SCENE, {"hue"})


def test_scenes_are_spread_evenly():
    scenes = [world.scene(seed) for seed in range(4000)]
    for name, values in (("colour", world.COLOURS), ("texture", world.TEXTURES)):
        shares = [sum(getattr(one, name) == value for one in scenes) / 4000 for value in values]
        assert max(abs(share - 1 / len(values)) for share in shares) < 0.025


def test_probing_pictures_are_never_trained_on():
    assert world.probing_seed(0, 0) in world.PROBING_SEEDS
    assert not set(world.PROBING_SEEDS[:1]) & {world.TRAINING_SEEDS[-1], world.HELD_OUT_SEEDS[-1]}
    assert world.TRAINING_SEEDS.stop <= world.HELD_OUT_SEEDS.start
    assert world.HELD_OUT_SEEDS.stop <= world.PROBING_SEEDS.start
    with pytest.raises(ValueError, match="out of range"):
        world.probing_seed(0, -1)
    with pytest.raises(ValueError, match="index"):
        world.probing_seed(1 << 20, 0)


def test_probing_set_has_equal_bytes_and_survives_interruption(tmp_path):
    first = world.write_probing_set(tmp_path / "a", count=12, seed=3)
    second = world.write_probing_set(tmp_path / "b", count=12, seed=3)
    hashes = [hashlib.sha256(path.read_bytes()).hexdigest() for path in first]
    assert hashes == [hashlib.sha256(path.read_bytes()).hexdigest() for path in second]
    assert len(set(hashes)) == 12
    assert (tmp_path / "a/captions.csv").read_bytes() == (tmp_path / "b/captions.csv").read_bytes()

    second[4].write_bytes(second[4].read_bytes()[:40])  # cut short
    second[7].unlink()
    kept = second[0].stat().st_mtime_ns
    world.write_probing_set(tmp_path / "b", count=12, seed=3)
    assert hashes == [hashlib.sha256(path.read_bytes()).hexdigest() for path in second]
    assert second[0].stat().st_mtime_ns == kept

    world.write_probing_set(tmp_path / "b", count=12, seed=4)  # another set leaves nothing behind
    assert not set(hashes) & {hashlib.sha256(path.read_bytes()).hexdigest() for path in second}


def test_probing_picture_shows_its_scene(tmp_path):
    (path,) = world.write_probing_set(tmp_path, count=1, seed=9)
    seed = world.probing_seed(0, 9)
    with Image.open(path) as image:
        assert np.array_equal(np.asarray(image), render(world.scene(seed), seed))


def test_count_of_zero_is_refused(tmp_path):
    with pytest.raises(ValueError, match="positive"):
        world.write_probing_set(tmp_path, count=0)


def test_rendering_depends_on_scene_and_seed_alone():
    picture = render(SCENE, 5)
    render(world.scene(8), 8)
    assert np.array_equal(picture, render(SCENE, 5))
    assert not np.array_equal(picture, render(SCENE, 6))
    assert picture.shape == (64, 64, 3)
    assert picture.dtype == np.uint8


@pytest.mark.parametrize("shape", world.SHAPES)
def test_masks_hold_the_objects(shape):
    for seed, count in enumerate((1, 2, 3)):
        scene = Scene(count, "large", "red", shape, "plain", "sky")
        picture, mask = render_with_mask(scene, seed)
        _, found = ndimage.label(mask, structure=np.ones((3, 3)))
        assert found == count
        boxes = object_boxes(scene, seed)
        assert boxes.shape == (count, 4)
        ys, xs = np.nonzero(mask)
        inside = [
            (xs >= left - 2) & (ys >= top - 2) & (xs <= right + 2) & (ys <= bottom + 2)
            for left, top, right, bottom in boxes
        ]
        assert np.any(inside, axis=0).all()
        # Away from outlines the object has its colour, and the sky has none of it.
        core = ndimage.binary_erosion(mask, iterations=3)
        red = np.asarray(TONES["red"][0]) * 255
        assert np.abs(picture[core].mean(axis=0) - red).max() < 12
        behind = picture[~ndimage.binary_dilation(mask, iterations=2)].astype(int)
        assert (behind[:, 0] <= behind[:, 2] + 12).all()


def test_area_of_a_circle_by_hand():
    for size in world.SIZES:
        _, mask = render_with_mask(Scene(1, size, "blue", "circle", "plain", "sand"), 3)
        low, high = (np.pi * radius**2 for radius in RADII[size])
        assert low * 0.95 < mask.sum() < high * 1.05


def test_stripes_run_as_named():
    for texture, along in (("horizontal stripes", 1), ("vertical stripes", 0)):
        scene = Scene(1, "large", "red", "square", texture, "sky")
        picture, mask = render_with_mask(scene, 11)
        ys, xs = np.nonzero(ndimage.binary_erosion(mask, iterations=5))
        part = picture[ys.min() : ys.max(), xs.min() : xs.max(), 0].astype(float)
        spreads = [part.mean(axis=axis).std() for axis in (0, 1)]
        assert spreads[along] > 3 * spreads[1 - along]
