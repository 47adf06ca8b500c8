"""What wrong labels do to a metric in theory: the sanity construct of NeuronEval.

A unit is 1 on a share g of the images and 0 on the others, and a concept is there where the unit is
1: the perfect label. Then each image with the concept loses it with probability 1/2 (missing
labels), or each without gets it with probability g / (1 - g), so that as many are added (extra
labels). A metric that does not fall by more than 0.001 of its range for either is worthless at that
g (Oikarinen, Yan and Weng, Evaluating Neuron Explanations: A Unified Framework with Sanity Checks,
ICML 2025, section 4.1).

How many images are changed is binomial, and a metric depends on little else: the mean is that of
two numbers of changed images, a standard deviation above and below the mean (Gauss-Hermite, exact
for polynomials of degree 3). Nothing is drawn.

`as_published` follows the authors' code where it departs from the paper's definitions: it breaks
ties by noise that float32 cannot hold beside a 1, so that three of five ones stay in the order of
the images; of "top and random" it takes every active image instead of 25; and its correlation
divides by n what was standardised by n - 1.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
import scipy
from numpy.typing import NDArray

from dnd_assets.methods.metrics.association import TOP, harmonic_mean
from dnd_assets.methods.metrics.detection import Metric
from dnd_assets.methods.metrics.image_level import IMAGE_METRICS
from dnd_assets.methods.metrics.sanity import LEAST_DROP

FREQUENCIES: Final = (0.499, 0.1, 0.01, 0.001, 0.0001)
"""g: shares of the images on which the unit is active."""
IMAGES: Final = 500_000
SURELY: Final = 0.9
"""Share of units for which a metric has to fall, to pass."""
Change = Literal["missing", "extra"]
Vector = NDArray[np.floating]
CHANGES: Final[tuple[Change, Change]] = ("missing", "extra")
_ROUNDED_UP: Final = 1 - 2.0**-24 / 1e-7
"""Chance that 1 + 1e-7 u, u uniform in [0, 1), is more than 1 in float32."""
_DRAWS: Final = 50
_CERTAIN: Final = 1e-12
_ROUNDED: Final = 0.01


@dataclass(frozen=True)
class Move:
    """How a metric moves when labels are made wrong, as a share of its range.

    Attributes:
        mean: over units; below 0 when it falls.
        deviation: standard deviation over units, by how many labels are changed.
    """

    mean: float
    deviation: float

    @property
    def falls(self) -> float:
        """Chance that a unit's value falls by more than `LEAST_DROP` of the range."""
        if self.deviation < _CERTAIN:
            return float(self.mean < -LEAST_DROP)
        return float(scipy.stats.norm.cdf((-LEAST_DROP - self.mean) / self.deviation))


@dataclass(frozen=True)
class TheoreticalCheck:
    """What wrong labels do to a metric at one share of active images.

    Attributes:
        metric: its name.
        frequency: g.
        missing: when half of the labels are missing.
        extra: when as many are added.
    """

    metric: str
    frequency: float
    missing: Move
    extra: Move

    @property
    def passes(self) -> bool:
        """Whether both make it fall for `SURELY` of the units, by `LEAST_DROP` of the range."""
        return min(self.missing.falls, self.extra.falls) >= SURELY


def theoretical_checks(
    metrics: Sequence[str] | None = None,
    *,
    frequencies: Sequence[float] = FREQUENCIES,
    images: int = IMAGES,
    as_published: bool = False,
) -> list[TheoreticalCheck]:
    """Each metric at each share of active images.

    A metric without bounds has the range that it has over all pairs of these units and concepts,
    right and wrong ones, as in the paper.

    Args:
        metrics: names in `image_level.IMAGE_METRICS`; None for all.
        frequencies: shares of active images, each above 0 and below 1/2.
        images: N.
        as_published: what the authors' code computes, where that is something else.

    Raises:
        KeyError: for a name that is no metric.
        ValueError: for a frequency out of range, or one that makes no image active.
    """
    names = list(IMAGE_METRICS if metrics is None else metrics)
    for frequency in frequencies:
        if not 0 < frequency < 0.5 or round(frequency * images) < 1:
            raise ValueError(f"frequency {frequency} of {images:,} images: no unit is like that")
    extents = {name: _extent(name, frequencies, images) for name in names}
    checks = {}
    for frequency in frequencies:
        unit = _Unit(round(frequency * images), images, as_published)
        for name in names:
            missing, extra = (unit.move(name, change, extents[name]) for change in CHANGES)
            checks[name, frequency] = TheoreticalCheck(name, frequency, missing, extra)
    return [checks[name, frequency] for name in names for frequency in frequencies]


