"""Agreement of raters: Krippendorff's alpha for ordinal scales."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np


def ordinal_alpha(items: Iterable[Sequence[float]]) -> float:
    """Krippendorff's alpha with the ordinal difference, for any number of raters.

    1 is full agreement, 0 what chance gives, negative is worse than chance. alpha = 1 - D_o / D_e
    over the coincidences of values c and k within an item, with the difference (sum of n_g over
    the values g from c to k, minus (n_c + n_k) / 2) squared (Krippendorff, Computing
    Krippendorff's Alpha-Reliability, 2011), as the package `krippendorff` works it out.

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
    values = {value for item in rated for value in item}
    if not np.isfinite(list(values)).all():
        raise ValueError("ratings hold NaN or infinite values; leave missing ratings out")
    if len(values) < 2:
        return float("nan")
    from krippendorff import alpha

    by_rater = np.full((max(map(len, rated)), len(rated)), np.nan)
    for column, item in enumerate(rated):
        by_rater[: len(item), column] = item
    return float(alpha(reliability_data=by_rater, level_of_measurement="ordinal"))
