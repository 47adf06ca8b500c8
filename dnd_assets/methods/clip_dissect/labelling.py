"""CLIP-Dissect of a layer, so that a unit's numbers do not depend on which others are asked for.

`similarity` has the functions themselves. Two things there depend on the company of a unit: the
prior p(t_m) of `wpmi` and `soft_wpmi` by definition, and the last bits of a product of matrices.
So the prior is always that of the whole layer, and cosines are computed for whole groups of it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import torch
from torch import Tensor

from dnd_assets.methods.clip_dissect.concept_activation_matrix import (
    ConceptActivationMatrix,
    Products,
)
from dnd_assets.methods.clip_dissect.concept_pairs import Label, best_of, pair_text, propose_pairs
from dnd_assets.methods.clip_dissect.similarity import (
    SIMILARITY,
    hard_log_likelihood,
    log_prior,
    soft_log_likelihood,
)

_GROUP: Final = 512
"""Units of a layer that are computed together."""
_LIKELIHOODS: Final[dict[str, Callable[..., Tensor]]] = {
    "wpmi": hard_log_likelihood,
    "soft_wpmi": soft_log_likelihood,
}
_TOGETHER: Final = frozenset({"cos", "cos_cubed"})


def layer_prior(
    name: str, products: Products, activations: Tensor, options: Mapping[str, Any]
) -> Tensor | None:
    """How likely each concept is at all, over all units of a layer (CLIP-Dissect, eq. 7 and 13).

    Args:
        name: the similarity function.
        products: P, (N, M), float, or its factors.
        activations: q of the whole layer, (N, U), float.
        options: options of the function.

    Returns:
        log p(t_m), float32, (M,); None for a function without a prior.
    """
    if name not in _LIKELIHOODS:
        return None
    parts, counts = [], []
    for start in range(0, activations.shape[1], _GROUP):
        group = activations[:, start : start + _GROUP]
        found = _LIKELIHOODS[name](products, group, **options)
        known = found[~found.isnan().any(dim=1)]
        if len(known):
            parts.append(log_prior(known))
            counts.append(float(len(known)))
    if not parts:
        return torch.full((products.shape[1],), torch.nan, device=products.device)
    weights = torch.tensor(counts, device=products.device)
    shares = (weights / weights.sum()).log().unsqueeze(1)
    return torch.logsumexp(torch.stack(parts) + shares, dim=0)


def similarities(
    name: str,
    products: Products,
    activations: Tensor,
    units: Sequence[int],
    prior: Tensor | None,
    options: Mapping[str, Any],
) -> Tensor:
    """Similarity of some units of a layer to every concept (CLIP-Dissect, section 3.2).

    Args:
        name: the similarity function.
        products: P, (N, M), float, or its factors.
        activations: q of the whole layer, (N, U), float.
        units: indices of the units.
        prior: as from `layer_prior`.
        options: options of the function.

    Returns:
        float32, (len(units), M), the same for a unit whatever the others are; NaN for units that
        cannot be described.
    """
    given = {**options, **({} if prior is None else {"prior": prior})}
    if name not in _TOGETHER:
        return SIMILARITY[name](products, activations[:, list(units)], **given)
    groups = {}
    for group in dict.fromkeys(unit // _GROUP for unit in units):
        columns = activations[:, group * _GROUP : (group + 1) * _GROUP]
        groups[group] = SIMILARITY[name](products, columns, **given)
    return torch.stack([groups[unit // _GROUP][unit % _GROUP] for unit in units])


def best_labels(
    name: str,
    products: ConceptActivationMatrix,
    concepts: Sequence[str],
    activations: Tensor,
    unit: int,
    singles: Tensor,
    embed: Callable[[Sequence[str]], Tensor],
    options: Mapping[str, Any],
    n: int,
    pairs: int = 0,
) -> list[Label]:
    """The best labels of one unit, of one concept or of two (CLIP-Dissect, section A.4).

    The texts of the unit's own pairs join the concept set, so that all probabilities and the prior
    over the layer are those of one set, which no other unit has a part in.

    Args:
        name: the similarity function.
        products: the factors of P, (N, M).
        concepts: the M concepts.
        activations: q of the whole layer, (N, U), float.
        unit: index of the unit.
        singles: its similarity to each concept, (M,).
        embed: embeddings of the texts of pairs, (texts, D).
        options: options of the function.
        n: how many labels.
        pairs: how many of the most similar concepts are combined; 0 for none.

    Returns:
        Labels, best first; none of similarity NaN.
    """
    nothing = singles.new_zeros(0)
    (proposed,) = propose_pairs(singles[None], pairs) if pairs else ([],)
    if not proposed:
        return best_of(concepts, singles, [], nothing, n)
    texts = embed([pair_text(concepts[first], concepts[second]) for first, second in proposed])
    both = torch.cat([products.texts, texts.to(products.texts)])
    wider = ConceptActivationMatrix(products.images, both)
    prior = layer_prior(name, wider, activations, options)
    (found,) = similarities(name, wider, activations, [unit], prior, options)
    return best_of(concepts, found[: len(concepts)], proposed, found[len(concepts) :], n)
