"""Candidate concepts on images whose captions and activations are known, and how each detects."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np
from numpy.typing import NDArray

from dnd_assets.methods.dissection.matthews import (
    Bools,
    Floats,
    active_from,
    best_mccs,
    mcc_of_counts,
)

Words = frozenset[str]
"""Content words in singular."""

MISSES: Final = 5.0
"""So many images are counted as misses each way, so that a concept of few images is not perfect."""
_FLAT: Final = 1e-12
"""A row whose variance is this share of its mean square, or less, does not vary."""


@dataclass(frozen=True)
class Candidate:
    """A phrase, its absence, or two joined by "or", as a predictor of a unit's activations.

    Attributes:
        text: how it reads.
        parts: content words of each phrase; an image shows the concept if its caption has all
            words of one part.
        negated: whether it is the other way round: an image shows it if its caption has not.
    """

    text: str
    parts: tuple[Words, ...]
    negated: bool = False

    @property
    def length(self) -> int:
        """Content words in all, "not" among them."""
        return sum(len(part) for part in self.parts) + self.negated


@dataclass(frozen=True)
class Detected:
    """How well a candidate predicts where a unit is active.

    Attributes:
        candidate: the candidate.
        mcc: Matthews' correlation coefficient at the best threshold, -1 to 1; a few images
            more are counted as misses each way, see `MISSES`.
        threshold: the unit counts as active where its activation is at least this.
        share: of images that show the concept, 0 to 1.
        support: how many images show the concept, or do not, whichever are fewer.
        agreement: Pearson's correlation of the activation and the image-text encoder's likeness of
            picture and concept, -1 to 1; None where the encoder was not asked.
    """

    candidate: Candidate
    mcc: float
    threshold: float
    share: float
    support: float = math.inf
    agreement: float | None = None

    @property
    def score(self) -> float:
        """What candidates are chosen by: `mcc`, or its mean with `agreement`."""
        return self.mcc if self.agreement is None else (self.mcc + self.agreement) / 2

    @property
    def error(self) -> float:
        """Standard error of `score`, that of a correlation over the images of `support`."""
        return (1 - self.score**2) / math.sqrt(max(self.support, 1.0))


@dataclass(frozen=True)
class CaptionWords:
    """Which captions have which word, ready to be asked for phrases.

    Attributes:
        count: of captions, N.
        rows: place of each word in `has_word`.
        has_word: whether each caption has each word, (words, N).
    """

    count: int
    rows: Mapping[str, int]
    has_word: Bools

    @classmethod
    def of(cls, captions: Sequence[Words]) -> CaptionWords:
        """The words of captions."""
        rows = {word: row for row, word in enumerate(sorted(frozenset().union(*captions)))}
        has_word = np.zeros((len(rows), len(captions)), dtype=bool)
        for column, words in enumerate(captions):
            has_word[[rows[word] for word in words], column] = True
        return cls(len(captions), rows, has_word)

    def shown(self, phrases: Sequence[Words]) -> Bools:
        """Whether each caption has all words of each phrase, (phrases, N)."""
        shown = np.zeros((len(phrases), self.count), dtype=bool)
        for row, phrase in enumerate(phrases):
            if phrase <= self.rows.keys():
                self.has_word[[self.rows[word] for word in phrase]].all(axis=0, out=shown[row])
        return shown


@dataclass(frozen=True)
class Measures:
    """How well each of some candidates detects, as arrays over the candidates.

    Attributes:
        candidates: what is measured.
        mcc: see `Detected`, as for the next three.
        thresholds: see `Detected`.
        shares: see `Detected.share`.
        support: see `Detected`.
        agreements: see `Detected.agreement`; None where the encoder was not asked.
    """

    candidates: tuple[Candidate, ...]
    mcc: Floats
    thresholds: Floats
    shares: Floats
    support: Floats
    agreements: Floats | None

    @cached_property
    def scores(self) -> Floats:
        """What candidates are chosen by, see `Detected.score`."""
        return self.mcc if self.agreements is None else (self.mcc + self.agreements) / 2

    def detected(self, row: int) -> Detected:
        """The measures of one candidate."""
        return Detected(
            self.candidates[row], float(self.mcc[row]), float(self.thresholds[row]),
            float(self.shares[row]), float(self.support[row]),
            None if self.agreements is None else float(self.agreements[row]),
        )  # fmt: skip


@dataclass(frozen=True)
class Trial:
    """Candidates on images whose captions and activations are known.

    Attributes:
        candidates: single phrases, then pairs of the best of them, then negations.
        shown: whether each image's caption shows each candidate, (candidates, N).
        activations: of the unit on each image, (N,).
        likeness: how like each image is to each candidate for the image-text encoder, comparable
            within a row, (candidates, N); None where it was not asked.
    """

    candidates: tuple[Candidate, ...]
    shown: Bools
    activations: Floats
    likeness: Floats | None = None

    @cached_property
    def measures(self) -> Measures:
        """How well each candidate detects on all images."""
        return self.on(np.ones(len(self.activations)))

    @cached_property
    def whole(self) -> list[Detected]:
        """As `measures`, one by one in the order of the candidates."""
        return [self.measures.detected(row) for row in range(len(self.candidates))]

    def on(self, weights: Floats) -> Measures:
        """As `measures`, with each image counted so many times; `weights` is (N,), not negative."""
        mcc, thresholds = best_mccs(self.shown, self.activations, weights, MISSES, self.lowest)
        counts, images = self._shown_as_numbers @ weights, weights.sum()
        agreements = (
            None if self.likeness is None
            else correlations(self.likeness, self.activations, weights, self._squares)
        )  # fmt: skip
        support = np.minimum(counts, images - counts)
        return Measures(self.candidates, mcc, thresholds, counts / images, support, agreements)

    @cached_property
    def lowest(self) -> float:
        """The lowest threshold that is tried, see `active_from`."""
        return active_from(self.activations)

    @cached_property
    def kinds(self) -> list[NDArray[np.intp]]:
        """Rows of the single phrases, of the pairs by "or" and of the negations."""
        kind_of = [
            2 if candidate.negated else len(candidate.parts) > 1 for candidate in self.candidates
        ]
        return [np.flatnonzero(np.array(kind_of) == kind) for kind in range(3)]

    @cached_property
    def _shown_as_numbers(self) -> Floats:
        return self.shown.astype(np.float64)  # products of booleans take many times as long

    @cached_property
    def _squares(self) -> Floats | None:
        return None if self.likeness is None else np.square(self.likeness)

    def leading(self, count: int) -> Trial:
        """So many of the candidates that detect best, in the order of the candidates."""
        rows = np.sort(np.argsort(-self.measures.scores, kind="stable")[:count])
        return self.of(rows.tolist())

    def of(self, rows: Sequence[int]) -> Trial:
        """Some of the candidates."""
        candidates = tuple(self.candidates[row] for row in rows)
        likeness = None if self.likeness is None else self.likeness[rows]
        return Trial(candidates, self.shown[rows], self.activations, likeness)

    def at(self, row: int, threshold: float, weights: Floats) -> float:
        """Matthews' correlation of one candidate at a given threshold, on weighted images."""
        active = (self.activations >= threshold)[None]
        return float(mcc_of_counts(self.shown[row] @ (weights * active[0]), active @ weights,
                          self.shown[row] @ weights, weights.sum())[0])  # fmt: skip


def correlations(
    rows: Floats, values: Floats, weights: Floats, squares: Floats | None = None
) -> Floats:
    """Pearson's correlation of each row and the values, each image counted so many times.

    With means over weighted images, cov / sqrt(var_rows var_values), where the variance of rows is
    the mean of their squares less the square of their mean.

    Args:
        rows: (R, N), of means near 0 for their spread.
        values: (N,).
        weights: (N,), not negative.
        squares: of `rows`, where they are at hand.

    Returns:
        (R,), -1 to 1; 0 where a row or the values do not vary.
    """
    shares = weights / weights.sum()
    values = values - values @ shares
    shared_values = shares * values
    means = rows @ shares
    mean_squares = (np.square(rows) if squares is None else squares) @ shares
    variances = mean_squares - np.square(means)
    variances[variances <= _FLAT * mean_squares] = 0.0
    scale = np.sqrt(variances * (values @ shared_values))
    covariances = rows @ shared_values - means * shared_values.sum()
    coefficients = np.divide(covariances, scale, out=np.zeros(len(rows)), where=scale > 0)
    return np.asarray(coefficients.clip(-1.0, 1.0))
