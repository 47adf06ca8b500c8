"""Labels of CLIP-Dissect: the concepts of a fixed set that are most similar to each unit."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dnd_assets.assets.activations import (
    on_probing_images,
    probing_images,
    probing_passes,
    silent,
)
from dnd_assets.assets.concept_activations import ConceptActivations as ConceptSet
from dnd_assets.assets.concept_activations import clip_dissect_of, concepts_of, texts_of
from dnd_assets.assets.probing_set import ProbingSet
from dnd_assets.concept_set import prompts
from dnd_assets.errors import StudyError
from dnd_assets.lineage.code import code_version
from dnd_assets.lineage.fingerprint import canonical
from dnd_assets.lineage.records import (
    CONCEPT_ACTIVATIONS,
    PROBING_SET,
    Outcome,
    artefact_row,
)
from dnd_assets.methods import clip_dissect
from dnd_assets.methods.concept_activations import ConceptActivations
from dnd_assets.methods.concept_pairs import Label
from dnd_assets.methods.similarity import SIMILARITY, describable
from dnd_assets.sharing import (
    at_hand,
    embeddings,
    embeddings_to_make,
    layer_provider,
    shared_row,
    text_embeddings,
)
from dnd_assets.stage import Results, Stage, Work
from dnd_assets.study import ClipDissect
from dnd_assets.units import Unit
from dnd_assets.vectors import Matrix
from dnd_assets.workbench import Workbench


@dataclass(frozen=True)
class _Case:
    """What all units of a run are compared with.

    Attributes:
        bench: the workbench.
        setting: the study's section.
        products: the factors of P, images and texts in their orders.
        concepts: the concepts.
        versions: data versions of the probing set and the concepts.
    """

    bench: Workbench
    setting: ClipDissect
    products: ConceptActivations
    concepts: list[str]
    versions: tuple[str, str]


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

    def parameters(self, bench: Workbench) -> dict[str, Any]:
        """Similarity function and its options, cutoff and number of labels."""
        setting = clip_dissect_of(bench)
        more = ("prompt",) if setting.pairs else ()
        return setting.chosen("similarity", "top", "cutoff", "pairs", "top_images", *more)

    def weights(self, bench: Workbench, unit: Unit) -> dict[str, str]:
        """The layer of the target network and the image-text encoder."""
        clip = bench.lineage.provider(bench.clip.fingerprint())
        return {"target": layer_provider(bench, unit), "clip": clip}

    def cost(self, bench: Workbench, work: Iterable[Work]) -> dict[str, int]:
        """Probing images to pass through the networks and to embed; texts of pairs not counted."""
        passes, images = probing_passes(bench, work)
        return {"forward passes": passes, "embeddings": embeddings_to_make(bench, images)}

    def compute(self, bench: Workbench, work: Sequence[Work]) -> Results:
        """Outcomes with `label`, `score`, `labels` [{label, score}] and `interpretable`."""
        images = probing_images(bench, work[0])
        _check_enough(clip_dissect_of(bench), len(images))
        case = _case(bench, work[0], images)
        lookup = {one.unit: one for one in work}
        for units, values in on_probing_images(bench, list(lookup), images):
            for unit, outcome in _labelled(case, units, values):
                yield lookup[unit], outcome


def _options(setting: ClipDissect) -> dict[str, Any]:
    return {} if setting.top_images is None else {"top_images": setting.top_images}


def _check_enough(setting: ClipDissect, images: int) -> None:
    """Refuse too few images before any pass, in the words of the similarity function itself."""
    nothing = torch.zeros(images, 1)
    try:
        SIMILARITY[setting.similarity](nothing, nothing, **_options(setting))
    except StudyError as error:
        raise StudyError(f"clip_dissect: {error}") from error


def _case(bench: Workbench, work: Work, images: Sequence[str]) -> _Case:
    """The concepts and the factors of P (CLIP-Dissect, section 3.1, step 1)."""
    concepts = work.inputs[CONCEPT_ACTIVATIONS]
    rows, faces = embeddings(bench, images)
    device = bench.compute.torch_device()
    texts = text_embeddings(bench, texts_of(bench, concepts))
    factors = (faces[[rows[name] for name in images]], texts)
    products = ConceptActivations(*(torch.from_numpy(one).to(device) for one in factors))
    versions = (work.inputs[PROBING_SET].data_version, concepts.data_version)
    return _Case(bench, clip_dissect_of(bench), products, concepts_of(bench, concepts), versions)


def _labelled(case: _Case, units: Sequence[Unit], values: Matrix) -> Iterator[tuple[Unit, Outcome]]:
    """Outcomes of some units of a layer; `values` is its activations, float32 (images, U)."""
    layer = torch.from_numpy(values)
    alive = describable(layer)
    for unit in units:
        if not alive[unit.neuron]:
            yield unit, silent(values[:, unit.neuron])
    units = [unit for unit in units if alive[unit.neuron]]
    if not units:
        return
    setting, options = case.setting, _options(case.setting)
    prior = _prior(case, units[0], layer)
    neurons = [unit.neuron for unit in units]
    found = clip_dissect.similarities(
        setting.similarity, case.products, layer, neurons, prior, options
    )
    for unit, singles in zip(units, found, strict=True):
        labels = clip_dissect.best_labels(
            setting.similarity, case.products, case.concepts, layer, unit.neuron, singles,
            lambda texts: _embedded(case, texts), options, setting.top, setting.pairs,
        )  # fmt: skip
        yield unit, _outcome(setting, labels)


def _embedded(case: _Case, texts: Sequence[str]) -> Tensor:
    return torch.from_numpy(text_embeddings(case.bench, prompts(texts, case.setting.prompt)))


def _outcome(setting: ClipDissect, labels: Sequence[Label]) -> Outcome:
    finite = [one for one in labels if math.isfinite(one.similarity)]
    if not finite:
        return Outcome("no_concepts", {}, f"{setting.similarity} is not finite for any concept")
    kept = [{"label": one.text, "score": one.similarity} for one in finite]
    interpretable = finite[0].similarity > setting.cutoff
    return Outcome("ok", {**kept[0], "labels": kept, "interpretable": interpretable})


def _prior(case: _Case, unit: Unit, layer: Tensor) -> Tensor | None:
    """Log p(t_m) over all units of the layer, (M,), computed once and stored by content."""
    bench, setting = case.bench, case.setting
    made_by = {
        "target": layer_provider(bench, unit),
        "clip": bench.lineage.provider(bench.clip.fingerprint()),
        "similarity": setting.similarity,
        "options": _options(setting),
        "code": code_version(clip_dissect.layer_prior),
    }
    provider, item = bench.lineage.provider(made_by), canonical(case.versions)
    known = at_hand(bench, "concept_prior", provider, [item])
    if item in known:
        stored = bench.store.arrays(known[item]["file"])["values"].astype(np.float32)
        return torch.from_numpy(stored).to(case.products.device)
    prior = clip_dissect.layer_prior(setting.similarity, case.products, layer, _options(setting))
    if prior is not None:
        file = bench.store.put_arrays({"values": prior.cpu().numpy()})
        size = bench.store.path(file).stat().st_size
        rows = [shared_row("concept_prior", provider, item, {"file": file})]
        artefact = artefact_row(file.partition(".")[0], file, "concept_prior", size)
        bench.lineage.commit({"artefacts": [artefact], "shared": rows})
    return prior
