"""Clarity, polysemanticity and redundancy: worked by hand, formulas in loops, invariants."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dnd_assets.methods import semantic_lens
from dnd_assets.methods.semantic_lens import clarity, polysemanticity, redundancy, two_means


def cosine(a, b):
    return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))


def test_three_exemplars_worked_by_hand():
    """Cosines 0, 1 / sqrt 2 and 1 / sqrt 2; their mean is sqrt 2 / 3."""
    assert clarity(np.array([[2.0, 0.0], [0.0, 3.0], [1.0, 1.0]])) == pytest.approx(2**0.5 / 3)


def test_the_mean_of_all_pairs_written_out():
    vectors = np.random.default_rng(0).normal(size=(7, 5))
    pairs = [cosine(a, b) for a, b in itertools.permutations(vectors, 2)]

    assert clarity(vectors) == pytest.approx(np.mean(pairs))


@pytest.mark.parametrize(("vectors", "value"), [([[1, 2], [2, 4]], 1), ([[1, 0], [-1, 0]], -1)])
def test_the_ends_of_clarity(vectors, value):
    assert clarity(np.array(vectors, float)) == pytest.approx(value)


def test_two_meanings_worked_by_hand():
    """Groups at 0 and 90 degrees, each of two: the means are at a right angle, 1 - 0."""
    east, north = [1.0, 0.0], [0.0, 1.0]

    assert polysemanticity(np.array([east, north, east, north])) == pytest.approx(1)
    assert polysemanticity(np.array([east, east, east, east])) == pytest.approx(0)


def test_one_odd_picture_makes_no_second_meaning():
    """Three at 0 degrees, one at 90: theta is (3, 1) / sqrt 10, cosines 3, 3, 3 and 1 / sqrt 10."""
    vectors = np.array([[1.0, 0.0], [1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])

    assert polysemanticity(vectors) == pytest.approx(1 - 10 / 4 / 10**0.5)


def within(points, second):
    """Sum of squared distances to the means of both parts."""
    return sum(((points[g] - points[g].mean(axis=0)) ** 2).sum() for g in (second, ~second))


@given(st.integers(0, 10_000), st.integers(2, 8))
def test_no_split_is_better(seed, count):
    points = np.random.default_rng(seed).normal(size=(count, 3))
    found = two_means(points)

    splits = [np.array(bits, bool) for bits in itertools.product([0, 1], repeat=count)]
    least = min(within(points, one) for one in splits if 0 < one.sum() < count)
    assert within(points, found) == pytest.approx(least)
    assert not found[0]


@given(st.integers(0, 10_000))
def test_many_points_are_split_as_well_as_they_were_made(seed):
    rng = np.random.default_rng(seed)
    points = np.concatenate([rng.normal(size=(9, 4)), rng.normal(loc=3.0, size=(8, 4))])
    found = two_means(points)
    truth = np.arange(17) >= 9

    assert within(points, found) <= within(points, truth) + 1e-9
    assert 0 < found.sum() < 17


def test_equal_points_are_split_somehow():
    assert 0 < two_means(np.ones((20, 3))).sum() < 20
    assert polysemanticity(np.ones((20, 3))) == pytest.approx(0)


def test_redundancy_worked_by_hand():
    """Units at 0, 60 and 180 degrees: nearest 1, 0 and 1 with cosines 0.5, 0.5 and -0.5."""
    angles = np.radians([0, 60, 180])
    values, nearest = redundancy(np.stack([np.cos(angles), np.sin(angles)], axis=1) * 7)

    assert values == pytest.approx([0.5, 0.5, -0.5])
    assert nearest.tolist() == [1, 0, 1]


def test_redundancy_in_blocks_is_redundancy(monkeypatch):
    means = np.random.default_rng(1).normal(size=(23, 6))
    whole = redundancy(means)
    monkeypatch.setattr(semantic_lens, "_BLOCK", 5)
    parts = redundancy(means)

    assert parts[0] == pytest.approx(whole[0])
    assert parts[1].tolist() == whole[1].tolist()
    for row, (value, other) in enumerate(zip(*whole, strict=True)):
        cosines = [cosine(means[row], means[j]) if j != row else -2 for j in range(23)]
        assert (value, other) == (pytest.approx(max(cosines)), int(np.argmax(cosines)))


@given(st.integers(0, 10_000), st.integers(2, 15))
def test_order_length_and_turning_do_not_matter(seed, count):
    rng = np.random.default_rng(seed)
    vectors = rng.normal(size=(count, 4))
    turn, _ = np.linalg.qr(rng.normal(size=(4, 4)))
    other = (vectors * rng.uniform(0.5, 2, size=(count, 1)))[rng.permutation(count)] @ turn

    assert clarity(other) == pytest.approx(clarity(vectors))
    assert -1 / (count - 1) - 1e-9 <= clarity(vectors) <= 1
    if count <= semantic_lens.EXACT:
        assert polysemanticity(other) == pytest.approx(polysemanticity(vectors))


def test_too_few_have_no_value_and_bad_vectors_are_refused():
    one = np.ones((1, 3))
    assert math.isnan(clarity(one))
    assert math.isnan(polysemanticity(one))
    assert np.isnan(redundancy(one)[0]).all()
    assert redundancy(one)[1].tolist() == [-1]
    for bad in (np.zeros((2, 3)), np.full((2, 3), np.nan), np.ones(3)):
        for function in (clarity, polysemanticity, redundancy):
            with pytest.raises(ValueError, match="embedding"):
                function(bad)
