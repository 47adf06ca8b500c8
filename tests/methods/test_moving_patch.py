"""The moving patch: which readings of an output as rows and columns follow the picture."""

import numpy as np
import pytest

from dnd_assets.methods.moving_patch import CENTRES, HALF, Verdict, boxes, followed


def change(height, width, spread=0.0, noise=0.0):
    """How a map of ideal cells changes: the share of each that the patch covers."""
    made = []
    for down, across in CENTRES:
        made.append(np.outer(_cover(height, down), _cover(width, across)) + spread)
    rng = np.random.default_rng(0)
    return np.stack(made) + noise * rng.random((9, height, width))


def _cover(count, centre):
    edges = np.arange(count + 1) / count
    low = np.maximum(edges[:-1], centre - HALF)
    return np.maximum(np.minimum(edges[1:], centre + HALF) - low, 0) * count


SIZES = [(2, 2), (4, 4), (7, 7), (9, 16), (14, 10), (14, 14), (56, 56), (16, 3)]


@pytest.mark.parametrize(("height", "width"), SIZES)
@pytest.mark.parametrize(("spread", "noise"), [(0.0, 0.0), (5.0, 0.0), (0.3, 0.1)])
def test_the_right_order_is_proven(height, width, spread, noise):
    assert followed(change(height, width, spread, noise)).verdict(exact=True) is Verdict.PROVEN


@pytest.mark.parametrize("side", [4, 7, 14, 24])
def test_other_orders_are_not(side):
    right = change(side, side)
    tokens = right.reshape(9, -1)
    shuffled = np.random.default_rng(1).permutation(side * side)
    orders = {
        "columns first": right.transpose(0, 2, 1),
        "upside down": right[:, ::-1],
        "mirrored": right[:, :, ::-1],
        "shuffled": tokens[:, shuffled].reshape(9, side, side),
    }
    for name, one in orders.items():
        assert followed(one).verdict() is not Verdict.PROVEN, name


def test_windows_before_rows_are_wrong():
    """56 x 56 tokens in windows of 7 x 7, one window after the other."""
    right = change(56, 56)
    windows = right.reshape(9, 8, 7, 8, 7).transpose(0, 1, 3, 2, 4).reshape(9, 56, 56)

    assert followed(windows).verdict() is Verdict.WRONG


@pytest.mark.parametrize(("height", "width"), [(14, 14), (9, 16), (7, 7), (24, 24)])
def test_tokens_counted_from_a_wrong_one_are_seen(height, width):
    tokens = change(height, width, 0.01).reshape(9, -1)
    for by in (1, -1, 2):
        moved = np.roll(tokens, by, axis=1).reshape(9, height, width)
        assert followed(moved).verdict(exact=True) is not Verdict.PROVEN


def test_a_token_that_always_changes_most_does_not_hide_the_patch():
    found = change(14, 14)
    found[:, 3, 3] += 50.0

    assert followed(found).verdict() is Verdict.PROVEN


@pytest.mark.parametrize("value", [0.0, 1.0, np.nan, np.inf])
def test_what_changes_alike_everywhere_proves_nothing(value):
    assert followed(np.full((9, 14, 14), value)).verdict() is not Verdict.PROVEN


def test_a_change_that_is_spread_leaves_it_open():
    rng = np.random.default_rng(2)

    assert followed(1 + 0.1 * rng.random((9, 14, 14))).verdict() is Verdict.OPEN


def test_the_patches_lie_within_any_picture():
    for height, width in ((224, 224), (7, 31), (1, 1), (600, 64)):
        for rows, columns in boxes(height, width):
            assert 0 <= rows.start < rows.stop <= max(height, 1)
            assert 0 <= columns.start < columns.stop <= max(width, 1)
