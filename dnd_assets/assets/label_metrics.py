"""Metrics of finished labels: on fresh pictures, on held-out images, and against the truth."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from dnd_assets.assets.activations import failed_images, silent
from dnd_assets.assets.held_out_images import LEAST, HeldOutImages, evaluation_of
from dnd_assets.assets.image_sets import images_of
from dnd_assets.assets.synthetic_images import ROUNDS, Images, paint
from dnd_assets.assets.truths import truths_of
from dnd_assets.engine.cache.shared_results import (
    Paintings,
    activations,
    embeddings,
    embeddings_to_make,
    known_paintings,
    layer_provider,
    painting_cost,
    painting_id,
    passes_to_make,
    text_embeddings,
    texts_to_embed,
)
from dnd_assets.engine.cache.unstored_vectors import sentence_vectors
from dnd_assets.engine.cache.vectors import Matrix, Values
from dnd_assets.engine.context import StudyContext
from dnd_assets.engine.stage import Results, Stage, Work
from dnd_assets.errors import StudyError
from dnd_assets.lineage.records import HELD_OUT_IMAGES, Outcome
from dnd_assets.methods import seeds
from dnd_assets.methods.dissection.exemplars import is_lost
from dnd_assets.methods.dissection.painted import why
from dnd_assets.methods.metrics import cosy, detection, presence, text_similarity
from dnd_assets.methods.metrics.bertscore import Tokens, bert_scores
from dnd_assets.methods.metrics.image_level import IMAGE_METRICS, chosen_metrics, detection_metrics
from dnd_assets.study.probing_images import image_paths
from dnd_assets.study.study import Study
from dnd_assets.units import Unit, by_layer
from resources.own_code.own_function import OwnFunction, own_function
from resources.text_to_image.base import PaintRequest

METRICS = (
    "cosy_auc", "cosy_mad", *IMAGE_METRICS, "clip_cos", "mpnet_cos", "bertscore_f1", "exact",
)  # fmt: skip
"""Every metric, in the order of tables."""
SUFFIX = "_metrics"


def _of_shown(metric: detection.Metric) -> detection.Metric:
    """The metric of labels that are there or not, 1 where the label is shown and 0 elsewhere."""

    def value(activations: detection.Floats, present: detection.Floats) -> float:
        return metric(activations, presence.shown(present).astype(np.float64))

    return value


def on_images(study: Study) -> dict[str, detection.Metric]:
    """The metrics on held-out images that a study asks for, its user's own among them.

    Raises:
        StudyError: when one of these cannot be imported or has the name of another.
    """
    evaluation = study.evaluation
    if evaluation is None:
        return detection_metrics()
    names = chosen_metrics(evaluation.metrics)
    built_in = {
        name: _of_shown(metric) if IMAGE_METRICS[name].shown else metric
        for name, metric in detection_metrics(names, evaluation.active_share).items()
    }
    own_metrics = evaluation.own_metrics
    for name in own_metrics:
        if name in METRICS:
            raise StudyError(f"evaluation.own_metrics.{name}: {name} is there already; rename it.")
    user_metrics = {
        name: _of_their_own(name, own_function(source, study.folder, "metric"))
        for name, source in own_metrics.items()
    }
    return {**built_in, **user_metrics}


def _of_their_own(name: str, metric: OwnFunction) -> detection.Metric:
    def value(activations: detection.Floats, present: detection.Floats) -> float:
        with metric.running():
            try:
                return float(metric.function(activations, present))
            except Exception as error:  # whatever a user's code raises
                raise StudyError(
                    f"evaluation.own_metrics.{name} raised {type(error).__name__}: {error}. It has "
                    "to return a number, or NaN where there is none."
                ) from error

    return value


def in_order(metrics: Iterable[str]) -> list[str]:
    """Names of metrics in the order of tables; the user's own are the last, by name."""
    requested = set(metrics)
    return [name for name in METRICS if name in requested] + sorted(requested - set(METRICS))


_DIGITS = 6
_NO_SCALE = "the unit's activation is the same on every held-out image"
_NONE_SHOWN = "no held-out image counts as showing the label"


def metrics_name(labels: str) -> str:
    """Key of the asset that measures the labels of an asset."""
    return f"{labels}{SUFFIX}"


@dataclass
class _Texts:
    """Texts encoded beforehand, with the methods of an encoder that the metrics call."""

    vectors: dict[str, NDArray[np.float32]] = field(default_factory=dict)
    tokens: dict[str, Tokens] = field(default_factory=dict)

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        return np.stack([self.vectors[text] for text in texts])

    def encode_tokens(self, texts: Sequence[str]) -> list[Tokens]:
        return [self.tokens[text] for text in texts]


