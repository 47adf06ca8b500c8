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
    asked = study.evaluation
    if asked is None:
        return detection_metrics()
    names = chosen_metrics(asked.metrics)
    usual = {
        name: _of_shown(metric) if IMAGE_METRICS[name].shown else metric
        for name, metric in detection_metrics(names, asked.active_share).items()
    }
    chosen = asked.own_metrics
    for name in chosen:
        if name in METRICS:
            raise StudyError(f"evaluation.own_metrics.{name}: {name} is there already; rename it.")
    mine = {
        name: _of_their_own(name, own_function(source, study.folder, "metric"))
        for name, source in chosen.items()
    }
    return {**usual, **mine}


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
    found = set(metrics)
    return [name for name in METRICS if name in found] + sorted(found - set(METRICS))


_DIGITS = 6
_NO_SCALE = "the unit's activation is the same on every held-out image"
_NONE_SHOWN = "no held-out image counts as showing the label"


def metrics_name(labels: str) -> str:
    """Key of the asset that measures the labels of an asset."""
    return f"{labels}{SUFFIX}"


@dataclass
class _Texts:
    """Texts that have been encoded, as the metrics want their encoder."""

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
        faces: their embeddings, float32 (N, D).
        clip: labels and truths in the image-text encoder's space.
        sentences: labels and truths in the sentence encoder's; None without one.
        truths: what units respond to.
        metrics: of activations and presence, by name.
    """

    pictures: Mapping[str, Images]
    failed: Mapping[str, Outcome]
    images: Sequence[str]
    faces: Matrix
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
        chosen = evaluation_of(context)
        found = chosen.chosen("images_per_label", "seed", "active_share")
        found["metrics"] = list(chosen_metrics(chosen.metrics))
        codes = {
            name: [source, own_function(source, context.study.folder, "metric").version()]
            for name, source in sorted(chosen.own_metrics.items())
        }
        return found | ({"own_metrics": codes} if codes else {})

    def weights(self, context: StudyContext, unit: Unit) -> dict[str, str]:
        """The layer, the painter, the encoders, and the truths of the layer's units."""
        provider = context.lineage.provider
        found = {
            "target": layer_provider(context, unit),
            "text_to_image": provider(context.text_to_image.fingerprint()),
            "clip": provider(context.known_by(context.clip)),
        }
        truths = truths_of(context, unit.model, unit.layer)
        if truths:
            found["truths"] = provider({"of": {str(n): text for n, text in truths.items()}})
            if context.sentences is not None:
                found["sentences"] = provider(context.sentences.fingerprint())
        return found

    def cost(self, context: StudyContext, work: Iterable[Work]) -> dict[str, int]:
        """Pictures to paint, to pass and to embed, texts to embed; if no picture is rejected."""
        labels: dict[Unit, str] = {}
        images: list[str] = []
        for one in work:
            labels[one.unit] = self._label(one)
            images = images or images_of(context, one.inputs[HELD_OUT_IMAGES])
        if not labels:
            return {}
        requests, known = _expected(context, sorted(set(labels.values())))
        needs = _expected_passes(labels, images, requests, known)
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
        found = {
            "paintings": painted,
            "forward passes": painted + images * len(context.study.models),
            "embeddings": images,
            "text embeddings": 2 * units,
        }
        return found | ({"sentence embeddings": 2 * units} if context.sentences is not None else {})

    def compute(self, context: StudyContext, work: Sequence[Work]) -> Results:
        """Outcomes with `label`, `truth`, `metrics`, `reasons`, `shown` and `pictures`."""
        images = images_of(context, work[0].inputs[HELD_OUT_IMAGES])
        labels = {one.unit: self._label(one) for one in work}
        case = _case(context, labels, images)
        accepted = {label: _accepted(pictures) for label, pictures in case.pictures.items()}
        failed = {one.unit: case.failed.get(labels[one.unit]) for one in work}
        for one in work:
            outcome = failed[one.unit]
            if outcome is not None:
                yield one, outcome
                labels.pop(one.unit)
        work = [one for one in work if one.unit in labels]
        for model in dict.fromkeys(one.unit.model for one in work):
            mine = {unit: label for unit, label in labels.items() if unit.model == model}
            needs = _needs(mine, images, accepted)
            found = activations(context, model, needs, f"{model}: held-out and fresh images")
            usable = {
                layer: _usable(case, values[[rows[name] for name in images]])
                for layer, (rows, values) in found.items()
            }
            for one in work:
                if one.unit.model == model:
                    layer = one.unit.layer
                    label = labels[one.unit]
                    yield one, _outcome(case, one.unit, label, usable[layer], *found[layer])

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
    wanted = evaluation_of(context).images_per_label
    found = {one: [_request(context, one, index) for index in range(wanted)] for one in labels}
    known = known_paintings(context, _all(found))
    for label, requests in found.items():
        rejected = sum(known[one]["rejected"] for one in requests if one in known)
        requests += [_request(context, label, wanted + index) for index in range(rejected)]
    return found, known | known_paintings(context, _all(found))


def _all(requests: _Requests) -> list[PaintRequest]:
    return [request for some in requests.values() for request in some]


