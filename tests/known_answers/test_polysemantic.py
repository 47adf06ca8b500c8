"""Units of one and of two concepts, made of pictures of the world as its CLIP sees them."""

import itertools

import numpy as np
import pytest
from PIL import Image

from dnd_assets.known_answers.render import render
from dnd_assets.known_answers.world import BACKGROUNDS, COLOURS, probing_seed, scene
from dnd_assets.methods.polysemantic.clusters import concepts_of_unit
from resources.encoders.open_clip import OpenClip
from resources.runtime.compute import Compute

EXEMPLARS = 20


@pytest.fixture(scope="module")
def world(one_thread):
    """Scenes of the world and the embeddings of their pictures."""
    seeds = [probing_seed(index, 0) for index in range(400)]
    scenes = [scene(seed) for seed in seeds]
    pictures = [Image.fromarray(render(one, seed)) for one, seed in zip(scenes, seeds, strict=True)]
    clip = OpenClip(
        model="package:dnd_assets.known_answers/checkpoints/clip", compute=Compute(device="cpu")
    )
    return scenes, clip.embed_images(pictures, 64)


def count(world, rows):
    vectors = world[1]
    ids = [f"{row:04d}" for row in rows]
    found = concepts_of_unit(vectors[rows], np.ones(len(rows)), ids, vectors.mean(axis=0))
    return len(found.clusters)


def test_units_of_one_colour_or_background_answer_to_one_concept(world):
    scenes, _ = world
    counts = []
    for name, values in (("colour", COLOURS), ("background", BACKGROUNDS)):
        for value in values:
            rows = [i for i, one in enumerate(scenes) if getattr(one, name) == value]
            counts.append(count(world, rows[:EXEMPLARS]))

    assert np.mean(np.array(counts) == 1) >= 0.9


def test_units_of_a_colour_or_another_answer_to_two(world):
    scenes, _ = world
    counts = []
    for colours in itertools.combinations(COLOURS, 2):
        rows = [[i for i, one in enumerate(scenes) if one.colour == c] for c in colours]
        counts.append(count(world, rows[0][: EXEMPLARS // 2] + rows[1][: EXEMPLARS // 2]))

    # Found: 22 of 28 as two, 3 as three, 3 as one.
    assert np.mean(np.array(counts) == 2) >= 0.7
    assert np.mean(np.array(counts) >= 2) >= 0.85
