"""Metrics of a study's labels: means by method, and whether the metrics are worth anything."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Final

import numpy as np

from dnd_assets.assets.image_sets import images_of
from dnd_assets.assets.label_metrics import SUFFIX, in_order, metrics_name, on_images
from dnd_assets.assets.registry import stages_of
from dnd_assets.engine.cache.shared_results import activations, embeddings, text_embeddings
from dnd_assets.engine.context import StudyContext
from dnd_assets.engine.resolve import Graph
from dnd_assets.errors import NotFoundError
from dnd_assets.lineage.records import HELD_OUT_IMAGES, LABELS_SUFFIX
from dnd_assets.methods.metrics.means import Mean, mean_of
from dnd_assets.methods.metrics.presence import presence
from dnd_assets.methods.metrics.sanity import SanityCheck, sanity_checks
from dnd_assets.units import Unit, by_layer
from resources.lineage_db.database import Lineage

DND: Final = "dnd"
"""What the study's own labels are called."""
WORTHLESS: Final = "WORTHLESS"
DROPS: Final = 0.75
"""Share of units whose value has to fall when their labels are made wrong."""


@dataclass(frozen=True)
class MetricMean:
    """One metric of one method in one group of units.

    Attributes:
        group: the group, such as a layer.
        method: name of the method.
        metric: name of the metric.
        mean: over the units that have it.
        without: units with a label for which it could not be computed.
    """

    group: str
    method: str
    metric: str
    mean: Mean
    without: int

    def as_json(self) -> dict[str, object]:
        """All attributes as plain values."""
        return {**asdict(self), **asdict(self.mean)}


@dataclass(frozen=True)
class Soundness:
    """A sanity check of a metric on the labels of one method in one layer."""

    layer: str
    method: str
    check: SanityCheck

    @property
    def verdict(self) -> str:
        """`sound`, or `WORTHLESS` where wrong labels do not make the metric fall.

        Sound is a metric whose mean falls, and that falls for three of four units at least, by
        more than 0.001 of its range: the value of a unit whose label is wrong to begin with has
        nowhere to fall.
        """
        if not self.check.units:
            return "no unit has it"
        falls = self.check.fell and self.check.dropped >= DROPS
        return "sound" if falls else WORTHLESS


@dataclass(frozen=True)
class Measured:
    """One unit with a label that was measured."""

    unit: Unit
    label: str
    metrics: Mapping[str, float | None]


def method_name(labels: str) -> str:
    """What the method behind an asset of labels is called, such as `dnd` or `clip-dissect`."""
    if labels == "labels":
        return DND
    return labels.removesuffix(LABELS_SUFFIX).replace("_", "-")


def measured(lineage: Lineage, study: str) -> dict[str, list[Measured]]:
    """The newest metrics of every labelled unit of a study, by asset of labels."""
    sql = (
        "SELECT asset, model, layer, neuron, payload FROM latest WHERE study = ? "
        "AND suffix(asset, ?) AND status = 'ok' ORDER BY asset, model, layer, neuron"
    )
    by_asset: dict[str, list[Measured]] = {}
    for row in lineage.query(sql, [study, SUFFIX]):
        unit = Unit(row["model"], row["layer"], row["neuron"])
        payload = json.loads(row["payload"])
        unit_metrics = Measured(unit, payload["label"], payload["metrics"])
        by_asset.setdefault(row["asset"].removesuffix(SUFFIX), []).append(unit_metrics)
    # The study's own labels come first, then the others by name.
    return dict(sorted(by_asset.items(), key=lambda item: (item[0] != "labels", item[0])))


def metric_means(lineage: Lineage, study: str, groups: Mapping[str, str]) -> list[MetricMean]:
    """The mean of each metric by group and method, over the units that have it.

    Args:
        lineage: the lineage.
        study: the study's name.
        groups: the group of each unit that counts, by key, in the order of the units.
    """
    rows = []
    measured_units = measured(lineage, study)
    for group in dict.fromkeys(groups.values()):
        for labels, units in measured_units.items():
            group_metrics = [unit.metrics for unit in units if groups.get(unit.unit.key) == group]
            for metric in in_order(name for metrics in group_metrics for name in metrics):
                values = [metrics[metric] for metrics in group_metrics if metric in metrics]
                mean = mean_of([value for value in values if value is not None])
                if mean is not None:
                    missing = len(values) - mean.units
                    rows.append(MetricMean(group, method_name(labels), metric, mean, missing))
    return rows


