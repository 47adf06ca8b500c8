"""Phrases that set the captions of a unit's exemplars apart from those of other images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import log

from dnd_assets.methods.dissection.candidate_concepts import Key, commonest, phrase_forms


def contrast_phrases(strong: Sequence[str], random: Sequence[str], n: int) -> list[str]:
    """The phrases of one to three words that set captions of exemplars apart from random ones.

    Phrases are ordered by the log-likelihood ratio of their counts (Dunning, Accurate methods for
    the statistics of surprise and coincidence, 1993), each counted once a caption. Only those that
    are more frequent among the exemplars are given.

    Args:
        strong: captions of a unit's exemplars.
        random: captions of random probing images.
        n: how many at most.

    Returns:
        Best first; ties with fewer words first, then by the words.

    >>> contrast_phrases(["a red ring", "two red stars"], ["a blue ring", "a blue star"], 1)
    ['red']
    """
    return contrasting(strong, phrase_counts(random), len(random), n)


def phrase_counts(captions: Sequence[str]) -> dict[Key, int]:
    """How many captions have each phrase of one to three words, by its words in singular."""
    return {key: texts.total() for key, texts in phrase_forms(captions).items()}


def contrasting(strong: Sequence[str], counts: Mapping[Key, int], of: int, n: int) -> list[str]:
    """As `contrast_phrases`, from the `phrase_counts` of `of` random captions."""
    forms = phrase_forms(strong)
    scores = {}
    for key, texts in forms.items():
        count, random_count = texts.total(), counts.get(key, 0)
        if count * of > random_count * len(strong):
            scores[key] = log_likelihood_ratio(count, len(strong), random_count, of)
    order = sorted(scores, key=lambda key: (-scores[key], len(key), key))
    return [commonest(forms[key]) for key in order[:n]]


def log_likelihood_ratio(hits: int, of: int, other_hits: int, other_of: int) -> float:
    """G^2 of two shares: twice the log of how much likelier two rates are than one.

    Args:
        hits: how many of the first sample have the property.
        of: size of the first sample.
        other_hits: as `hits`, of the second sample.
        other_of: size of the second sample.

    Returns:
        0 for equal shares, larger for less equal ones.

    Raises:
        ValueError: for an empty sample, or more hits than it has members.

    >>> log_likelihood_ratio(5, 10, 50, 100)
    0.0
    """
    if not (0 <= hits <= of and 0 <= other_hits <= other_of and of and other_of):
        raise ValueError(f"{hits} of {of} and {other_hits} of {other_of} are no two shares")
    rate = (hits + other_hits) / (of + other_of)

    def fit(k: int, n: int, p: float) -> float:
        return sum(count * log(q) for count, q in ((k, p), (n - k, 1 - p)) if count)

    separate = fit(hits, of, hits / of) + fit(other_hits, other_of, other_hits / other_of)
    pooled = fit(hits, of, rate) + fit(other_hits, other_of, rate)
    return max(2 * (separate - pooled), 0.0)
