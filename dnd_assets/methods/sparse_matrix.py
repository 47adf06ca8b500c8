"""Activations that are mostly zero: rows of pictures, of which only what is not zero is kept.

49,152 latents of which 32 to 200 fire on a picture take 0.1 to 0.7 % of what they would take as a
table. Indexing is as for a numpy table: rows give a table again, one column a plain vector.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

import numpy as np
import scipy
from numpy.typing import NDArray

from dnd_assets.errors import StudyError

Matrix = NDArray[np.float32]
_SHORT: Final = 1 << 16
_DENSE_BYTES: Final = 8 << 30
"""Above this a table is not written out in full."""


@dataclass(frozen=True)
class SparseMatrix:
    """A float32 table (rows, width) of which values other than 0 are kept, NaN among them.

    Attributes:
        held: the values, by row.
    """

    held: Any

    @classmethod
    def of_dense(cls, values: Matrix) -> SparseMatrix:
        """The sparse form of a table written out in full."""
        return cls(scipy.sparse.csr_array(values.astype(np.float32, copy=False)))

    @classmethod
    def of_arrays(cls, arrays: Mapping[str, NDArray[np.generic]]) -> SparseMatrix:
        """The table that `as_arrays` wrote as arrays.

        Raises:
            ValueError: when the arrays do not fit each other.
        """
        width = int(arrays["width"][0])
        starts = arrays["starts"].astype(np.int64)
        data, columns = arrays["data"].astype(np.float32), arrays["columns"].astype(np.int64)
        return cls(scipy.sparse.csr_array((data, columns, starts), shape=(len(starts) - 1, width)))

    @classmethod
    def zeros(cls, rows: int, width: int) -> SparseMatrix:
        """A table of zeros."""
        return cls(scipy.sparse.csr_array((rows, width), dtype=np.float32))

    @classmethod
    def stacked(cls, parts: Sequence[SparseMatrix]) -> SparseMatrix:
        """Tables one below the other, at least one."""
        return cls(
            scipy.sparse.csr_array(scipy.sparse.vstack([part.held for part in parts], format="csr"))
        )

    def as_arrays(self) -> dict[str, NDArray[np.generic]]:
        """The table as arrays for a file: `data`, `columns` (16 bits where enough), `starts`."""
        short = np.uint16 if self.shape[1] <= _SHORT else np.uint32
        return {
            "data": self.held.data.astype(np.float32),
            "columns": self.held.indices.astype(short),
            "starts": self.held.indptr.astype(np.int64),
            "width": np.array([self.shape[1]], dtype=np.int64),
        }

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and width."""
        return int(self.held.shape[0]), int(self.held.shape[1])

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, key: Any) -> Any:
        """Rows as a table again; `[:, j]` and `[rows, j]` as a vector; `[:, list]` in full."""
        if not isinstance(key, tuple):
            rows = np.asarray(key)
            row_numbers = np.flatnonzero(rows) if rows.dtype == np.bool_ else rows.astype(np.int64)
            return SparseMatrix(scipy.sparse.csr_array(self.held[np.atleast_1d(row_numbers)]))
        rows, columns = key
        if np.ndim(columns) == 0:
            return self._column(int(columns))[rows]
        return np.stack([self._column(int(column)) for column in columns], axis=1)[rows]

    def dense(self) -> Matrix:
        """The table in full.

        Raises:
            StudyError: when it would take more than 8 GB.
        """
        size = 4 * self.shape[0] * self.shape[1]
        if size > _DENSE_BYTES:
            raise StudyError(
                f"{self.shape[0]:,} pictures x {self.shape[1]:,} latents would take "
                f"{size / 2**30:.0f} GB in full, which this method needs. Use fewer pictures, or "
                "leave the method out for this layer."
            )
        return np.asarray(self.held.toarray(), dtype=np.float32)

    def not_finite(self) -> NDArray[np.float64]:
        """Share of NaN and infinity in each row, (rows,)."""
        counts = np.zeros(len(self), dtype=np.float64)
        rows = np.repeat(np.arange(len(self)), np.diff(self.held.indptr))
        np.add.at(counts, rows, ~np.isfinite(self.held.data))
        return counts / max(self.shape[1], 1)

    @cached_property
    def _by_column(self) -> Any:
        return self.held.tocsc()

    def _column(self, column: int) -> Matrix:
        by_column = self._by_column
        column = range(self.shape[1])[column]
        part = slice(by_column.indptr[column], by_column.indptr[column + 1])
        values = np.zeros(len(self), dtype=np.float32)
        values[by_column.indices[part]] = by_column.data[part]
        return values


Values = Matrix | SparseMatrix
"""Activations (pictures, units), in full or as what is not zero."""


def dense(values: Values) -> Matrix:
    """Activations in full.

    Raises:
        StudyError: when they would take too much memory.
    """
    return values.dense() if isinstance(values, SparseMatrix) else values
