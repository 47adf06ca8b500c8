"""A second concept that activates a unit less than the first, and so hides below its threshold.

A unit of two meanings, of which the second adds eight tenths of the first, has a threshold above
which the first is the whole truth. At that threshold the first concept detects perfectly, and no
"or" can be better. So where the label is a single concept, the images that do not show it are
asked again: does another concept predict the unit's activation there, and is it half as strong?
"""

from __future__ import annotations

from typing import Final

import numpy as np

from dnd_assets.methods.dissection.candidate_trial import Detected, Trial
from dnd_assets.methods.dissection.concept_detection import MARGIN, choose_row
from dnd_assets.methods.dissection.matthews import Bools, Floats

DETECTS: Final = 0.5
"""Score from which a second concept detects, on the images that do not show the first."""
LEVEL: Final = 0.5
"""What a second concept adds to the activation at least, as a share of what the first adds."""


def chosen(trial: Trial, weights: Floats | None = None, margin: float = MARGIN) -> Detected | None:
    """The label of a trial: what `choose` gives, with its second meaning where it has one.

    Args:
        trial: candidates, whether images show them, and the unit's activations.
        weights: how often each image counts, (N,), not negative; None for once each.
        margin: as for `choose`.

    Returns:
        One of `trial.whole`, measured with the weights, or None where no candidate predicts
        anything.
    """
    measures = trial.measures if weights is None else trial.on(weights)
    row = choose_row(trial, measures, margin)
    if row is None:
        return None
    best = trial.candidates[row]
    if not best.negated and len(best.parts) == 1:
        counts = np.ones(len(trial.activations)) if weights is None else weights
        second = second_meaning(trial, row, counts)
        row = row if second is None else second
    return measures.detected(row)


def second_meaning(trial: Trial, first: int, weights: Floats) -> int | None:
    """The pair of a concept and its second meaning, as a row of the trial; None without one.

    A second meaning B of a concept A detects on the images that do not show A (`DETECTS`, at the
    threshold that is best there), and adds enough to the activation: with means m over images,
    (m(B, not A) - m(neither)) / (m(A) - m(neither)) >= `LEVEL`. Of several the one that detects
    best is taken, the first row of equal ones. Concepts that share a word are one concept that
    activates the unit by degrees, such as large and small green objects, and not two meanings.

    Args:
        trial: candidates, pairs by "or" among them.
        first: the row of A, a single phrase.
        weights: how often each image counts, (N,), not negative.
    """
    concept = trial.candidates[first].parts[0]
    pairs = [(row, trial.candidates[row].parts) for row in trial.kinds[1].tolist()]
    rows = [row for row, parts in pairs if concept in parts and not frozenset.intersection(*parts)]
    without_first = weights * ~trial.shown[first]
    if not rows or not without_first.any():
        return None
    residual = trial.of(rows).on(without_first)
    found = [
        (-score, row)
        for score, mcc, row in zip(residual.scores, residual.mcc, rows, strict=True)
        if mcc > 0 and score >= DETECTS and _level(trial, first, trial.shown[row], weights) >= LEVEL
    ]
    return min(found)[1] if found else None


def _level(trial: Trial, first: int, either: Bools, weights: Floats) -> float:
    """What a second concept adds to the activation, as a share of what the first adds."""
    first_shown = trial.shown[first]
    neither = _mean(trial.activations, weights * ~either)
    added = _mean(trial.activations, weights * first_shown) - neither
    second = _mean(trial.activations, weights * (either & ~first_shown)) - neither
    return second / added if added > 0 else 0.0


def _mean(values: Floats, weights: Floats) -> float:
    total = float(weights.sum())
    return float(values @ weights) / total if total > 0 else 0.0
