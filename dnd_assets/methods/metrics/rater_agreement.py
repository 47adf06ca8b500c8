"""Agreement of raters: Krippendorff's alpha for ordinal scales."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray


def ordinal_alpha(items: Iterable[Sequence[float]]) -> float:
    """Krippendorff's alpha with the ordinal difference, for any number of raters.

    1 is full agreement, 0 what chance gives, negative is worse than chance. alpha = 1 - D_o / D_e
    over the coincidences of values c and k within an item, with the difference (sum of n_g over
    the values g from c to k, minus (n_c + n_k) / 2) squared (Krippendorff, Computing
    Krippendorff's Alpha-Reliability, 2011).

    Args:
        items: the ratings of each item, as many as there are; items with fewer than two say
            nothing about agreement and do not count.

    Returns:
        A number of at most 1; NaN when no item has two ratings, or all ratings are equal: without
        variation nobody can tell agreement from indifference.

    Raises:
        ValueError: when a rating is NaN or infinite.
    """
    rated = [list(map(float, item)) for item in items]
    rated = [item for item in rated if len(item) > 1]
    values = sorted({value for item in rated for value in item})
    if not np.isfinite(values).all():
        raise ValueError("ratings hold NaN or infinite values; leave missing ratings out")
    if len(values) < 2:
        return float("nan")
    coincidences = _coincidences(rated, values)
    counts = coincidences.sum(axis=1)
    differences = _ordinal_differences(counts)
    total = counts.sum()
    observed = (coincidences * differences).sum() / total
    expected = (np.outer(counts, counts) * differences).sum() / (total * (total - 1))
    return float(1 - observed / expected)


def _coincidences(rated: list[list[float]], values: list[float]) -> NDArray[np.float64]:
    """Pairs of values within items, each item weighing as many as it has ratings, (V, V)."""
    table = np.zeros((len(values), len(values)))
    index_of = {value: i for i, value in enumerate(values)}
    for item in rated:
        counts = np.bincount([index_of[value] for value in item], minlength=len(values))
        table += (np.outer(counts, counts) - np.diag(counts)) / (len(item) - 1)
    return table


def _ordinal_differences(counts: NDArray[np.float64]) -> NDArray[np.float64]:
    """Squared differences of ranks: how many ratings lie between two values, (V, V)."""
    middles = np.cumsum(counts) - counts / 2
    return np.asarray((middles[:, None] - middles[None, :]) ** 2)
