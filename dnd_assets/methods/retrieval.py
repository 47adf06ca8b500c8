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
    asked, known = np.asarray(queries, np.float64), np.asarray(table, np.float64)
    if asked.ndim != 2 or known.ndim != 2 or asked.shape[1] != known.shape[1]:
        raise ValueError(f"queries {asked.shape} and table {known.shape} are not (N, D) and (M, D)")
    if len(ids) != len(known) or len(set(ids)) != len(ids):
        raise ValueError(f"{len(ids)} ids do not tell {len(known)} rows apart")
    if not (np.isfinite(asked).all() and np.isfinite(known).all()):
        raise ValueError("a vector holds NaN or infinity")
    by_id = np.array(sorted(range(len(ids)), key=ids.__getitem__), dtype=np.int64)
    found = []
    for query in asked:  # one after the other: a product of matrices depends on its size
        order = np.argsort(-(known[by_id] * query).sum(axis=1), kind="stable")[:count]
        found.append(by_id[order].tolist())
    return found
