"""Classes predicted from unit labels, and whether large weights join like concepts.

Both take the last linear layer of a classifier and the layer that feeds it (CLIP-Dissect,
appendix): if labels are good, the label of the unit that adds most to the chosen class says what
the class is, and large weights join like concepts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from dnd_assets.analysis.metric_means import held_out, measured, method_name
from dnd_assets.engine.cache.shared_results import activations, pooled, text_embeddings
from dnd_assets.engine.cache.vectors import Matrix
from dnd_assets.engine.context import StudyContext
from dnd_assets.errors import NotFoundError, StudyError
from dnd_assets.methods.metrics.detection import pearson
from dnd_assets.methods.metrics.means import Mean, mean_of
from dnd_assets.methods.metrics.text_similarity import TextEncoder, contributions, predict_classes
from dnd_assets.methods.sparse_matrix import dense
from dnd_assets.units import Unit, by_layer
from resources.targets.cards import LastLinear

_PROBES: Final = 8
"""Pictures on which a layer's values are looked for among the inputs of the last layer."""
_TOP: Final = 50_000
"""Largest weights that the paper looks at by themselves."""


@dataclass(frozen=True)
class ClassPrediction:
    """What the labels of one method say of the classes that the network chooses.

    Attributes:
        layer: key of the layer that feeds the last one.
        method: name of the method.
        feeds: how many inputs of the last layer it gives, and how many there are.
        labelled: how many of its units have a label.
        classes: how many classes there are.
        right: share of images whose class, as the network chooses it, is the one whose name is
            nearest to the label of the most contributing labelled unit.
        most_common: share of images of the class that is chosen most often: what a constant
            prediction would get.
        correlation: of weights and cosines of class name and label, over all pairs; None where
            either is constant.
        top_correlation: the same over the 50,000 weights of largest magnitude; None for fewer.
    """

    layer: str
    method: str
    feeds: tuple[int, int]
    labelled: int
    classes: int
    right: Mean
    most_common: float
    correlation: float | None
    top_correlation: float | None

    def as_json(self) -> dict[str, object]:
        """All attributes as plain values."""
        return asdict(self)


@dataclass(frozen=True)
class _Feeding:
    """A layer of the study whose units are inputs of the last linear layer.

    Attributes:
        units: the chosen units of the layer.
        values: pooled activations on the held-out images, float32 (N, layer's neurons).
        weight: of the last layer's inputs that are the layer's, float32 (C, layer's neurons).
        chosen: the class that the network chooses for each image, int64 (N,).
        inputs: how many inputs the last layer has in all.
        names: of the classes.
    """

    units: Sequence[Unit]
    values: Matrix
    weight: Matrix
    chosen: NDArray[np.int64]
    inputs: int
    names: Sequence[str]


def predict(context: StudyContext, units: Sequence[Unit]) -> list[ClassPrediction]:
    """Class prediction from the labels of each measured method, for every model of the study.

    Args:
        context: the study's context.
        units: the units that count.

    Raises:
        StudyError: when no layer of the study feeds the last linear layer of its network.
        NotFoundError: when a layer that feeds it has no measured label yet.
        UpstreamError: when the held-out images have not been materialized.
    """
    images, measured_units = held_out(context), measured(context.lineage, context.study.name)
    rows: list[ClassPrediction] = []
    for model in dict.fromkeys(unit.model for unit in units):
        for feeding in _feeding(context, model, [u for u in units if u.model == model], images):
            row_count, layer_units = len(rows), set(feeding.units)
            for labels, method_units in measured_units.items():
                label_of = {
                    entry.unit.neuron: entry.label
                    for entry in method_units
                    if entry.unit in layer_units
                }
                if label_of:
                    key = feeding.units[0].key.rpartition("/")[0]
                    rows.append(_row(context, feeding, key, method_name(labels), label_of))
            if len(rows) == row_count:
                raise NotFoundError(
                    f"study {context.study.name!r} has no metrics of {feeding.units[0].layer!r} "
                    "yet, whose labels would predict classes. Run "
                    "`dnd run --assets +labels_metrics`."
                )
    return rows


