"""Regions: counted together, the search gives what it gives on the pixels."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dnd_assets.methods.segmentation.compositions import IntersectionOverUnion, PackedMasks, search
from dnd_assets.methods.segmentation.regions import RegionOverlap, Regions, joined, regions_of

NAMES = [f"c{i}" for i in range(12)]


def test_regions_of_an_image_by_hand():
    masks = np.zeros((2, 2, 3), dtype=bool)
    masks[0, 0] = True
    masks[1, :, 0] = True
    patterns, where = regions_of([3, 7], masks)
    assert set(patterns) == {(), (3,), (7,), (3, 7)}
    assert [patterns[i] for i in where] == [(3, 7), (3,), (3,), (7,), (), ()]


def test_an_image_without_labels_is_one_region():
    patterns, where = regions_of([], np.zeros((0, 2, 2), dtype=bool))
    assert (patterns, where.tolist()) == ([()], [0, 0, 0, 0])


def test_more_than_eight_concepts_are_told_apart():
    masks = np.eye(12, dtype=bool).reshape(12, 3, 4)
    patterns, where = regions_of(range(12), masks)
    assert [patterns[i] for i in where] == [(i,) for i in range(12)]


def test_regions_are_joined_in_the_order_in_which_they_occur():
    one = Regions(((1,), ()), np.array([2, 3]))
    other = Regions(((2,), (1,)), np.array([5, 7]))
    both = joined([one, other])
    assert both.patterns == ((1,), (), (2,))
    assert both.sizes.tolist() == [9, 3, 5]


@st.composite
def images(draw):
    random = np.random.default_rng(draw(st.integers(0, 2**31)))
    concepts = draw(st.integers(1, len(NAMES)))
    blocks = random.random((3, concepts, 4, 5)) < random.random((3, concepts, 1, 1))
    return blocks, random.random((3, 20)) < draw(st.sampled_from([0.05, 0.5, 0.9]))


@given(images(), st.integers(1, 3))
def test_the_search_over_regions_is_that_over_pixels(case, length):
    blocks, units = case
    names = NAMES[: blocks.shape[1]]
    found = [regions_of(range(len(names)), masks) for masks in blocks]
    parts = [
        Regions(tuple(patterns), np.bincount(where, minlength=len(patterns)))
        for patterns, where in found
    ]
    every = joined(parts)
    place = {pattern: i for i, pattern in enumerate(every.patterns)}
    inside = np.zeros(len(place), dtype=np.int64)
    for (patterns, where), unit in zip(found, units, strict=True):
        for i in where[unit]:
            inside[place[patterns[i]]] += 1
    mine = RegionOverlap(inside, every.sizes, every.packed(names))
    pixels = blocks.transpose(1, 0, 2, 3).reshape(len(names), -1)
    theirs = IntersectionOverUnion(units.ravel(), PackedMasks(names, pixels))
    assert search(mine, beam=4, length=length) == search(theirs, beam=4, length=length)


def test_counts_that_cannot_be_are_refused():
    packed = PackedMasks(["a"], np.array([[True, False]]))
    sizes = np.array([2, 2])
    with pytest.raises(ValueError, match="more pixels inside"):
        RegionOverlap(np.array([3, 0]), sizes, packed)
    with pytest.raises(ValueError, match="do not fit"):
        RegionOverlap(np.array([1]), sizes, packed)


def test_regions_without_those_of_some_images():
    one = Regions(((1,), (), (2,)), np.array([2, 3, 4]))
    other = Regions(((2,), (1,)), np.array([5, 7]))
    left = joined([one, other]).without(np.array([7, 0, 5]))
    assert (left.patterns, left.sizes.tolist()) == (one.patterns, one.sizes.tolist())
    assert one.without(np.array([2, 0, 1])).patterns == ((), (2,))
