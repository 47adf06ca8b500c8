"""Labels of units of several meanings: one for each concept that a unit answers to."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from dnd_assets.assets.activations import (
    on_probing_images,
    passed,
    probing_images,
    probing_passes,
    silent_or_none,
)
from dnd_assets.assets.candidate_concepts import CandidateConcepts, summaries
from dnd_assets.assets.captions import caption_entry
from dnd_assets.assets.labels import best_labels
from dnd_assets.assets.probing_set import ProbingSet
from dnd_assets.assets.scores import Active, Table, scored
from dnd_assets.assets.synthetic_images import (
    ROUNDS,
    Images,
    accepted,
    painted_concepts,
    rejection,
)
from dnd_assets.engine.cache.shared_results import (
    activations,
    caption_cost,
    captions,
    embeddings,
    embeddings_to_make,
    first_unanswered,
    layer_provider,
    most_paintings,
)
from dnd_assets.engine.context import StudyContext
from dnd_assets.engine.stage import Results, Stage, Work
from dnd_assets.lineage.records import PROBING_SET, RETRYABLE, LabelEntry, Outcome
from dnd_assets.methods.clip_dissect.activation_ranges import sample_reach
from dnd_assets.methods.polysemantic import clusters
from dnd_assets.methods.polysemantic.clusters import concepts_of_unit
from dnd_assets.methods.polysemantic.same_concept import (
    OneConcept,
    one_concept_each,
    phrases_to_try,
)
from dnd_assets.study.deciding import parameters_of_dissection
from dnd_assets.study.method_settings import Polysemantic
from dnd_assets.study.study import needed
from dnd_assets.units import Unit
from resources.summarisers.base import Summary

_AVERAGE_OF = 512
"""Probing images whose mean embedding is the average picture."""


@dataclass(frozen=True)
class _Sample:
    """The images that a unit's concepts are looked for in.

    Attributes:
        activation: of the unit on each image, most activating first.
        base: mean activation over all probing images.
    """

    activation: dict[str, float]
    base: float


@dataclass
class _Group:
    """Exemplars with something in common, on their way to a label.

    Attributes:
        unit: the unit.
        images: hashes, most activating first.
        candidates: concepts that are painted well enough to be scored.
        labels: label and score of each, best first; empty when the group cannot be labelled.
        failure: why it cannot.
    """

    unit: Unit
    images: list[str]
    candidates: list[str]
    labels: list[LabelEntry]
    failure: Outcome | None = None


@dataclass(frozen=True)
class _Painted:
    """Pictures of concepts, and what networks and encoder make of them.

    Attributes:
        pictures: Q accepted hashes of each concept that has them.
        files: store files that hold them, by concept.
        failed: why a concept has no pictures, where a service failed.
        active: activations by network and layer.
        embedded: embeddings of pictures and exemplars.
        all_pictures: every picture of each concept, rejected ones too.
        remedy: what to do when the painter gives pictures that are none.
    """

    pictures: dict[str, list[str]]
    files: dict[str, set[str]]
    failed: dict[str, Outcome]
    active: dict[tuple[str, str], Active]
    embedded: Table
    all_pictures: dict[str, Images]
    remedy: str

    def response(self, unit: Unit, concept: str) -> float:
        """Mean activation of a unit on a concept's pictures."""
        rows, values = self.active[unit.model, unit.layer]
        column = values[[rows[name] for name in self.pictures[concept]], unit.neuron]
        return float(column.mean(dtype=np.float64))


