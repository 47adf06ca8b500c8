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
        made: every picture of each concept, rejected ones too.
        remedy: what to do when the painter gives pictures that are none.
    """

    pictures: dict[str, list[str]]
    files: dict[str, set[str]]
    failed: dict[str, Outcome]
    active: dict[tuple[str, str], Active]
    embedded: Table
    made: dict[str, Images]
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
        models = {name: context.lineage.provider(found) for name, found in prints.items()}
        return {"target": layer_provider(context, unit), **models}

    def cost(self, context: StudyContext, work: Iterable[Work]) -> dict[str, int]:
        """Passes of the probing images, embeddings and captions; how many groups is seen later."""
        every = list(work)
        passes, images = probing_passes(context, every)
        if not every:
            return {}
        setting = polysemantic_of(context)
        most = len(every) * min(setting.exemplars, len(images))
        later = self._most_later(context, len(every), setting)
        if not passed(context, every, images):
            found = {"embeddings at most": min(len(images), _AVERAGE_OF + most)}
            return {"forward passes": passes, **found, "captions at most": most, **later}
        samples, _ = _samples(context, every, images)
        needed = {name for one in samples.values() for name in one.activation}
        return {
            "embeddings": embeddings_to_make(context, needed.union(images[:_AVERAGE_OF])),
            **caption_cost(context, needed),
            **later,
        }

    def _most_later(
        self, context: StudyContext, units: int, setting: Polysemantic
    ) -> dict[str, int]:
        """Paintings and calls at most: every group as small as it may be."""
        groups = units * max(setting.exemplars // setting.smallest, 1)
        calls = CandidateConcepts().cost_upper_bound(context, groups)
        return {
            "paintings at most": ROUNDS * most_paintings(context, groups),
            **{f"{what} at most": count for what, count in calls.items()},
        }

    def compute(self, context: StudyContext, work: Sequence[Work]) -> Results:
        """Outcomes with `count`, `label`, `labels`, `concepts` and `outliers`.

        Each of `concepts` has `label`, `score`, `response` (mean activation on its pictures),
        `mass`, `exemplars`, `pictures` and `runners_up`, the largest mass first.
        """
        images = probing_images(context, work[0])
        samples, silenced = _samples(context, work, images)
        ready = {}
        for one in work:
            if one.unit in silenced:
                yield one, silenced[one.unit]
            else:
                ready[one.unit] = one
        if ready:
            for unit, outcome in _described(context, samples, images):
                yield ready[unit], outcome


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
    found: dict[Unit, _Sample] = {}
    silenced: dict[Unit, Outcome] = {}
    for layer in on_probing_images(context, [one.unit for one in work], images):
        for unit in layer.units:
            column = layer.values[:, unit.neuron]
            quiet = silent_or_none(column)
            if quiet is not None:
                silenced[unit] = quiet
                continue
            usable = np.flatnonzero(np.isfinite(column))
            names, values = [layer.images[row] for row in usable], column[usable]
            rows = sample_reach(
                values, names, unit.key,
                n=setting.exemplars, reach=setting.reach, seed=setting.seed,
            )  # fmt: skip
            active = {names[row]: float(values[row]) for row in rows}
            found[unit] = _Sample(active, float(values.mean(dtype=np.float64)))
    return found, silenced


def _described(
    context: StudyContext, samples: Mapping[Unit, _Sample], images: Sequence[str]
) -> Iterator[tuple[Unit, Outcome]]:
    """Outcomes of the units that have exemplars."""
    found = captions(context, {name for one in samples.values() for name in one.activation})
    failed = {unit: first_unanswered(found, one.activation) for unit, one in samples.items()}
    for unit, outcome in failed.items():
        if outcome is not None:
            yield unit, outcome
    samples = {unit: one for unit, one in samples.items() if failed[unit] is None}
    if samples:
        said = {name: caption_entry(name, text)["caption"] for name, text in found.items()}
        yield from _labelled(context, samples, images, said)


def _labelled(
    context: StudyContext,
    samples: Mapping[Unit, _Sample],
    images: Sequence[str],
    said: Mapping[str, str],
) -> Iterator[tuple[Unit, Outcome]]:
    """Outcomes of the units whose exemplars are all captioned."""
    groups = _grouped(context, samples, images)
    every = [group for some in groups.values() for group in some]
    texts = [[said[name] for name in group.images] for group in every]
    for group, summary in zip(every, summaries(context, texts, "groups of exemplars"), strict=True):
        _take(group, summary)
    wanted = {
        unit: {c for group in some for c in group.candidates} for unit, some in groups.items()
    }
    painted = _paint(context, wanted, samples)
    lost = dict(painted.failed)
    for group in every:
        _label(context, group, painted)
    for unit, some in groups.items():
        wanted[unit] |= phrases_to_try([one.labels[0]["label"] for one in some if one.labels])
    painted = _paint(context, wanted, samples)
    lost |= painted.failed
    for unit, some in groups.items():
        failed = next((lost[one] for one in sorted(wanted[unit]) if one in lost), None)
        yield unit, failed or _outcome(context, samples[unit], some, painted, said)


def _grouped(
    context: StudyContext, samples: Mapping[Unit, _Sample], images: Sequence[str]
) -> dict[Unit, list[_Group]]:
    """The groups of each unit's exemplars, largest mass first."""
    setting = polysemantic_of(context)
    average = images[:_AVERAGE_OF]
    names = {name for one in samples.values() for name in one.activation}
    rows, vectors = embeddings(context, names.union(average))
    usable = np.asarray(np.isfinite(vectors).all(axis=1))  # the encoder may fail on an image
    seen = [rows[name] for name in average if usable[rows[name]]]
    centre = vectors[seen or [0]].mean(axis=0, dtype=np.float64)
    found: dict[Unit, list[_Group]] = {}
    for unit, sample in samples.items():
        # The average picture itself has no direction, so it is in no group.
        mine = [
            n
            for n in sample.activation
            if usable[rows[n]] and np.abs(vectors[rows[n]] - centre).max() > 0
        ]
        groups: Sequence[clusters.Cluster] = ()
        if mine:
            groups = concepts_of_unit(
                vectors[[rows[name] for name in mine]],
                [sample.activation[name] for name in mine],
                mine, centre, shared=setting.shared, smallest=setting.smallest,
            ).clusters  # fmt: skip
        members = [[mine[row] for row in group.members] for group in groups]
        found[unit] = [_Group(unit, some, [], []) for some in members or [list(sample.activation)]]
    return found


