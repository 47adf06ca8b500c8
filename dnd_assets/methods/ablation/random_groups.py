"""A group of units against random groups of the same size: is it the group, or just the number?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dnd_assets.methods.ablation.effects import MeanChange, Values, best_class, changes
from dnd_assets.methods.ablation.replacing import Group
from dnd_assets.methods.seeds import content_seed


@dataclass(frozen=True)
class Beyond:
    """A class's change by a group, beside what random groups of its size do.

    Attributes:
        name: the class.
        images: images that the means are over.
        change: by the group, with its interval over images.
        random: mean change by random groups.
        random_low: the 2.5th percentile of their changes.
        random_high: the 97.5th percentile.
        beyond: what the group changes more than they do, with its interval over images.
    """

    name: str
    images: int
    change: MeanChange
    random: float
    random_low: float
    random_high: float
    beyond: MeanChange

    def as_json(self) -> dict[str, object]:
        """All attributes as plain values."""
        return asdict(self)


def random_groups(group: Group, candidates: Sequence[int], count: int, seed: int) -> list[Group]:
    """Groups of as many units, none of them of the group, each drawn by itself.

    Args:
        group: the group.
        candidates: units that may be drawn.
        count: how many groups.
        seed: of the draws.

    Raises:
        ValueError: when there are fewer others than the group has units.
    """
    available = sorted(set(candidates) - set(group))
    if len(available) < len(group):
        raise ValueError(f"{len(available)} other units cannot make groups of {len(group)}")
    rng = np.random.default_rng(content_seed("random groups", seed, *sorted(group)))
    return [
        tuple(sorted(rng.choice(available, len(group), replace=False).tolist()))
        for _ in range(count)
    ]


def beyond_random(
    before: Values,
    after: Values,
    randoms: Values,
    names: Sequence[str],
    truth: NDArray[np.int64] | None,
    *,
    accuracy: bool,
) -> list[Beyond]:
    """What a group does to each class beyond what random groups do.

    Args:
        before: scores of the whole network, (N, C).
        after: scores without the group, (N, C).
        randoms: scores without each random group, (R, N, C).
        names: of the classes.
        truth: class of each image; None where it is not known.
        accuracy: whether shares of images that get their class are compared, instead of scores;
            takes `truth`.

    Returns:
        In the order of the classes, without those of no image.
    """
    results = []
    for index, name in enumerate(names):
        rows = np.arange(len(before)) if truth is None else np.flatnonzero(truth == index)
        if not len(rows):
            continue

        def read(scores: Values, rows: Any = rows, index: int = index) -> NDArray[np.float64]:
            class_scores = scores[..., rows, :]
            if accuracy:
                hit: NDArray[np.float64] = (best_class(class_scores) == index).astype(np.float64)
                return hit
            return class_scores[..., index].astype(np.float64)

        start = read(before)
        group_change, random_changes = read(after) - start, read(randoms) - start
        random_means = random_changes.mean(axis=1)
        low, high = np.percentile(random_means, [2.5, 97.5])
        added = np.stack([group_change, group_change - random_changes.mean(axis=0)], axis=1)
        change, beyond = changes(np.stack([start, start], axis=1), added)
        results.append(
            Beyond(
                name, len(rows), change, float(random_means.mean()), float(low), float(high), beyond
            )
        )
    return results
