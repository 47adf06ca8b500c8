"""Tables of which only what is not zero is kept: they answer as the tables in full do."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from dnd_assets.errors import StudyError
from dnd_assets.methods.dissection.exemplars import failed_images, failing
from dnd_assets.methods.sparse_matrix import SparseMatrix

numbers = st.sampled_from([0.0, 0.0, 0.0, 1.5, -2.0, 3e-8, np.nan, np.inf])
tables = st.tuples(st.integers(1, 6), st.integers(1, 5)).flatmap(
    lambda shape: arrays(np.float32, shape, elements=numbers)
)


@given(tables, st.data())
def test_indexing_is_that_of_the_full_table(full, data):
    held = SparseMatrix.of_arrays(SparseMatrix.of_dense(full).as_arrays())
    rows = data.draw(st.lists(st.integers(0, len(full) - 1), min_size=1, max_size=8))
    mask = np.array(data.draw(st.lists(st.booleans(), min_size=len(full), max_size=len(full))))
    column = data.draw(st.integers(0, full.shape[1] - 1))

    assert held.shape == full.shape
    np.testing.assert_array_equal(held.dense(), full)
    np.testing.assert_array_equal(held[rows].dense(), full[rows])
    np.testing.assert_array_equal(held[mask].dense(), full[mask])
    np.testing.assert_array_equal(held[:, column], full[:, column])
    np.testing.assert_array_equal(held[rows, column], full[rows, column])
    np.testing.assert_array_equal(held[rows[0], column], full[rows[0], column])
    np.testing.assert_array_equal(held[:, [column, 0]], full[:, [column, 0]])
    np.testing.assert_array_equal(failing(held.not_finite()), failed_images(full))


def test_a_column_that_there_is_not():
    with pytest.raises(IndexError):
        SparseMatrix.of_dense(np.ones((2, 3), np.float32))[:, 3]


@pytest.mark.parametrize("width", [300, 70_000])
def test_rows_below_one_another_and_wide_ones(width):
    full = np.zeros((5, width), np.float32)
    full[[0, 2, 4], [width - 1, 7, 0]] = [1, 2, 3]
    parts = [SparseMatrix.of_dense(full[:2]), SparseMatrix.of_dense(full[2:])]
    stacked = SparseMatrix.of_arrays(SparseMatrix.stacked(parts).as_arrays())
    np.testing.assert_array_equal(stacked.dense(), full)


def test_what_would_not_fit_into_memory_is_not_written_out():
    with pytest.raises(StudyError, match="18 GB"):
        SparseMatrix.zeros(100_000, 49_152).dense()
