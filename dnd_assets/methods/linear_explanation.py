"""Linear explanations: a unit as a weighted sum of a few concepts (Oikarinen & Weng 2024).

Linear Explanations for Individual Neurons, ICML 2024: the concepts and their weights that predict
a unit's activation best, over the whole range of activations and not only at its peak. How good it
is, is the correlation of predicted and true activations on images that had no part in it
(simulation, after Bills et al. 2023).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from dnd_assets.methods.metrics.detection import simulation_score

Floats = NDArray[np.floating]
_SHOWN: Final = 1e-9


@dataclass(frozen=True)
class LinearExplanation:
    """A unit as a weighted sum of concepts.

    Attributes:
        concepts: their names, in the order of being chosen.
        weights: of each, in units of the activation for presence 1.
        intercept: activation where no concept is present.
        fitted: correlation of predicted and true activations on the images it was fitted to.
        simulated: the same on images that had no part in it; NaN where either is constant.
    """

    concepts: tuple[str, ...]
    weights: tuple[float, ...]
    intercept: float
    fitted: float
    simulated: float

    def __str__(self) -> str:
        return " + ".join(
            f"{weight:.3g} {name}" for name, weight in zip(self.concepts, self.weights, strict=True)
        ).replace("+ -", "- ")


def linear_explanation(
    activations: Floats,
    presence: Floats,
    names: Sequence[str],
    *,
    most: int = 10,
    least_gain: float = 0.02,
    held_out: float = 0.5,
    seed: int = 0,
) -> LinearExplanation:
    """The weighted sum of concepts that predicts a unit's activation best.

    Greedy, as in the paper's second stage: the concept is added whose least-squares fit together
    with those before raises the correlation on the fitted images most, until it rises by less than
    `least_gain` or `most` are in. Concepts with a negative weight that add nothing alone may come
    in. Of equal ones the first wins.

    Args:
        activations: of the unit, (N,).
        presence: of each concept on each image, (N, C), probabilities, or 0 and 1.
        names: of the concepts, (C,).
        most: concepts at most.
        least_gain: of correlation, that a further concept has to bring.
        held_out: share of the images that only judge, drawn by `seed`.
        seed: of the draw.

    Returns:
        The explanation; without any concept when none predicts anything.

    Raises:
        ValueError: when shapes do not fit, a value is not finite, a setting is out of range, or
            fewer than two images are left on either side.
    """
    fitted, judged = _split(activations, presence, names, most, held_out, seed)
    target = activations[fitted].astype(np.float64)
    inputs = presence[fitted].astype(np.float64)
    selected = _selected(target, inputs, most, least_gain)
    weights, intercept = _fit(target, inputs[:, selected])
    predicted = presence[judged].astype(np.float64)[:, selected] @ weights + intercept
    return LinearExplanation(
        tuple(names[c] for c in selected),
        tuple(weights.tolist()),
        intercept,
        simulation_score(inputs[:, selected] @ weights + intercept, target),
        simulation_score(predicted, activations[judged].astype(np.float64)),
    )


def _split(
    activations: Floats,
    presence: Floats,
    names: Sequence[str],
    most: int,
    held_out: float,
    seed: int,
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Images that are fitted to, and those that judge, both ascending."""
    if activations.ndim != 1 or presence.shape != (len(activations), len(names)):
        raise ValueError(
            f"activations {activations.shape}, presence {presence.shape} and {len(names):,} names "
            "do not fit; they have to be (images,), (images, concepts) and concepts"
        )
    if not (np.isfinite(activations).all() and np.isfinite(presence).all()):
        raise ValueError("activations or presence hold NaN or infinite values")
    judges = round(len(activations) * held_out)
    if most < 1 or judges < 2 or len(activations) - judges < 2:
        raise ValueError(
            f"most = {most} has to be positive, and held_out = {held_out} has to leave two of the "
            f"{len(activations):,} images on either side at least"
        )
    order = np.random.default_rng(seed).permutation(len(activations))
    return np.sort(order[judges:]), np.sort(order[:judges])


def _selected(target: Floats, inputs: Floats, most: int, least_gain: float) -> list[int]:
    """Concepts by forward selection: orthogonal parts of them that explain most of what is left."""
    residual = target - target.mean()
    total = float(residual @ residual)
    parts = inputs - inputs.mean(axis=0)
    sizes = np.maximum((parts**2).sum(axis=0), 0.0)
    smallest_usable = sizes * _SHOWN
    concepts: list[int] = []
    correlation = 0.0
    while total > 0 and len(concepts) < min(most, inputs.shape[1]):
        squares = (parts**2).sum(axis=0)
        usable = squares > smallest_usable
        usable[concepts] = False
        gains = np.where(usable, (parts.T @ residual) ** 2 / np.where(usable, squares, 1.0), 0.0)
        best = int(np.argmax(gains))
        explained = 1 - max(0.0, float(residual @ residual) - float(gains[best])) / total
        if np.sqrt(max(explained, 0.0)) - correlation < least_gain:
            break
        correlation = float(np.sqrt(explained))
        concepts.append(best)
        direction = parts[:, best] / np.sqrt(squares[best])
        residual = residual - direction * (direction @ residual)
        parts = parts - np.outer(direction, direction @ parts)
    return concepts


def _fit(target: Floats, inputs: Floats) -> tuple[NDArray[np.float64], float]:
    """Least squares with an intercept."""
    columns = np.column_stack([np.ones(len(target)), inputs])
    coefficients, *_ = np.linalg.lstsq(columns, target, rcond=None)
    return np.asarray(coefficients[1:], dtype=np.float64), float(coefficients[0])