def soundness(context: StudyContext, units: Sequence[Unit], seed: int = 0) -> list[Soundness]:
    """The sanity checks of each metric on held-out images, by layer and method.

    Half of the images that show a unit's label are made not to, or as many others are made to
    (Oikarinen et al., ICML 2025); a metric that does not fall says nothing about the labels.

    Args:
        context: the study's context.
        units: the units that count.
        seed: of the choice of images.

    Raises:
        UpstreamError: when the held-out images have not been materialized.
    """
    measured_units = measured(context.lineage, context.study.name)
    images = held_out(context)
    vector_rows, image_vectors = embeddings(context, images)
    image_vectors = image_vectors[[vector_rows[name] for name in images]]
    verdicts = []
    for (model, layer), layer_units in by_layer(units).items():
        value_rows, values = activations(context, model, {layer: images}, f"{model}: held-out")[
            layer
        ]
        values = values[[value_rows[name] for name in images]]
        for labels, method_units in measured_units.items():
            layer_measured = [entry for entry in method_units if entry.unit in set(layer_units)]
            if not layer_measured:
                continue
            texts = text_embeddings(context, [entry.label for entry in layer_measured])
            presences = np.stack([presence(image_vectors, text) for text in texts])
            unit_values = values[:, [entry.unit.neuron for entry in layer_measured]].T
            checks = sanity_checks(unit_values, presences, on_images(context.study), seed=seed)
            key = layer_units[0].key.rpartition("/")[0]
            verdicts += [Soundness(key, method_name(labels), check) for check in checks]
    return verdicts


def held_out(context: StudyContext) -> list[str]:
    """Hashes of the study's held-out images, ascending.

    Raises:
        UpstreamError: when they have not been materialized under the present study.
    """
    return images_of(
        context, Graph(context, stages_of(context.study)).unpartitioned(HELD_OUT_IMAGES)
    )


@dataclass(frozen=True)
class EvaluationReport:
    """How good a study's labels are.

    Attributes:
        study: the study's name.
        means: of each metric, by layer and method.
        checks: of the metrics on held-out images.
    """

    study: str
    means: tuple[MetricMean, ...]
    checks: tuple[Soundness, ...]

    def as_json(self) -> dict[str, object]:
        """All attributes as plain values; a missing number is None."""
        return {
            "study": self.study,
            "means": [metric_mean.as_json() for metric_mean in self.means],
            "sanity": [
                {
                    "layer": entry.layer,
                    "method": entry.method,
                    **{k: _finite_or_none(v) for k, v in asdict(entry.check).items()},
                    "verdict": entry.verdict,
                }
                for entry in self.checks
            ],
        }

    def rows(self) -> list[dict[str, object]]:
        """A row for each mean, with the verdicts on its metric: for CSV."""
        verdicts = {
            (entry.layer, entry.method, entry.check.metric, entry.check.check): entry.verdict
            for entry in self.checks
        }
        return [
            {
                "layer": metric_mean.group,
                "method": metric_mean.method,
                "metric": metric_mean.metric,
                "mean": metric_mean.mean.mean,
                "low": metric_mean.mean.low,
                "high": metric_mean.mean.high,
                "units": metric_mean.mean.units,
                "without": metric_mean.without,
                **{
                    check: verdicts.get(
                        (metric_mean.group, metric_mean.method, metric_mean.metric, check)
                    )
                    for check in ("missing labels", "extra labels")
                },
            }
            for metric_mean in self.means
        ]


def _finite_or_none(value: object) -> object:
    return None if isinstance(value, float) and not np.isfinite(value) else value


def evaluate_study(context: StudyContext, units: Sequence[Unit]) -> EvaluationReport:
    """The metrics of a study's labels that there are by now, by layer.

    Args:
        context: the study's context.
        units: the units that count.

    Raises:
        StudyError: when the study has no section [evaluation].
        NotFoundError: when no label of these units was measured yet; says what to run.
    """
    metric_assets = [name for name in stages_of(context.study) if name.endswith(SUFFIX)]
    groups = {unit.key: unit.key.rpartition("/")[0] for unit in units}
    means = metric_means(context.lineage, context.study.name, groups)
    if not means:
        names = ",".join(f"+{name}" for name in metric_assets) or f"+{metrics_name('labels')}"
        section = "" if metric_assets else "Add a section [evaluation] to the study first. "
        raise NotFoundError(
            f"study {context.study.name!r} has no metrics of these units yet. {section}Run "
            f"`dnd run --assets {names}`."
        )
    return EvaluationReport(context.study.name, tuple(means), tuple(soundness(context, units)))
