"""Samples of wider activation ranges."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dnd_assets.methods.clip_dissect.activation_ranges import (
    largest_size,
    sample_ranges,
    sample_reach,
)
from dnd_assets.methods.dissection.exemplars import top_k


def ids_of(n):
    return [f"{i:05d}" for i in range(n)]


def test_ranges_of_a_worked_case():
    values = np.arange(2000.0)

    narrow, middle, wide = sample_ranges(values, ids_of(2000), "net/layer/3", n=4)

    # 0.1 %, 1 % and 5 % of 2,000; the most active images are the last ones.
    assert [narrow.size, middle.size, wide.size] == [2, 20, 100]
    assert narrow.images == (1999, 1998)
    assert [len(middle.images), len(wide.images)] == [4, 4]
    assert min(middle.images) >= 1980
    assert min(wide.images) >= 1900
    assert list(wide.images) == sorted(wide.images, reverse=True)


@given(st.integers(1, 60), st.integers(0, 99), st.randoms())
def test_the_order_of_images_does_not_matter(images, seed, random):
    ids = ids_of(images)
    values = np.random.default_rng(seed).integers(0, 5, images).astype(float)
    order = list(range(images))
    random.shuffle(order)
    options = {"n": 3, "shares": (0.1, 0.5, 1.0), "seed": seed}

    plain = sample_ranges(values, ids, "u", **options)
    known = top_k(values, ids, largest_size(images, options["shares"]))
    assert sample_ranges(values, ids, "u", **options, order=known) == plain
    shuffled = sample_ranges(values[order], [ids[i] for i in order], "u", **options)

    assert [[ids[i] for i in found.images] for found in plain] == [
        [ids[order[i]] for i in found.images] for found in shuffled
    ]
    assert all(found.size >= len(found.images) == min(3, found.size) for found in plain)


def test_an_added_image_hardly_changes_the_sample():
    values = np.arange(1000.0)
    (before,) = sample_ranges(values, ids_of(1000), "u", shares=[0.5], n=50)

    (after,) = sample_ranges(np.append(values, 999.5), ids_of(1001), "u", shares=[0.5], n=50)

    assert len(set(before.images) & set(after.images)) >= 48


def test_units_and_seeds_draw_different_samples():
    values = np.arange(1000.0)
    drawn = [
        sample_ranges(values, ids_of(1000), unit, shares=[0.5], seed=seed)[0].images
        for unit, seed in (("a", 0), ("b", 0), ("a", 1), ("a", 0))
    ]

    assert len(set(drawn)) == 3
    assert drawn[0] == drawn[3]


def test_samples_are_uniform():
    counts = np.zeros(20)
    for seed in range(2000):
        (found,) = sample_ranges(np.arange(20.0), ids_of(20), "u", shares=[1.0], n=5, seed=seed)
        counts[list(found.images)] += 1

    # 500 expected of each, standard deviation sqrt(2000 / 4 * 3 / 4) = 19.4.
    assert abs(counts - 500).max() < 5 * 19.4


def test_sizes_do_not_suffer_from_rounding():
    (found,) = sample_ranges(np.arange(100.0), ids_of(100), "u", shares=[0.07])

    assert found.size == 7


@pytest.mark.parametrize("options", [{"n": 0}, {"shares": [0.0]}, {"shares": [1.5]}])
def test_refusals(options):
    with pytest.raises(ValueError, match="give no sample"):
        sample_ranges(np.arange(3.0), ids_of(3), "u", **options)
    with pytest.raises(ValueError, match="0 images"):
        sample_ranges(np.zeros(0), [], "u")


def test_what_is_in_reach_by_hand():
    values = np.array([0.0, 1.0, 4.0, 5.0, 10.0])  # mean 4, maximum 10
    ids = list("abcde")
    assert sample_reach(values, ids, "u", reach=0.0) == [4, 3, 2]
    assert sample_reach(values, ids, "u", reach=0.5) == [4]
    assert sample_reach(values, ids, "u", reach=1.0) == [4]
    assert len(sample_reach(values, ids, "u", n=2, reach=0.0)) == 2


@given(st.lists(st.integers(-50, 50), min_size=1, max_size=60), st.integers(1, 20), st.randoms())
def test_the_sample_in_reach_depends_on_neither_order_nor_zero_nor_scale(numbers, n, random):
    values, ids = np.array(numbers, dtype=np.float64), [f"{i:03d}" for i in range(len(numbers))]
    found = [ids[i] for i in sample_reach(values, ids, "u", n=n)]
    order = list(range(len(ids)))
    random.shuffle(order)
    again = sample_reach(4 * values[order] - 8, [ids[i] for i in order], "u", n=n)
    assert [ids[order[i]] for i in again] == found
    assert 1 <= len(found) <= n
    assert [values[int(i)] for i in found] == sorted((values[int(i)] for i in found), reverse=True)


@pytest.mark.parametrize("wrong", [{"n": 0}, {"reach": 1.5}, {"ids": ["a"]}, {"values": []}])
def test_a_sample_in_reach_of_nothing_is_refused(wrong):
    asked = {"values": [1.0, 2.0], "ids": ["a", "b"], **wrong}
    values, ids = np.array(asked.pop("values")), asked.pop("ids")
    with pytest.raises(ValueError, match="give none"):
        sample_reach(values, ids, "u", **asked)
