"""Labels of CLIP-Dissect: the concepts of a fixed set that are most similar to each unit."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from inspect import signature
from typing import TYPE_CHECKING

import numpy as np

from dnd_assets.assets.activations import (
    OfLayer,
    on_probing_images,
    probing_images,
    probing_passes,
    silent,
)
from dnd_assets.assets.concept_activations import ConceptActivations as ConceptSet
from dnd_assets.assets.concept_activations import clip_dissect_of, concepts_of, texts_of
from dnd_assets.assets.probing_set import ProbingSet
from dnd_assets.engine.cache.shared_results import (
    cached,
    embeddings,
    embeddings_to_make,
    layer_provider,
    shared_row,
    text_embeddings,
)
from dnd_assets.engine.cache.vectors import Matrix
from dnd_assets.engine.context import StudyContext
from dnd_assets.engine.stage import Results, Stage, Work
from dnd_assets.errors import StudyError
from dnd_assets.files.concept_sets import prompts
from dnd_assets.lineage.code import code_version
from dnd_assets.lineage.fingerprint import canonical
from dnd_assets.lineage.records import (
    CONCEPT_ACTIVATIONS,
    PROBING_SET,
    Outcome,
    artefact_row,
)
from dnd_assets.lineage.remarks import set_aside
from dnd_assets.methods.clip_dissect import labelling
from dnd_assets.methods.clip_dissect.arguments import describable
from dnd_assets.methods.clip_dissect.concept_activation_matrix import ConceptActivationMatrix
from dnd_assets.methods.clip_dissect.concept_pairs import Label, best_singles
from dnd_assets.methods.clip_dissect.similarity import SIMILARITY
from dnd_assets.methods.dissection.exemplars import is_lost
from dnd_assets.methods.lazy import torch
from dnd_assets.methods.sparse_matrix import dense
from dnd_assets.settings import Options
from dnd_assets.study.method_settings import ClipDissect
from dnd_assets.units import Unit

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class _Case:
    """What all units of a run are compared with.

    Attributes:
        context: the study's context.
        setting: the study's section.
        image_vectors: embeddings of the probing images by hash, for those that have one.
        texts: embeddings of the concepts, on the device.
        concepts: the concepts.
        versions: data versions of the probing set and the concepts.
        products: the factors of P of the images that were compared last.
    """

    context: StudyContext
    setting: ClipDissect
    image_vectors: dict[str, Matrix]
    texts: Tensor
    concepts: list[str]
    versions: tuple[str, str]
    products: dict[tuple[str, ...], ConceptActivationMatrix] = field(default_factory=dict)

    def products_of(self, images: Sequence[str]) -> ConceptActivationMatrix:
        """The factors of P of some images; of the same ones the same, with what comes of them."""
        key = tuple(images)
        if key not in self.products:
            vectors = torch.from_numpy(np.stack([self.image_vectors[name] for name in images]))
            self.products.clear()  # what comes of them is large
            self.products[key] = ConceptActivationMatrix(vectors.to(self.texts.device), self.texts)
        return self.products[key]


class ClipDissectLabels(Stage):
    """CLIP-Dissect: the concepts of a fixed set that are most similar to each unit.

    A baseline beside Describe-and-Dissect, from the same activations and embeddings of the probing
    images. p(t) is taken over all units of the layer, so a label depends on no selection of units.
    A unit without a best similarity above the cutoff is marked as not interpretable.
    """

    name = "clip_dissect_labels"
    upstream = (PROBING_SET, CONCEPT_ACTIVATIONS)
    wholes = (ProbingSet(), ConceptSet())
    group = "baselines"
    kinds = frozenset({"pytorch"})
    uses = ("targets", "clip", "compute")
    by_neuron = True

    def parameters(self, context: StudyContext) -> dict[str, object]:
        """Similarity function and its options, cutoff and number of labels."""
        setting = clip_dissect_of(context)
        extra = ("prompt",) if setting.pairs else ()
        return setting.chosen("similarity", "top", "cutoff", "pairs", "top_images", *extra)

    def weights(self, context: StudyContext, unit: Unit) -> dict[str, str]:
        """The layer of the target network and the image-text encoder."""
        clip = context.lineage.provider(context.known_by(context.clip))
        return {"target": layer_provider(context, unit), "clip": clip}

    def cost(self, context: StudyContext, work: Iterable[Work]) -> dict[str, int]:
        """Probing images to pass through the networks and to embed; texts of pairs not counted."""
        passes, images = probing_passes(context, work)
        return {"forward passes": passes, "embeddings": embeddings_to_make(context, images)}

    def compute(self, context: StudyContext, work: Sequence[Work]) -> Results:
        """Outcomes with `label`, `score`, `labels` [{label, score}] and `interpretable`."""
        images = probing_images(context, work[0])
        _check_enough(clip_dissect_of(context), len(images))
        case = _case(context, work[0], images)
        lookup = {item.unit: item for item in work}
        for layer in on_probing_images(context, list(lookup), images):
            for unit, outcome in _labelled(case, layer):
                yield lookup[unit], outcome


def _options(setting: ClipDissect) -> Options:
    return {} if setting.top_images is None else {"top_images": setting.top_images}


def _options_for(setting: ClipDissect, compared: _Compared) -> Options:
    """The options, for no more top images than are left after some were set aside."""
    options, images = _options(setting), len(compared.values)
    parameters = signature(SIMILARITY[setting.similarity]).parameters
    if compared.lost and "top_images" in parameters:
        top_images = options.get("top_images", parameters["top_images"].default)
        options["top_images"] = min(top_images, images)
    return options


def _check_enough(setting: ClipDissect, images: int) -> None:
    """Refuse too few images before any pass, in the words of the similarity function itself."""
    zeros = torch.zeros(images, 1)
    try:
        SIMILARITY[setting.similarity](zeros, zeros, **_options(setting))
    except StudyError as error:
        raise StudyError(f"clip_dissect: {error}") from error


def _case(context: StudyContext, work: Work, images: Sequence[str]) -> _Case:
    """The concepts and the factors of P (CLIP-Dissect, section 3.1, step 1)."""
    concepts = work.inputs[CONCEPT_ACTIVATIONS]
    rows, vectors = embeddings(context, images)
    image_vectors = {
        name: vectors[rows[name]] for name in images if np.isfinite(vectors[rows[name]]).all()
    }
    if 2 * len(image_vectors) < len(images):
        failed = len(images) - len(image_vectors)
        raise StudyError(
            f"the image-text encoder gives NaN or infinite embeddings of {failed:,} of "
            f"{len(images):,} probing images. Set compute.precision to float32, or name another "
            "encoder under [clip]."
        )
    texts = torch.from_numpy(text_embeddings(context, texts_of(context, concepts)))
    versions = (work.inputs[PROBING_SET].data_version, concepts.data_version)
    return _Case(
        context, clip_dissect_of(context), image_vectors, texts.to(context.compute.torch_device()),
        concepts_of(context, concepts), versions,
    )  # fmt: skip


@dataclass(frozen=True)
class _Compared:
    """What the units of a layer are compared on: the images that network and encoder can read.

    Attributes:
        products: the factors of P, images and texts in their orders.
        values: activations of the layer, float32 (images, U); where a unit alone is NaN or infinite
            it has its smallest activation, so that the image is its least activating one.
        lost: hashes of the images left out.
    """

    products: ConceptActivationMatrix
    values: Tensor
    lost: list[str]


def _compared(case: _Case, layer: OfLayer) -> _Compared:
    rows = [row for row, name in enumerate(layer.images) if name in case.image_vectors]
    values = dense(layer.values[rows])
    finite = np.isfinite(values)
    if not finite.all():
        lost_units = np.array([is_lost(column) for column in values.T])
        low = np.where(finite, values, np.inf).min(axis=0)
        values = np.where(finite | lost_units, values, low).astype(np.float32)
    names = [layer.images[row] for row in rows]
    excluded = sorted({*layer.images, *layer.failed}.difference(names))
    return _Compared(case.products_of(names), torch.from_numpy(values), excluded)


def _labelled(case: _Case, of_layer: OfLayer) -> Iterator[tuple[Unit, Outcome]]:
    """Outcomes of some units of a layer."""
    compared = _compared(case, of_layer)
    layer, alive = compared.values, describable(compared.values)
    for unit in of_layer.units:
        if not alive[unit.neuron]:
            yield unit, silent(of_layer.values[:, unit.neuron])
    units = [unit for unit in of_layer.units if alive[unit.neuron]]
    if not units:
        return
    setting, options = case.setting, _options_for(case.setting, compared)
    similarity = labelling.LayerSimilarity(setting.similarity, compared.products, layer, options)
    prior = _prior(case, units[0], similarity)
    similarities = similarity.of([unit.neuron for unit in units], prior)
    for unit, labels in zip(units, _labels(case, similarity, units, similarities), strict=True):
        outcome = _outcome(setting, labels)
        excluded = compared.lost
        if excluded:
            remark = set_aside(excluded, len(of_layer.images) + len(of_layer.failed)).as_json()
            outcome = replace(outcome, notes={**outcome.notes, "remarks": [remark]})
        yield unit, outcome


def _labels(
    case: _Case, layer: labelling.LayerSimilarity, units: Sequence[Unit], similarities: Tensor
) -> Iterator[list[Label]]:
    """The best labels of each unit, by its similarity to each concept."""
    setting = case.setting
    if not setting.pairs:
        yield from best_singles(case.concepts, similarities, setting.top)
        return
    assert isinstance(layer.products, ConceptActivationMatrix)
    for unit, singles in zip(units, similarities, strict=True):
        yield labelling.best_labels(
            setting.similarity, layer.products, case.concepts, layer.activations, unit.neuron,
            singles, lambda texts: _embedded(case, texts), layer.options, setting.top,
            setting.pairs,
        )  # fmt: skip


def _embedded(case: _Case, texts: Sequence[str]) -> Tensor:
    return torch.from_numpy(text_embeddings(case.context, prompts(texts, case.setting.prompt)))


def _outcome(setting: ClipDissect, labels: Sequence[Label]) -> Outcome:
    finite = [label for label in labels if math.isfinite(label.similarity)]
    if not finite:
        return Outcome("no_concepts", {}, f"{setting.similarity} is not finite for any concept")
    entries = [{"label": label.text, "score": label.similarity} for label in finite]
    interpretable = finite[0].similarity > setting.cutoff
    return Outcome("ok", {**entries[0], "labels": entries, "interpretable": interpretable})


def _prior(case: _Case, unit: Unit, layer: labelling.LayerSimilarity) -> Tensor | None:
    """Log p(t_m) over all units of the layer, (M,), computed once and stored by content."""
    context, setting = case.context, case.setting
    made_by = {
        "target": layer_provider(context, unit),
        "clip": context.lineage.provider(context.known_by(context.clip)),
        "similarity": setting.similarity,
        "options": _options(setting),
        "code": code_version(labelling.LayerSimilarity),
    }
    provider, item = context.lineage.provider(made_by), canonical(case.versions)
    stored = cached(context, "concept_prior", provider, [item])
    if item in stored:
        values = context.store.arrays(stored[item]["file"])["values"].astype(np.float32)
        return torch.from_numpy(values).to(case.texts.device)
    prior = layer.prior()
    if prior is not None:
        file = context.store.put_arrays({"values": prior.cpu().numpy()})
        size = context.store.size(file)
        rows = [shared_row("concept_prior", provider, item, {"file": file})]
        artefact = artefact_row(file.partition(".")[0], file, "concept_prior", size)
        context.lineage.commit({"artefacts": [artefact], "shared": rows})
    return prior
