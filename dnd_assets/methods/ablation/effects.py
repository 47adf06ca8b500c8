"""What ablation does to classes: changes of scores and accuracies, with bootstrap intervals.

Intervals are percentile bootstraps of the mean over images (Efron & Tibshirani 1993, chapter 13),
with one set of resamples for all classes, so that a thousand classes cost one product of matrices.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

RESAMPLES: Final = 2000
_LEVEL: Final = 0.95
Values = NDArray[np.floating]


@dataclass(frozen=True)
class MeanChange:
    """A mean over images, and how it changes.

    Attributes:
        before: the mean of the whole network.
        change: what ablation adds to it.
        low: lower end of the 95 % interval of the change; None for a single image.
        high: upper end.
    """

    before: float
    change: float
    low: float | None
    high: float | None


@dataclass(frozen=True)
class ClassEffect:
    """What ablation does to one class.

    Attributes:
        name: the class.
        images: images that the changes are means over: of the class where that is known.
        logit: its score.
        accuracy: share of its images that get it as the only best score; None where not known.
    """

    name: str
    images: int
    logit: MeanChange
    accuracy: MeanChange | None

    def as_json(self) -> dict[str, object]:
        """All of it as plain values."""
        found = {"class": self.name, "images": self.images, "logit": asdict(self.logit)}
        return found | {"accuracy": None if self.accuracy is None else asdict(self.accuracy)}


@dataclass(frozen=True)
class Effects:
    """What ablation does to all classes.

    Attributes:
        classes: in their own order, without those of no image.
        accuracy: over all images; None where classes of images are not known.
        chosen: share of images whose best class becomes another.
    """

    classes: tuple[ClassEffect, ...]
    accuracy: MeanChange | None
    chosen: float

    def largest(self, top: int) -> list[ClassEffect]:
        """The classes of the largest change of score, whatever its sign, largest first."""
        return sorted(self.classes, key=lambda one: -abs(one.logit.change))[:top]


def effects(
    before: Values, after: Values, names: Sequence[str], truth: NDArray[np.int64] | None = None
) -> Effects:
    """Changes of each class.

    Args:
        before: scores of the whole network, (N, C).
        after: scores without the units, (N, C).
        names: of the classes.
        truth: class of each image, (N,); None where it is not known: scores then are means over
            all images.
    """
    first, second = before.astype(np.float64), after.astype(np.float64)
    chosen = float((best_class(first) != best_class(second)).mean())
    if truth is None:
        found = changes(first, second - first)
        every = tuple(
            ClassEffect(name, len(first), one, None) for name, one in zip(names, found, strict=True)
        )
        return Effects(every, None, chosen)
    right = (best_class(first) == truth).astype(np.float64)
    now = (best_class(second) == truth).astype(np.float64)
    listed = []
    for index, name in enumerate(names):
        rows = np.flatnonzero(truth == index)
        if len(rows):
            score, hit = first[rows, index], right[rows]
            both = changes(
                np.stack([score, hit], axis=1),
                np.stack([second[rows, index] - score, now[rows] - hit], axis=1),
            )
            listed.append(ClassEffect(name, len(rows), *both))
    (overall,) = changes(right[:, None], (now - right)[:, None])
    return Effects(tuple(listed), overall, chosen)


def best_class(scores: Values) -> NDArray[np.int64]:
    """The class of the largest score, int64 (...); -1 where several have it, which is no answer.

    Ablation makes ties: units set to zero may leave all scores the same.

    Args:
        scores: (..., C).
    """
    best: NDArray[np.int64] = scores.argmax(axis=-1).astype(np.int64)
    several = (scores == scores.max(axis=-1, keepdims=True)).sum(axis=-1) > 1
    found: NDArray[np.int64] = np.where(several, -1, best)
    return found


def changes(before: NDArray[np.float64], added: NDArray[np.float64]) -> list[MeanChange]:
    """Means with intervals of the changes, column by column.

    Args:
        before: float64 (N, C).
        added: float64 (N, C).
    """
    means, starts = added.mean(axis=0), before.mean(axis=0)
    low, high = intervals(added)
    return [
        MeanChange(float(starts[i]), float(means[i]), _end(low, i), _end(high, i))
        for i in range(added.shape[1])
    ]


def intervals(
    values: NDArray[np.float64], resamples: int = RESAMPLES, seed: int = 0
) -> tuple[NDArray[np.float64] | None, NDArray[np.float64] | None]:
    """Percentile bootstrap intervals (95 %) of the mean of each column, over rows.

    Args:
        values: float64 (N, C).
        resamples: how many means are drawn.
        seed: of the draws, the same for all columns.

    Returns:
        Lower and upper ends, float64 (C,); None for a single row.
    """
    count = len(values)
    if count < 2:
        return None, None
    drawn = np.random.default_rng(seed).multinomial(
        count, np.full(count, 1 / count), size=resamples
    )
    means = drawn @ values / count
    tail = 50 * (1 - _LEVEL)
    low, high = np.percentile(means, [tail, 100 - tail], axis=0)
    return low, high


def _end(ends: NDArray[np.float64] | None, place: int) -> float | None:
    return None if ends is None else float(ends[place])
