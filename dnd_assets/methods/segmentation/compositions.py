"""Compositional explanations: logical forms of concepts that fit a unit best (Mu & Andreas 2020).

A formula is a chain, ((a OR b) AND NOT c), found by beam search. What "fits" means is an
`Objective`: here the IoU of pixel masks; `invert.py` has the AUC of image labels.
"""

from __future__ import annotations

import hashlib
import heapq
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import cached_property
from typing import Final, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

Booleans = NDArray[np.bool_]
Words = NDArray[np.uint64]
Counts = NDArray[np.int64]
Floats = NDArray[np.float64]
Bits = TypeVar("Bits", NDArray[np.bool_], NDArray[np.uint64])

_WORDS_AT_ONCE: Final = 1 << 22


class Operator(Enum):
    """How a concept is joined to a formula, in the order in which ties are broken."""

    AND = "AND"
    OR = "OR"
    AND_NOT = "AND NOT"


@dataclass(frozen=True)
class Formula:
    """A logical form of concepts, read from the left.

    Attributes:
        first: a concept.
        steps: what is joined to it, one after the other.

    >>> print(Formula("water").joined(Operator.OR, "river").joined(Operator.AND_NOT, "blue"))
    ((water OR river) AND NOT blue)
    """

    first: str
    steps: tuple[tuple[Operator, str], ...] = ()

    def __len__(self) -> int:
        return 1 + len(self.steps)

    def __str__(self) -> str:
        text = self.first
        for operator, concept in self.steps:
            text = f"({text} {operator.value} {concept})"
        return text

    def joined(self, operator: Operator, concept: str) -> Formula:
        """The formula with one more concept."""
        return Formula(self.first, (*self.steps, (operator, concept)))

    def holds(self, presence: Mapping[str, Booleans]) -> Booleans:
        """Where the formula is true.

        Args:
            presence: where each of its concepts is true, bool, of one shape.
        """
        mask = presence[self.first]
        for operator, concept in self.steps:
            mask = apply(operator, mask, presence[concept])
        return mask


@dataclass(frozen=True)
class Explanation:
    """A formula and how well it fits a unit.

    Attributes:
        formula: the logical form.
        score: the objective's value, for example the IoU.
    """

    formula: Formula
    score: float


class PackedMasks:
    """Concepts' masks with eight pixels a byte: the search needs intersections, and counts."""

    def __init__(self, names: Sequence[str], masks: Booleans) -> None:
        """Pack masks.

        Args:
            names: of the concepts, (C,), each once.
            masks: bool, (C, positions).

        Raises:
            ValueError: when there is no concept, names repeat or shapes do not fit.
        """
        if masks.dtype != np.bool_ or masks.ndim != 2 or len(masks) != len(names) or not len(names):
            raise ValueError(
                f"masks of {len(names)} concepts are bool ({len(names)}, positions), of at least "
                f"one concept, not {masks.dtype} {masks.shape}"
            )
        if len(set(names)) < len(names):
            repeated = next(name for name in names if list(names).count(name) > 1)
            raise ValueError(f"two concepts are called {repeated!r}; a formula would not tell them")
        self.names = tuple(names)
        self.positions = masks.shape[1]
        self.words = pack(masks)


class Objective(Protocol):
    """What is maximised: a function of two additive numbers of the positions of a formula.

    A number is additive when it is a sum over the positions where the formula holds, as the count
    and the count inside the unit's mask are. Then that of a OR b follows from those of a, b and
    a AND b, and only intersections have to be looked at.
    """

    concepts: PackedMasks

    def numbers(self, where: Words) -> tuple[Counts, Counts]:
        """Size and weight of the intersection of `where` with each concept, each (C,)."""

    def scores(self, sizes: Counts, weights: Counts) -> Floats:
        """The score of formulas of these sizes and weights; -infinity for those not allowed."""


class Overlap(Objective):
    """IoU of formulas' masks and a unit's mask, however intersections are counted.

    Attributes:
        area: pixels of the unit's mask.
    """

    area: int

    def scores(self, sizes: Counts, weights: Counts) -> Floats:
        """Intersection over union; 0 for nothing over nothing."""
        union = self.area + sizes - weights
        return np.asarray(weights / np.maximum(union, 1), dtype=np.float64)

    def bounds(self, sizes: Counts, weights: Counts, steps: int) -> Floats:
        """See `overlap_bounds`."""
        return overlap_bounds(self.area, *self._gain_and_cut, sizes, weights, steps)

    @cached_property
    def _gain_and_cut(self) -> tuple[int, int]:
        """The most pixels that one concept has inside the unit's mask, and outside."""
        sizes, inside = self.numbers(all_positions(self.concepts))
        return int(inside.max()), int((sizes - inside).max())