def _take(group: _Group, summary: Summary) -> None:
    group.candidates = list(summary.candidates)
    if summary.status != "ok":
        group.failure = Outcome(summary.status, {}, summary.reason)


def _paint(
    context: StudyContext, concepts: Mapping[Unit, set[str]], samples: Mapping[Unit, _Sample]
) -> _Painted:
    """Pictures of each unit's concepts through its layer and the encoder."""
    made = painted_concepts(context, {one for some in concepts.values() for one in some})
    wanted = context.study.dissection.images_per_concept
    kept = {concept: accepted(images, wanted) for concept, images in made.images.items()}
    pictures = {concept: names for concept, names in kept.items() if names is not None}
    files = {
        concept: {image["file"] for image in images} for concept, images in made.images.items()
    }
    needs: dict[str, dict[str, set[str]]] = {}
    for unit, some in concepts.items():
        layer = needs.setdefault(unit.model, {}).setdefault(unit.layer, set())
        layer.update(name for concept in some for name in pictures.get(concept, ()))
    active: dict[tuple[str, str], Active] = {}
    for model, layers in needs.items():
        found = activations(context, model, layers, f"{model}: synthetic images of groups")
        active |= {(model, path): table for path, table in found.items()}
    faces = {name for names in pictures.values() for name in names}
    exemplars = {name for one in samples.values() for name in one.activation}
    embedded, remedy = embeddings(context, faces | exemplars), context.text_to_image.remedy()
    return _Painted(pictures, files, made.failed, active, embedded, made.images, remedy)


