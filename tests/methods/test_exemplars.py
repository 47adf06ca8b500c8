"""Exemplars: order, ties, dead units."""

import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dnd_assets.methods.exemplars import (
    Activating,
    activating_set,
    is_dead,
    not_finite,
    top_k,
    top_k_columns,
)


def ids_of(count):
    """Distinct ids whose order is not that of the rows."""
    return [f"{i * 2_654_435_761 % 2**32:08x}" for i in range(count)]


def test_largest_first_ties_by_id():
    values = np.array([1.0, 3.0, 3.0, 2.0, 3.0])

    assert top_k(values, ["e", "d", "b", "a", "c"], 4) == [2, 4, 1, 3]


def test_more_than_there_are_gives_all():
    assert top_k(np.array([1.0, 2.0]), ["a", "b"], 10) == [1, 0]
    assert top_k_columns(np.ones((2, 3)), ["b", "a"], 10).tolist() == [[1, 1, 1], [0, 0, 0]]
    assert top_k(np.array([]), [], 3) == []
    assert top_k_columns(np.zeros((0, 3)), [], 3).shape == (0, 3)


def test_nan_comes_last_and_infinity_first():
    values = np.array([np.nan, -np.inf, 0.0, np.inf])

    assert top_k(values, ["a", "b", "c", "d"], 4) == [3, 2, 0, 1]


def test_wrong_arguments_are_refused():
    with pytest.raises(ValueError, match="positive"):
        top_k(np.zeros(2), ["a", "b"], 0)
    with pytest.raises(ValueError, match="1 ids"):
        top_k(np.zeros(2), ["a"], 1)
    with pytest.raises(ValueError, match="vector"):
        top_k(np.zeros((2, 2)), ["a", "b"], 1)
    with pytest.raises(ValueError, match="3 ids"):
        top_k_columns(np.zeros((2, 2)), ["a", "b", "c"], 1)


@given(st.lists(st.integers(0, 4), min_size=1, max_size=20), st.integers(1, 22), st.randoms())
def test_the_choice_does_not_depend_on_the_order_of_images(values, k, random):
    ids = ids_of(len(values))
    order = list(range(len(values)))
    random.shuffle(order)

    plain = top_k(np.array(values, dtype=float), ids, k)
    shuffled = top_k(np.array([values[i] for i in order], dtype=float), [ids[i] for i in order], k)

    assert [ids[i] for i in plain] == [ids[order[i]] for i in shuffled]


@given(st.integers(1, 30), st.integers(1, 12), st.integers(0, 2**32 - 1))
def test_columns_agree_with_sorting_each(count, k, seed):
    values = np.random.default_rng(seed).integers(0, 4, (count, 5)).astype(np.float32)
    ids = ids_of(count)

    found = top_k_columns(values, ids, k)

    for unit, column in enumerate(values.T):
        expected = sorted(range(count), key=lambda i, c=column: (-c[i], ids[i]))[:k]
        assert found[:, unit].tolist() == expected
        assert top_k(column, ids, k) == expected


def test_a_unit_does_not_depend_on_its_neighbours():
    values = np.random.default_rng(0).integers(0, 5, (50, 300)).astype(np.float32)
    values[:, 7] = np.nan
    ids = ids_of(50)

    together = top_k_columns(values, ids, 6)

    for unit in (0, 8, 255, 256, 299):
        assert together[:, unit].tolist() == top_k(values[:, unit], ids, 6)


def test_a_whole_layer_takes_seconds():
    rng = np.random.default_rng(0)
    values = np.maximum(rng.normal(size=(10_000, 2_048)), 0).astype(np.float32)

    start = time.process_time()
    found = top_k_columns(values, ids_of(10_000), 10)

    assert time.process_time() - start < 10
    assert (np.take_along_axis(values, found, 0)[0] == values.max(axis=0)).all()


def test_the_activating_set_is_the_best_of_images_and_crops():
    exemplars = [("b", 3.0), ("c", 1.0), ("a", 2.0)]
    crops = [("e", 2.5), ("d", 2.0), ("f", 0.0)]

    assert activating_set(exemplars, crops, 4) == [
        Activating("b", "image", 3.0),
        Activating("e", "crop", 2.5),
        Activating("a", "image", 2.0),
        Activating("d", "crop", 2.0),
    ]
    assert activating_set([], [], 3) == []


def test_equal_content_counts_once_as_the_image():
    found = activating_set([("a", 1.0)], [("a", 1.0), ("b", 0.5), ("b", 0.5)], 5)

    assert found == [Activating("a", "image", 1.0), Activating("b", "crop", 0.5)]


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_an_activation_that_is_not_finite_is_refused(value):
    with pytest.raises(ValueError, match="crop b is not finite"):
        activating_set([("a", 1.0)], [("b", value)], 2)


def test_an_activating_set_of_none_is_refused():
    with pytest.raises(ValueError, match="positive"):
        activating_set([], [], 0)


@given(st.lists(st.integers(0, 5), max_size=8), st.lists(st.integers(0, 5), max_size=8))
def test_crops_never_lower_the_activations(images, crops):
    named = [(f"i{n}", float(v)) for n, v in enumerate(images)]
    cropped = [(f"c{n}", float(v)) for n, v in enumerate(crops)]
    plain = [a.activation for a in activating_set(named, [], 4)]
    found = [a.activation for a in activating_set(named, cropped, 4)]

    assert found == sorted(found, reverse=True)
    assert all(x >= y for x, y in zip(found, plain, strict=False))
    assert len(found) == min(4, len(images) + len(crops))


def test_dead_units():
    values = np.array([[0.0, 2.5, 0.0, np.nan], [0.0, 2.5, 1e-30, np.nan]])

    assert is_dead(values).tolist() == [True, True, False, False]
    assert is_dead(np.array([[0.0, 3.0]])).tolist() == [True, False]
    with pytest.raises(ValueError, match="no image"):
        is_dead(np.zeros((0, 3)))


def test_units_that_are_not_finite():
    values = np.array([[0.0, np.nan, np.inf, 1.0], [0.0, 1.0, 1.0, -np.inf]])

    assert not_finite(values).tolist() == [False, True, True, True]