def _expected_passes(
    labels: Mapping[Unit, str], images: Sequence[str], requests: _Requests, known: _Known
) -> dict[str, dict[str, set[str]]]:
    """What each layer of each model has to see; a picture goes by its request until painted."""
    pictures: dict[str, set[str]] = {}
    for label, some in requests.items():
        painted = [known[one] for one in some if one in known]
        pictures[label] = {one["image"] for one in painted if not one["rejected"]}
        pictures[label] |= {painting_id(one) for one in some if one not in known}
    return {
        model: _needs({u: text for u, text in labels.items() if u.model == model}, images, pictures)
        for model in dict.fromkeys(unit.model for unit in labels)
    }


def _truths(context: StudyContext, units: Iterable[Unit]) -> dict[Unit, str]:
    found: dict[Unit, str] = {}
    for (model, layer), some in by_layer(units).items():
        known = truths_of(context, model, layer)
        found |= {unit: known[unit.neuron] for unit in some if unit.neuron in known}
    return found


def _compared(labels: Mapping[Unit, str], truths: Mapping[Unit, str]) -> list[str]:
    """The distinct texts that are compared with one another."""
    return list(dict.fromkeys(t for unit in truths for t in (labels[unit], truths[unit])))


def _case(context: StudyContext, labels: Mapping[Unit, str], images: Sequence[str]) -> _Case:
    distinct = sorted(set(labels.values()))
    wanted = evaluation_of(context).images_per_label
    made = paint(context, distinct, wanted, lambda label, index: _request(context, label, index))
    rows, faces = embeddings(context, images)
    truths = _truths(context, labels)
    texts = list(dict.fromkeys([*distinct, *truths.values()]))
    clip = _Texts(dict(zip(texts, text_embeddings(context, texts), strict=True)))
    sentences = _sentences(context, _compared(labels, truths))
    shown = faces[[rows[i] for i in images]]
    metrics = on_images(context.study)
    return _Case(made.images, made.failed, images, shown, clip, sentences, truths, metrics)


def _sentences(context: StudyContext, texts: Sequence[str]) -> _Texts | None:
    encoder = context.sentences
    if encoder is None:
        return None
    vectors = dict(zip(texts, encoder.encode(texts), strict=True))
    tokens = dict(zip(texts, encoder.encode_tokens(texts), strict=True))
    context.count("sentence embeddings", len(texts))
    return _Texts(vectors, tokens)


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
    return ~failed_images(values) & np.isfinite(case.faces).all(axis=1)


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
    fresh = column[[rows[name] for name in _accepted(case.pictures[label])]]
    kept = usable & np.isfinite(natural)
    if is_lost(natural[usable]) or kept.sum() < LEAST:
        return silent(natural[usable] if usable.any() else natural)
    natural = natural[kept]
    if not np.isfinite(fresh).all():
        return Outcome("not_finite", {}, "NaN or infinite activation on a picture of the label")
    present = presence.presence(case.faces[kept], case.clip.vectors[label])
    board = _MetricValues()
    _on_pictures(board, case.pictures[label], fresh, natural)
    _on_images(board, natural, present, case.metrics)
    truth = case.truths.get(unit)
    if truth is not None:
        _against_truth(board, case, label, truth)
    pictures = [{k: v for k, v in one.items() if k != "file"} for one in case.pictures[label]]
    payload = {
        "label": label,
        "truth": truth,
        "metrics": board.values,
        "reasons": board.reasons,
        "images": len(natural),
        "shown": int(presence.shown(present).sum()),
        "pictures": pictures,
    }
    files = sorted({one["file"] for one in case.pictures[label]})
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


def _on_pictures(board: _MetricValues, pictures: Images, fresh: Matrix, natural: Matrix) -> None:
    """CoSy's AUC and MAD (Kopf et al., NeurIPS 2024, section 3.3)."""
    for name, metric in (("cosy_auc", cosy.cosy_auc), ("cosy_mad", cosy.cosy_mad)):
        if not len(fresh):
            told = why(pictures, f"all {len(pictures):,} pictures of the label")
            board.put(name, math.nan, told)
        else:
            board.put(name, metric(fresh, natural), _NO_SCALE)


def _on_images(
    board: _MetricValues,
    natural: Matrix,
    present: NDArray[np.float64],
    metrics: Mapping[str, detection.Metric],
) -> None:
    """Detection: does the unit fire where the label is."""
    reason = _NO_SCALE if natural.min() == natural.max() else _NONE_SHOWN
    for name, metric in metrics.items():
        board.put(name, metric(natural, present), reason)


def _against_truth(board: _MetricValues, case: _Case, label: str, truth: str) -> None:
    """Label and truth as texts (DnD, section 4.1)."""

    def cosine(encoder: _Texts) -> float:
        return float(text_similarity.similarities([label], [truth], encoder)[0])

    board.put("clip_cos", cosine(case.clip), "")
    if case.sentences is not None:
        board.put("mpnet_cos", cosine(case.sentences), "")
        board.put("bertscore_f1", *_bertscore(case.sentences, label, truth))
    board.put("exact", float(text_similarity.exact_matches([label], [truth])[0]), "")


def _bertscore(encoder: _Texts, label: str, truth: str) -> tuple[float, str]:
    wordless = [text for text in (label, truth) if not encoder.tokens[text].counted.any()]
    if wordless:
        return math.nan, f"{wordless[0]!r} has no token to match"
    return float(bert_scores([label], [truth], encoder)[0]), "no token of the two is alike"
