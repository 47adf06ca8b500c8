"""Scoring functions: which candidate concept do a unit's activations favour (DnD, step 3).

All take the same arguments and give one score for each concept, higher is better. With J concepts
and Q synthetic images of each, R_j holds the ranks of concept j's images among all J Q of them, 0
for the most active (the paper counts from 1). Computed in float64 on the CPU, where the results
are the same on every machine.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from dnd_assets.methods.lazy import torch

if TYPE_CHECKING:
    from torch import Tensor


def mean_rank(
    activations: Tensor,
    generated: Tensor,
    exemplars: Tensor,
    *,
    beta: int = 5,
    top_images: int = 10,
) -> Tensor:
    """Minus the mean rank: -(1/Q) sum of r over r in R_j (DnD, section 3.3, Mean).

    Args:
        activations: the unit's activations on the synthetic images, (J, Q), float.
        generated: image embeddings of the synthetic images, (J, Q, D); only checked.
        exemplars: image embeddings of the activating images, (K, D); only checked.
        beta: not used.
        top_images: not used.

    Returns:
        float64, (J,), in [-(J Q - 1), 0].

    Raises:
        ValueError: when shapes do not fit, or a value is NaN or infinite.
    """
    values, _, _ = _checked(activations, generated, exemplars, beta, top_images)
    return torch.from_numpy(_mean_rank(_ranks(values)))


def topk_squared(
    activations: Tensor,
    generated: Tensor,
    exemplars: Tensor,
    *,
    beta: int = 5,
    top_images: int = 10,
) -> Tensor:
    """Minus the mean of the squares of the beta best ranks (DnD, section 3.3, TopK squared).

    -(1/beta) sum of r^2 over the beta smallest r in R_j; over all Q where Q < beta.

    Args:
        activations: the unit's activations on the synthetic images, (J, Q), float.
        generated: image embeddings of the synthetic images, (J, Q, D); only checked.
        exemplars: image embeddings of the activating images, (K, D); only checked.
        beta: how many of the best ranks count.
        top_images: not used.

    Returns:
        float64, (J,), at most 0.

    Raises:
        ValueError: when shapes do not fit, or a value is NaN or infinite.
    """
    values, _, _ = _checked(activations, generated, exemplars, beta, top_images)
    return torch.from_numpy(_topk_squared(_ranks(values), beta))


def image_products(
    activations: Tensor,
    generated: Tensor,
    exemplars: Tensor,
    *,
    beta: int = 5,
    top_images: int = 10,
) -> Tensor:
    """Likeness of a concept's most active images and the exemplars (DnD, section 3.3).

    The mean of cos(e, x) over all exemplars e and over concept j's images x that are among the
    `top_images` most active of all J Q synthetic images; -1 if none is.

    Args:
        activations: the unit's activations on the synthetic images, (J, Q), float.
        generated: image embeddings of the synthetic images, (J, Q, D), of any length.
        exemplars: image embeddings of the activating images, (K, D), of any length.
        beta: not used.
        top_images: t, how many of the most active synthetic images count.

    Returns:
        float64, (J,), in [-1, 1].

    Raises:
        ValueError: when shapes do not fit, or a value is NaN or infinite.
    """
    values, images, activating = _checked(activations, generated, exemplars, beta, top_images)
    return torch.from_numpy(_image_products(_ranks(values), images, activating, top_images))


def topk_squared_image_products(
    activations: Tensor,
    generated: Tensor,
    exemplars: Tensor,
    *,
    beta: int = 5,
    top_images: int = 10,
) -> Tensor:
    """The paper's default: (J - p_j) x image product of j (DnD, section 3.3).

    p_j is the position of concept j in the order of `topk_squared`, 0 for the best, equal ones in
    the order of the concepts. As in the reference a negative image product counts the more the
    better its concept ranks.

    Args:
        activations: the unit's activations on the synthetic images, (J, Q), float.
        generated: image embeddings of the synthetic images, (J, Q, D), of any length.
        exemplars: image embeddings of the activating images, (K, D), of any length.
        beta: how many of the best ranks count in the order.
        top_images: t, how many of the most active synthetic images count in the product.

    Returns:
        float64, (J,), in [-J, J].

    Raises:
        ValueError: when shapes do not fit, or a value is NaN or infinite.
    """
    values, images, activating = _checked(activations, generated, exemplars, beta, top_images)
    order = _ranks(values)
    products = _image_products(order, images, activating, top_images)
    return torch.from_numpy(_combined(_topk_squared(order, beta), products))


Array = NDArray[np.floating]
Scores = NDArray[np.float64]
"""One for each concept, (J,)."""
Ranks = NDArray[np.int64]
"""Rank of each synthetic image, (J, Q), 0 for the most active."""
Scoring = Callable[..., "Tensor"]
"""(activations, generated, exemplars, *, beta, top_images) -> scores, see `mean_rank`."""

SCORING: Final[dict[str, Scoring]] = {
    "mean_rank": mean_rank,
    "topk_squared": topk_squared,
    "image_products": image_products,
    "topk_squared_image_products": topk_squared_image_products,
}
"""The scoring functions by their name in the study."""


def all_scores(
    activations: Array,
    generated: Array,
    exemplars: Array,
    *,
    beta: int = 5,
    top_images: int = 10,
) -> dict[str, Scores]:
    """The scores of each function of `SCORING` by its name; what they share is computed once.

    Args:
        activations: as of `mean_rank`, an array.
        generated: as of `image_products`, an array.
        exemplars: as of `image_products`, an array.
        beta: as of `topk_squared`.
        top_images: as of `image_products`.

    Raises:
        ValueError: when shapes do not fit, or a value is NaN or infinite.
    """
    _check(activations, generated, exemplars, beta, top_images)
    order = _ranks(activations)
    squared = _topk_squared(order, beta)
    products = _image_products(order, generated, exemplars, top_images)
    return {
        "mean_rank": _mean_rank(order),
        "topk_squared": squared,
        "image_products": products,
        "topk_squared_image_products": _combined(squared, products),
    }


def ranks(activations: Tensor) -> Tensor:
    """Rank of each synthetic image among all, 0 for the most active, ties by position.

    Args:
        activations: (J, Q), float.

    Returns:
        int64, (J, Q), a permutation of 0 .. J Q - 1; equal activations are ranked by concept,
        then by image.
    """
    return torch.from_numpy(_ranks(_array(activations)))


def best_concepts(
    concepts: Sequence[str], scores: Tensor | Sequence[float], n: int
) -> list[tuple[str, float]]:
    """The `n` best-scored concepts with their scores, best first, ties in the order given.

    Args:
        concepts: the candidates.
        scores: one score for each, (J,).
        n: how many; all when there are fewer.

    Raises:
        ValueError: when the lengths differ or a score is NaN.
    """
    values = [float(score) for score in scores]
    if len(values) != len(concepts):
        raise ValueError(f"{len(values)} scores do not fit {len(concepts)} concepts")
    if any(math.isnan(value) for value in values):
        raise ValueError("a score is NaN; the concepts cannot be ordered")
    order = sorted(range(len(values)), key=lambda j: -values[j])
    return [(concepts[j], values[j]) for j in order[:n]]


def _mean_rank(order: Ranks) -> Scores:
    means: Scores = order.sum(axis=1) / order.shape[1]
    return -means


def _topk_squared(order: Ranks, beta: int) -> Scores:
    best = np.sort(order, axis=1)[:, :beta]
    means: Scores = (best * best).sum(axis=1) / best.shape[1]
    return -means


def _image_products(order: Ranks, generated: Array, exemplars: Array, top_images: int) -> Scores:
    in_top = order < top_images
    # Of the others nothing is wanted: mostly four pictures in five.
    cosines = np.zeros(order.shape)
    products = _unit_length(generated[in_top]) @ _unit_length(exemplars).T
    cosines[in_top] = products.sum(axis=1) / len(exemplars)
    counts = in_top.sum(axis=1)
    return np.where(counts > 0, cosines.sum(axis=1) / np.maximum(counts, 1), -1.0)


def _combined(squared: Scores, products: Scores) -> Scores:
    return (len(squared) - _positions(squared)) * products


def _ranks(activations: Array) -> Ranks:
    return _positions(activations.ravel()).reshape(activations.shape)


def _positions(values: Array) -> Ranks:
    """Position of each value in descending order, equal values in their own order, (N,)."""
    positions = np.empty(len(values), dtype=np.int64)
    positions[np.argsort(-values, kind="stable")] = np.arange(len(values))
    return positions


def _unit_length(embeddings: Array) -> Scores:
    double = embeddings.astype(np.float64)
    lengths = np.sqrt(np.einsum("ij,ij->i", double, double))
    double /= np.maximum(lengths, 1e-12)[:, None]
    return double


def _array(tensor: Tensor) -> Array:
    """Its numbers on the CPU, in their own precision where numpy has it."""
    values = tensor.detach().cpu()
    try:
        return values.numpy()
    except TypeError:  # bfloat16
        return values.double().numpy()


def _checked(
    activations: Tensor, generated: Tensor, exemplars: Tensor, beta: int, top_images: int
) -> tuple[Array, Array, Array]:
    arrays = _array(activations), _array(generated), _array(exemplars)
    _check(*arrays, beta, top_images)
    return arrays


def _check(
    activations: Array, generated: Array, exemplars: Array, beta: int, top_images: int
) -> None:
    shapes = [array.shape for array in (activations, generated, exemplars)]
    fits = [len(shape) for shape in shapes] == [2, 3, 2] and 0 not in sum(shapes, ())
    if not fits or shapes[0] != shapes[1][:2] or shapes[1][2] != shapes[2][1]:
        raise ValueError(
            "activations, generated and exemplars have to be of shapes (J, Q), (J, Q, D) and "
            f"(K, D), not {shapes[0]}, {shapes[1]} and {shapes[2]}"
        )
    if beta < 1 or top_images < 1:
        raise ValueError(f"beta = {beta} and top_images = {top_images} have to be positive")
    names = ("activations", "embeddings of synthetic images", "embeddings of exemplars")
    arrays = (activations, generated, exemplars)
    with np.errstate(over="ignore", invalid="ignore"):
        # A finite sum has no other summands; looking at each takes three times as long.
        sums = [bool(np.isfinite(values.sum())) for values in arrays]
    for name, values, is_finite in zip(names, arrays, sums, strict=True):
        if not is_finite and not np.isfinite(values).all():
            raise ValueError(f"the {name} hold NaN or infinite values; nothing can be ranked")
