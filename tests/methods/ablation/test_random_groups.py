"""A group beside random groups of its size, by hand."""

import numpy as np
import pytest

from dnd_assets.methods.ablation.random_groups import beyond_random, random_groups


def test_random_groups_are_of_the_size_and_of_others_alone():
    found = random_groups((1, 5), range(8), 30, 0)
    assert len(found) == 30
    for one in found:
        assert len(set(one)) == 2
        assert not set(one) & {1, 5}
    assert len(set(found)) > 5
    assert found == random_groups((5, 1), range(8), 30, 0), "the order of a group says nothing"
    assert found != random_groups((1, 5), range(8), 30, 1)
    assert found[:7] == random_groups((1, 5), range(8), 7, 0), "more groups keep the first"
    with pytest.raises(ValueError, match="1 other units cannot make groups of 2"):
        random_groups((0, 1), range(3), 1, 0)


def test_what_a_group_does_beyond_them_by_hand():
    before = np.array([[2.0, 1.0], [3.0, 1.0], [0.0, 4.0]])
    truth = np.array([0, 0, 1])
    after = before - np.array([2.0, 0.0])
    randoms = np.stack([before - np.array([0.5, 0.0]), before - np.array([1.5, 0.0])])
    shared = (before, after, randoms, ["a", "b"], truth)
    first, second = beyond_random(*shared, accuracy=False)
    assert (first.name, first.images) == ("a", 2)
    assert (first.change.change, first.random, first.beyond.change) == (-2, -1, -1)
    assert (first.beyond.low, first.beyond.high) == (-1, -1), "every image alike"
    assert (first.random_low, first.random_high) == pytest.approx((-1.475, -0.525))
    assert (second.change.change, second.random, second.beyond.change) == (0, 0, 0)
    hits = beyond_random(*shared, accuracy=True)[0]
    # Whole: both right. Without the group: 0 against 1, and a tie, which is no answer.
    assert (hits.change.before, hits.change.change) == (1, -1)
    # Without the groups: 1.5 and 2.5 against 1, both right; 0.5 and 1.5 against 1, one of them.
    assert hits.random == -0.25
    assert hits.beyond.change == -0.75
    everywhere = beyond_random(before, after, randoms, ["a", "b"], None, accuracy=False)
    assert [one.images for one in everywhere] == [3, 3]
