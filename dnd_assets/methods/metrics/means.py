"""Means over units, and how sure they are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dnd_assets.methods.metrics.bootstrap import mean_interval


@dataclass(frozen=True)
class Mean:
    """A mean over units with its 95 % bootstrap interval; no interval for a single unit."""

    mean: float
    low: float | None
    high: float | None
    units: int

    @property
    def count(self) -> int:
        """How many units it is, when the mean is a share."""
        return round(self.mean * self.units)


def mean_of(values: Sequence[float]) -> Mean | None:
    """The mean of values, one for each unit; None when there is none."""
    if not values:
        return None
    mean = float(np.mean(values))
    if len(values) < 2:
        return Mean(mean, None, None, len(values))
    return Mean(mean, *mean_interval(values), len(values))