class IntersectionOverUnion(Overlap):
    """IoU of a formula's mask and the unit's mask (Mu & Andreas 2020, section 2)."""

    def __init__(self, unit: Booleans, concepts: PackedMasks) -> None:
        """Take a unit.

        Args:
            unit: where its map is above its threshold, bool, (positions,).
            concepts: the concepts' masks at the same positions.

        Raises:
            ValueError: when the positions differ.
        """
        if unit.dtype != np.bool_ or unit.shape != (concepts.positions,):
            raise ValueError(
                f"the unit's mask is bool ({concepts.positions:,},) like the concepts', not "
                f"{unit.dtype} {unit.shape}"
            )
        self.concepts = concepts
        self._unit = pack(unit[None])[0]
        self.area = int(unit.sum())

    def numbers(self, where: Words) -> tuple[Counts, Counts]:
        """Pixels of the intersections, and those of them in the unit's mask."""
        inside = where & self._unit
        return _overlaps(self.concepts.words, where), _overlaps(self.concepts.words, inside)


def search(objective: Objective, *, beam: int = 10, length: int = 3) -> list[Explanation]:
    """The best formulas by beam search over AND, OR and AND NOT (Mu & Andreas 2020, section 2).

    Begins with the `beam` best concepts; each step joins every concept in every way to every
    formula of the beam and keeps the `beam` best of old and new ones. Of equal scores the shorter
    formula comes first, then the one of the better parent, then AND before OR before AND NOT, then
    the order of concepts. Of formulas that hold at the same positions only the first is kept.

    Args:
        objective: what is maximised.
        beam: formulas kept; the authors use 5 to 10.
        length: concepts in a formula at most.

    Returns:
        Up to `beam` formulas, best first; none with a score of -infinity.

    Raises:
        ValueError: when `beam` or `length` is not positive.
    """
    if beam < 1 or length < 1:
        raise ValueError(f"beam = {beam} and length = {length} have to be positive")
    concepts = _singles(objective)
    singles = _Numbers(
        np.array([candidate.size for candidate in concepts]),
        np.array([candidate.weight for candidate in concepts]),
    )
    best = _distinct(sorted(concepts, key=_by_score), beam)
    for size in range(1, length):
        parents = [candidate for candidate in best if len(candidate.formula) == size]
        # Merging is stable and takes old ones first: of equal scores the shorter formula leads.
        best = _distinct(
            heapq.merge(best, _grown(parents, objective, singles), key=_by_score), beam
        )
    return [Explanation(candidate.formula, candidate.score) for candidate in best]