def _label(context: StudyContext, group: _Group, painted: _Painted) -> None:
    """Score a group's candidates as Describe-and-Dissect does, or say why that cannot be done."""
    if group.failure is not None:
        return
    asked = group.candidates
    group.candidates = [concept for concept in asked if concept in painted.pictures]
    if not group.candidates:
        every = [image for concept in asked for image in painted.made.get(concept, ())]
        reason = rejection(every, asked, painted.remedy)
        group.failure = Outcome("rejected", {}, reason)
        return
    found = _scores(context, group.unit, group.candidates, group.images, painted)
    if found.status != "ok":
        group.failure = found
        return
    listed = found.payload["concepts"]
    group.labels = best_labels(context.study.dissection, listed, group.candidates)


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
    said: Mapping[str, str],
) -> Outcome:
    failed = [group.failure for group in groups if group.failure is not None]
    again = next((one for one in failed if one.status in RETRYABLE), None)
    labelled = [group for group in groups if group.labels]
    if again is not None or not labelled:
        return again or failed[0]
    unit = groups[0].unit
    labelled = _answered(labelled, sample, painted)
    names = [group.labels[0]["label"] for group in labelled]
    tried = [phrase for phrase in phrases_to_try(names) if phrase in painted.pictures]
    responses = {phrase: painted.response(unit, phrase) for phrase in tried}
    part = polysemantic_of(context).response
    one_each = one_concept_each(names, responses, sample.base, part)
    entries = [_entry(context, one, labelled, sample, painted, said) for one in one_each]
    entries.sort(key=lambda entry: (-entry["mass"], entry["label"]))
    inside = {name for group in labelled for name in group.images}
    payload = {
        "count": len(entries),
        "label": " or ".join(entry["label"] for entry in entries),
        "score": entries[0]["score"],
        "labels": [{"label": entry["label"], "score": entry["score"]} for entry in entries],
        "concepts": entries,
        "outliers": _images([n for n in sample.activation if n not in inside], sample, said),
    }
    used = {name for group in labelled for name in group.candidates} | set(tried)
    files = sorted({file for name in used for file in painted.files[name]})
    return Outcome("ok", payload, notes={"files": files, "responses": responses})


def _answered(groups: Sequence[_Group], sample: _Sample, painted: _Painted) -> list[_Group]:
    """Groups to whose label the unit answers more than to the average image; if to none, all."""
    kept = [
        group
        for group in groups
        if painted.response(group.unit, group.labels[0]["label"]) > sample.base
    ]
    return kept or list(groups)


def _entry(
    context: StudyContext,
    one: OneConcept,
    groups: Sequence[_Group],
    sample: _Sample,
    painted: _Painted,
    said: Mapping[str, str],
) -> dict[str, Any]:
    """What is kept of one concept: all candidates of its groups scored together."""
    mine = [groups[place] for place in one.groups]
    inside = {name for group in mine for name in group.images}
    images = [name for name in sample.activation if name in inside]
    every = dict.fromkeys([one.label, *(name for group in mine for name in group.candidates)])
    found = _scores(context, mine[0].unit, list(every), images, painted).payload["concepts"]
    others = [
        {"label": entry["concept"], "score": entry["score"]}
        for entry in found
        if entry["concept"] != one.label
    ]
    return {
        "label": one.label,
        "score": next(entry["score"] for entry in found if entry["concept"] == one.label),
        "response": painted.response(mine[0].unit, one.label),
        "mass": float(sum(max(sample.activation[name], 0.0) for name in images)),
        "groups": len(mine),
        "exemplars": _images(images, sample, said),
        "pictures": [{"image": name} for name in painted.pictures[one.label]],
        "runners_up": others[: context.study.dissection.labels],
    }


def _images(
    names: Sequence[str], sample: _Sample, said: Mapping[str, str]
) -> list[dict[str, object]]:
    return [
        {"image": name, "activation": sample.activation[name], "caption": said[name]}
        for name in names
    ]
