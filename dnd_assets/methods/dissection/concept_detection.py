"""Which phrase predicts best where a unit is active: concepts chosen by detection.

A unit's strongest images show more than its concept: the strongest image of "circle" may well be a
large red one. So a concept is not judged by its peak but over images from the whole range of
activations: how well does "the phrase's words are in the image's caption" predict "the unit is
active"? The measure is Matthews' correlation coefficient (Matthews 1975; phi of a 2x2 table), at
the threshold of the activation that suits the phrase best.
"""

from __future__ import annotations

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
from dnd_assets.methods.dissection.candidate_trial import (
    MISSES,
    Candidate,
    CaptionWords,
    Detected,
    Measures,
    Trial,
    Words,
)
from dnd_assets.methods.dissection.matthews import Bools, Floats, active_from, best_mccs

Likeness = Callable[[Sequence[str]], Floats]
"""How like images are to texts, (texts, N)."""

OR: Final = " or "
AND: Final = " and "
NOT: Final = "not "
LONGEST: Final = 4
"""Content words of a single phrase at most; what needs more is told by its parts."""
PAIRED: Final = 24
"""So many of the best single phrases are tried in pairs, joined by "or" and by "and"."""
CLEARER: Final = 0.1
"""A negation is taken only if it detects better than all else by this share of its coefficient."""
MARGIN: Final = 0.05
"""A shorter concept is taken if its coefficient is less than this below the best."""


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


def first_parts(candidates: Sequence[Candidate]) -> list[Words]:
    """Words of the first part of each; single phrases have no other."""
    return [candidate.parts[0] for candidate in candidates]


@dataclass(frozen=True)
class Singles:
    """Single phrases on images whose captions and activations are known.

    Attributes:
        candidates: the phrases.
        shown: whether each image's caption shows each of them, (candidates, N).
        activations: of the unit on each image, (N,).
        negatable: phrases whose absence is tried.
        negatable_shown: whether each image's caption shows each of these, (negatable, N).
    """

    candidates: Sequence[Candidate]
    shown: Bools
    activations: Floats
    negatable: Sequence[Candidate]
    negatable_shown: Bools

    @cached_property
    def mcc(self) -> Floats:
        """How well each phrase detects by captions alone, (candidates,)."""
        lowest = active_from(self.activations)
        return best_mccs(self.shown, self.activations, misses=MISSES, lowest=lowest)[0]

    @cached_property
    def leading(self) -> list[int]:
        """The phrases that captions speak for most, in the order of the candidates."""
        mcc = self.mcc
        return sorted(sorted(range(len(mcc)), key=lambda row: (-mcc[row], row))[:PAIRED])

    def texts(self) -> list[str]:
        """The texts that `compared` asks an image-text encoder of: they can be embedded before."""
        leading = [self.candidates[row].text for row in self.leading]
        return leading + [phrase.text for phrase in self.negatable]


def singles_on(
    candidates: Sequence[Candidate],
    shown: Callable[[Sequence[Words]], Bools],
    activations: Floats,
    negatable: Sequence[Candidate] = (),
) -> Singles:
    """Single phrases on N images.

    Args:
        candidates: the phrases.
        shown: whether the captions have all words of phrases, (phrases, N).
        activations: of the unit on the images, (N,).
        negatable: phrases whose absence is tried.
    """
    both = [shown(first_parts(phrases)) for phrases in (candidates, negatable)]
    return Singles(candidates, both[0], activations, negatable, both[1])


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
    shown = CaptionWords.of(captions).shown
    return compared(singles_on(candidates, shown, activations, negatable), forms, likeness)


def compared(
    singles: Singles, forms: Mapping[Words, str], likeness: Likeness | None = None
) -> Trial:
    """As `trial`, of phrases that have been looked up in the captions."""
    candidates, present, mcc = singles.candidates, singles.shown, singles.mcc
    leading, negatable = singles.leading, singles.negatable
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
    single_words = set(first_parts(candidates))
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
        ~singles.negatable_shown,
    ]
    tried = (*candidates, *disjunctions, *conjunctions, *map(_negated, negatable))
    likeness_rows = None
    if likeness is not None:
        texts = [candidate.text for candidate in (*candidates, *negatable)]
        standardised = _standardised(likeness(texts))
        single, absent = standardised[: len(candidates)], standardised[len(candidates) :]
        likeness_rows = _joined(single, absent, firsts, seconds, cut)
    return Trial(tried, np.vstack(blocks), singles.activations, likeness_rows)


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


def choose_row(trial: Trial, measures: Measures, margin: float = MARGIN) -> int | None:
    """The row of what `choose` gives of all candidates of a trial, by what was measured.

    Of each kind (single phrases, pairs by "or", negations) only those within the margin of its
    best can be chosen, and only its best matters for the other kinds.
    """
    eligible = (measures.scores > 0) & (measures.mcc > 0)
    near: list[int] = []
    for rows in trial.kinds:
        rows = rows[eligible[rows]]
        if len(rows):
            scores = measures.scores[rows]
            near += rows[scores >= scores.max() - margin].tolist()
    near.sort()
    detections = [measures.detected(row) for row in near]
    best = choose(detections, margin)
    return None if best is None else near[detections.index(best)]


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
