"""How sure a mean over units is: bootstrap confidence intervals."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import scipy
from numpy.typing import NDArray

_AT_ONCE = 500


class Interval(NamedTuple):
    """Lower and upper end."""

    low: float
    high: float


def mean_interval(
    values: Sequence[float] | NDArray[np.floating],
    *,
    level: float = 0.95,
    resamples: int = 9999,
    seed: int = 0,
) -> Interval:
    """Bias-corrected and accelerated bootstrap interval of the mean over units.

    The same values in the same order give the same interval.

    Args:
        values: one for each unit, (N,).
        level: confidence, in (0, 1).
        resamples: how many means are drawn.
        seed: of the draws.

    Returns:
        The two ends; both are the value itself when all units have one value, since every
        resample then has that mean.

    Raises:
        ValueError: for fewer than two units, values not finite or beyond about 1e100, or a level
            outside (0, 1).
    """
    vector = np.asarray(values, dtype=np.float64)
    if vector.ndim != 1 or len(vector) < 2:
        raise ValueError(f"an interval takes two units at least, not shape {vector.shape}")
    if not np.isfinite(vector).all():
        raise ValueError("values hold NaN or infinite ones; leave those units out and count them")
    if not 0 < level < 1 or resamples < 1:
        raise ValueError(f"level = {level} has to be in (0, 1), resamples = {resamples} positive")
    if vector.max() == vector.min():
        return Interval(float(vector[0]), float(vector[0]))
    # Squares of very small values would underflow to 0; scaling by a power of two is exact.
    _, exponent = np.frexp(np.abs(vector).max())
    exponent = min(int(exponent), 0)
    interval = scipy.stats.bootstrap(
        (np.ldexp(vector, -exponent),),
        np.mean,
        confidence_level=level,
        n_resamples=resamples,
        batch=_AT_ONCE,
        rng=np.random.default_rng(seed),
    ).confidence_interval
    if not np.isfinite([interval.low, interval.high]).all():
        raise ValueError(f"values up to {np.abs(vector).max():.0e} are too large for an interval")
    return Interval(
        float(np.ldexp(interval.low, exponent)), float(np.ldexp(interval.high, exponent))
    )