@dataclass(frozen=True)
class _Case:
    """What the units of a run are measured with.

    Attributes:
        pictures: those painted of each label, rejected ones too.
        failed: why a label's pictures are lacking, where a service failed.
        images: hashes of the held-out images.
        embeddings: their embeddings, float32 (N, D).
        clip: labels and truths in the image-text encoder's space.
        sentences: labels and truths in the sentence encoder's; None without one.
        truths: what units respond to.
        metrics: of activations and presence, by name.
    """

    pictures: Mapping[str, Images]
    failed: Mapping[str, Outcome]
    images: Sequence[str]
    embeddings: Matrix
    clip: _Texts
    sentences: _Texts | None
    truths: Mapping[Unit, str]
    metrics: Mapping[str, detection.Metric]


class LabelMetrics(Stage):
    """How good a unit's label is, measured on pictures that had no part in it.

    AUC and MAD compare the unit's activations on fresh pictures painted of the label with those on
    held-out images (CoSy). Pearson, AUPRC, F1 and their like ask whether the unit fires on the
    held-out images that show the label, as the image-text encoder sees them. Where the truth is
    known, label and truth are compared as texts. What cannot be computed is null, with a reason.
    """

    wholes = (HeldOutImages(),)
    group = "evaluation"
    kinds = frozenset({"pytorch"})
    by_neuron = True

    def __init__(self, labels: str, *, sentences: bool = False) -> None:
        """Metrics of the asset `labels`; `sentences` tells whether there is a sentence encoder."""
        self.name = metrics_name(labels)
        self.labels = labels
        self.upstream = (labels, HELD_OUT_IMAGES)
        self.uses = ("targets", "text_to_image", "clip", "compute")
        self.uses += ("sentences",) if sentences else ()

    def parameters(self, context: StudyContext) -> dict[str, object]:
        """Q' and the seed of the fresh pictures, the metrics on images and what is active."""
        evaluation = evaluation_of(context)
        settings = evaluation.chosen("images_per_label", "seed", "active_share")
        settings["metrics"] = list(chosen_metrics(evaluation.metrics))
        codes = {
            name: [source, own_function(source, context.study.folder, "metric").version()]
            for name, source in sorted(evaluation.own_metrics.items())
        }
        return settings | ({"own_metrics": codes} if codes else {})

    def weights(self, context: StudyContext, unit: Unit) -> dict[str, str]:
        """The layer, the painter, the encoders, and the truths of the layer's units."""
        provider = context.lineage.provider
        providers = {
            "target": layer_provider(context, unit),
            "text_to_image": provider(context.text_to_image.fingerprint()),
            "clip": provider(context.known_by(context.clip)),
        }
        truths = truths_of(context, unit.model, unit.layer)
        if truths:
            providers["truths"] = provider(
                {"of": {str(neuron): text for neuron, text in truths.items()}}
            )
            if context.sentences is not None:
                providers["sentences"] = provider(context.sentences.fingerprint())
        return providers

    def cost(self, context: StudyContext, work: Iterable[Work]) -> dict[str, int]:
        """Pictures to paint, to pass and to embed, texts to embed; if no picture is rejected."""
        labels: dict[Unit, str] = {}
        images: list[str] = []
        for work_item in work:
            labels[work_item.unit] = self._label(work_item)
            images = images or images_of(context, work_item.inputs[HELD_OUT_IMAGES])
        if not labels:
            return {}
        requests, paintings = _expected(context, sorted(set(labels.values())))
        needs = _expected_passes(labels, images, requests, paintings)
        truths = _truths(context, labels)
        cost = {
            **painting_cost(context, _all(requests)),
            "forward passes": sum(passes_to_make(context, *item) for item in needs.items()),
            "embeddings": embeddings_to_make(context, images),
            "text embeddings": texts_to_embed(context, [*labels.values(), *truths.values()]),
        }
        if context.sentences is not None:
            cost["sentence embeddings"] = len(_compared(labels, truths))
        return cost

    def cost_upper_bound(self, context: StudyContext, units: int) -> dict[str, int]:
        """Every label another one, its pictures all rejected once, and all held-out images."""
        painted = ROUNDS * evaluation_of(context).images_per_label * units
        images = len(image_paths(context.study, context.home, "evaluation"))
        cost = {
            "paintings": painted,
            "forward passes": painted + images * len(context.study.models),
            "embeddings": images,
            "text embeddings": 2 * units,
        }
        return cost | ({"sentence embeddings": 2 * units} if context.sentences is not None else {})

    def compute(self, context: StudyContext, work: Sequence[Work]) -> Results:
        """Outcomes with `label`, `truth`, `metrics`, `reasons`, `shown` and `pictures`."""
        images = images_of(context, work[0].inputs[HELD_OUT_IMAGES])
        labels = {item.unit: self._label(item) for item in work}
        case = _case(context, labels, images)
        accepted = {label: _accepted(pictures) for label, pictures in case.pictures.items()}
        failures = {item.unit: case.failed.get(labels[item.unit]) for item in work}
        for item in work:
            outcome = failures[item.unit]
            if outcome is not None:
                yield item, outcome
                labels.pop(item.unit)
        work = [item for item in work if item.unit in labels]
        for model in dict.fromkeys(item.unit.model for item in work):
            model_labels = {unit: label for unit, label in labels.items() if unit.model == model}
            needs = _needs(model_labels, images, accepted)
            layer_values = activations(context, model, needs, f"{model}: held-out and fresh images")
            usable = {
                layer: _usable(case, values[[rows[name] for name in images]])
                for layer, (rows, values) in layer_values.items()
            }
            for item in work:
                if item.unit.model == model:
                    layer = item.unit.layer
                    label = labels[item.unit]
                    yield (
                        item,
                        _outcome(case, item.unit, label, usable[layer], *layer_values[layer]),
                    )

    def _label(self, work: Work) -> str:
        return str(work.inputs[self.labels].payload["label"])


