"""Which phrase predicts best where a unit is active: concepts chosen by detection.

A unit's strongest images show more than its concept: the strongest image of "circle" may well be a
large red one. So a concept is not judged by its peak but over images from the whole range of
activations: how well does "the phrase's words are in the image's caption" predict "the unit is
active"? The measure is Matthews' correlation coefficient (Matthews 1975; phi of a 2x2 table), at
the threshold of the activation that suits the phrase best.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations, pairwise
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from dnd_assets.methods.dissection.candidate_concepts import (
    content_words,
    names_place,
    names_something,
)
from dnd_assets.methods.dissection.matthews import (
    Bools,
    Floats,
    active_from,
    best_mccs,
    mcc_of_counts,
)

Words = frozenset[str]
"""Content words in singular."""
Likeness = Callable[[Sequence[str]], Floats]
"""How like images are to texts, (texts, N)."""

OR: Final = " or "
AND: Final = " and "
NOT: Final = "not "
LONGEST: Final = 4
"""Content words of a single phrase at most; what needs more is told by its parts."""
PAIRED: Final = 24
"""So many of the best single phrases are tried in pairs, joined by "or" and by "and"."""
MISSES: Final = 5.0
"""So many images are counted as misses each way, so that a concept of few images is not perfect."""
CLEARER: Final = 0.1
"""A negation is taken only if it detects better than all else by this share of its coefficient."""
MARGIN: Final = 0.05
"""A shorter concept is taken if its coefficient is less than this below the best."""


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


def candidates_of(phrases: Iterable[str], forms: Mapping[Words, str]) -> list[Candidate]:
    """All phrases, and all that is left of them without some of their words, each set once.

    Args:
        phrases: concepts in words.
        forms: how a set of content words reads, where captions have it as a phrase; others are
            joined in the order of the phrase that they come from.

    Returns:
        Fewest words first, then by text.

    >>> [candidate.text for candidate in candidates_of(["red circles"], {})]
    ['circles', 'red', 'red circles']
    """
    texts: dict[Words, str] = {}
    for phrase in phrases:
        words = content_words(phrase)
        for size in range(1, min(len(words), LONGEST) + 1):
            for subset in combinations(words, size):
                key = frozenset(singular for singular, _ in subset)
                if _stands_alone(key, words):
                    joined = " ".join(written for _, written in subset)
                    texts.setdefault(key, forms.get(key) or joined)
    ordered = sorted(texts.items(), key=lambda item: (len(item[0]), item[1], sorted(item[0])))
    return [Candidate(text, (key,)) for key, text in ordered]


def narrower(candidate: Candidate, forms: Mapping[Words, str]) -> list[Candidate]:
    """What a candidate would be with one word less, without "not", or with one side of its "or".

    Whether the unit answers to these as much tells whether the label needs its words.

    Args:
        candidate: a phrase, or two joined by "or".
        forms: as for `candidates_of`.
    """
    if candidate.negated:
        return [Candidate(candidate.text.removeprefix(NOT), candidate.parts)]
    if len(candidate.parts) > 1:
        return [
            Candidate(text, (part,))
            for text, part in zip(candidate.text.split(OR), candidate.parts, strict=True)
        ]
    shorter = candidates_of([candidate.text], forms)
    return [phrase for phrase in shorter if phrase.length == candidate.length - 1]


def _stands_alone(subset: Words, words: Sequence[tuple[str, str]]) -> bool:
    """Whether each kept word that says nothing without its noun still has it."""
    singular = [word for word, _ in words]
    next_word = dict(pairwise([*singular, ""]))
    return all(
        names_something(word)
        or next_word[word] in subset
        or (names_place(word) and not next_word[word])
        for word in subset
    )


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
    def whole(self) -> list[Detected]:
        """How well each candidate detects on all images, in the order of the candidates."""
        return self.on(np.ones(len(self.activations)))

    def on(self, weights: Floats) -> list[Detected]:
        """As `whole`, with each image counted so many times; `weights` is (N,), not negative."""
        mcc, thresholds = best_mccs(self.shown, self.activations, weights, MISSES, self.lowest)
        counts, images = self.shown @ weights, weights.sum()
        agreements: list[float | None] = [None] * len(self.candidates)
        if self.likeness is not None:
            agreements = correlations(self.likeness, self.activations, weights).tolist()
        return [
            Detected(
                candidate, float(mcc[row]), float(thresholds[row]), float(counts[row] / images),
                float(min(counts[row], images - counts[row])), agreements[row],
            )
            for row, candidate in enumerate(self.candidates)
        ]  # fmt: skip

    @cached_property
    def lowest(self) -> float:
        """The lowest threshold that is tried, see `active_from`."""
        return active_from(self.activations)

    def leading(self, count: int) -> Trial:
        """So many of the candidates that detect best, in the order of the candidates."""
        scores = np.array([detected.score for detected in self.whole])
        rows = np.sort(np.argsort(-scores, kind="stable")[:count])
        candidates = tuple(self.candidates[row] for row in rows)
        likeness = None if self.likeness is None else self.likeness[rows]
        return Trial(candidates, self.shown[rows], self.activations, likeness)

    def at(self, row: int, threshold: float, weights: Floats) -> float:
        """Matthews' correlation of one candidate at a given threshold, on weighted images."""
        active = (self.activations >= threshold)[None]
        return float(mcc_of_counts(self.shown[row] @ (weights * active[0]), active @ weights,
                          self.shown[row] @ weights, weights.sum())[0])  # fmt: skip


