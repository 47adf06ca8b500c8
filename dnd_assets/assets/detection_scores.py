"""Detection scores: how well candidate concepts predict where a unit is active.

The paper selects a concept by the unit's strongest activations. Here a concept is judged over
images from the whole range of activations; see `methods.concept_detection`.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from functools import cached_property
from math import isfinite
from typing import Final

import numpy as np

from dnd_assets.assets.activations import on_probing_images, probing_images, probing_passes
from dnd_assets.assets.captions import caption_entry
from dnd_assets.assets.probing_set import ProbingSet
from dnd_assets.engine.cache.shared_results import (
    caption_cost,
    captions,
    embeddings,
    embeddings_to_make,
    first_unanswered,
    layer_provider,
)
from dnd_assets.engine.cache.vectors import Matrix
from dnd_assets.engine.context import StudyContext
from dnd_assets.engine.stage import Results, Stage, Work
from dnd_assets.lineage.records import PROBING_SET, Outcome
from dnd_assets.methods.dissection.detection_examples import examples
from dnd_assets.methods.dissection.detection_label import (
    DetectionCase,
    DetectionLabel,
    DetectionSettings,
    ReferenceImages,
    detection_case,
    label_of,
    reference_of,
)
from dnd_assets.methods.seeds import content_seed
from dnd_assets.study.deciding import parameters_of_dissection
from dnd_assets.study.method_settings import DissectionSettings
from dnd_assets.units import Unit

_TOGETHER: Final = 64
"""Units whose texts are embedded together."""
KEPT = 10
"""Concepts that are kept with their scores, best first."""


class DetectionScores(Stage):
    """Which phrase's presence in captions predicts best where the unit is active, and how surely.

    Candidates are the summariser's concepts, phrases that set the captions of the unit's exemplars
    apart from those of random probing images, all of these without some of their words, and pairs
    of the best joined by "or".
    """

    name = "detection_scores"
    upstream = (PROBING_SET, "captions", "candidate_concepts")
    wholes = (ProbingSet(),)
    group = "step_2_candidates"
    kinds = frozenset({"numpy"})
    uses = ("captioner", "targets", "clip", "compute")
    by_neuron = True

    def parameters(self, context: StudyContext) -> dict[str, object]:
        """How many images, phrases and concepts; margin, least confidence and seed."""
        return parameters_of_dissection(self.name, context.study)

    def weights(self, context: StudyContext, unit: Unit) -> dict[str, str]:
        """The layer of the target network, the captioner, and the encoder where it is asked."""
        captioner = context.lineage.provider(context.known_by(context.captioner))
        found = {"target": layer_provider(context, unit), "captioner": captioner}
        if _asks_encoder(context):
            found["clip"] = context.lineage.provider(context.known_by(context.clip))
        return found

    def cost(self, context: StudyContext, work: Iterable[Work]) -> dict[str, int]:
        """Captions of reference images that are not known or planned yet, once for all units."""
        passes, images = probing_passes(context, work)
        chosen = reference_images(images, context.study.dissection.reference_images)
        if not images:
            return {}
        found = {"forward passes": passes, **caption_cost(context, chosen)}
        if _asks_encoder(context):
            found["embeddings"] = embeddings_to_make(context, chosen)
        return found

    def cost_upper_bound(self, context: StudyContext, units: int) -> dict[str, int]:
        """A caption for each reference image, however many the units."""
        most = context.study.dissection.reference_images
        calls = {"LLM calls": most} if context.study.captioner.SERVED else {}
        return {"captions": most, **calls}

    def compute(self, context: StudyContext, work: Sequence[Work]) -> Results:
        """Outcomes with `label`, `confidence`, `evidence`, `concepts` and `candidates`.

        Each of `concepts` has `concept`, `mcc`, `threshold`, `share` and `agreement`, best first.
        `candidates` are the concepts to be painted, the label first. `examples` are reference
        images from the whole range of activations, with the concept and without. A unit that no
        concept explains has the status `no_concept`, and what came nearest in its reason.
        """
        images = probing_images(context, work[0])
        reference = _captioned(context, images)
        if isinstance(reference, Outcome):
            yield from ((one, reference) for one in work)
            return
        lookup = {one.unit: one for one in work}
        likeness = _likeness(context, reference, work, images) if _asks_encoder(context) else None
        without = 0
        for layer in on_probing_images(context, list(lookup), images):
            rows = {name: row for row, name in enumerate(layer.images)}
            for start in range(0, len(layer.units), _TOGETHER):
                tries = []
                for unit in layer.units[start : start + _TOGETHER]:
                    one, column = lookup[unit], layer.values[:, unit.neuron]
                    wanted = {*reference.images, *_exemplars(one)} & rows.keys()
                    active = {name: float(column[rows[name]]) for name in sorted(wanted)}
                    tries.append(_Try(context.study.dissection, one, reference, active))
                for one, outcome in _outcomes(tries, likeness):
                    without += outcome.status == "no_concept"
                    yield one, outcome
        context.log(f"{self.name}: {without:,} of {len(work):,} units end without a concept")


def reference_images(images: Sequence[str], count: int) -> list[str]:
    """So many of the images, drawn by their hashes alone, in the order of the draw.

    An image that joins the probing set takes the place of one other at most.
    """
    return sorted(images, key=lambda name: (content_seed("reference image", name), name))[:count]


def _captioned(context: StudyContext, images: Sequence[str]) -> ReferenceImages | Outcome:
    """The reference images that have a caption of use; an outcome where there are none.

    A picture that the captioner refuses, or says nothing of, is left out, and counted in the log.
    """
    chosen = reference_images(images, context.study.dissection.reference_images)
    known = captions(context, chosen)
    failed = first_unanswered(known, chosen)
    if failed is not None:
        return failed
    said = {name: _read(caption_entry(name, known[name])) for name in chosen}
    useful = {name: text for name, text in said.items() if text}
    if len(useful) < len(said):
        context.log(
            f"warning: {len(said) - len(useful):,} of {len(said):,} reference images have no "
            "caption of use, and are left out"
        )
    if not useful:
        reason = f"no caption of {len(said):,} reference images is of use"
        return Outcome("no_captions", {}, reason)
    return reference_of(list(useful), list(useful.values()))


def _read(entry: Mapping[str, str]) -> str:
    """A caption as a summariser reads it; empty where it says nothing."""
    return entry.get("read") or entry["caption"]


def _exemplars(work: Work) -> dict[str, str]:
    """The captions of a unit's exemplars and crops, by hash."""
    entries = work.inputs["captions"].payload["captions"]
    return {entry["image"]: text for entry in entries if (text := _read(entry))}