def pack(masks: Booleans) -> Words:
    """Booleans as bits, (rows, positions) -> uint64 (rows, words); the last word ends in zeros."""
    bits = np.packbits(masks, axis=1)
    padded = np.zeros((len(masks), -(-bits.shape[1] // 8) * 8), dtype=np.uint8)
    padded[:, : bits.shape[1]] = bits
    return padded.view(np.uint64)


def unpack(words: Words, positions: int) -> Booleans:
    """The inverse of `pack`, (rows, words) -> bool (rows, positions)."""
    bits = np.unpackbits(np.ascontiguousarray(words).view(np.uint8), axis=1, count=positions)
    return bits.view(np.bool_)


@dataclass(frozen=True)
class _Numbers:
    """Sizes and weights of all concepts, each (C,)."""

    sizes: Counts
    weights: Counts


@dataclass(frozen=True, eq=False)
class _Candidate:
    formula: Formula
    score: float
    words: Words
    size: int
    weight: int


def _by_score(candidate: _Candidate) -> float:
    return -candidate.score


def _singles(objective: Objective) -> list[_Candidate]:
    concepts = objective.concepts
    sizes, weights = objective.numbers(all_positions(concepts))
    scores = objective.scores(sizes, weights)
    return [
        _Candidate(
            Formula(name), float(scores[c]), concepts.words[c], int(sizes[c]), int(weights[c])
        )
        for c, name in enumerate(concepts.names)
    ]


def _grown(
    parents: list[_Candidate], objective: Objective, singles: _Numbers
) -> Iterator[_Candidate]:
    """Every parent with every concept joined to it, best first, made when asked for."""
    if not parents:
        return
    joins = [_joins(parent, objective, singles) for parent in parents]
    sizes = np.concatenate([numbers.sizes for numbers in joins])
    weights = np.concatenate([numbers.weights for numbers in joins])
    scores = np.concatenate(
        [_scores(objective, singles, *pair) for pair in zip(parents, joins, strict=True)]
    )
    concepts, operators = objective.concepts, tuple(Operator)
    for i in np.argsort(-scores, kind="stable").tolist():
        join, c = divmod(i, len(concepts.names))
        parent, operator = parents[join // len(operators)], operators[join % len(operators)]
        words = apply(operator, parent.words, concepts.words[c])
        formula = parent.formula.joined(operator, concepts.names[c])
        yield _Candidate(formula, float(scores[i]), words, int(sizes[i]), int(weights[i]))


def _joins(parent: _Candidate, objective: Objective, singles: _Numbers) -> _Numbers:
    inside = objective.numbers(parent.words)
    concept_numbers = singles.sizes, singles.weights
    return _Numbers(*joined_numbers(parent.size, parent.weight, inside, concept_numbers))


def joined_numbers(
    size: int, weight: int, inside: tuple[Counts, Counts], singles: tuple[Counts, Counts]
) -> tuple[Counts, Counts]:
    """Sizes and weights of a formula AND, OR, AND NOT each concept, one after the other, (3 C,).

    Args:
        size: of the formula.
        weight: of it.
        inside: size and weight of its intersection with each concept, (C,).
        singles: of each concept, (C,).
    """
    sizes, weights = inside
    return (
        np.concatenate([sizes, size + singles[0] - sizes, size - sizes]),
        np.concatenate([weights, weight + singles[1] - weights, weight - weights]),
    )


def _scores(objective: Objective, singles: _Numbers, parent: _Candidate, joins: _Numbers) -> Floats:
    return joined_scores(objective, singles.sizes, parent.size, joins.sizes, joins.weights)


def joined_scores(
    objective: Objective, singles: Counts, size: int, sizes: Counts, weights: Counts
) -> Floats:
    """Scores of joins, (3 C,); -infinity for those that hold where a part of them does.

    Args:
        objective: what is maximised.
        singles: size of each concept, (C,).
        size: of the formula that they are joined to.
        sizes: of the joins, see `joined_numbers`.
        weights: of them.
    """
    count = len(singles)
    repeats = sizes == size
    # What is left of the parent without a concept may be as large as the concept by chance.
    repeats[: 2 * count] |= sizes[: 2 * count] == np.tile(singles, 2)
    return np.where(repeats, -math.inf, objective.scores(sizes, weights))


def overlap_bounds(
    area: int, gain: int, cut: int, sizes: Counts, weights: Counts, steps: int
) -> Floats:
    """Upper bounds of the IoU that formulas reach with up to `steps` further concepts.

    OR adds at most `gain` of the unit's pixels and takes away nothing outside; AND leaves at most
    `gain` of them; AND NOT adds none and takes away at most `cut` outside. Of `steps` concepts j
    are joined by OR, for every j.

    Args:
        area: pixels of the unit's mask.
        gain: of them, the most that one concept has.
        cut: pixels outside, the most that one concept has.
        sizes: pixels of the formulas, (n,).
        weights: of them, those in the unit's mask, (n,).
        steps: concepts that may be joined.
    """
    bounds = weights / np.maximum(area + sizes - weights, 1)
    for ors in range(steps + 1):
        outside = np.maximum(0, sizes - weights - (steps - ors) * cut)
        after_ors = np.minimum(area, weights + ors * gain) / np.maximum(area + outside, 1)
        bounds = np.maximum(bounds, after_ors)
        if ors < steps:  # one step at least is an AND
            after_and = np.minimum(area, np.minimum(weights, gain) + ors * gain) / max(area, 1)
            bounds = np.maximum(bounds, after_and)
    return np.asarray(bounds, dtype=np.float64)


def all_positions(concepts: PackedMasks) -> Words:
    """Bits that are on everywhere."""
    return np.full(concepts.words.shape[1], np.iinfo(np.uint64).max, dtype=np.uint64)


def _distinct(candidates: Iterable[_Candidate], beam: int) -> list[_Candidate]:
    """The first `beam` candidates that hold at different positions.

    Args:
        candidates: best first.
        beam: how many at most.
    """
    distinct: dict[bytes, _Candidate] = {}
    for candidate in candidates:
        if len(distinct) == beam or candidate.score == -math.inf:
            break
        distinct.setdefault(hashlib.sha256(candidate.words.tobytes()).digest(), candidate)
    return list(distinct.values())


def _overlaps(masks: Words, where: Words) -> Counts:
    """Size of the intersection of each mask with `where`, (C,)."""
    step = max(1, _WORDS_AT_ONCE // max(1, len(where)))
    blocks = (masks[start : start + step] for start in range(0, len(masks), step))
    return np.concatenate([np.bitwise_count(b & where).sum(axis=1, dtype=np.int64) for b in blocks])


def apply(operator: Operator, left: Bits, right: Bits) -> Bits:
    """Where two formulas joined by an operator hold, as booleans or as packed bits."""
    if operator is Operator.AND:
        return left & right
    return left | right if operator is Operator.OR else left & ~right