def _request(context: StudyContext, label: str, index: int) -> PaintRequest:
    """A fresh picture: its seed is none of those that chose the label."""
    seed = evaluation_of(context).seed
    drawn = seeds.content_seed("evaluation image", label, index, seed)
    return PaintRequest(label, drawn, index)


_Requests = dict[str, list[PaintRequest]]
_Known = Paintings


def _expected(context: StudyContext, labels: Sequence[str]) -> tuple[_Requests, _Known]:
    """The requests for each label's pictures, if no more are rejected than are known to be.

    Returns:
        The requests by label, and those of them that have been painted already.
    """
    count = evaluation_of(context).images_per_label
    by_label = {
        label: [_request(context, label, index) for index in range(count)] for label in labels
    }
    paintings = known_paintings(context, _all(by_label))
    for label, requests in by_label.items():
        rejected = sum(
            paintings[request]["rejected"] for request in requests if request in paintings
        )
        requests += [_request(context, label, count + index) for index in range(rejected)]
    return by_label, paintings | known_paintings(context, _all(by_label))


def _all(requests: _Requests) -> list[PaintRequest]:
    return [request for label_requests in requests.values() for request in label_requests]


def _expected_passes(
    labels: Mapping[Unit, str], images: Sequence[str], requests: _Requests, paintings: _Known
) -> dict[str, dict[str, set[str]]]:
    """What each layer of each model has to see; a picture goes by its request until painted."""
    pictures: dict[str, set[str]] = {}
    for label, label_requests in requests.items():
        stored = [paintings[request] for request in label_requests if request in paintings]
        pictures[label] = {picture["image"] for picture in stored if not picture["rejected"]}
        pictures[label] |= {
            painting_id(request) for request in label_requests if request not in paintings
        }
    return {
        model: _needs(
            {unit: text for unit, text in labels.items() if unit.model == model}, images, pictures
        )
        for model in dict.fromkeys(unit.model for unit in labels)
    }


def _truths(context: StudyContext, units: Iterable[Unit]) -> dict[Unit, str]:
    truths: dict[Unit, str] = {}
    for (model, layer), layer_units in by_layer(units).items():
        neuron_truths = truths_of(context, model, layer)
        truths |= {
            unit: neuron_truths[unit.neuron] for unit in layer_units if unit.neuron in neuron_truths
        }
    return truths


def _compared(labels: Mapping[Unit, str], truths: Mapping[Unit, str]) -> list[str]:
    """The distinct texts that are compared with one another."""
    return list(dict.fromkeys(text for unit in truths for text in (labels[unit], truths[unit])))


def _case(context: StudyContext, labels: Mapping[Unit, str], images: Sequence[str]) -> _Case:
    distinct = sorted(set(labels.values()))
    count = evaluation_of(context).images_per_label
    painted = paint(context, distinct, count, lambda label, index: _request(context, label, index))
    rows, vectors = embeddings(context, images)
    truths = _truths(context, labels)
    texts = list(dict.fromkeys([*distinct, *truths.values()]))
    clip = _Texts(dict(zip(texts, text_embeddings(context, texts), strict=True)))
    sentences = _sentences(context, _compared(labels, truths))
    image_embeddings = vectors[[rows[i] for i in images]]
    metrics = on_images(context.study)
    return _Case(
        painted.images, painted.failed, images, image_embeddings, clip, sentences, truths, metrics
    )


def _sentences(context: StudyContext, texts: Sequence[str]) -> _Texts | None:
    return None if context.sentences is None else _Texts(*sentence_vectors(context, texts))


def _accepted(pictures: Images) -> list[str]:
    return [picture["image"] for picture in pictures if not picture["rejected"]]


