"""Nearest neighbours in an embedding space: captions and pictures from a collection."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating]


def nearest_rows(
    queries: Floats, table: Floats, ids: Sequence[str], count: int = 1
) -> list[list[int]]:
    """The rows of a table with the largest inner product with each query, nearest first.

    For unit vectors this is the cosine. Equal products rank by id.

    Args:
        queries: (N, D).
        table: (M, D).
        ids: what each row of the table is known by, M, all different.
        count: how many; all rows where there are fewer.

    Returns:
        For each query row numbers of the table.

    Raises:
        ValueError: when shapes do not fit or a value is not finite.
    """
    query_rows, rows = np.asarray(queries, np.float64), np.asarray(table, np.float64)
    if query_rows.ndim != 2 or rows.ndim != 2 or query_rows.shape[1] != rows.shape[1]:
        raise ValueError(
            f"queries {query_rows.shape} and table {rows.shape} are not (N, D) and (M, D)"
        )
    if len(ids) != len(rows) or len(set(ids)) != len(ids):
        raise ValueError(f"{len(ids)} ids do not tell {len(rows)} rows apart")
    if not (np.isfinite(query_rows).all() and np.isfinite(rows).all()):
        raise ValueError("a vector holds NaN or infinity")
    by_id = np.array(sorted(range(len(ids)), key=ids.__getitem__), dtype=np.int64)
    rows_by_id = rows[by_id]
    nearest = []
    for query in query_rows:  # one after the other: a product of matrices depends on its size
        products = np.einsum("md,d->m", rows_by_id, query)  # equal rows give equal products
        order = np.argsort(-products, kind="stable")[:count]
        nearest.append(by_id[order].tolist())
    return nearest
