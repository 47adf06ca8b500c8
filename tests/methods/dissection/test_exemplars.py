"""Exemplars: order, ties, dead units."""

import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dnd_assets.methods.dissection.exemplars import (
    Activating,
    activating_set,
    exemplars_of,
    failed_images,
    is_dead,
    is_lost,
    not_finite,
    silence,
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


RELU = [3.0, 2.0, 1.0] + [0.0] * 11
SIGNED = [0.5 - 0.1 * n for n in range(14)]


@pytest.mark.parametrize(
    ("values", "fires_on"),
    [
        (RELU, 3),
        ([v - 0.5 for v in RELU], 3),  # a bias after the ReLU
        ([-2 * v for v in RELU[3:]] + [4.0, 5.0, 6.0], 3),
        ([6.0] * 12 + [0.0] * 2, 12),  # ReLU6 at its upper limit
        ([6.0] * 12 + [0.0], 12),  # a single zero of a unit that is never negative
        ([0.9, 0.8, 0.7] + [10.0 ** -(6 + n) for n in range(11)], 3),  # a saturated sigmoid
        ([0.4, 0.3, 0.2, 0.1], 4),  # softmax
        ([2.0, 1.0] + [-1e-9] * 12, 2),  # GELU far below zero
        ([2.0, 1.0, -0.2, -0.3] + [0.0] * 10, 2),  # Hardswish dips below its off state
        ([0.99, 0.5] + [-1.0 + 1e-7 * n for n in range(12)], 2),  # tanh at its lower limit
        (SIGNED, None),  # logits
        ([*SIGNED, -9.0, -9.0], None),  # two equal pictures make no off state
        ([-1e-6] * 5 + [-3.0, -4.0, -5.0, -6.0], None),  # log-probabilities: 0 is their top
        ([-5.0, -3.0, -1.0], None),
    ],
)
def test_where_a_unit_is_silent(values, fires_on):
    column = np.array(values, dtype=np.float32)
    found = exemplars_of(column, ids_of(len(values)), len(values))

    assert found.fires_on == fires_on
    assert len(found.rows) == (len(values) if fires_on is None else fires_on)
    assert (silence(column) is None) == (fires_on is None)
    assert not fires_on or column[list(found.rows)].min() > found.off


@given(
    st.lists(st.floats(0, 100, width=32), min_size=1, max_size=30),
    st.integers(1, 12),
    st.sampled_from([1.0, 2.0**-20, 2.0**20]),
)
def test_no_silent_image_is_an_exemplar_whatever_the_scale(values, k, scale):
    column = np.array(values, dtype=np.float32)
    ids = ids_of(len(values))
    found = exemplars_of(column * np.float32(scale), ids, k)

    assert all(column[row] > 0 for row in found.rows)
    assert list(found.rows) == top_k(column, ids, k)[: len(found.rows)]
    if column.max() > 0:
        missed = set(range(len(values))) - set(found.rows)
        assert len(found.rows) == k or all(column[r] <= 2**-14 * column.max() for r in missed)


@given(st.lists(st.sampled_from([0.0, 1.0, 2.0, np.nan, np.inf]), min_size=1, max_size=20))
def test_images_that_are_not_finite_count_as_if_they_were_not_there(values):
    column, ids = np.array(values), ids_of(len(values))
    rows = np.flatnonzero(np.isfinite(column))
    found = exemplars_of(column, ids, 5)
    alone = exemplars_of(column[rows], [ids[row] for row in rows], 5)

    assert found.rows == tuple(int(rows[row]) for row in alone.rows)
    assert (found.off, found.fires_on, found.images) == (alone.off, alone.fires_on, alone.images)
    assert set(found.set_aside) == set(range(len(values))) - set(rows.tolist())


def test_images_on_which_a_layer_fails():
    values = np.zeros((5, 4))
    values[1] = np.nan
    values[2, :3] = np.inf
    values[3, :2] = np.nan

    assert failed_images(values).tolist() == [False, True, True, False, False]
    values[3:] = np.nan
    assert not failed_images(values).any()  # most images: it is the layer that fails
    assert failed_images(np.zeros((0, 3))).tolist() == []


def test_units_that_are_lost():
    nan = np.nan

    assert not is_lost(np.array([0.0, 0.0]))
    assert not is_lost(np.array([1.0, 2.0, nan]))
    assert is_lost(np.array([1.0, nan, nan]))
    assert is_lost(np.array([1.0, 1.0, nan]))
    assert is_lost(np.array([nan, np.inf]))


def test_crops_on_which_the_unit_is_silent_do_not_enter():
    exemplars = [("a", 2.0)]
    crops = [("b", 0.0), ("c", 0.1), ("d", 1e-9)]

    found = activating_set(exemplars, crops, 4, off=1e-4)
    assert [one.image for one in found] == ["a", "c"]
    assert len(activating_set(exemplars, crops, 4)) == 4
