"""MILAN's choice among descriptions: pointwise mutual information (Hernandez et al. 2022).

A captioner prefers what is often said. Dividing by how likely a description is anyway favours what
is said of these images in particular. The log-probabilities come from elsewhere; here they are only
put together.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final, Literal

import numpy as np
import scipy
from numpy.typing import NDArray

Floats = NDArray[np.floating]

ROUNDING: Final = 1e-4
"""How far above 0 a log-probability may be before it counts as an error."""


def pmi(log_given_images: Floats, log_prior: Floats, lam: float = 0.2) -> NDArray[np.float64]:
    """Pointwise mutual information (Hernandez et al. 2022, section 3).

    log p(d|images) - lam log p(d).

    Args:
        log_given_images: log p(d|images) of each candidate description, natural, (D,).
        log_prior: log p(d) of each by a language model, natural, (D,).
        lam: lambda, weight of the prior; 0 ranks by the captioner alone. The default is the
            authors'.

    Returns:
        float64, (D,). A description that is impossible given the images has -infinity.

    Raises:
        ValueError: when lengths differ, a value is NaN or positive, or the language model calls a
            description impossible that the captioner gives.
    """
    log_likelihood, prior = np.asarray(log_given_images, float), np.asarray(log_prior, float)
    if log_likelihood.ndim != 1 or log_likelihood.shape != prior.shape:
        raise ValueError(
            f"{log_likelihood.shape} log-probabilities given the images and {prior.shape} of the "
            "language model do not fit; one of each for every candidate, (D,)"
        )
    _check(log_likelihood, "given the images")
    _check(prior, "of the language model")
    possible = log_likelihood > -math.inf
    if np.any(np.isinf(prior[possible])):
        index = int(np.flatnonzero(possible & np.isinf(prior))[0])
        raise ValueError(
            f"candidate {index} has a log-probability of -infinity in the language model; its "
            "mutual information would be infinite. Give the language model a floor"
        )
    return log_likelihood - lam * np.where(possible, prior, 0.0)


def rerank(
    candidates: Sequence[str], log_given_images: Floats, log_prior: Floats, lam: float = 0.2
) -> list[tuple[str, float]]:
    """The candidates with their `pmi`, best first, ties in the order given.

    Args:
        candidates: descriptions.
        log_given_images: log p(d|images) of each, (D,).
        log_prior: log p(d) of each, (D,).
        lam: lambda, weight of the prior.

    Raises:
        ValueError: as for `pmi`, or when the number of candidates differs.
    """
    scores = pmi(log_given_images, log_prior, lam)
    if len(scores) != len(candidates):
        raise ValueError(f"{len(scores)} log-probabilities do not fit {len(candidates)} candidates")
    order = np.argsort(-scores, kind="stable")
    return [(candidates[i], float(scores[i])) for i in order]


def log_given_set(
    log_given_image: Floats, how: Literal["product", "mixture"] = "product"
) -> NDArray[np.float64]:
    """The log p(d|images) of a set from those of its single images.

    MILAN's decoder looks at all images at once; this makes one that looks at a single image do for
    a set. `product`: the geometric mean, (1/n) sum over i of log p(d|x_i), high for what is true of
    all images. `mixture`: the mean of the probabilities, log (1/n) sum over i of p(d|x_i), high for
    what is very likely on some. Neither grows with n, so that lambda means the same for all sets.

    Args:
        log_given_image: log p(d|x_i), natural, (D, n).
        how: product or mixture.

    Returns:
        float64, (D,).

    Raises:
        ValueError: when there is no image, a value is NaN or positive, or `how` is neither.
    """
    values = np.asarray(log_given_image, float)
    if values.ndim != 2 or not values.shape[1]:
        raise ValueError(
            f"log-probabilities of single images are (descriptions, images), of at least one "
            f"image, not {values.shape}"
        )
    _check(values, "given single images")
    if how == "product":
        return np.asarray(values.mean(axis=1))
    if how == "mixture":
        return np.asarray(scipy.special.logsumexp(values, axis=1) - math.log(values.shape[1]))
    raise ValueError(f"how = {how!r} is neither 'product' nor 'mixture'")


def _check(values: NDArray[np.float64], condition: str) -> None:
    invalid = np.isnan(values) | (values > ROUNDING)
    if invalid.any():
        first = tuple(int(i) for i in np.argwhere(invalid)[0])
        raise ValueError(
            f"the log-probabilities {condition} hold {float(values[first])} at {first}; logarithms "
            "of probabilities are at most 0"
        )