def _feeding(
    context: StudyContext, model: str, units: Sequence[Unit], images: Sequence[str]
) -> list[_Feeding]:
    """The study's layers that feed the last linear layer of a network."""
    probes = list(context.seen_by(model, images[:_PROBES]))
    head = context.targets.last_linear(model, probes)
    names = _class_names(context, model, head)
    groups = {
        layer: layer_units
        for (_, layer), layer_units in by_layer(units).items()
        if layer != head.path
    }
    poolings = {
        layer: context.layer(layer_units[0]).pooling for layer, layer_units in groups.items()
    }
    values = context.targets.activations(model, poolings, probes) if groups else {}
    starts = {layer: place(values[layer], head.inputs) for layer in groups}
    start_of = {layer: start for layer, start in starts.items() if start is not None}
    if not start_of:
        raise _no_layer(context, model, head, list(groups), probes)
    rows, outputs = pooled(
        context, model, {head.path: "auto"}, {head.path: images}, f"{model}: classes"
    )[head.path]
    classes = outputs[[rows[name] for name in images]].argmax(axis=1)
    feedings = []
    for layer, start in start_of.items():
        rows, active = activations(context, model, {layer: images}, f"{model}: held-out")[layer]
        table = dense(active[[rows[name] for name in images]])
        weight = head.weight[:, start : start + table.shape[1]]
        inputs = head.weight.shape[1]
        feedings.append(_Feeding(groups[layer], table, weight, classes, inputs, names))
    return feedings


def place(values: Matrix, inputs: Matrix) -> int | None:
    """The first column of a layer's inputs that holds another layer's pooled values.

    Args:
        values: float (N, U).
        inputs: float (N, I).

    Returns:
        The column of `inputs` at which they start; None where they do not stand side by side, or
        are constant, so that they could stand anywhere.
    """
    count = values.shape[1]
    if (values == values[0]).all():
        return None
    for start in range(inputs.shape[1] - count + 1):
        part = inputs[:, start : start + count]
        # Stored activations are rounded to fourteen bits.
        if np.allclose(part, values, rtol=1e-3, atol=1e-5 * float(np.abs(values).max())):
            return start
    return None


def _no_layer(
    context: StudyContext,
    model: str,
    head: LastLinear,
    study_layers: Sequence[str],
    probes: Sequence[Any],
) -> StudyError:
    candidates = {
        info.path: "auto"
        for info in context.targets.layers(model)
        if info.units and info.units <= head.inputs.shape[1] and info.path != head.path
    }
    values = context.targets.activations(model, candidates, probes)
    feeding = [path for path in candidates if place(values[path], head.inputs) is not None]
    feeding_names = (
        ", ".join(repr(path) for path in feeding[-5:]) or "none, whatever the pooling by mean"
    )
    study_names = ", ".join(map(repr, study_layers)) or "none besides it"
    return StudyError(
        f"the last linear layer of {model!r} is {head.path!r}; no other layer of the study feeds "
        f"its {head.inputs.shape[1]:,} inputs (the study has {study_names}). Layers that do: "
        f"{feeding_names}. Add one of them to the study's layers, and label its units."
    )


def _class_names(context: StudyContext, model: str, head: LastLinear) -> list[str]:
    names = context.targets.categories(model)
    if names is None or len(names) != len(head.weight):
        found_names = "no class names" if names is None else f"{len(names):,} class names"
        raise StudyError(
            f"network {model!r} comes with {found_names} for the {len(head.weight):,} outputs of "
            f"{head.path!r}; classes can be told by name alone. Choose a source that has them "
            "(torchvision with weights, or a module with `categories()`)."
        )
    return names


@dataclass(frozen=True)
class _Clip:
    """The study's image-text encoder as a `TextEncoder` whose embeddings are kept in the store."""

    context: StudyContext

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        return text_embeddings(self.context, texts)


def _row(
    context: StudyContext, feeding: _Feeding, layer: str, method: str, label_of: Mapping[int, str]
) -> ClassPrediction:
    encoder: TextEncoder = context.sentences or _Clip(context)
    neurons, labels = list(label_of), list(label_of.values())
    weight = feeding.weight[:, neurons]
    summands = contributions(feeding.values[:, neurons], weight, feeding.chosen.tolist())
    predicted = predict_classes(summands, labels, feeding.names, encoder)
    accuracy = mean_of((predicted == feeding.chosen).astype(float).tolist())
    assert accuracy is not None, "there are held-out images"
    cosines = encoder.encode(feeding.names) @ encoder.encode(labels).T
    counts = np.bincount(feeding.chosen)
    return ClassPrediction(
        layer=layer,
        method=method,
        feeds=(feeding.weight.shape[1], feeding.inputs),
        labelled=len(labels),
        classes=len(feeding.names),
        right=accuracy,
        most_common=float(counts.max() / counts.sum()),
        correlation=_correlation(weight.ravel(), cosines.ravel()),
        top_correlation=_top_correlation(weight.ravel(), cosines.ravel()),
    )


def _top_correlation(weight: Matrix, cosines: Matrix) -> float | None:
    if len(weight) <= _TOP:
        return None
    top = np.argsort(-np.abs(weight), kind="stable")[:_TOP]
    return _correlation(weight[top], cosines[top])


def _correlation(weight: Matrix, cosines: Matrix) -> float | None:
    value = pearson(weight, cosines) if len(weight) > 1 else float("nan")
    return value if np.isfinite(value) else None
