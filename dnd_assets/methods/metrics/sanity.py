"""Sanity checks of detection metrics: does the value drop when the label is made wrong.

A metric that does not drop when half of the labels are missing, or twice as many are there, is
worthless (Oikarinen, Yan and Weng, Evaluating Neuron Explanations: A Unified Framework with Sanity
Checks, ICML 2025).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from dnd_assets.methods.metrics.detection import THRESHOLD, Floats, Metric
from dnd_assets.methods.metrics.image_level import DETECTION, IMAGE_METRICS

LEAST_DROP: Final = 0.001
"""Share of a metric's range by which it has to fall, to have fallen (section 4 of the paper)."""


@dataclass(frozen=True)
class SanityCheck:
    """How a metric takes to labels that are wrong on purpose.

    Attributes:
        metric: its name.
        check: `missing labels` or `extra labels`.
        plain: mean over the units with the labels as they are.
        changed: mean with the labels made wrong.
        drop: plain - changed.
        dropped: share of the units whose value fell by more than `LEAST_DROP` of the range; a
            metric that is worth something is near 1.
        units: how many units have both values; the others gave NaN and do not count.
        range: from the least to the largest value that the metric can have; of one without bounds
            that the units do have.
    """

    metric: str
    check: str
    plain: float
    changed: float
    drop: float
    dropped: float
    units: int
    range: float = 1.0

    @property
    def fell(self) -> bool:
        """Whether the mean fell by more than `LEAST_DROP` of the range."""
        return self.drop > LEAST_DROP * self.range


def missing_labels(presence: Floats, rng: np.random.Generator) -> Floats:
    """Half of the images that show the concept, rounded up, are made not to.

    They get the presence of images without it, drawn by `rng`; 0 where there are none.
    """
    present = np.flatnonzero(presence > THRESHOLD)
    absent = np.flatnonzero(presence <= THRESHOLD)
    return _overwrite(presence, present, (len(present) + 1) // 2, presence[absent], 0.0, rng)


def extra_labels(presence: Floats, rng: np.random.Generator) -> Floats:
    """As many images as show the concept are made to, though they do not.

    All that are left when there are fewer. They get the presence of images with the concept,
    drawn by `rng`.
    """
    present = np.flatnonzero(presence > THRESHOLD)
    absent = np.flatnonzero(presence <= THRESHOLD)
    count = min(len(present), len(absent))
    return _overwrite(presence, absent, count, presence[present], 1.0, rng)


def sanity_checks(
    activations: Floats,
    presence: Floats,
    metrics: Mapping[str, Metric] = DETECTION,
    *,
    seed: int = 0,
) -> list[SanityCheck]:
    """Each metric with labels as they are, with half of them missing and with twice as many.

    Args:
        activations: of the units on held-out images, (U, N).
        presence: of each unit's label on them, (U, N), probabilities or 0 and 1.
        metrics: to be tried.
        seed: of the choice of images; unit number u uses (seed, u), whatever the other units.

    Returns:
        A row for each metric and check; all its numbers are NaN when no unit has a value.

    Raises:
        ValueError: when the shapes differ or a value is not finite.
    """
    if activations.ndim != 2 or activations.shape != presence.shape:
        raise ValueError(
            "activations and presence have to be of one shape (U, N), not "
            f"{activations.shape} and {presence.shape}"
        )
    rows = []
    for check, change in (("missing labels", missing_labels), ("extra labels", extra_labels)):
        changed = [change(p, np.random.default_rng((seed, u))) for u, p in enumerate(presence)]
        for name, metric in metrics.items():
            plain = [metric(a, p) for a, p in zip(activations, presence, strict=True)]
            altered = [metric(a, p) for a, p in zip(activations, changed, strict=True)]
            rows.append(_row(name, check, np.array(plain), np.array(altered)))
    return rows


def _row(metric: str, check: str, plain: Floats, changed: Floats) -> SanityCheck:
    valid = np.isfinite(plain) & np.isfinite(changed)
    if not valid.any():
        nan = float("nan")
        return SanityCheck(metric, check, nan, nan, nan, nan, 0)
    original, altered = plain[valid], changed[valid]
    drops = original - altered
    bounds = IMAGE_METRICS[metric].range if metric in IMAGE_METRICS else None
    extent = float(max(original.max(), altered.max()) - min(original.min(), altered.min()))
    extent = extent if bounds is None else bounds
    return SanityCheck(
        metric,
        check,
        plain=float(original.mean()),
        changed=float(altered.mean()),
        drop=float(drops.mean()),
        dropped=float((drops > LEAST_DROP * extent).mean()),
        units=int(valid.sum()),
        range=extent,
    )


def _overwrite(
    presence: Floats,
    candidates: NDArray[np.int64],
    count: int,
    values: Floats,
    default: float,
    rng: np.random.Generator,
) -> Floats:
    """Presence with `count` of the candidates, drawn by `rng`, set to values drawn from `values`.

    They are set to `default` where there are no values.
    """
    changed = presence.astype(np.float64)
    images = rng.choice(candidates, size=count, replace=False)
    changed[images] = rng.choice(values, size=count) if len(values) else default
    return changed
