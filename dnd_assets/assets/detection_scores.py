"""Detection scores: how well candidate concepts predict where a unit is active.

The paper selects a concept by the unit's strongest activations. Here a concept is judged over
images from the whole range of activations; see `methods.concept_detection`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from dnd_assets.assets.activations import on_probing_images, probing_images
from dnd_assets.assets.probing_set import ProbingSet
from dnd_assets.lineage.records import PROBING_SET, Outcome
from dnd_assets.methods.activation_ranges import sample_reach
from dnd_assets.methods.concept_detection import (
    Candidate,
    Detected,
    Words,
    candidates_of,
    choose,
    narrower,
    ranked,
    trial,
)
from dnd_assets.methods.concepts import (
    commonest,
    consensus_concepts,
    content_words,
    phrase_forms,
)
from dnd_assets.methods.contrast import contrast_phrases
from dnd_assets.methods.label_confidence import evidence, probability
from dnd_assets.methods.seeds import content_seed
from dnd_assets.sharing import caption_cost, captions, first_failure, layer_provider
from dnd_assets.stage import Results, Stage, Work
from dnd_assets.study import Dissection
from dnd_assets.units import Unit
from dnd_assets.workbench import Workbench

KEPT = 10
"""Concepts that are kept with their scores, best first."""


@dataclass(frozen=True)
class _Reference:
    """Random probing images with their captions, the same for all units of a study.

    Attributes:
        images: hashes, in an order that is drawn from the hashes alone.
        captions: of each image.
        words: content words of each caption.
        forms: how phrases of the captions are written most often, by their words.
    """

    images: Sequence[str]
    captions: Sequence[str]
    words: Sequence[Words]
    forms: Mapping[Words, str]


class DetectionScores(Stage):
    """Which phrase's presence in captions predicts best where the unit is active, and how surely.

    Candidates are the summariser's concepts, phrases that set the captions of the unit's exemplars
    apart from those of random probing images, all of these without some of their words, and pairs
    of the best joined by "or".
    """

    name = "detection_scores"
    upstream = (PROBING_SET, "activations", "captions", "candidate_concepts")
    wholes = (ProbingSet(),)
    group = "step_2_candidates"
    kinds = frozenset({"numpy"})
    uses = ("captioner", "targets", "compute")
    by_neuron = True

    def parameters(self, bench: Workbench) -> dict[str, Any]:
        """How many random images, phrases and concepts; margin, least confidence and seed."""
        names = {
            "candidates", "reference_images", "contrast_phrases", "margin", "min_confidence",
            "seed",
        }  # fmt: skip
        return bench.study.dissection.model_dump(include=names)

    def weights(self, bench: Workbench, unit: Unit) -> dict[str, str]:
        """The layer of the target network, and the captioner."""
        captioner = bench.lineage.provider(bench.captioner.fingerprint())
        return {"target": layer_provider(bench, unit), "captioner": captioner}

    def cost(self, bench: Workbench, work: Iterable[Work]) -> dict[str, int]:
        """Captions of random probing images that were never made."""
        first = next(iter(work), None)
        if first is None:
            return {}
        count = bench.study.dissection.reference_images
        return caption_cost(bench, reference_images(probing_images(bench, first), count))

    def most(self, bench: Workbench, units: int) -> dict[str, int]:
        """A caption for each random probing image."""
        most = bench.study.dissection.reference_images
        calls = {"LLM calls": most} if bench.study.captioner.kind == "chat" else {}
        return {"captions": most, **calls}

    def compute(self, bench: Workbench, work: Sequence[Work]) -> Results:
        """Outcomes with `label`, `confidence`, `evidence`, `concepts` and `candidates`.

        Each of `concepts` has `concept`, `mcc`, `threshold` and `share`, best first; `candidates`
        are the concepts to be painted, the label first. A unit that no concept explains has the
        status `no_concept`, and what came nearest in its reason.
        """
        images = probing_images(bench, work[0])
        chosen = reference_images(images, bench.study.dissection.reference_images)
        known = captions(bench, chosen)
        failed = first_failure(known, chosen)
        if failed is not None:
            yield from ((one, failed) for one in work)
            return
        reference = _reference(chosen, [str(known[name]) for name in chosen])
        lookup = {one.unit: one for one in work}
        for units, values in on_probing_images(bench, list(lookup), images):
            rows = {name: row for row, name in enumerate(images)}
            for unit in units:
                column = {name: float(values[row, unit.neuron]) for name, row in rows.items()}
                one = lookup[unit]
                yield one, _detect(bench.study.dissection, one, reference, column)


def reference_images(images: Sequence[str], count: int) -> list[str]:
    """So many of the images, drawn by their hashes alone, in the order of the draw.

    An image that joins the probing set takes the place of one other at most.
    """
    return sorted(images, key=lambda name: (content_seed("reference image", name), name))[:count]


def _reference(images: Sequence[str], texts: Sequence[str]) -> _Reference:
    forms: dict[Words, str] = {}
    for key, written in sorted(phrase_forms(texts).items()):
        forms.setdefault(frozenset(key), commonest(written))
    return _Reference(images, texts, [_words(text) for text in texts], forms)


def _words(text: str) -> Words:
    return frozenset(singular for singular, _ in content_words(text))


def _detect(
    setting: Dissection, work: Work, reference: _Reference, active: Mapping[str, float]
) -> Outcome:
    """The outcome of one unit, from its activation on each probing image."""
    captioned = {
        entry["image"]: str(entry["caption"])
        for entry in work.inputs["captions"].payload["captions"]
    }
    own = work.inputs["candidate_concepts"].payload["candidates"]
    phrases = [*own, *_proposed(setting, work.unit, reference, active, list(captioned.values()))]
    known = dict(zip(reference.images, reference.words, strict=True))
    # The strongest images are known, too; without them a unit that seldom fires has no positive.
    strongest = work.inputs["activations"].payload["exemplars"]
    known |= {
        entry["image"]: _words(captioned[entry["image"]])
        for entry in strongest
        if entry["image"] in captioned
    }
    seen = [name for name in known if np.isfinite(active[name])]
    values = np.array([active[name] for name in seen])
    tried = trial(candidates_of(phrases, reference.forms), [known[name] for name in seen], values)
    best = choose(tried.whole, setting.margin)
    if best is None:
        return Outcome("no_concept", {}, f"none of {len(tried.candidates):,} phrases fits")
    found = evidence(tried, best, setting.margin, setting.seed)
    without = narrower(best.candidate, reference.forms)
    payload = _payload(best, ranked(tried.whole), without, setting.candidates) | {
        "confidence": probability(found),
        "evidence": {**asdict(found), "images": len(seen)},
    }
    if payload["confidence"] < setting.min_confidence:
        return Outcome("no_concept", payload, _reason(payload, setting.min_confidence))
    return Outcome("ok", payload)


def _proposed(
    setting: Dissection,
    unit: Unit,
    reference: _Reference,
    active: Mapping[str, float],
    strong: Sequence[str],
) -> Iterator[str]:
    """Phrases that captions of clearly activating images share, or that set them apart."""
    captions_of = dict(zip(reference.images, reference.captions, strict=True))
    names = [name for name in reference.images if np.isfinite(active[name])]
    column = np.array([active[name] for name in names])
    rows = sample_reach(column, names, unit.key, n=2 * setting.exemplars, seed=setting.seed)
    wide = [captions_of[names[row]] for row in rows]
    yield from consensus_concepts(wide, setting.candidates)
    yield from contrast_phrases([*strong, *wide], reference.captions, setting.contrast_phrases)


def _payload(
    best: Detected, order: Sequence[Detected], without: Sequence[Candidate], painted: int
) -> dict[str, Any]:
    """The label, the concepts that come next, and which of them are painted."""
    listed = [best, *(one for one in order if one.candidate != best.candidate)][:KEPT]
    fill = [one.candidate for one in listed[1:]]
    texts = dict.fromkeys(one.text for one in (best.candidate, *without, *fill))
    return {
        "label": best.candidate.text,
        "concepts": [
            {"concept": one.candidate.text, "mcc": one.mcc, "threshold": one.threshold,
             "share": one.share}
            for one in listed
        ],
        "candidates": list(texts)[:painted],
        "counterfactuals": [one.text for one in without],
    }  # fmt: skip


def _reason(payload: Mapping[str, Any], least: float) -> str:
    return (
        f"nearest is {payload['label']!r}, right with probability {payload['confidence']:.2f}; "
        f"dissection.min_confidence asks for {least:g}"
    )
