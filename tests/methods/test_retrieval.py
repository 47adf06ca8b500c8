"""Nearest rows: worked by hand, against a sort, invariants, refusals."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dnd_assets.methods.retrieval import nearest_rows


def test_worked_by_hand():
    """Products of (1, 0) with the rows: 0.6, 1, 0; of (0, 1): 0.8, 0, 1."""
    table = np.array([[0.6, 0.8], [1.0, 0.0], [0.0, 1.0]])

    found = nearest_rows(np.eye(2), table, ["a", "b", "c"], 2)

    assert found == [[1, 0], [2, 0]]


def test_equal_products_rank_by_id():
    table = np.array([[1.0, 0.0], [1.0, 0.0], [1.0, 0.0]])

    assert nearest_rows(np.array([[1.0, 0.0]]), table, ["c", "a", "b"], 3) == [[1, 2, 0]]


@given(st.integers(0, 1000))
def test_neither_the_order_of_the_table_nor_other_queries_matter(seed):
    rng = np.random.default_rng(seed)
    table, queries = rng.normal(size=(8, 3)), rng.normal(size=(4, 3))
    table[3] = table[5]
    ids = [f"{n}" for n in rng.permutation(8)]
    shuffled = rng.permutation(8)

    found = nearest_rows(queries, table, ids, 5)
    again = nearest_rows(queries[1:2], table[shuffled], [ids[n] for n in shuffled], 5)

    assert [ids[row] for row in found[1]] == [ids[shuffled[row]] for row in again[0]]
    by_sort = sorted(range(8), key=lambda row: (-float(table[row] @ queries[1]), ids[row]))
    assert {ids[row] for row in found[1][:1]} <= {ids[row] for row in by_sort[:2]}


def test_all_rows_where_there_are_fewer():
    assert nearest_rows(np.eye(2), np.eye(2), ["a", "b"], 9) == [[0, 1], [1, 0]]


@pytest.mark.parametrize(
    ("queries", "ids", "message"),
    [
        (np.eye(3), ["a", "b"], r"\(N, D\)"),
        (np.eye(2), ["a", "a"], "apart"),
        (np.eye(2), ["a"], "apart"),
        (np.array([[np.nan, 0.0]]), ["a", "b"], "NaN"),
    ],
)
def test_what_does_not_fit_is_refused(queries, ids, message):
    with pytest.raises(ValueError, match=message):
        nearest_rows(queries, np.eye(2), ids)
