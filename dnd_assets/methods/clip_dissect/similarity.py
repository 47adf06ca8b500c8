"""Similarity functions of CLIP-Dissect: which concept does a unit respond to?

All take P, the matrix of CLIP's image-concept products (N images x M concepts), and q, the pooled
activations of the units (N x U), and give one similarity for each unit and concept, (U, M), higher
is better. P is a tensor or `ConceptActivationMatrix`, of which only parts are computed: the memory
is that of the arguments and the result, and `block` numbers besides.

Computed in float32 in the reference's order of operations, since SoftWPMI takes the logarithm of
numbers that float32 knows to four digits only: float64 differs from the published numbers by 2e-4.

A unit that is constant, or NaN or infinite on any image, tells no image from another: its
similarities are NaN, and the others are computed as if it were not there. `cos`, `cos_cubed` and
`rank_reorder` of a unit do not depend on other units. `wpmi` and `soft_wpmi` do by definition,
through p(t_m); give the same `prior` to get the same numbers in any company.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from dnd_assets.errors import StudyError
from dnd_assets.methods.clip_dissect.arguments import (
    blocks,
    check,
    check_enough,
    describable,
    described_units,
    undescribed,
)
from dnd_assets.methods.clip_dissect.concept_activation_matrix import (
    ConceptActivationMatrix,
    Products,
    part_of,
)
from dnd_assets.methods.lazy import torch
from dnd_assets.methods.matrix_products import product

if TYPE_CHECKING:
    from torch import Tensor

_BLOCK: Final = 1 << 26
_SMALLEST_NORM: Final = 1e-3
_ROWS_AT_ONCE: Final = 1024


def cos(products: Products, activations: Tensor, *, block: int = _BLOCK) -> Tensor:
    """Cosine of q_k and P[:, m] (CLIP-Dissect, section 3.2, Cos).

    Args:
        products: P, (N, M), float, or its factors.
        activations: q, pooled activations, (N, U), float.
        block: how many numbers of P are held at once.

    Returns:
        float32, (U, M), in [-1, 1]; NaN for units and concepts without direction.

    Raises:
        ValueError: when shapes do not fit or P holds NaN or infinite values.
    """
    return _cosines(products, activations, _unchanged, 0.0, block)


def cos_cubed(products: Products, activations: Tensor, *, block: int = _BLOCK) -> Tensor:
    """Cosine of (q_k - mean)^3 and (P[:, m] - mean)^3 (the reference implementation's Cos cubed).

    Norms below 1e-3 count as 1e-3, as in the reference, so that the similarity of very small
    activations is smaller than their cosine.

    Args:
        products: P, (N, M), float, or its factors.
        activations: q, pooled activations, (N, U), float.
        block: how many numbers of P are held at once.

    Returns:
        float32, (U, M), in [-1, 1]; NaN for units without direction.

    Raises:
        ValueError: when shapes do not fit or P holds NaN or infinite values.
    """
    return _cosines(products, activations, _centred_cube, _SMALLEST_NORM, block)


def rank_reorder(
    products: Products,
    activations: Tensor,
    *,
    top_share: float = 0.05,
    p: float = 3.0,
    scale: float = 0.5,
    block: int = _BLOCK,
) -> Tensor:
    """How well P[:, m] orders the unit's top images (CLIP-Dissect, section 3.2, Rank reorder).

    Over the top images of the unit, B, as many as floor(N `top_share`): q' has the values of q in
    the order of P[:, m]; the error is the mean of |q - q'|^p, relative to its mean over all orders
    of q, divided by (mean of P[B, m])^scale. The reference estimates the mean over all orders from
    five random ones; here it is the exact expectation, (1/n^2) sum over i, j of |q_i - q_j|^p,
    which changes no order of concepts. Equal values of P rank by activation, then by row.

    A concept whose mean over B is not positive gets -infinity, the limit from above, where the
    reference takes the root of a negative number.

    Args:
        products: P, (N, M), float, or its factors.
        activations: q, pooled activations, (N, U), float.
        top_share: share of the images that counts, in (0, 1].
        p: exponent of the error.
        scale: exponent of the mean of P.
        block: how many numbers of P are held at once.

    Returns:
        float32, (U, M), at most 0; NaN also for units whose top images are all equal.

    Raises:
        StudyError: when the share of the images is fewer than two.
        ValueError: when shapes do not fit or P holds NaN or infinite values.
    """
    check(products, activations)
    count = _image_count(len(activations), top_share)
    similarities = undescribed(products, activations)
    for unit, values, rows in described_units(activations, count):
        top = _relative(values[rows]).to(similarities.device)
        if top[0] > top[-1]:
            baseline = _mean_difference(top, p)
            for columns in blocks(similarities.shape[1], count, block):
                part = part_of(products, rows.to(similarities.device), columns)
                mean = part.mean(dim=0)
                error = _reorder_error(part, top, p) / baseline / mean.clamp(min=0) ** scale
                similarities[unit, columns] = -error.where(mean > 0, math.inf)
    return similarities


def wpmi(
    products: Products,
    activations: Tensor,
    *,
    a: float = 2.0,
    lam: float = 0.6,
    top_images: int = 28,
    min_prob: float = 1e-7,
    prior: Tensor | None = None,
) -> Tensor:
    """Weighted pointwise mutual information (CLIP-Dissect, section 3.2 and eq. 8).

    log p(t_m|B_k) - lam log p(t_m), see `hard_log_likelihood` and `log_prior`.

    Args:
        products: P, (N, M), float, or its factors.
        activations: q, pooled activations, (N, U), float.
        a: sharpness of the softmax over concepts.
        lam: lambda, weight of the prior.
        top_images: size of B_k.
        min_prob: added to probabilities before the logarithm.
        prior: log p(t_m), (M,); that of the units at hand where None.

    Returns:
        float32, (U, M); NaN for constant and not finite units.

    Raises:
        StudyError: when there are fewer images than `top_images`.
        ValueError: when shapes do not fit or P holds NaN or infinite values.
    """
    likelihood = hard_log_likelihood(
        products, activations, a=a, top_images=top_images, min_prob=min_prob
    )
    return weighed(likelihood, log_prior(likelihood) if prior is None else prior, lam)


def soft_wpmi(
    products: Products,
    activations: Tensor,
    *,
    a: float = 10.0,
    lam: float = 1.0,
    top_images: int = 100,
    p_start: float = 0.998,
    p_end: float = 0.97,
    min_prob: float = 1e-7,
    prior: Tensor | None = None,
) -> Tensor:
    """SoftWPMI, the default of CLIP-Dissect (section 3.2 and eq. 14).

    log E[p(t_m|B_k)] - lam log p(t_m), see `soft_log_likelihood` and `log_prior`.

    Args:
        products: P, (N, M), float, or its factors.
        activations: q, pooled activations, (N, U), float.
        a: sharpness of the softmax over concepts.
        lam: lambda, weight of the prior.
        top_images: how many images may belong to B_k.
        p_start: probability that the most activating image belongs to B_k.
        p_end: the value to which it falls.
        min_prob: added to probabilities before the logarithm.
        prior: log p(t_m), (M,); that of the units at hand where None.

    Returns:
        float32, (U, M); NaN for constant and not finite units.

    Raises:
        StudyError: when there are fewer images than `top_images`.
        ValueError: when shapes do not fit or P holds NaN or infinite values.
    """
    likelihood = soft_log_likelihood(
        products,
        activations,
        a=a,
        top_images=top_images,
        p_start=p_start,
        p_end=p_end,
        min_prob=min_prob,
    )
    return weighed(likelihood, log_prior(likelihood) if prior is None else prior, lam)


Similarity = Callable[..., "Tensor"]
"""(products, activations, **options) -> (units, concepts)."""

SIMILARITY: Final[dict[str, Similarity]] = {
    "cos": cos,
    "cos_cubed": cos_cubed,
    "rank_reorder": rank_reorder,
    "wpmi": wpmi,
    "soft_wpmi": soft_wpmi,
}
"""The similarity functions by their name in the study."""


def concept_shares(products: Products, a: float) -> Tensor | None:
    """Softmax over concepts of a P, once for all units (CLIP-Dissect, section 3.2).

    Returns:
        float32, (N, M); None where that is too large to be held: then it is computed for each
        unit's own images.
    """
    images, concepts = products.shape
    if images * concepts > _BLOCK:
        return None
    if isinstance(products, ConceptActivationMatrix):
        return products.derived(("shares", a), lambda: _shares(products, a))
    return _shares(products, a)


def _shares(products: Products, a: float) -> Tensor:
    shares = torch.empty(products.shape, dtype=torch.float32, device=products.device)
    for rows in blocks(len(shares), 1, _ROWS_AT_ONCE):
        torch.softmax(_scaled(products, rows, a), dim=1, out=shares[rows])
    return shares


def hard_log_likelihood(
    products: Products,
    activations: Tensor,
    *,
    a: float = 2.0,
    top_images: int = 28,
    min_prob: float = 1e-7,
    shares: Tensor | None = None,
) -> Tensor:
    """How likely B_k makes each concept, log p(t_m|B_k) (CLIP-Dissect, eq. 6).

    The sum over i in B_k of log softmax(a P[i, :])_m. B_k are the `top_images` most activating
    images of unit k, ties by row. A unit's numbers do not depend on the other units, to the last
    bit.

    Args:
        products: P, (N, M), float, or its factors.
        activations: q, pooled activations, (N, U), float.
        a: sharpness of the softmax over concepts.
        top_images: size of B_k.
        min_prob: added to probabilities before the logarithm.
        shares: `concept_shares(products, a)`, where it is at hand.

    Returns:
        float32, (U, M); NaN for constant and not finite units.

    Raises:
        StudyError: when there are fewer images than `top_images`.
        ValueError: when shapes do not fit or P holds NaN or infinite values.
    """
    check(products, activations)
    shares = concept_shares(products, a) if shares is None else shares
    if shares is not None and top_images * activations.shape[1] > len(activations):
        # Each image counts for several units: its logarithms once.
        logs = shares.add(min_prob).log_()
        return _log_likelihood(products, activations, a, top_images, _unchanged, logs)

    def log_member(members: Tensor) -> Tensor:
        return members.add_(min_prob).log_()

    return _log_likelihood(products, activations, a, top_images, log_member, shares)


def soft_log_likelihood(
    products: Products,
    activations: Tensor,
    *,
    a: float = 10.0,
    top_images: int = 100,
    p_start: float = 0.998,
    p_end: float = 0.97,
    min_prob: float = 1e-7,
    shares: Tensor | None = None,
) -> Tensor:
    """How likely an uncertain B_k makes each concept, log E[p(t_m|B_k)] (CLIP-Dissect, eq. 12).

    The sum of log(1 + p_i (softmax(a P[i, :])_m - 1)) over the n = `top_images` most activating
    images i = 0 .. n - 1 of the unit, ties by row. p_i = p_start - (i / n) (p_start - p_end), so
    that `p_end` itself is not reached, as in the reference. A unit's numbers do not depend on the
    other units, to the last bit.

    Args:
        products: P, (N, M), float, or its factors.
        activations: q, pooled activations, (N, U), float.
        a: sharpness of the softmax over concepts.
        top_images: n.
        p_start: probability that the most activating image belongs to B_k.
        p_end: the value to which it falls.
        min_prob: added to probabilities before the logarithm.
        shares: `concept_shares(products, a)`, where it is at hand.

    Returns:
        float32, (U, M); NaN for constant and not finite units.

    Raises:
        StudyError: when there are fewer images than `top_images`.
        ValueError: when shapes do not fit or P holds NaN or infinite values.
    """
    check_enough(len(activations), top_images)
    fall = torch.arange(top_images, device=products.device) / top_images * (p_start - p_end)
    belongs = (p_start - fall).unsqueeze(1)

    def log_member(members: Tensor) -> Tensor:
        return members.sub_(1).mul_(belongs).add_(1).add_(min_prob).log_()

    return _log_likelihood(products, activations, a, top_images, log_member, shares)


def log_prior(likelihoods: Tensor) -> Tensor:
    """How likely each concept is at all, log p(t_m) (CLIP-Dissect, eq. 7 and 13).

    The logarithm of the mean of p(t_m|B_k) over a layer's units.

    Args:
        likelihoods: log p(t_m|B_k), (U, M); rows of NaN do not count.

    Returns:
        float32, (M,); NaN when no unit counts.
    """
    valid = likelihoods[~likelihoods.isnan().any(dim=1)]
    if not len(valid):
        return likelihoods.new_full((likelihoods.shape[1],), math.nan)
    return torch.logsumexp(valid, dim=0) - torch.log(torch.tensor(float(len(valid))))


def weighed(likelihoods: Tensor, prior: Tensor, lam: float) -> Tensor:
    """Log p(t_m|B_k), (U, M), minus lam log p(t_m), (M,) (CLIP-Dissect, eq. 8 and 14).

    Raises:
        ValueError: when shapes do not fit.
    """
    log_probabilities = prior.to(likelihoods)
    if log_probabilities.shape != likelihoods.shape[1:]:
        raise ValueError(
            f"a prior of shape {tuple(log_probabilities.shape)} does not fit "
            f"{likelihoods.shape[1]:,} concepts"
        )
    return likelihoods.sub(log_probabilities.mul(lam))


def _cosines(
    products: Products,
    activations: Tensor,
    prepare: Callable[[Tensor], Tensor],
    smallest: float,
    block: int,
) -> Tensor:
    """Cosines of the columns of P and q after `prepare`; norms are at least `smallest`."""
    check(products, activations)
    images = len(activations)
    described = describable(activations)
    # To pick columns out takes as long as all the rest; mostly they are all to be picked.
    units = None if described.all() else described.nonzero().flatten()
    similarities = undescribed(products, activations)
    for columns in blocks(similarities.shape[1], images, block):
        concepts = _directions(products, columns, prepare, smallest)
        for batch in blocks(int(described.sum()), images, block):
            chosen = activations[:, batch if units is None else units[batch]]
            values = chosen.to(similarities.device, torch.float32)
            cosines = product(_normalised(prepare(values), smallest).T, concepts)
            rows = batch if units is None else units[batch].to(similarities.device)
            similarities[rows, columns] = cosines
    return similarities


def _directions(
    products: Products, columns: slice, prepare: Callable[[Tensor], Tensor], smallest: float
) -> Tensor:
    """Columns of P after `prepare`, of length 1; kept where they are all of them."""

    def directions() -> Tensor:
        return _normalised(prepare(part_of(products, slice(None), columns)), smallest)

    is_whole = columns.start == 0 and columns.stop >= products.shape[1]
    if is_whole and isinstance(products, ConceptActivationMatrix):
        return products.derived((prepare, smallest), directions)
    return directions()


def _unchanged(values: Tensor) -> Tensor:
    return values


def _centred_cube(values: Tensor) -> Tensor:
    return values.sub(values.mean(dim=0)).pow_(3)


def _normalised(columns: Tensor, smallest: float) -> Tensor:
    return columns.div(torch.linalg.vector_norm(columns, dim=0).clip(smallest))


def _log_likelihood(
    products: Products,
    activations: Tensor,
    a: float,
    top_images: int,
    log_member: Callable[[Tensor], Tensor],
    shares: Tensor | None,
) -> Tensor:
    """Sum of `log_member` of the softmax over concepts, over each unit's top images."""
    check(products, activations)
    check_enough(len(activations), top_images)
    likelihoods = undescribed(products, activations)
    shares = concept_shares(products, a) if shares is None else shares
    # One unit at a time: products of equal shape do not depend on what else is computed. All use
    # one piece of memory: to get new pages from the system takes longer than to fill them.
    members = likelihoods.new_empty((top_images, likelihoods.shape[1]))
    for unit, _, top in described_units(activations, top_images):
        rows = top.to(likelihoods.device)
        if shares is None:
            torch.softmax(_scaled(products, rows, a), dim=1, out=members)
        else:
            torch.index_select(shares, 0, rows, out=members)
        torch.sum(log_member(members), dim=0, out=likelihoods[unit])
    return likelihoods


def _scaled(products: Products, rows: Tensor | slice, a: float) -> Tensor:
    """`a` P of some images, newly made."""
    part = part_of(products, rows)
    is_view = not isinstance(products, ConceptActivationMatrix) and isinstance(rows, slice)
    return part.mul(a) if is_view else part.mul_(a)


def _reorder_error(part: Tensor, top: Tensor, p: float) -> Tensor:
    """Mean of |q - q'|^p for each concept; `top` is q, largest first."""
    order = part.argsort(dim=0, descending=True, stable=True)
    reordered = torch.empty_like(part)
    reordered.scatter_(0, order, top.unsqueeze(1).expand_as(part))
    return reordered.sub_(top.unsqueeze(1)).abs_().pow_(p).mean(dim=0)


def _relative(values: Tensor) -> Tensor:
    """`values` scaled to [0, 1]: powers of very small or large ones would leave float32."""
    double = values.double()
    span = double.max() - double.min()
    return ((double - double.min()) / span.clamp(min=1e-300)).float()


def _mean_difference(values: Tensor, p: float) -> float:
    """The mean of |v_i - v_j|^p over all i and j."""
    double = values.double()
    sums = [
        (double[rows, None] - double).abs().pow(p).sum() for rows in blocks(len(double), 1, 1024)
    ]
    return float(torch.stack(sums).sum()) / len(values) ** 2


def _image_count(images: int, share: float) -> int:
    """How many images a share of them is; at least two, since one has no order."""
    if not 0 < share <= 1:
        raise ValueError(f"top_share = {share} has to be in (0, 1]")
    # 0.29 * 100 is 28.999999999999996.
    count = math.floor(images * share + 1e-9)
    if count < 2:
        raise StudyError(
            f"the top {share:.3g} of {images:,} images is fewer than 2 images, which have no "
            f"order; probe with {math.ceil(2 / share - 1e-9):,} images or more, or raise top_share"
        )
    return count
