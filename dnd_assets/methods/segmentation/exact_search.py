"""The best formula of all, not only of a beam: an exact search, and a bound where it ends early.

A beam search may miss the best formula, since it drops its beginnings (Mu & Andreas 2020 keep 5 to
10). Here every formula is looked at whose beginning could still lead to a better one: branch and
bound. What a beginning of known size and weight can become at best follows from how much one
concept can add or take away.
"""

from __future__ import annotations

import heapq
import math
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import numpy as np

from dnd_assets.methods.segmentation.compositions import (
    Counts,
    Explanation,
    Floats,
    Formula,
    Objective,
    Operator,
    Words,
    all_positions,
    apply,
    joined_numbers,
    joined_scores,
)


@runtime_checkable
class Bounded(Objective, Protocol):
    """An objective that tells what formulas can become."""

    def bounds(self, sizes: Counts, weights: Counts, steps: int) -> Floats:
        """Upper bounds of the score when `steps` concepts, or fewer, are joined to formulas."""


@dataclass(frozen=True)
class ExactSearch:
    """What an exact search found.

    Attributes:
        best: the best formula looked at; None when all have a score of -infinity.
        bound: no formula of this length or shorter has a higher score than this.
        complete: whether `best` is the best of all; the bound is its score then.
        formulas: how many were scored.
    """

    best: Explanation | None
    bound: float
    complete: bool
    formulas: int

    @property
    def missed(self) -> float:
        """How much higher the score of a formula that was not looked at can be."""
        return self.bound - self.best.score if self.best else self.bound


@dataclass(order=True)
class _Start:
    """A beginning, the most promising first; of equal ones the one that was found first."""

    rank: tuple[float, int]
    formula: Formula = field(compare=False)
    score: float = field(compare=False)
    words: Words = field(compare=False)
    size: int = field(compare=False)
    weight: int = field(compare=False)


def exact_search(
    objective: Objective,
    *,
    length: int = 3,
    budget: int = 1_000_000,
    known: Explanation | None = None,
) -> ExactSearch:
    """The best formula over AND, OR and AND NOT of up to `length` concepts (branch and bound).

    The beginning with the highest bound is grown first; the search is over when no bound is above
    the best score, or when the budget is spent. An objective without bounds is searched through.

    Args:
        objective: what is maximised.
        length: concepts in a formula at most.
        budget: formulas that may be scored; growing a beginning scores three times as many as there
            are concepts.
        known: a formula found otherwise, as by a beam search; only better ones replace it.

    Raises:
        ValueError: when `length` or `budget` is not positive.
    """
    if length < 1 or budget < 1:
        raise ValueError(f"length = {length} and budget = {budget} have to be positive")
    concepts = objective.concepts
    singles = objective.numbers(all_positions(concepts))
    search = _Search(objective, singles, length, known)
    search.add([Formula(name) for name in concepts.names], concepts.words, *singles)
    step = 3 * len(concepts.names)
    scored = len(concepts.names)
    while search.open and scored + step <= budget:
        search.grow()
        scored += step
    return search.ended(scored)


class _Search:
    """Beginnings that may still be grown (the frontier), and the best formula so far."""

    def __init__(
        self,
        objective: Objective,
        singles: tuple[Counts, Counts],
        length: int,
        best: Explanation | None,
    ) -> None:
        self._objective = objective
        self._singles = singles
        self._length = length
        self._best = best
        self._frontier: list[_Start] = []
        self._count = 0

    @property
    def open(self) -> bool:
        """Whether a beginning is left that may become better than the best."""
        return bool(self._frontier) and -self._frontier[0].rank[0] > self._score

    @property
    def _score(self) -> float:
        return self._best.score if self._best else -math.inf

    def add(self, formulas: list[Formula], words: Words, sizes: Counts, weights: Counts) -> None:
        """Score formulas and keep those that may lead to a better one as beginnings."""
        scores = self._objective.scores(sizes, weights)
        self._keep(formulas, scores)
        steps = self._length - len(formulas[0])
        if steps:
            bounds = self._bounds(sizes, weights, steps)
            for i in np.flatnonzero(bounds > self._score).tolist():
                self._push(bounds[i], formulas[i], scores[i], words[i], sizes[i], weights[i])

    def grow(self) -> None:
        """Join every concept in every way to the most promising beginning."""
        start = heapq.heappop(self._frontier)
        names, singles = self._objective.concepts.names, self._singles
        inside = self._objective.numbers(start.words)
        sizes, weights = joined_numbers(start.size, start.weight, inside, singles)
        scores = joined_scores(self._objective, singles[0], start.size, sizes, weights)
        formulas = [start.formula.joined(operator, name) for operator in Operator for name in names]
        self._keep(formulas, scores)
        steps = self._length - len(formulas[0])
        if not steps:
            return
        bounds = np.where(np.isneginf(scores), -math.inf, self._bounds(sizes, weights, steps))
        for i in np.flatnonzero(bounds > self._score).tolist():
            operator, concept = list(Operator)[i // len(names)], i % len(names)
            words = apply(operator, start.words, self._objective.concepts.words[concept])
            self._push(bounds[i], formulas[i], scores[i], words, sizes[i], weights[i])

    def ended(self, formulas: int) -> ExactSearch:
        """The result as it stands."""
        complete = not self.open
        bound = self._score if complete else max(-self._frontier[0].rank[0], self._score)
        return ExactSearch(self._best, bound, complete, formulas)

    def _keep(self, formulas: list[Formula], scores: Floats) -> None:
        best = int(np.argmax(scores))
        if scores[best] > self._score:
            self._best = Explanation(formulas[best], float(scores[best]))

    def _bounds(self, sizes: Counts, weights: Counts, steps: int) -> Floats:
        if isinstance(self._objective, Bounded):
            return self._objective.bounds(sizes, weights, steps)
        return np.full(len(sizes), math.inf)

    def _push(
        self, bound: float, formula: Formula, score: float, words: Words, size: int, weight: int
    ) -> None:
        self._count += 1
        rank = (-float(bound), self._count)
        start = _Start(rank, formula, float(score), words, int(size), int(weight))
        heapq.heappush(self._frontier, start)
