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
        """All attributes as plain values."""
        record = {"class": self.name, "images": self.images, "logit": asdict(self.logit)}
        return record | {"accuracy": None if self.accuracy is None else asdict(self.accuracy)}


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
        return sorted(self.classes, key=lambda effect: -abs(effect.logit.change))[:top]


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
    intact, ablated = before.astype(np.float64), after.astype(np.float64)
    chosen = float((best_class(intact) != best_class(ablated)).mean())
    if truth is None:
        score_changes = changes(intact, ablated - intact)
        all_effects = tuple(
            ClassEffect(name, len(intact), change, None)
            for name, change in zip(names, score_changes, strict=True)
        )
        return Effects(all_effects, None, chosen)
    hit_before = (best_class(intact) == truth).astype(np.float64)
    hit_after = (best_class(ablated) == truth).astype(np.float64)
    class_effects = []
    for index, name in enumerate(names):
        rows = np.flatnonzero(truth == index)
        if len(rows):
            score, hit = intact[rows, index], hit_before[rows]
            means = changes(
                np.stack([score, hit], axis=1),
                np.stack([ablated[rows, index] - score, hit_after[rows] - hit], axis=1),
            )
            class_effects.append(ClassEffect(name, len(rows), *means))
    (overall,) = changes(hit_before[:, None], (hit_after - hit_before)[:, None])
    return Effects(tuple(class_effects), overall, chosen)


def best_class(scores: Values) -> NDArray[np.int64]:
    """The class of the largest score, int64 (...); -1 where several have it, which is no answer.

    Ablation makes ties: units set to zero may leave all scores the same.

    Args:
        scores: (..., C).
    """
    best: NDArray[np.int64] = scores.argmax(axis=-1).astype(np.int64)
    tied = (scores == scores.max(axis=-1, keepdims=True)).sum(axis=-1) > 1
    answers: NDArray[np.int64] = np.where(tied, -1, best)
    return answers


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
    counts = np.random.default_rng(seed).multinomial(
        count, np.full(count, 1 / count), size=resamples
    )
    means = counts @ values / count
    tail = 50 * (1 - _LEVEL)
    low, high = np.percentile(means, [tail, 100 - tail], axis=0)
    return low, high


def _end(ends: NDArray[np.float64] | None, place: int) -> float | None:
    return None if ends is None else float(ends[place])
