"""The plane: alike lies together, whatever the order of anything else."""

import numpy as np
import pytest

from dnd_assets.report.layout import plane


def bundles(each=30, width=12, seed=0):
    """Three bundles of directions, and which bundle each belongs to."""
    rng = np.random.default_rng(seed)
    centres = np.eye(3, width)
    which = np.arange(3 * each) % 3
    return centres[which] + 0.1 * rng.standard_normal((3 * each, width)), which


def test_bundles_stay_together_and_apart():
    vectors, which = bundles()
    places = plane(vectors, perplexity=8)
    near = [
        np.mean(which[np.argsort(((places - one) ** 2).sum(axis=1))[1:6]] == of)
        for one, of in zip(places, which, strict=True)
    ]
    assert np.mean(near) > 0.95


def test_places_fill_a_unit_square_and_repeat_to_the_last_bit():
    vectors, _ = bundles()
    places = plane(vectors)
    assert places.shape == (90, 2)
    assert places.min() >= 0
    assert places.max() == pytest.approx(1.0)
    assert np.array_equal(places, plane(vectors))


def test_only_directions_count_and_equal_ones_share_a_place():
    vectors, _ = bundles()
    twice = np.concatenate([vectors, 5 * vectors[:4]])
    places = plane(twice)
    assert np.array_equal(places[90:], places[:4])


def test_beyond_the_landmarks_each_goes_beside_what_it_is_most_like():
    vectors, which = bundles(each=40)
    places = plane(vectors, landmarks=60, perplexity=8)
    middle = np.stack([places[:60][which[:60] == of].mean(axis=0) for of in range(3)])
    late = ((places[60:, None] - middle) ** 2).sum(axis=2).argmin(axis=1)
    assert np.mean(late == which[60:]) > 0.95
    assert np.array_equal(places, plane(vectors, landmarks=60, perplexity=8))


@pytest.mark.parametrize("count", [1, 2, 3])
def test_very_few_have_places_too(count):
    places = plane(np.eye(3)[:count])
    assert places.shape == (count, 2)
    assert np.isfinite(places).all()
    assert len({tuple(place) for place in places.tolist()}) == count


def test_two_opposite_vectors_lie_at_the_ends():
    assert sorted(plane(np.array([[1.0, 0.0], [-1.0, 0.0]]))[:, 0].tolist()) == [0.0, 1.0]


@pytest.mark.parametrize("wrong", [np.zeros(3), np.array([[np.nan, 1.0]])])
def test_what_is_no_finite_matrix_is_refused(wrong):
    with pytest.raises(ValueError, match="matrix of finite numbers"):
        plane(wrong)