def changed_labels(active: int, images: int, change: Change, changed: int) -> Vector:
    """The construct: a concept on the first `active` images, with some labels made wrong.

    Args:
        active: images with the concept, the first ones.
        images: N.
        change: `missing` takes it from images that have it, `extra` gives it to others.
        changed: how many; they are spread evenly.

    Returns:
        Presence, 0 and 1, float64 (N,).
    """
    presence = np.zeros(images)
    presence[:active] = 1
    start, candidates = (0, active) if change == "missing" else (active, images - active)
    positions = start + (np.arange(changed) * candidates // max(changed, 1))
    presence[positions] = 0 if change == "missing" else 1
    return presence


class _Unit:
    """The values of metrics for one perfect unit, each computed once."""

    def __init__(self, active: int, images: int, as_published: bool) -> None:
        self._active = active
        self._images = images
        self._published = PUBLISHED if as_published else {}
        self._values: dict[tuple[str, Change, int], float] = {}
        self._presence: dict[tuple[Change, int], Vector] = {}

    def move(self, name: str, change: Change, extent: float) -> Move:
        """How a metric moves, by the mean and the spread of how many labels are changed."""
        active, silent = self._active, self._images - self._active
        trials, chance = (active, 0.5) if change == "missing" else (silent, active / silent)
        deviation = math.sqrt(trials * chance * (1 - chance))
        perfect = self._value(name, "missing", 0)
        centre, step = round(trials * chance), max(1, round(deviation))
        below, above = (
            (self._value(name, change, min(trials, max(0, count))) - perfect) / extent
            for count in (centre - step, centre + step)
        )
        mean, ratio = (below + above) / 2, deviation / step
        if abs(ratio - 1) > _ROUNDED:  # few labels are changed, and counts are whole numbers
            middle = (self._value(name, change, centre) - perfect) / extent
            mean = middle + (mean - middle) * ratio**2
        return Move(mean, abs(below - above) / 2 * ratio)

    def _value(self, name: str, change: Change, changed: int) -> float:
        key = name, change, changed
        if key not in self._values:
            parts = IMAGE_METRICS[name].parts
            if parts is not None:
                value = harmonic_mean(*(self._value(part, change, changed) for part in parts))
            else:
                value = self._computed(name, change, changed)
            self._values[key] = value
        return self._values[key]

    def _computed(self, name: str, change: Change, changed: int) -> float:
        active, present = self._labels("missing", 0), self._labels(change, changed)
        if name in self._published:
            return self._published[name](active, present)
        if name.endswith("top_and_random"):
            return _mean_top_and_random(active, present, TOP)
        return IMAGE_METRICS[name].at(self._active / self._images)(active, present)

    def _labels(self, change: Change, changed: int) -> Vector:
        key = change, changed
        if key not in self._presence:
            self._presence[key] = changed_labels(self._active, self._images, change, changed)
        return self._presence[key]


def _extent(name: str, frequencies: Sequence[float], images: int) -> float:
    """Range of a metric; of one without bounds, over all units and right and wrong concepts."""
    bounds = IMAGE_METRICS[name].range
    if bounds is not None:
        return bounds
    counts = [round(frequency * images) for frequency in frequencies]
    concepts = [
        changed_labels(count, images, change, changed)
        for count in counts
        for change, changed in ((CHANGES[0], 0), (CHANGES[0], count // 2), (CHANGES[1], count))
    ]
    values = [
        IMAGE_METRICS[name].at(frequency)(changed_labels(count, images, "missing", 0), concept)
        for frequency, count in zip(frequencies, counts, strict=True)
        for concept in concepts
    ]
    return max(values) - min(values)


def _mean_top_and_random(active: Vector, present: Vector, top: int | None) -> float:
    """Mean correlation of `top` active images (None: all) and `TOP` of all.

    For 0 and 1, Pearson's and Spearman's are the same. The sum is over how many of the images drawn
    from all are silent, and how many of the active and of the silent ones show the concept.
    """
    actives, hits = int(active.sum()), int((active * present).sum())
    shown_by_silent = (present.sum() - hits) / (len(active) - actives)
    silent = np.arange(1, TOP + 1)  # with none there is no correlation, and next to never is
    total = 0.0
    for zeros, weight in zip(
        silent, scipy.stats.binom.pmf(silent, TOP, 1 - actives / len(active)), strict=True
    ):
        ones = TOP - zeros + (actives if top is None else min(top, actives))
        certain_hits, draws = (hits, TOP - zeros) if top is None else (0, ones)
        h, e = np.arange(draws + 1), np.arange(zeros + 1)
        chances = np.outer(
            scipy.stats.binom.pmf(h, draws, hits / actives),
            scipy.stats.binom.pmf(e, zeros, shown_by_silent),
        )
        values = _phi((certain_hits + h)[:, None], e[None], int(ones), int(zeros))
        total += weight * float((chances * np.nan_to_num(values)).sum())
    return total


def _phi(hits: NDArray[np.int64], extra: NDArray[np.int64], ones: int, zeros: int) -> Vector:
    """Correlation of two sets: `hits` of the `ones` and `extra` of the `zeros` are in the other."""
    images, present = ones + zeros, hits + extra
    with np.errstate(invalid="ignore", divide="ignore"):
        coefficients = (images * hits - ones * present) / np.sqrt(
            ones * zeros * present.astype(np.float64) * (images - present)
        )
    return np.asarray(coefficients, dtype=np.float64)


# --- The authors' code --------------------------------------------------------------------------


def published_ranks(values: Vector) -> Vector:
    """Mean rank that the authors' code gives each of some zeros and ones, 1 for the least.

    It adds 1e-7 times a uniform number in float32 and sorts. Zeros get a random order. Of the ones
    a share q = 1 - 2^-24 / 1e-7 = 0.404 becomes 1 + 2^-23 and goes last; the others stay equal, and
    either lot keeps the order of the images.

    Args:
        values: 0 and 1, (N,).
    """
    is_one = values > 0
    count, zeros, q = int(is_one.sum()), int((~is_one).sum()), _ROUNDED_UP
    ones_before = np.cumsum(is_one) - 1
    low = (1 - q) * ones_before
    high = (1 - q) * (count - 1) + q * ones_before
    return np.where(is_one, zeros + 1 + (1 - q) * low + q * high, (zeros + 1) / 2)


def _published_auc(active: Vector, present: Vector) -> float:
    count = active.sum()
    wins = published_ranks(present)[active > 0].sum() - count * (count + 1) / 2
    return float(wins / (count * (len(active) - count)))


def _published_top_and_random(active: Vector, present: Vector) -> float:
    size = active.sum() + TOP
    return float(_mean_top_and_random(active, present, None) * (size - 1) / size)


def _published_spearman(active: Vector, present: Vector) -> float:
    """Mean of the authors' rank correlation: the noise of the two vectors is independent."""
    size = len(active)
    products = float(published_ranks(active) @ published_ranks(present))
    variance = (size**2 - 1) / 12
    return (products / size - ((size + 1) / 2) ** 2) / variance * (size - 1) / size


def _published_spearman_top_and_random(active: Vector, present: Vector) -> float:
    """The same on all active images and `TOP` of all, over some draws of these."""
    count = int(active.sum())
    rng = np.random.default_rng(0)
    correlations = []
    for _ in range(max(4, min(_DRAWS, 200_000 // count))):
        images = np.append(np.arange(count), rng.choice(len(active), size=TOP, replace=False))
        correlations.append(_published_spearman(active[images], present[images]))
    return float(np.mean(correlations))


PUBLISHED: Final[Mapping[str, Metric]] = {
    "auc": _published_auc,
    "spearman": _published_spearman,
    "pearson_top_and_random": _published_top_and_random,
    "spearman_top_and_random": _published_spearman_top_and_random,
}
"""Metrics that the authors' code computes in another way, for units and concepts of 0 and 1."""