def _asks_encoder(context: StudyContext) -> bool:
    return context.study.dissection.presence == "both"


@dataclass
class _Likeness:
    """How like images are to texts for the study's image-text encoder.

    Attributes:
        context: the study's context.
        rows: place of each image in `images`.
        images: unit vectors of images, (N, D); a row of NaN is like no text more than another.
        texts: unit vectors of the texts asked for so far.
    """

    context: StudyContext
    rows: Mapping[str, int]
    images: Matrix
    texts: dict[str, Matrix] = field(default_factory=dict)

    def learn(self, texts: Iterable[str]) -> None:
        """Embed texts that will be asked of: many at once take a fraction of the time."""
        missing = sorted({*texts}.difference(self.texts))
        if missing:
            batch = self.context.study.compute.batch.clip
            self.texts.update(
                zip(missing, self.context.clip.embed_texts(missing, batch), strict=True)
            )

    def __call__(self, texts: Sequence[str], *, images: Sequence[str]) -> Matrix:
        """Cosines, (texts, images)."""
        self.learn(texts)
        faces = np.nan_to_num(self.images[[self.rows[name] for name in images]])
        rows = np.stack([self.texts[text] for text in texts]) if texts else faces[:0]
        return np.asarray(rows @ faces.T)


def _likeness(
    context: StudyContext, reference: ReferenceImages, work: Sequence[Work], images: Sequence[str]
) -> _Likeness:
    """The encoder's view of the reference images and of all exemplars that are whole images."""
    known = set(images)
    exemplars = {name for one in work for name in _exemplars(one) if name in known}
    rows, vectors = embeddings(context, [*reference.images, *sorted(exemplars)])
    return _Likeness(context, rows, vectors)