class PolysemanticLabels(Stage):
    """How many concepts each unit answers to, and a label for each of them.

    Exemplars are drawn from all images that activate the unit clearly, grouped by their embeddings,
    and each group is labelled as Describe-and-Dissect labels a unit. Groups whose labels have in
    common what the unit answers to are one concept.
    """

    name = "polysemantic_labels"
    upstream = (PROBING_SET,)
    wholes = (ProbingSet(),)
    group = "polysemantic"
    kinds = frozenset({"pytorch"})
    uses = ("targets", "captioner", "summariser", "text_to_image", "clip", "compute")
    by_neuron = True

    def parameters(self, context: StudyContext) -> dict[str, object]:
        """The section's settings, and those of the steps of Describe-and-Dissect."""
        steps = parameters_of_dissection(self.name, context.study)
        if steps["select"] == "detection":  # see `best_labels`
            steps["select"] = "scores"
        return {**polysemantic_of(context).model_dump(), "dissection": steps}

    def weights(self, context: StudyContext, unit: Unit) -> dict[str, str]:
        """The layer of the target network, and every model that takes part."""
        prints = {
            "captioner": context.known_by(context.captioner),
            "summariser": context.summariser.fingerprint(),
            "text_to_image": context.text_to_image.fingerprint(),
            "clip": context.known_by(context.clip),
        }
        models = {
            name: context.lineage.provider(fingerprint) for name, fingerprint in prints.items()
        }
        return {"target": layer_provider(context, unit), **models}

    def cost(self, context: StudyContext, work: Iterable[Work]) -> dict[str, int]:
        """Passes of the probing images, embeddings and captions; how many groups is seen later."""
        items = list(work)
        passes, images = probing_passes(context, items)
        if not items:
            return {}
        setting = polysemantic_of(context)
        most_captions = len(items) * min(setting.exemplars, len(images))
        later_cost = self._most_later(context, len(items), setting)
        if not passed(context, items, images):
            most_embeddings = {"embeddings at most": min(len(images), _AVERAGE_OF + most_captions)}
            return {
                "forward passes": passes,
                **most_embeddings,
                "captions at most": most_captions,
                **later_cost,
            }
        samples, _ = _samples(context, items, images)
        hashes = {name for sample in samples.values() for name in sample.activation}
        return {
            "embeddings": embeddings_to_make(context, hashes.union(images[:_AVERAGE_OF])),
            **caption_cost(context, hashes),
            **later_cost,
        }

    def _most_later(
        self, context: StudyContext, units: int, setting: Polysemantic
    ) -> dict[str, int]:
        """Paintings and calls at most: every group as small as it may be."""
        groups = units * max(setting.exemplars // setting.smallest, 1)
        calls = CandidateConcepts().cost_upper_bound(context, groups)
        return {
            "paintings at most": ROUNDS * most_paintings(context, groups),
            **{f"{kind} at most": count for kind, count in calls.items()},
        }

    def compute(self, context: StudyContext, work: Sequence[Work]) -> Results:
        """Outcomes with `count`, `label`, `labels`, `concepts` and `outliers`.

        Each of `concepts` has `label`, `score`, `response` (mean activation on its pictures),
        `mass`, `exemplars`, `pictures` and `runners_up`, the largest mass first.
        """
        images = probing_images(context, work[0])
        samples, silenced = _samples(context, work, images)
        work_by_unit = {}
        for item in work:
            if item.unit in silenced:
                yield item, silenced[item.unit]
            else:
                work_by_unit[item.unit] = item
        if work_by_unit:
            for unit, outcome in _described(context, samples, images):
                yield work_by_unit[unit], outcome


def polysemantic_of(context: StudyContext) -> Polysemantic:
    """The study's section `polysemantic`.

    Raises:
        StudyError: when it has none.
    """
    return needed(context.study.polysemantic, "polysemantic", context.study)


def _samples(
    context: StudyContext, work: Sequence[Work], images: Sequence[str]
) -> tuple[dict[Unit, _Sample], dict[Unit, Outcome]]:
    """Exemplars of each unit, and the outcomes of units that have none."""
    setting = polysemantic_of(context)
    samples: dict[Unit, _Sample] = {}
    silenced: dict[Unit, Outcome] = {}
    for layer in on_probing_images(context, [item.unit for item in work], images):
        for unit in layer.units:
            column = layer.values[:, unit.neuron]
            outcome = silent_or_none(column)
            if outcome is not None:
                silenced[unit] = outcome
                continue
            usable = np.flatnonzero(np.isfinite(column))
            names, values = [layer.images[row] for row in usable], column[usable]
            rows = sample_reach(
                values, names, unit.key,
                n=setting.exemplars, reach=setting.reach, seed=setting.seed,
            )  # fmt: skip
            active = {names[row]: float(values[row]) for row in rows}
            samples[unit] = _Sample(active, float(values.mean(dtype=np.float64)))
    return samples, silenced


def _described(
    context: StudyContext, samples: Mapping[Unit, _Sample], images: Sequence[str]
) -> Iterator[tuple[Unit, Outcome]]:
    """Outcomes of the units that have exemplars."""
    results = captions(context, {name for sample in samples.values() for name in sample.activation})
    failed = {
        unit: first_unanswered(results, sample.activation) for unit, sample in samples.items()
    }
    for unit, outcome in failed.items():
        if outcome is not None:
            yield unit, outcome
    samples = {unit: sample for unit, sample in samples.items() if failed[unit] is None}
    if samples:
        caption_of = {name: caption_entry(name, text)["caption"] for name, text in results.items()}
        yield from _labelled(context, samples, images, caption_of)


def _labelled(
    context: StudyContext,
    samples: Mapping[Unit, _Sample],
    images: Sequence[str],
    caption_of: Mapping[str, str],
) -> Iterator[tuple[Unit, Outcome]]:
    """Outcomes of the units whose exemplars are all captioned."""
    groups = _grouped(context, samples, images)
    all_groups = [group for unit_groups in groups.values() for group in unit_groups]
    texts = [[caption_of[name] for name in group.images] for group in all_groups]
    for group, summary in zip(
        all_groups, summaries(context, texts, "groups of exemplars"), strict=True
    ):
        _take_candidates(group, summary)
    concepts = {
        unit: {concept for group in unit_groups for concept in group.candidates}
        for unit, unit_groups in groups.items()
    }
    painted = _paint(context, concepts, samples)
    failures = dict(painted.failed)
    for group in all_groups:
        _label(context, group, painted)
    for unit, unit_groups in groups.items():
        concepts[unit] |= phrases_to_try(
            [group.labels[0]["label"] for group in unit_groups if group.labels]
        )
    painted = _paint(context, concepts, samples)
    failures |= painted.failed
    for unit, unit_groups in groups.items():
        failure = next(
            (failures[concept] for concept in sorted(concepts[unit]) if concept in failures), None
        )
        yield unit, failure or _outcome(context, samples[unit], unit_groups, painted, caption_of)


def _grouped(
    context: StudyContext, samples: Mapping[Unit, _Sample], images: Sequence[str]
) -> dict[Unit, list[_Group]]:
    """The groups of each unit's exemplars, largest mass first."""
    setting = polysemantic_of(context)
    average = images[:_AVERAGE_OF]
    names = {name for sample in samples.values() for name in sample.activation}
    rows, vectors = embeddings(context, names.union(average))
    usable = np.asarray(np.isfinite(vectors).all(axis=1))  # the encoder may fail on an image
    usable_rows = [rows[name] for name in average if usable[rows[name]]]
    centre = vectors[usable_rows or [0]].mean(axis=0, dtype=np.float64)
    groups_by_unit: dict[Unit, list[_Group]] = {}
    for unit, sample in samples.items():
        # The average picture itself has no direction, so it is in no group.
        usable_images = [
            name
            for name in sample.activation
            if usable[rows[name]] and np.abs(vectors[rows[name]] - centre).max() > 0
        ]
        groups: Sequence[clusters.Cluster] = ()
        if usable_images:
            groups = concepts_of_unit(
                vectors[[rows[name] for name in usable_images]],
                [sample.activation[name] for name in usable_images],
                usable_images, centre, shared=setting.shared, smallest=setting.smallest,
            ).clusters  # fmt: skip
        members = [[usable_images[row] for row in group.members] for group in groups]
        groups_by_unit[unit] = [
            _Group(unit, group_images, [], [])
            for group_images in members or [list(sample.activation)]
        ]
    return groups_by_unit


def _take_candidates(group: _Group, summary: Summary) -> None:
    group.candidates = list(summary.candidates)
    if summary.status != "ok":
        group.failure = Outcome(summary.status, {}, summary.reason)


def _paint(
    context: StudyContext, concepts: Mapping[Unit, set[str]], samples: Mapping[Unit, _Sample]
) -> _Painted:
    """Pictures of each unit's concepts through its layer and the encoder."""
    painted = painted_concepts(
        context, {concept for unit_concepts in concepts.values() for concept in unit_concepts}
    )
    count = context.study.dissection.images_per_concept
    accepted_names = {
        concept: accepted(images, count) for concept, images in painted.images.items()
    }
    pictures = {concept: names for concept, names in accepted_names.items() if names is not None}
    files = {
        concept: {image["file"] for image in images} for concept, images in painted.images.items()
    }
    needs: dict[str, dict[str, set[str]]] = {}
    for unit, unit_concepts in concepts.items():
        layer = needs.setdefault(unit.model, {}).setdefault(unit.layer, set())
        layer.update(name for concept in unit_concepts for name in pictures.get(concept, ()))
    active: dict[tuple[str, str], Active] = {}
    for model, layers in needs.items():
        tables = activations(context, model, layers, f"{model}: synthetic images of groups")
        active |= {(model, path): table for path, table in tables.items()}
    picture_names = {name for names in pictures.values() for name in names}
    exemplars = {name for sample in samples.values() for name in sample.activation}
    embedded, remedy = (
        embeddings(context, picture_names | exemplars),
        context.text_to_image.remedy(),
    )
    return _Painted(pictures, files, painted.failed, active, embedded, painted.images, remedy)


def _label(context: StudyContext, group: _Group, painted: _Painted) -> None:
    """Score a group's candidates as Describe-and-Dissect does, or say why that cannot be done."""
    if group.failure is not None:
        return
    candidates = group.candidates
    group.candidates = [concept for concept in candidates if concept in painted.pictures]
    if not group.candidates:
        tried_images = [
            image for concept in candidates for image in painted.all_pictures.get(concept, ())
        ]
        reason = rejection(tried_images, candidates, painted.remedy)
        group.failure = Outcome("rejected", {}, reason)
        return
    result = _scores(context, group.unit, group.candidates, group.images, painted)
    if result.status != "ok":
        group.failure = result
        return
    concept_scores = result.payload["concepts"]
    group.labels = best_labels(context.study.dissection, concept_scores, group.candidates)


def _scores(
    context: StudyContext,
    unit: Unit,
    concepts: Sequence[str],
    images: Sequence[str],
    painted: _Painted,
) -> Outcome:
    pictures = {concept: painted.pictures[concept] for concept in concepts}
    active = painted.active[unit.model, unit.layer]
    return scored(context, unit, pictures, images, active, painted.embedded)


def _outcome(
    context: StudyContext,
    sample: _Sample,
    groups: Sequence[_Group],
    painted: _Painted,
    caption_of: Mapping[str, str],
) -> Outcome:
    failures = [group.failure for group in groups if group.failure is not None]
    retryable = next((failure for failure in failures if failure.status in RETRYABLE), None)
    labelled = [group for group in groups if group.labels]
    if retryable is not None or not labelled:
        return retryable or failures[0]
    unit = groups[0].unit
    labelled = _answered(labelled, sample, painted)
    names = [group.labels[0]["label"] for group in labelled]
    painted_phrases = [phrase for phrase in phrases_to_try(names) if phrase in painted.pictures]
    responses = {phrase: painted.response(unit, phrase) for phrase in painted_phrases}
    response_share = polysemantic_of(context).response
    concepts = one_concept_each(names, responses, sample.base, response_share)
    entries = [
        _entry(context, concept, labelled, sample, painted, caption_of) for concept in concepts
    ]
    entries.sort(key=lambda entry: (-entry["mass"], entry["label"]))
    grouped = {name for group in labelled for name in group.images}
    payload = {
        "count": len(entries),
        "label": " or ".join(entry["label"] for entry in entries),
        "score": entries[0]["score"],
        "labels": [{"label": entry["label"], "score": entry["score"]} for entry in entries],
        "concepts": entries,
        "outliers": _images(
            [name for name in sample.activation if name not in grouped], sample, caption_of
        ),
    }
    used_concepts = {name for group in labelled for name in group.candidates} | set(painted_phrases)
    files = sorted({file for name in used_concepts for file in painted.files[name]})
    return Outcome("ok", payload, notes={"files": files, "responses": responses})


def _answered(groups: Sequence[_Group], sample: _Sample, painted: _Painted) -> list[_Group]:
    """Groups to whose label the unit answers more than to the average image; if to none, all."""
    answered = [
        group
        for group in groups
        if painted.response(group.unit, group.labels[0]["label"]) > sample.base
    ]
    return answered or list(groups)


def _entry(
    context: StudyContext,
    concept: OneConcept,
    groups: Sequence[_Group],
    sample: _Sample,
    painted: _Painted,
    caption_of: Mapping[str, str],
) -> dict[str, Any]:
    """What is kept of one concept: all candidates of its groups scored together."""
    concept_groups = [groups[index] for index in concept.groups]
    grouped = {name for group in concept_groups for name in group.images}
    images = [name for name in sample.activation if name in grouped]
    candidates = dict.fromkeys(
        [concept.label, *(name for group in concept_groups for name in group.candidates)]
    )
    scored_entries = _scores(
        context, concept_groups[0].unit, list(candidates), images, painted
    ).payload["concepts"]
    runners_up = [
        {"label": entry["concept"], "score": entry["score"]}
        for entry in scored_entries
        if entry["concept"] != concept.label
    ]
    return {
        "label": concept.label,
        "score": next(
            entry["score"] for entry in scored_entries if entry["concept"] == concept.label
        ),
        "response": painted.response(concept_groups[0].unit, concept.label),
        "mass": float(sum(max(sample.activation[name], 0.0) for name in images)),
        "groups": len(concept_groups),
        "exemplars": _images(images, sample, caption_of),
        "pictures": [{"image": name} for name in painted.pictures[concept.label]],
        "runners_up": runners_up[: context.study.dissection.labels],
    }


def _images(
    names: Sequence[str], sample: _Sample, caption_of: Mapping[str, str]
) -> list[dict[str, object]]:
    return [
        {"image": name, "activation": sample.activation[name], "caption": caption_of[name]}
        for name in names
    ]
