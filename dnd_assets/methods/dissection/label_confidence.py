"""How sure a label is: whether it detects on other images, and whether it would be chosen again."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import lru_cache
from math import exp
from typing import Final

import numpy as np

from dnd_assets.methods.dissection.candidate_trial import Candidate, Detected, Trial
from dnd_assets.methods.dissection.matthews import Floats
from dnd_assets.methods.dissection.second_meaning import chosen
from dnd_assets.methods.seeds import content_seed

RESAMPLES: Final = 30
"""Bootstrap samples of the images, in each of which a label is chosen anew."""
_LEADING: Final = 48
"""So many of the best candidates are tried again in each sample."""
COVERAGE: Final = 0.9
"""The label set holds this share of the bootstrap's choices."""


@dataclass(frozen=True)
class Evidence:
    """What speaks for a label.

    Attributes:
        held_out: Matthews' correlation of labels chosen on one half of the images, measured on
            the other half at the threshold of the first; mean of both ways.
        stability: share of bootstrap samples of the images in which this label is chosen.
        gap: how far its score lies above that of the best candidate of other words.
        label_set: the labels that the bootstrap chose, most often first, as many as make up
            nine tenths of its samples, with their shares.
    """

    held_out: float
    stability: float
    gap: float
    label_set: tuple[tuple[str, float], ...]


_WEIGHTS: Final = (-4.35, 5.3, 6.13)
"""Constant, weight of the held-out coefficient, weight of stability; see `probability`."""


def probability(label_evidence: Evidence) -> float:
    """The probability that a label names what its unit detects and nothing else, in (0, 1).

    A logistic function of `held_out` and `stability`. Its three numbers were fitted to the labels
    of 288 units of known truth or of none (six seeds, captions right or with a fifth of their words
    wrong), whose seeds are used for nothing else, before second meanings were looked for. Fitted
    anew to 336 units of these seeds (`python -m benchmarks.labels --calibrate --units 28`) they are
    -4.31, 13.22 and 4.07, which are no nearer to the truth there (expected calibration error 0.023
    against 0.025) and twice as often sure of a wrong label. The gap adds nothing to these two.
    """
    constant, held_out, stability = _WEIGHTS
    return 1 / (
        1
        + exp(
            -(constant + held_out * label_evidence.held_out + stability * label_evidence.stability)
        )
    )


def evidence(trial: Trial, chosen: Detected, margin: float, seed: int) -> Evidence:
    """What speaks for the chosen label of a trial.

    Args:
        trial: candidates, whether images show them, and the unit's activations; images are in an
            order that has nothing to do with the unit, since every second makes a half.
        chosen: what `chosen` gave on all images.
        margin: what `chosen` was given.
        seed: of the bootstrap.
    """
    shares = _choices(trial, margin, seed)
    rivals = [
        row
        for row, candidate in enumerate(trial.candidates)
        if not _share_a_word(candidate, chosen.candidate)
    ]
    runner_up = float(trial.measures.scores[rivals].max()) if rivals else 0.0
    return Evidence(
        _held_out(trial, margin),
        shares[chosen.candidate],
        chosen.score - runner_up,
        tuple((candidate.text, share) for candidate, share in _covering(shares)),
    )


def _share_a_word(a: Candidate, b: Candidate) -> bool:
    """Whether two candidates share a word, so that one may be the other said more narrowly."""
    return bool(frozenset().union(*a.parts) & frozenset().union(*b.parts))


def _held_out(trial: Trial, margin: float) -> float:
    odd_images = (np.arange(len(trial.activations)) % 2).astype(np.float64)
    halves = (odd_images, 1 - odd_images)
    return float(np.mean([_measured(trial, fit, test, margin) for fit, test in
                          (halves, halves[::-1])]))  # fmt: skip


def _measured(trial: Trial, fit: Floats, test: Floats, margin: float) -> float:
    """Coefficient on images of weight `test` of what is chosen on those of weight `fit`."""
    best = chosen(trial, fit, margin)
    if best is None:
        return 0.0
    return trial.at(trial.candidates.index(best.candidate), best.threshold, test)


def _choices(trial: Trial, margin: float, seed: int) -> Counter[Candidate]:
    """Share of bootstrap samples in which each candidate is chosen."""
    count = len(trial.activations)
    trial = trial.leading(_LEADING)
    shares: Counter[Candidate] = Counter()
    for times in _resamples(count, seed):
        best = chosen(trial, times, margin)
        if best is not None:
            shares[best.candidate] += 1
    return Counter({candidate: wins / RESAMPLES for candidate, wins in shares.items()})


@lru_cache(maxsize=64)  # units have about the same number of images
def _resamples(count: int, seed: int) -> list[Floats]:
    """How often each image counts in each bootstrap sample."""
    generators = [
        np.random.default_rng(content_seed("label bootstrap", seed, index))
        for index in range(RESAMPLES)
    ]
    return [
        np.bincount(rng.integers(count, size=count), minlength=count).astype(np.float64)
        for rng in generators
    ]


def _covering(shares: Counter[Candidate]) -> list[tuple[Candidate, float]]:
    order = sorted(shares.items(), key=lambda item: (-item[1], item[0].length, item[0].text))
    covering: list[tuple[Candidate, float]] = []
    for candidate, share in order:
        if sum(part for _, part in covering) >= COVERAGE:
            break
        covering.append((candidate, share))
    return covering
