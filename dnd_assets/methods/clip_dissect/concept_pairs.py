"""Compositional labels of CLIP-Dissect: "a and b" from the best single words (section A.4).

`propose_pairs` says which pairs to try, the caller embeds their texts and computes similarities as
for single concepts, and `best_of` takes a pair where it is better than every single word.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dnd_assets.methods.clip_dissect.best_concepts import top_concepts
from dnd_assets.methods.lazy import torch
from dnd_assets.methods.ordering import top_positions, top_positions_of_rows

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Label:
    """A label of one or two concepts.

    Attributes:
        concepts: positions of the concepts.
        text: what it says.
        similarity: of the unit to that text.
    """

    concepts: tuple[int, ...]
    text: str
    similarity: float


def pair_text(first: str, second: str) -> str:
    """The text of a pair.

    >>> pair_text("red", "circle")
    'red and circle'
    """
    return f"{first} and {second}"


def propose_pairs(similarities: Tensor, n: int = 100) -> list[list[tuple[int, int]]]:
    """All pairs of each unit's `n` most similar concepts (CLIP-Dissect, section A.4).

    Each pair once, the more similar concept first; pairs in the order of their concepts' ranks,
    (1st, 2nd), (1st, 3rd), (2nd, 3rd), (1st, 4th) and so on, so that those of fewer concepts are
    the first ones. There are n (n - 1) / 2: 4,950 of 100.

    Args:
        similarities: of single concepts, (U, M).
        n: how many concepts are combined; all when there are fewer.

    Returns:
        For each unit pairs of positions of concepts; none for rows of NaN.

    Raises:
        ValueError: when `n` is less than 2.
    """
    if n < 2:
        raise ValueError(f"n = {n} concepts make no pair; it has to be 2 or more")
    best = [[concept for concept, _ in row] for row in top_concepts(similarities, n)]
    return [
        [(first, second) for i, second in enumerate(row) for first in itertools.islice(row, i)]
        for row in best
    ]


def best_of(
    concepts: Sequence[str],
    singles: Tensor,
    pairs: Sequence[tuple[int, int]],
    pair_similarities: Tensor,
    n: int = 1,
) -> list[Label]:
    """The `n` best labels of one unit among single concepts and pairs, best first.

    Equal ones: single concepts before pairs, then in the order given.

    Args:
        concepts: the single concepts.
        singles: the unit's similarity to each of them, (M,).
        pairs: positions of the concepts of each pair, as from `propose_pairs`.
        pair_similarities: the unit's similarity to each pair's text, (pairs,), by the same function
            with the same prior.
        n: how many labels; all when there are fewer.

    Returns:
        Labels; those of similarity NaN are left out.

    Raises:
        ValueError: when lengths do not fit.
    """
    if (len(concepts), len(pairs)) != (len(singles), len(pair_similarities)):
        raise ValueError(
            f"{len(concepts):,} concepts and {len(pairs):,} pairs do not fit {len(singles):,} and "
            f"{len(pair_similarities):,} similarities"
        )
    scores = torch.cat([singles, pair_similarities.to(singles)])
    valid = (~scores.isnan()).nonzero().flatten()
    top = valid[top_positions(scores[valid], n)]
    best = zip(top.tolist(), scores[top].tolist(), strict=True)
    return [_label(concepts, pairs, i, similarity) for i, similarity in best]


def best_singles(concepts: Sequence[str], singles: Tensor, n: int = 1) -> list[list[Label]]:
    """The `n` best single concepts of each unit, as `best_of` without pairs; all units at once.

    Args:
        concepts: the single concepts.
        singles: similarities, (U, M).
        n: how many labels; all when there are fewer.

    Returns:
        Labels of each unit, best first; those of similarity NaN are left out.

    Raises:
        ValueError: when lengths do not fit.
    """
    if len(concepts) != singles.shape[1]:
        raise ValueError(f"{len(concepts):,} concepts do not fit {singles.shape[1]:,} similarities")
    if singles.isnan().any():
        return [best_of(concepts, row, [], singles.new_zeros(0), n) for row in singles]
    count = min(n, len(concepts))
    if not len(singles) or not count:
        return [[] for _ in singles]
    tops = torch.stack(list(top_positions_of_rows(singles, count)))
    similarities = singles.gather(1, tops).tolist()
    return [
        [Label((i,), concepts[i], value) for i, value in zip(positions, values, strict=True)]
        for positions, values in zip(tops.tolist(), similarities, strict=True)
    ]


def _label(
    concepts: Sequence[str], pairs: Sequence[tuple[int, int]], i: int, similarity: float
) -> Label:
    if i < len(concepts):
        return Label((i,), concepts[i], similarity)
    first, second = pairs[i - len(concepts)]
    return Label((first, second), pair_text(concepts[first], concepts[second]), similarity)