def presence(phrases: Sequence[Words], captions: Sequence[Words]) -> Bools:
    """Whether each caption has all words of each phrase, (phrases, captions)."""
    if not phrases:
        return np.zeros((0, len(captions)), dtype=bool)
    places = {word: row for row, word in enumerate(sorted(frozenset().union(*phrases)))}
    has_word = np.zeros((len(places), len(captions)), dtype=bool)
    for column, words in enumerate(captions):
        has_word[[places[word] for word in words if word in places], column] = True
    rows = [has_word[[places[word] for word in phrase]].all(axis=0) for phrase in phrases]
    return np.array(rows, dtype=bool)


def _first_parts(candidates: Sequence[Candidate]) -> list[Words]:
    """Words of the first part of each; single phrases have no other."""
    return [candidate.parts[0] for candidate in candidates]


def texts_asked(
    candidates: Sequence[Candidate],
    captions: Sequence[Words],
    activations: Floats,
    negatable: Sequence[Candidate] = (),
) -> list[str]:
    """The texts that `trial` asks an image-text encoder of, so that they can be embedded before."""
    shown = presence(_first_parts(candidates), captions)
    mcc, _ = best_mccs(shown, activations, misses=MISSES, lowest=active_from(activations))
    leading = _leading(mcc)
    return [candidates[row].text for row in leading] + [single.text for single in negatable]


def trial(
    candidates: Sequence[Candidate],
    captions: Sequence[Words],
    activations: Floats,
    forms: Mapping[Words, str],
    negatable: Sequence[Candidate] = (),
    likeness: Likeness | None = None,
) -> Trial:
    """Single phrases, pairs of the best of them, and negations, ready to be compared.

    Two phrases that the captions hardly ever have side by side, such as the size of an object and
    its background, become one concept by "and"; two unrelated ones by "or".

    Args:
        candidates: single phrases.
        captions: content words of the captions of N images, singular.
        activations: of the unit on these, (N,).
        forms: as for `candidates_of`.
        negatable: single phrases whose absence is tried.
        likeness: of texts and the N images for an image-text encoder; None asks captions alone.

    Raises:
        ValueError: for lengths that differ, or an activation that is not finite.
    """
    if len(captions) != len(activations):
        raise ValueError(f"{len(captions)} captions for {len(activations)} activations")
    present = presence(_first_parts(candidates), captions)
    mcc, _ = best_mccs(present, activations, misses=MISSES, lowest=active_from(activations))
    leading = _leading(mcc)
    if likeness is not None:  # texts take long to embed: those that captions speak against are out
        candidates, present, mcc = [candidates[r] for r in leading], present[leading], mcc[leading]
        leading = list(range(len(leading)))
    best = [row for row in leading if mcc[row] > 0]
    pairs = [
        (first, second)
        for first, second in combinations(best, 2)
        if not _related(candidates[first].parts[0], candidates[second].parts[0])
    ]
    disjunctions = [_either(candidates[first], candidates[second]) for first, second in pairs]
    single_words = set(_first_parts(candidates))
    and_pairs: dict[Words, tuple[int, int]] = {}
    for first, second in pairs:
        words = candidates[first].parts[0] | candidates[second].parts[0]
        if len(words) <= LONGEST and words not in single_words:
            and_pairs.setdefault(words, (first, second))
    conjunctions = [_both(candidates[i], candidates[j], forms) for i, j in and_pairs.values()]
    firsts, seconds = np.array([*pairs, *and_pairs.values()], dtype=int).reshape(-1, 2).T
    cut = len(pairs)
    blocks = [
        present,
        present[firsts[:cut]] | present[seconds[:cut]],
        present[firsts[cut:]] & present[seconds[cut:]],
        ~presence(_first_parts(negatable), captions),
    ]
    tried = (*candidates, *disjunctions, *conjunctions, *map(_negated, negatable))
    likeness_rows = None
    if likeness is not None:
        single = _standardised(likeness([candidate.text for candidate in candidates]))
        absent = _standardised(likeness([candidate.text for candidate in negatable]))
        likeness_rows = _joined(single, absent, firsts, seconds, cut)
    return Trial(tried, np.vstack(blocks), activations, likeness_rows)