@dataclass(frozen=True)
class _Try:
    """A unit, and its activations on reference images and exemplars."""

    setting: DissectionSettings
    work: Work
    reference: ReferenceImages
    active: Mapping[str, float]

    @property
    def name(self) -> str:
        """Not the key, which begins with what a study calls the network."""
        return f"{self.work.unit.layer}/{self.work.unit.neuron}"

    @cached_property
    def numbers(self) -> DetectionSettings:
        """What the study says of the search."""
        setting = self.setting
        return DetectionSettings(
            setting.candidates, setting.contrast_phrases, 2 * setting.exemplars, setting.margin,
            setting.seed,
        )  # fmt: skip

    @cached_property
    def case(self) -> DetectionCase | None:
        """Its candidates; None where no activation is finite."""
        summary = self.work.inputs["candidate_concepts"].payload["candidates"]
        captioned = _exemplars(self.work)
        return detection_case(
            self.name, summary, captioned, self.reference, self.active, self.numbers
        )


def _outcomes(tries: Sequence[_Try], likeness: _Likeness | None) -> Iterator[tuple[Work, Outcome]]:
    """The outcomes of some units in order, as many at a time as there are processors.

    Array operations leave the interpreter to other threads; no unit depends on another.
    """
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        cases = list(pool.map(lambda one: one.case, tries))
        if likeness is not None:
            likeness.learn(text for case in cases if case is not None for text in case.texts())
        found = pool.map(lambda one: _outcome(one, likeness), tries)
        yield from zip((one.work for one in tries), found, strict=True)


def _outcome(one: _Try, likeness: _Likeness | None) -> Outcome:
    """The outcome of one unit."""
    setting, reference, name = one.setting, one.reference, one.name
    found = None if one.case is None else label_of(one.case, one.numbers, likeness)
    if found is None:
        return Outcome("no_concept", {}, "no phrase of the captions predicts where it is active")
    finite = {image: value for image, value in one.active.items() if isfinite(value)}
    shown = examples(found.best.candidate, reference, finite, name)
    payload = _payload(found, setting.candidates) | {"examples": [asdict(one) for one in shown]}
    if found.confidence < setting.min_confidence:
        reason = (
            f"nearest is {payload['label']!r}, right with probability {found.confidence:.2f}; "
            f"dissection.min_confidence asks for {setting.min_confidence:g}"
        )
        return Outcome("no_concept", payload, reason)
    return Outcome("ok", payload)


def _payload(found: DetectionLabel, painted: int) -> dict[str, object]:
    """The label, the concepts that come next, and which of them are painted."""
    best = found.best
    others = (one for one in found.order if one.candidate != best.candidate)
    # What all images show, or none, has no threshold: it tells nothing.
    listed = [best, *(one for one in others if isfinite(one.threshold))][:KEPT]
    every = [best.candidate, *found.without, *(one.candidate for one in listed)]
    # A painter draws what "not red" names: it knows no negation.
    drawn = [one.text for one in every if not one.negated]
    return {
        "label": best.candidate.text,
        "confidence": found.confidence,
        "evidence": {**asdict(found.evidence), "images": found.images},
        "concepts": [
            {"concept": one.candidate.text, "mcc": one.mcc, "threshold": one.threshold,
             "share": one.share, "agreement": one.agreement}
            for one in listed
        ],
        "candidates": list(dict.fromkeys(drawn))[:painted],
        "counterfactuals": [one.text for one in found.without],
    }  # fmt: skip
