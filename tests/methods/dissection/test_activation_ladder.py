"""Images from the whole range of activations."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dnd_assets.methods.dissection.activation_ladder import activation_ladder


def test_levels_are_spaced_by_value_not_by_rank():
    values = np.array([0.0, 0.01, 0.02, 0.03, 5.1, 10.0], dtype=np.float32)
    assert activation_ladder(values, list("abcdef"), 3) == [5, 4, 0]


def test_ties_go_to_the_lowest_id_and_a_constant_unit_has_one_step():
    assert activation_ladder(np.ones(4, np.float32), list("dbca"), 5) == [3]
    assert activation_ladder(np.array([0.0, 2.0, 2.0], np.float32), list("acb"), 2) == [2, 0]


@given(st.lists(st.floats(-100, 100, width=32), min_size=1, max_size=40), st.integers(2, 12))
def test_it_holds_both_ends_falls_and_hangs_on_no_order(numbers, n):
    values = np.array(numbers, dtype=np.float32)
    ids = [f"{i:03d}" for i in range(len(values))]
    found = activation_ladder(values, ids, n)
    assert 1 <= len(found) <= n
    assert len(set(found)) == len(found)
    steps = values[found].tolist()
    assert steps == sorted(steps, reverse=True)
    assert (steps[0], steps[-1]) == (values.max(), values.min())
    order = np.random.default_rng(0).permutation(len(values))
    turned = activation_ladder(values[order], [ids[i] for i in order], n)
    assert [ids[order[i]] for i in turned] == [ids[i] for i in found]


def test_nothing_is_told():
    with pytest.raises(ValueError, match="0 values"):
        activation_ladder(np.zeros(0, np.float32), [])