def _leading(mcc: Floats) -> list[int]:
    """The single phrases that captions speak for most, in the order of the candidates."""
    return sorted(sorted(range(len(mcc)), key=lambda row: (-mcc[row], row))[:PAIRED])


def _joined(
    single: Floats, absent: Floats, firsts: NDArray[Any], seconds: NDArray[Any], cut: int
) -> Floats:
    """Likeness of single phrases, of pairs by "or" (the first `cut`) and by "and", of negations."""
    disjunctions = np.maximum(single[firsts[:cut]], single[seconds[:cut]])
    conjunctions = np.minimum(single[firsts[cut:]], single[seconds[cut:]])
    return np.vstack([single, disjunctions, conjunctions, -absent])


def _standardised(rows: Floats) -> Floats:
    """Rows of mean 0 and standard deviation 1, so that two of them can be compared."""
    centred = np.asarray(rows, np.float64) - rows.mean(axis=1, keepdims=True)
    spread = centred.std(axis=1, keepdims=True)
    standardised: Floats = np.divide(centred, spread, out=np.zeros_like(centred), where=spread > 0)
    return standardised


def correlations(rows: Floats, values: Floats, weights: Floats) -> Floats:
    """Pearson's correlation of each row and the values, each image counted so many times.

    Args:
        rows: (R, N).
        values: (N,).
        weights: (N,), not negative.

    Returns:
        (R,), -1 to 1; 0 where a row or the values do not vary.
    """
    shares = weights / weights.sum()
    rows = rows - (rows @ shares)[:, None]
    values = values - values @ shares
    scale = np.sqrt((rows**2 @ shares) * (values**2 @ shares))
    coefficients: Floats = np.divide(
        rows @ (shares * values), scale, out=np.zeros(len(rows)), where=scale > 0
    )
    return coefficients


def _related(a: Words, b: Words) -> bool:
    """Whether one implies the other, so that joined by "or" they say what the wider one says."""
    return a <= b or b <= a


def _either(a: Candidate, b: Candidate) -> Candidate:
    first, second = sorted((a, b), key=lambda candidate: candidate.text)
    return Candidate(OR.join((first.text, second.text)), (first.parts[0], second.parts[0]))


def _both(a: Candidate, b: Candidate, forms: Mapping[Words, str]) -> Candidate:
    words = a.parts[0] | b.parts[0]
    text = forms.get(words) or AND.join(sorted((a.text, b.text)))
    return Candidate(text, (words,))


def _negated(candidate: Candidate) -> Candidate:
    return Candidate(NOT + candidate.text, candidate.parts, negated=True)


def ranked(detections: Iterable[Detected]) -> list[Detected]:
    """Best score first; equal ones with fewer words first, then by text."""
    return sorted(detections, key=_order)


def _order(detected: Detected) -> tuple[float, int, str]:
    return -detected.score, detected.candidate.length, detected.candidate.text


def choose(detections: Iterable[Detected], margin: float = MARGIN) -> Detected | None:
    """The one of fewest content words whose score is within the margin of the best.

    There are many more pairs joined by "or" than other concepts, and where few images show them
    the best of many is best by chance: so these are chosen only if the best of them lies a
    standard error above all else (after the one-standard-error rule of Breiman et al.,
    Classification and Regression Trees, 1984, section 3.4.3). A negation is chosen only where
    nothing else comes near it, see `CLEARER`. None where no candidate predicts anything.
    """
    # Whom captions speak against has no threshold, however much the encoder agrees.
    eligible = [detected for detected in detections if detected.score > 0 and detected.mcc > 0]
    eligible = _without_odd(eligible, _is_negation, lambda best: CLEARER * best.score)
    eligible = _without_odd(eligible, _is_either, lambda best: max(margin, best.error))
    lowest = max((detected.score for detected in eligible), default=0.0) - margin
    contenders = [detected for detected in eligible if detected.score >= lowest]
    return min(contenders, key=lambda d: (d.candidate.length, *_order(d)), default=None)


def _without_odd(
    detections: list[Detected],
    is_kind: Callable[[Detected], bool],
    required_lead: Callable[[Detected], float],
) -> list[Detected]:
    """Those that are not odd, unless the best odd one lies clearly above them."""
    other_kinds = [detected for detected in detections if not is_kind(detected)]
    if not other_kinds or len(other_kinds) == len(detections):
        return detections
    best = max(detections, key=lambda detected: detected.score)
    close = max(detected.score for detected in other_kinds) >= best.score - required_lead(best)
    return other_kinds if close else detections


def _is_negation(detected: Detected) -> bool:
    return detected.candidate.negated


def _is_either(detected: Detected) -> bool:
    return len(detected.candidate.parts) > 1
