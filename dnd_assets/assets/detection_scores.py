"""Detection scores: how well candidate concepts predict where a unit is active.

The paper selects a concept by the unit's strongest activations. Here a concept is judged over
images from the whole range of activations; see `methods.concept_detection`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
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
from dnd_assets.engine.cache.unstored_vectors import unstored_embeddings
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
from resources.runtime.threads import in_threads

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
        providers = {"target": layer_provider(context, unit), "captioner": captioner}
        if _asks_encoder(context):
            providers["clip"] = context.lineage.provider(context.known_by(context.clip))
        return providers

    def cost(self, context: StudyContext, work: Iterable[Work]) -> dict[str, int]:
        """Captions of reference images that are not known or planned yet, once for all units."""
        passes, images = probing_passes(context, work)
        references = reference_images(images, context.study.dissection.reference_images)
        if not images:
            return {}
        counts = {"forward passes": passes, **caption_cost(context, references)}
        if _asks_encoder(context):
            counts["embeddings"] = embeddings_to_make(context, references)
        return counts

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
            yield from ((item, reference) for item in work)
            return
        lookup = {item.unit: item for item in work}
        likeness = _likeness(context, reference, work, images) if _asks_encoder(context) else None
        unlabelled = 0
        for layer in on_probing_images(context, list(lookup), images):
            rows = {name: row for row, name in enumerate(layer.images)}
            for start in range(0, len(layer.units), _TOGETHER):
                tries = []
                for unit in layer.units[start : start + _TOGETHER]:
                    item, column = lookup[unit], layer.values[:, unit.neuron]
                    needed_images = {*reference.images, *_exemplars(item)} & rows.keys()
                    activations = {
                        name: float(column[rows[name]]) for name in sorted(needed_images)
                    }
                    tries.append(_Try(context.study.dissection, item, reference, activations))
                for item, outcome in _outcomes(tries, likeness):
                    unlabelled += outcome.status == "no_concept"
                    yield item, outcome
        context.log(f"{self.name}: {unlabelled:,} of {len(work):,} units end without a concept")


def reference_images(images: Sequence[str], count: int) -> list[str]:
    """So many of the images, drawn by their hashes alone, in the order of the draw.

    An image that joins the probing set takes the place of one other at most.
    """
    return sorted(images, key=lambda name: (content_seed("reference image", name), name))[:count]


def _captioned(context: StudyContext, images: Sequence[str]) -> ReferenceImages | Outcome:
    """The reference images that have a caption of use; an outcome where there are none.

    A picture that the captioner refuses, or says nothing of, is left out, and counted in the log.
    """
    references = reference_images(images, context.study.dissection.reference_images)
    caption_by_image = captions(context, references)
    failure = first_unanswered(caption_by_image, references)
    if failure is not None:
        return failure
    texts = {name: _read(caption_entry(name, caption_by_image[name])) for name in references}
    useful = {name: text for name, text in texts.items() if text}
    if len(useful) < len(texts):
        context.log(
            f"warning: {len(texts) - len(useful):,} of {len(texts):,} reference images have no "
            "caption of use, and are left out"
        )
    if not useful:
        reason = f"no caption of {len(texts):,} reference images is of use"
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
        images: unit vectors of images, (N, D); a row of zeros is like no text more than another.
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
            self.texts.update(unstored_embeddings(self.context, missing))

    def __call__(self, texts: Sequence[str], *, images: Sequence[str]) -> Matrix:
        """Cosines, (texts, images)."""
        self.learn(texts)
        image_vectors = self.images[[self.rows[name] for name in images]]
        text_vectors = (
            np.stack([self.texts[text] for text in texts]) if texts else image_vectors[:0]
        )
        return np.asarray(text_vectors @ image_vectors.T)


def _likeness(
    context: StudyContext, reference: ReferenceImages, work: Sequence[Work], images: Sequence[str]
) -> _Likeness:
    """The encoder's view of the reference images and of all exemplars that are whole images."""
    probing = set(images)
    exemplars = {name for item in work for name in _exemplars(item) if name in probing}
    rows, vectors = embeddings(context, [*reference.images, *sorted(exemplars)])
    return _Likeness(context, rows, np.nan_to_num(vectors))


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
    cases = in_threads(lambda attempt: attempt.case, tries)
    if likeness is not None:
        likeness.learn(text for case in cases if case is not None for text in case.texts())
    outcomes = in_threads(lambda attempt: _outcome(attempt, likeness), tries)
    return zip((attempt.work for attempt in tries), outcomes, strict=True)


def _outcome(attempt: _Try, likeness: _Likeness | None) -> Outcome:
    """The outcome of one unit."""
    setting, reference, name = attempt.setting, attempt.reference, attempt.name
    label = None if attempt.case is None else label_of(attempt.case, attempt.numbers, likeness)
    if label is None:
        return Outcome("no_concept", {}, "no phrase of the captions predicts where it is active")
    finite = {image: value for image, value in attempt.active.items() if isfinite(value)}
    image_examples = examples(label.best.candidate, reference, finite, name)
    payload = _payload(label, setting.candidates) | {
        "examples": [asdict(example) for example in image_examples]
    }
    if label.confidence < setting.min_confidence:
        reason = (
            f"nearest is {payload['label']!r}, right with probability {label.confidence:.2f}; "
            f"dissection.min_confidence asks for {setting.min_confidence:g}"
        )
        return Outcome("no_concept", payload, reason)
    return Outcome("ok", payload)


def _payload(label: DetectionLabel, painted: int) -> dict[str, object]:
    """The label, the concepts that come next, and which of them are painted."""
    best = label.best
    runners_up = (score for score in label.order if score.candidate != best.candidate)
    # What all images show, or none, has no threshold: it tells nothing.
    ranked = [best, *(score for score in runners_up if isfinite(score.threshold))][:KEPT]
    phrases = [best.candidate, *label.without, *(score.candidate for score in ranked)]
    # A painter draws what "not red" names: it knows no negation.
    paintable = [phrase.text for phrase in phrases if not phrase.negated]
    return {
        "label": best.candidate.text,
        "confidence": label.confidence,
        "evidence": {**asdict(label.evidence), "images": label.images},
        "concepts": [
            {"concept": score.candidate.text, "mcc": score.mcc, "threshold": score.threshold,
             "share": score.share, "agreement": score.agreement}
            for score in ranked
        ],
        "candidates": list(dict.fromkeys(paintable))[:painted],
        "counterfactuals": [phrase.text for phrase in label.without],
    }  # fmt: skip
