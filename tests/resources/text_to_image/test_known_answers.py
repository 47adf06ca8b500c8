"""The renderer as a text-to-image resource."""

import numpy as np
import pytest

from dnd_assets.known_answers import render
from resources.text_to_image.base import PaintRequest
from resources.text_to_image.known_answers import WorldPainter

CONCEPTS = ["red", "two small blue stars", "horizontal stripes", "night", "elephant"]


def _pixels(paintings):
    return [np.asarray(painting.image) for painting in paintings]


def test_pictures_depend_on_concept_and_seed_alone():
    requests = [PaintRequest(concept, seed) for concept in CONCEPTS for seed in range(3)]
    whole = _pixels(WorldPainter().paint(requests, 4))
    turned = _pixels(WorldPainter().paint(requests[::-1], 7))[::-1]
    for one, other in zip(whole, turned, strict=True):
        assert np.array_equal(one, other)
    assert len({picture.tobytes() for picture in whole}) == len(requests)


@pytest.mark.parametrize("colour", ["red", "green", "blue"])
def test_a_named_colour_is_drawn(colour):
    main = np.array(render.TONES[colour][0]) * 255
    requests = [PaintRequest(f"{colour} square", seed) for seed in range(8)]
    for picture in _pixels(WorldPainter().paint(requests, 8)):
        near = np.abs(picture.astype(float) - main).max(axis=2) < 20
        assert near.sum() > 20


def test_what_is_left_open_varies():
    requests = [PaintRequest("small red circle on sand", seed) for seed in range(30)]
    pictures = _pixels(WorldPainter().paint(requests, 30))
    covered = [
        int((np.abs(p.astype(int) - p[0, 0].astype(int)).max(axis=2) > 60).sum()) for p in pictures
    ]
    assert max(covered) > 1.5 * min(covered), "one, two or three objects"


def test_batches_are_told_as_they_end():
    told = []
    requests = [PaintRequest("red", seed) for seed in range(5)]
    WorldPainter().paint(requests, 2, on_batch=lambda asked, done: told.append((asked, len(done))))
    assert [len(asked) for asked, _ in told] == [count for _, count in told] == [2, 2, 1]
