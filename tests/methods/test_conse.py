"""ConSE: a hand-worked picture, the formula written out, invariants, refusals."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dnd_assets.methods.conse import conse


def test_a_picture_of_three_classes_worked_by_hand():
    """The two likeliest of three classes, 0.6 and 0.3: (2 (1, 0) + (0, 1)) / 3, of length 1."""
    classes = np.array([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]])

    found = conse(np.array([[0.6, 0.3, 0.1]]), classes, top=2)

    assert found == pytest.approx(np.array([[2.0, 1.0]]) / np.sqrt(5))


def test_the_formula_written_out():
    """Norouzi et al. 2014, eq. 3, in loops."""
    rng = np.random.default_rng(0)
    odds = rng.dirichlet(np.ones(7), size=5)
    classes = rng.normal(size=(7, 4))

    found = conse(odds, classes, top=3)

    for row, chances in zip(found, odds, strict=True):
        best = sorted(range(7), key=lambda y: -chances[y])[:3]
        mean = sum(chances[y] * classes[y] for y in best) / sum(chances[y] for y in best)
        assert row == pytest.approx(mean / np.linalg.norm(mean))


@given(st.integers(0, 1000), st.integers(1, 9))
def test_neither_the_other_pictures_nor_the_scale_matter(seed, top):
    rng = np.random.default_rng(seed)
    odds, classes = rng.random((4, 6)), rng.normal(size=(6, 3))

    found = conse(odds, classes, top)

    assert np.linalg.norm(found, axis=1) == pytest.approx(np.ones(4))
    assert np.array_equal(found[2:3], conse(odds[2:3], classes, top))
    assert conse(3 * odds, 5 * classes, top) == pytest.approx(found)


def test_the_likeliest_class_alone_is_the_picture():
    classes = np.array([[3.0, 4.0], [1.0, 0.0]])

    assert conse(np.array([[0.9, 0.1]]), classes, top=1) == pytest.approx(np.array([[0.6, 0.8]]))


def test_equal_probabilities_rank_in_the_order_of_classes():
    classes = np.array([[1.0, 0.0], [0.0, 1.0], [0.0, -1.0]])

    assert conse(np.array([[0.25, 0.25, 0.25]]), classes, top=1).tolist() == [[1.0, 0.0]]


@pytest.mark.parametrize(
    ("odds", "top", "message"),
    [
        ([[0.5, 0.5, 0.0]], 2, "do not fit"),
        ([[0.5, 0.5]], 0, "do not fit"),
        ([[0.5, -0.5]], 2, "negative"),
        ([[0.5, float("nan")]], 2, "NaN"),
        ([[0.0, 0.0]], 2, "no class"),
        ([[0.5, 0.5]], 2, "cancel"),
    ],
)
def test_what_makes_no_picture_is_refused(odds, top, message):
    with pytest.raises(ValueError, match=message):
        conse(np.array(odds), np.array([[1.0, 0.0], [-1.0, 0.0]]), top)
