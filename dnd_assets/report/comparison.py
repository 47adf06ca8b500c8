"""Methods side by side: how many units each labels, how alike they are, what metrics say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dnd_assets.analysis.compare import Comparison, Method, Pair, Reference, compare
from dnd_assets.analysis.compare_request import reference
from dnd_assets.analysis.metric_means import MetricMean, method_name, metric_means
from dnd_assets.engine.context import StudyContext
from dnd_assets.lineage.records import is_labels
from dnd_assets.report.entries import Entry
from dnd_assets.report.overview import Embedded
from dnd_assets.units import Unit

_NO_MAP = "no_map"


@dataclass(frozen=True)
class Compared:
    """Methods side by side.

    Attributes:
        methods: assets of labels.
        table: what `dnd compare` tells.
        metrics: mean of each metric by group, metric and method.
        spaced: whether similarities are told: all labels have a stored embedding.
    """

    methods: tuple[str, ...]
    table: Comparison
    metrics: Mapping[str, Mapping[str, Mapping[str, MetricMean]]]
    spaced: bool

    @property
    def agreement(self) -> dict[str, dict[tuple[str, str], Pair]]:
        """How alike each two methods are, by group and the two names."""
        by_group: dict[str, dict[tuple[str, str], Pair]] = {}
        for pair in self.table.pairs:
            by_group.setdefault(pair.group, {})[pair.one, pair.other] = pair
        return by_group

    @property
    def judged(self) -> bool:
        """Whether the truth of any unit is known."""
        return any(row.exact is not None for row in self.table.rows)


@dataclass(frozen=True)
class _Stored:
    """An encoder of texts that knows stored embeddings and computes none."""

    vectors: Embedded

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Unit-length embeddings, float32 (texts, width)."""
        return np.stack([self.vectors[text] for text in texts])


def compared(context: StudyContext, entries: Sequence[Entry], embedded: Embedded) -> Compared:
    """Compare the methods of a study on the units of the report, from what is stored."""
    assets = tuple(dict.fromkeys(name for entry in entries for name in entry.methods))
    methods = [
        Method(
            method_name(asset),
            {
                entry.unit: entry.methods[asset].label
                for entry in entries
                if asset in entry.methods and entry.methods[asset].status != _NO_MAP
            },
            asset,
        )
        for asset in assets
        if is_labels(asset)
    ]
    truth = reference(
        context.study, [Unit(entry.model, entry.layer, entry.neuron) for entry in entries]
    )
    texts = {label for method in methods for label in method.by_unit.values() if label}
    truths = {text for names in truth.texts.values() for text in names}
    embedded_all = bool(texts) and texts <= embedded.keys()
    truth_in_space = (
        truth if truths <= embedded.keys() else Reference(truth.groups, {}, truth.judge)
    )
    table = compare(methods, truth_in_space, _Stored(embedded) if embedded_all else None)
    metrics: dict[str, dict[str, dict[str, MetricMean]]] = {}
    for mean in metric_means(context.lineage, context.study.name, truth.groups):
        metrics.setdefault(mean.group, {}).setdefault(mean.metric, {})[mean.method] = mean
    return Compared(tuple(method.name for method in methods), table, metrics, embedded_all)
