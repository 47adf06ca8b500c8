"""Labels against activations: does a unit fire where its label is, and is the test worth anything.

`pearson`, `auprc` and `best_f1` take a unit's activations on held-out images and the label's
presence on them. A metric that does not drop when labels are missing or too many is worthless;
`sanity_checks` tells (Oikarinen et al., Evaluating Neuron Explanations, 2025, section 4).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating[Any]]
Bools = NDArray[np.bool_]
Metric = Callable[[Floats, Floats], float]
"""(activations (N,), presence (N,)) -> a number, higher is better; NaN where it says nothing."""

THRESHOLD: Final = 0.5
"""A concept is there where its presence exceeds this: presence is a probability, or 0 and 1."""


def pearson(activations: Floats, presence: Floats) -> float:
    """Pearson correlation of activations and presence; NaN when either is constant.

    Raises:
        ValueError: for fewer than two images, lengths that differ, or values not finite.
    """
    a, p = _vectors(activations, presence, least=2)
    if _constant(a) or _constant(p):
        return float("nan")
    a, p = _standard(a), _standard(p)
    return float(np.clip((a * p).mean(), -1.0, 1.0))


def simulation_score(simulated: Floats, activations: Floats) -> float:
    """Correlation of the activations a label predicts with the true ones.

    The label's presence on an image is taken as the simulated activation (after Bills et al.,
    Language models can explain neurons in language models, 2023); NaN when either is constant.

    Args:
        simulated: presence of the label on each image, (N,).
        activations: of the unit on them, (N,).

    Raises:
        ValueError: as `pearson`.
    """
    return pearson(activations, simulated)


def average_precision(present: Bools, scores: Floats) -> float:
    """Area under the precision-recall curve, as the step-wise sum of (R_i - R_i-1) P_i.

    Images with equal scores are taken together, so their order does not matter.

    Args:
        present: which images are positives, (N,).
        scores: higher means more likely positive, (N,).

    Returns:
        A number in [0, 1]; NaN when no image is a positive.

    Raises:
        ValueError: when there is no image, lengths differ, or a score is not finite.
    """
    hits, taken = _at_thresholds(present, scores)
    positives = hits[-1]
    if not positives:
        return float("nan")
    gains = np.diff(hits, prepend=0) / positives
    return float((gains * hits / taken).sum())


def auprc(activations: Floats, presence: Floats) -> float:
    """`average_precision` of activations for finding the images that show the concept.

    Returns:
        A number in [0, 1]; NaN when no image shows the concept.

    Raises:
        ValueError: as `average_precision`.
    """
    a, p = _vectors(activations, presence)
    return average_precision(p > THRESHOLD, a)


def f1(active: Bools, present: Bools) -> float:
    """2 TP / (2 TP + FP + FN) of two sets of images; NaN when both are empty.

    Raises:
        ValueError: when there is no image or lengths differ.
    """
    a, p = _vectors(active, present)
    total = a.sum() + p.sum()
    return float(2 * (a * p).sum() / total) if total else float("nan")


def best_f1(activations: Floats, presence: Floats) -> float:
    """F1 of "the unit is active" and "the concept is there", at the unit's best threshold.

    Returns:
        A number in (0, 1]; NaN when no image shows the concept.

    Raises:
        ValueError: as `average_precision`.
    """
    a, p = _vectors(activations, presence)
    hits, taken = _at_thresholds(p > THRESHOLD, a)
    if not hits[-1]:
        return float("nan")
    return float((2 * hits / (taken + hits[-1])).max())


DETECTION: Final[dict[str, Metric]] = {"pearson": pearson, "auprc": auprc, "f1": best_f1}
"""The detection metrics by name."""


@dataclass(frozen=True)
class SanityCheck:
    """How a metric takes to labels that are wrong on purpose.

    Attributes:
        metric: its name.
        check: `missing labels` or `extra labels`.
        plain: mean over the units with the labels as they are.
        changed: mean with the labels made wrong.
        drop: plain - changed.
        dropped: share of the units whose value fell; a metric that is worth something is near 1.
        units: how many units have both values; the others gave NaN and do not count.
    """

    metric: str
    check: str
    plain: float
    changed: float
    drop: float
    dropped: float
    units: int


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
            after = [metric(a, p) for a, p in zip(activations, changed, strict=True)]
            rows.append(_row(name, check, np.array(plain), np.array(after)))
    return rows


def _row(metric: str, check: str, plain: Floats, changed: Floats) -> SanityCheck:
    known = np.isfinite(plain) & np.isfinite(changed)
    if not known.any():
        nan = float("nan")
        return SanityCheck(metric, check, nan, nan, nan, nan, 0)
    drops = plain[known] - changed[known]
    return SanityCheck(
        metric,
        check,
        plain=float(plain[known].mean()),
        changed=float(changed[known].mean()),
        drop=float(drops.mean()),
        dropped=float((drops > 0).mean()),
        units=int(known.sum()),
    )


def _overwrite(
    presence: Floats,
    among: NDArray[np.int64],
    count: int,
    values: Floats,
    otherwise: float,
    rng: np.random.Generator,
) -> Floats:
    changed = presence.astype(np.float64)
    chosen = rng.choice(among, size=count, replace=False)
    changed[chosen] = rng.choice(values, size=count) if len(values) else otherwise
    return changed


def _at_thresholds(present: Bools, scores: Floats) -> tuple[Floats, Floats]:
    """Positives and images taken at each threshold, highest first, each distinct score once."""
    values, positive = _vectors(scores, present)
    order = np.argsort(-values, kind="stable")
    last = np.append(np.flatnonzero(np.diff(values[order])), len(values) - 1)
    return np.cumsum(positive[order])[last], (last + 1).astype(np.float64)


def _vectors(one: Any, other: Any, least: int = 1) -> tuple[Floats, Floats]:
    a, b = np.asarray(one, dtype=np.float64), np.asarray(other, dtype=np.float64)
    if a.ndim != 1 or a.shape != b.shape:
        raise ValueError(f"two vectors of one length are compared, not {a.shape} and {b.shape}")
    if len(a) < least:
        raise ValueError(f"{len(a)} images are too few; {least} are needed at least")
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        raise ValueError("activations or presence hold NaN or infinite values")
    return a, b


def _constant(values: Floats) -> bool:
    return bool(values.max() == values.min())


def _standard(values: Floats) -> Floats:
    centred = values / np.abs(values).max()  # squares of very large values would overflow
    centred = centred - centred.mean()
    return np.asarray(centred / np.sqrt((centred**2).mean()))