def _needs(
    labels: Mapping[Unit, str], images: Sequence[str], pictures: Mapping[str, Collection[str]]
) -> dict[str, set[str]]:
    """The pictures that each layer of a model has to see.

    Each layer sees those of all labels: it costs nothing in the same pass, and a label that another
    method gives to a unit of another layer then needs no pass of its own, in whatever order.
    """
    everything = set(images).union(*(pictures[label] for label in labels.values()))
    return {unit.layer: everything for unit in labels}


def _usable(case: _Case, values: Values) -> NDArray[np.bool_]:
    """Held-out images that layer and encoder can read, (N,); `values` is (N, neurons)."""
    return ~failed_images(values) & np.isfinite(case.embeddings).all(axis=1)


def _outcome(
    case: _Case,
    unit: Unit,
    label: str,
    usable: NDArray[np.bool_],
    rows: Mapping[str, int],
    values: Values,
) -> Outcome:
    column = values[:, unit.neuron]
    natural = column[[rows[name] for name in case.images]]
    painted = column[[rows[name] for name in _accepted(case.pictures[label])]]
    finite = usable & np.isfinite(natural)
    if is_lost(natural[usable]) or finite.sum() < LEAST:
        return silent(natural[usable] if usable.any() else natural)
    natural = natural[finite]
    if not np.isfinite(painted).all():
        return Outcome("not_finite", {}, "NaN or infinite activation on a picture of the label")
    present = presence.presence(case.embeddings[finite], case.clip.vectors[label])
    metric_values = _MetricValues()
    _on_pictures(metric_values, case.pictures[label], painted, natural)
    _on_images(metric_values, natural, present, case.metrics)
    truth = case.truths.get(unit)
    if truth is not None:
        _against_truth(metric_values, case, label, truth)
    pictures = [
        {k: v for k, v in picture.items() if k != "file"} for picture in case.pictures[label]
    ]
    payload = {
        "label": label,
        "truth": truth,
        "metrics": metric_values.values,
        "reasons": metric_values.reasons,
        "images": len(natural),
        "shown": int(presence.shown(present).sum()),
        "pictures": pictures,
    }
    files = sorted({picture["file"] for picture in case.pictures[label]})
    return Outcome("ok", payload, notes={"files": files})


@dataclass
class _MetricValues:
    """Metrics of one unit, and why some are null."""

    values: dict[str, float | None] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)

    def put(self, name: str, value: float, reason: str) -> None:
        """Write a metric down, rounded; `reason` says what NaN means here."""
        finite = math.isfinite(value)
        # The last digits differ between devices; those kept are more than any table shows.
        self.values[name] = round(float(value), _DIGITS) if finite else None
        if not finite:
            self.reasons[name] = reason


def _on_pictures(
    metric_values: _MetricValues, pictures: Images, painted: Matrix, natural: Matrix
) -> None:
    """CoSy's AUC and MAD (Kopf et al., NeurIPS 2024, section 3.3)."""
    for name, metric in (("cosy_auc", cosy.cosy_auc), ("cosy_mad", cosy.cosy_mad)):
        if not len(painted):
            reason = why(pictures, f"all {len(pictures):,} pictures of the label")
            metric_values.put(name, math.nan, reason)
        else:
            metric_values.put(name, metric(painted, natural), _NO_SCALE)


def _on_images(
    metric_values: _MetricValues,
    natural: Matrix,
    present: NDArray[np.float64],
    metrics: Mapping[str, detection.Metric],
) -> None:
    """Detection: does the unit fire where the label is."""
    reason = _NO_SCALE if natural.min() == natural.max() else _NONE_SHOWN
    for name, metric in metrics.items():
        metric_values.put(name, metric(natural, present), reason)


def _against_truth(metric_values: _MetricValues, case: _Case, label: str, truth: str) -> None:
    """Label and truth as texts (DnD, section 4.1)."""

    def cosine(encoder: _Texts) -> float:
        return float(text_similarity.similarities([label], [truth], encoder)[0])

    metric_values.put("clip_cos", cosine(case.clip), "")
    if case.sentences is not None:
        metric_values.put("mpnet_cos", cosine(case.sentences), "")
        metric_values.put("bertscore_f1", *_bertscore(case.sentences, label, truth))
    metric_values.put("exact", float(text_similarity.exact_matches([label], [truth])[0]), "")


def _bertscore(encoder: _Texts, label: str, truth: str) -> tuple[float, str]:
    wordless = [text for text in (label, truth) if not encoder.tokens[text].counted.any()]
    if wordless:
        return math.nan, f"{wordless[0]!r} has no token to match"
    return float(bert_scores([label], [truth], encoder)[0]), "no token of the two is alike"
