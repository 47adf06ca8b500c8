"""CLIP-Dissect of a layer, where a unit's numbers do not depend on which units are asked for.

`similarity` has the functions themselves. Two things there depend on the company of a unit: the
prior p(t_m) of `wpmi` and `soft_wpmi` by definition, and the last bits of a product of matrices.
So the prior is always that of the whole layer, and cosines are computed for whole groups of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from inspect import signature
from typing import TYPE_CHECKING, Final

from dnd_assets.methods.clip_dissect.concept_activation_matrix import (
    ConceptActivationMatrix,
    Products,
)
from dnd_assets.methods.clip_dissect.concept_pairs import Label, best_of, pair_text, propose_pairs
from dnd_assets.methods.clip_dissect.similarity import (
    SIMILARITY,
    concept_shares,
    hard_log_likelihood,
    log_prior,
    soft_log_likelihood,
    weighed,
)
from dnd_assets.methods.lazy import torch

if TYPE_CHECKING:
    from torch import Tensor

_GROUP: Final = 512
"""Units of a layer that are computed together."""
_HELD: Final = 1 << 27
"""Numbers of a layer's likelihoods that are held at most: half a gigabyte."""
_LIKELIHOODS: Final[dict[str, Callable[..., Tensor]]] = {
    "wpmi": hard_log_likelihood,
    "soft_wpmi": soft_log_likelihood,
}
_TOGETHER: Final = frozenset({"cos", "cos_cubed"})


@dataclass(frozen=True, eq=False)
class LayerSimilarity:
    """How similar the units of one layer are to every concept (CLIP-Dissect, section 3.2).

    What several units need, or prior and similarity alike, is computed once and held where it is
    not too large. A unit's numbers are the same whatever is held and whoever else is asked for.

    Attributes:
        name: the similarity function.
        products: P, (N, M), float, or its factors.
        activations: q of the whole layer, (N, U), float.
        options: options of the function.
    """

    name: str
    products: Products
    activations: Tensor
    options: Mapping[str, float]

    def prior(self) -> Tensor | None:
        """How likely each concept is at all, over all units of the layer (eq. 7 and 13).

        Returns:
            log p(t_m), float32, (M,); None for a function without a prior.
        """
        if self.name not in _LIKELIHOODS:
            return None
        parts, counts = [], []
        for likelihood in self._likelihoods():
            valid = likelihood[~likelihood.isnan().any(dim=1)]
            if len(valid):
                parts.append(log_prior(valid))
                counts.append(float(len(valid)))
        if not parts:
            return torch.full((self.products.shape[1],), torch.nan, device=self.products.device)
        weights = torch.tensor(counts, device=self.products.device)
        shares = (weights / weights.sum()).log().unsqueeze(1)
        return torch.logsumexp(torch.stack(parts) + shares, dim=0)

    def of(self, units: Sequence[int], prior: Tensor | None) -> Tensor:
        """Similarity of some units to every concept.

        Args:
            units: indices of the units.
            prior: as from `prior`.

        Returns:
            float32, (len(units), M); NaN for units that cannot be described.
        """
        if self.name in _LIKELIHOODS:
            assert prior is not None
            return weighed(self._likelihood(units), prior, **_weight(self.name, self.options))
        function = partial(SIMILARITY[self.name], self.products, **self.options)
        if self.name not in _TOGETHER:
            return function(self.activations[:, list(units)])
        groups = {}
        for group in dict.fromkeys(unit // _GROUP for unit in units):
            groups[group] = function(self.activations[:, group * _GROUP : (group + 1) * _GROUP])
        return torch.stack([groups[unit // _GROUP][unit % _GROUP] for unit in units])

    @cached_property
    def _cache(self) -> dict[int, Tensor]:
        """Likelihoods by group of units, as far as they were computed and may be held."""
        return {}

    @cached_property
    def _shares(self) -> Tensor | None:
        function = _LIKELIHOODS[self.name]
        a = self.options.get("a", signature(function).parameters["a"].default)
        return concept_shares(self.products, a)

    def _likelihoods(self) -> Iterator[Tensor]:
        """Of one group of units after the other, (units, M)."""
        units = self.activations.shape[1]
        may_hold = units * self.products.shape[1] <= _HELD
        for start in range(0, units, _GROUP):
            group = start // _GROUP
            likelihood = self._cache.get(group)
            if likelihood is None:
                likelihood = self._computed(self.activations[:, start : start + _GROUP])
            if may_hold:
                self._cache[group] = likelihood
            yield likelihood

    def _likelihood(self, units: Sequence[int]) -> Tensor:
        if all(unit // _GROUP in self._cache for unit in units):
            return torch.stack([self._cache[unit // _GROUP][unit % _GROUP] for unit in units])
        return self._computed(self.activations[:, list(units)])

    def _computed(self, activations: Tensor) -> Tensor:
        likelihood = _LIKELIHOODS[self.name]
        options = {name: value for name, value in self.options.items() if name != "lam"}
        return likelihood(self.products, activations, shares=self._shares, **options)


def _weight(name: str, options: Mapping[str, float]) -> dict[str, float]:
    """Lambda, the weight of the prior."""
    return {"lam": options.get("lam", signature(SIMILARITY[name]).parameters["lam"].default)}


def best_labels(
    name: str,
    products: ConceptActivationMatrix,
    concepts: Sequence[str],
    activations: Tensor,
    unit: int,
    singles: Tensor,
    embed: Callable[[Sequence[str]], Tensor],
    options: Mapping[str, float],
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
    no_similarities = singles.new_zeros(0)
    (proposed,) = propose_pairs(singles[None], pairs) if pairs else ([],)
    if not proposed:
        return best_of(concepts, singles, [], no_similarities, n)
    texts = embed([pair_text(concepts[first], concepts[second]) for first, second in proposed])
    all_texts = torch.cat([products.texts, texts.to(products.texts)])
    combined = ConceptActivationMatrix(products.images, all_texts)
    layer = LayerSimilarity(name, combined, activations, options)
    (similarities,) = layer.of([unit], layer.prior())
    return best_of(
        concepts, similarities[: len(concepts)], proposed, similarities[len(concepts) :], n
    )
