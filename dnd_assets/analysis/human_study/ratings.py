"""Ratings of a human study, summed up for each layer."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import pandas as pd

from dnd_assets.analysis.human_study.forms import REMARKS
from dnd_assets.errors import TableError
from dnd_assets.methods.metrics.rater_agreement import ordinal_alpha

ALL: Final = "all"


@dataclass(frozen=True)
class Sheet:
    """What one rater said of one unit.

    Attributes:
        layer: of the unit; empty when its key has none.
        unit: its key.
        rater: who.
        scores: for each method a point from 1 to 5; methods left unanswered are missing.
        remarks: of `rating_forms.REMARKS`, those that were ticked.
    """

    layer: str
    unit: str
    rater: str
    scores: Mapping[str, int]
    remarks: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Ratings:
    """All sheets of a study.

    Attributes:
        sheets: in the order of the file.
        methods: all that were asked about, in the order of the file.
        withdrawn: sheets that were cancelled or rejected, and left out.
    """

    sheets: tuple[Sheet, ...]
    methods: tuple[str, ...]
    withdrawn: int = 0


@dataclass(frozen=True)
class MethodRating:
    """How a method fared in a layer.

    Attributes:
        ratings: how many it got.
        mean: of them; NaN without any.
        best: share of sheets in which no method was rated higher; k that tie have 1/k each.
    """

    ratings: int
    mean: float
    best: float


@dataclass(frozen=True)
class LayerRatings:
    """One layer of a study.

    Attributes:
        layer: its name, or `all`.
        units: how many were rated.
        sheets: of all raters.
        methods: how each fared.
        alpha: agreement of the raters on (unit, method), Krippendorff's alpha, ordinal; NaN when
            nothing was rated twice or all ratings are equal.
        remarks: how many sheets bear each remark.
        unanswered: descriptions that were left unrated.
    """

    layer: str
    units: int
    sheets: int
    methods: dict[str, MethodRating]
    alpha: float
    remarks: dict[str, int]
    unanswered: int


def by_layer(ratings: Ratings, *, skip: Iterable[str] = ()) -> list[LayerRatings]:
    """The figures of each layer, in the order of the file, and of all.

    Args:
        ratings: of one study.
        skip: remarks whose sheets do not count, such as `uninterpretable`.

    Raises:
        TableError: when no sheet is left.
    """
    counted = [sheet for sheet in ratings.sheets if not sheet.remarks & set(skip)]
    if not counted:
        raise TableError("no sheet with ratings is left; nothing can be summed up.")
    layers: dict[str, list[Sheet]] = {}
    for sheet in counted:
        layers.setdefault(sheet.layer, []).append(sheet)
    rows = [_layer(layer, sheets, ratings.methods) for layer, sheets in layers.items()]
    return [*rows, _layer(ALL, counted, ratings.methods)] if len(rows) > 1 else rows


def as_table(rows: Sequence[LayerRatings]) -> pd.DataFrame:
    """One line for each layer and method."""
    lines = [
        {
            "layer": row.layer,
            "method": method,
            "mean": method_rating.mean,
            "best": method_rating.best,
            "ratings": method_rating.ratings,
            "units": row.units,
            "alpha": row.alpha,
            "unanswered": row.unanswered,
            **row.remarks,
        }
        for row in rows
        for method, method_rating in row.methods.items()
    ]
    return pd.DataFrame(lines)


def _layer(layer: str, sheets: Sequence[Sheet], methods: Sequence[str]) -> LayerRatings:
    items: dict[tuple[str, str], list[int]] = {}
    for sheet in sheets:
        for method, score in sheet.scores.items():
            items.setdefault((sheet.unit, method), []).append(score)
    return LayerRatings(
        layer=layer,
        units=len({sheet.unit for sheet in sheets}),
        sheets=len(sheets),
        methods={method: _method_rating(sheets, method) for method in methods},
        alpha=ordinal_alpha(items.values()),
        remarks={name: sum(name in sheet.remarks for sheet in sheets) for name in REMARKS},
        unanswered=sum(len(methods) - len(sheet.scores) for sheet in sheets),
    )


def _method_rating(sheets: Sequence[Sheet], method: str) -> MethodRating:
    scores = [sheet.scores[method] for sheet in sheets if method in sheet.scores]
    if not scores:
        return MethodRating(0, float("nan"), float("nan"))
    answered = [sheet for sheet in sheets if sheet.scores]
    best = sum(_share(sheet.scores, method) for sheet in answered) / len(answered)
    return MethodRating(len(scores), sum(scores) / len(scores), best)


def _share(scores: Mapping[str, int], method: str) -> float:
    winners = [name for name, score in scores.items() if score == max(scores.values())]
    return 1 / len(winners) if method in winners else 0.0
