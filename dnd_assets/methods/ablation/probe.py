"""Linear probes: classes read off the output of a network that is no classifier.

Multinomial logistic regression with an L2 penalty (Alain & Bengio 2017), on standardised outputs,
classes weighted alike. Two probes are fitted, each to one half of the images, and each reads the
other half, so that no image is judged by a probe that has seen it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

LEAST: Final = 4
"""Images of a class, below which no probe is fitted to it: two in each half."""
Values = NDArray[np.floating]


@dataclass(frozen=True)
class LinearProbe:
    """Scores of classes from a vector.

    Attributes:
        weight: float64 (D, C).
        bias: float64 (C,).
    """

    weight: NDArray[np.float64]
    bias: NDArray[np.float64]

    def scores(self, vectors: Values) -> NDArray[np.float64]:
        """Scores, float64 (N, C), of vectors (N, D)."""
        class_scores: NDArray[np.float64] = vectors.astype(np.float64) @ self.weight + self.bias
        return class_scores


@dataclass(frozen=True)
class CrossFitted:
    """Two probes, and which of them reads which image.

    Attributes:
        probes: each fitted to the images of the other half.
        half: half of each image, int64 (N,).
    """

    probes: tuple[LinearProbe, LinearProbe]
    half: NDArray[np.int64]

    def scores(self, vectors: Values) -> NDArray[np.float64]:
        """Scores, float64 (N, C), of one vector (N, D) for each image, in the order of `half`."""
        by_probe = np.stack([probe.scores(vectors) for probe in self.probes])
        class_scores: NDArray[np.float64] = by_probe[self.half, np.arange(len(self.half))]
        return class_scores


def fitted(vectors: Values, truth: NDArray[np.int64], classes: int) -> LinearProbe:
    """A probe for some images.

    The loss is the mean negative log likelihood, in which every class weighs the same, plus the
    squared weights by half the number of images: the usual strength (C = 1), not chosen by results.

    Args:
        vectors: (N, D).
        truth: class of each, int64 (N,); every class has an image.
        classes: C.
    """
    from scipy.optimize import minimize  # here, since it takes half a second that plans need not
    from scipy.special import log_softmax, softmax

    inputs = vectors.astype(np.float64)
    mean, spread = inputs.mean(axis=0), inputs.std(axis=0)
    spread[spread == 0] = 1.0
    standardised = (inputs - mean) / spread
    counts = np.bincount(truth, minlength=classes)
    weights = (1 / (classes * counts))[truth]
    targets = np.eye(classes)[truth]
    shape = (standardised.shape[1] + 1, classes)

    def loss(flat: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        parameters = flat.reshape(shape)
        logits = standardised @ parameters[:-1] + parameters[-1]
        value = -(weights * log_softmax(logits, axis=1)[np.arange(len(truth)), truth]).sum()
        logit_gradient = (softmax(logits, axis=1) - targets) * weights[:, None]
        gradient = np.concatenate(
            [standardised.T @ logit_gradient, logit_gradient.sum(axis=0)[None]]
        )
        gradient[:-1] += parameters[:-1] / len(truth)
        return value + (parameters[:-1] ** 2).sum() / (2 * len(truth)), gradient.ravel()

    start = np.zeros(shape[0] * shape[1])
    optimum = minimize(loss, start, jac=True, method="L-BFGS-B", options={"maxiter": 500})
    parameters = optimum.x.reshape(shape)
    weight = parameters[:-1] / spread[:, None]
    return LinearProbe(weight, parameters[-1] - mean @ weight)


def halves(names: Sequence[str], truth: NDArray[np.int64]) -> NDArray[np.int64]:
    """Half of each image, 0 or 1: within each class by turns, in the order of their names.

    Args:
        names: hashes of the images, (N,).
        truth: class of each, int64 (N,).
    """
    half_of = np.zeros(len(names), dtype=np.int64)
    for index in np.unique(truth):
        rows = sorted(np.flatnonzero(truth == index).tolist(), key=lambda row: names[row])
        half_of[rows] = np.arange(len(rows)) % 2
    return half_of


def cross_fitted(
    names: Sequence[str], vectors: Values, truth: NDArray[np.int64], classes: int
) -> CrossFitted:
    """Probes for both halves of some images; the arguments are those of `fitted` and `halves`."""
    half = halves(names, truth)
    first, second = (
        fitted(vectors[half != index], truth[half != index], classes) for index in (0, 1)
    )
    return CrossFitted((first, second), half)
