"""Detection scores: how well candidate concepts predict where a unit is active.

The paper selects a concept by the unit's strongest activations. Here a concept is judged over
images from the whole range of activations; see `methods.concept_detection`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from dnd_assets.assets.activations import on_probing_images, probing_images
from dnd_assets.assets.probing_set import ProbingSet
from dnd_assets.lineage.records import PROBING_SET, Outcome
from dnd_assets.methods.detection_label import (
    DetectionLabel,
    DetectionSettings,
    Reference,
    label_by_detection,
    reference_of,
)
from dnd_assets.methods.seeds import content_seed
from dnd_assets.sharing import caption_cost, captions, first_failure, layer_provider
from dnd_assets.stage import Results, Stage, Work
from dnd_assets.study import Dissection
from dnd_assets.units import Unit
from dnd_assets.workbench import Workbench

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
    uses = ("captioner", "targets", "compute")
    by_neuron = True

    def parameters(self, bench: Workbench) -> dict[str, Any]:
        """How many images, phrases and concepts; margin, least confidence and seed."""
        names = {
            "exemplars", "candidates", "reference_images", "contrast_phrases", "margin",
            "min_confidence", "seed",
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
        reference = reference_of(chosen, [str(known[name]) for name in chosen])
        lookup = {one.unit: one for one in work}
        for units, values in on_probing_images(bench, list(lookup), images):
            for unit in units:
                active = dict(zip(images, values[:, unit.neuron].tolist(), strict=True))
                outcome = _outcome(bench.study.dissection, lookup[unit], reference, active)
                yield lookup[unit], outcome


def reference_images(images: Sequence[str], count: int) -> list[str]:
    """So many of the images, drawn by their hashes alone, in the order of the draw.

    An image that joins the probing set takes the place of one other at most.
    """
    return sorted(images, key=lambda name: (content_seed("reference image", name), name))[:count]


def _outcome(
    setting: Dissection, work: Work, reference: Reference, active: Mapping[str, float]
) -> Outcome:
    """The outcome of one unit, from its activation on each probing image."""
    captioned = {
        entry["image"]: str(entry["caption"])
        for entry in work.inputs["captions"].payload["captions"]
    }
    summary = work.inputs["candidate_concepts"].payload["candidates"]
    known = {name: active[name] for name in (*reference.images, *captioned) if name in active}
    numbers = DetectionSettings(
        setting.candidates, setting.contrast_phrases, 2 * setting.exemplars, setting.margin,
        setting.seed,
    )  # fmt: skip
    found = label_by_detection(work.unit.key, summary, captioned, reference, known, numbers)
    if found is None:
        return Outcome("no_concept", {}, "no phrase of the captions predicts where it is active")
    payload = _payload(found, setting.candidates)
    if found.confidence < setting.min_confidence:
        reason = (
            f"nearest is {payload['label']!r}, right with probability {found.confidence:.2f}; "
            f"dissection.min_confidence asks for {setting.min_confidence:g}"
        )
        return Outcome("no_concept", payload, reason)
    return Outcome("ok", payload)


def _payload(found: DetectionLabel, painted: int) -> dict[str, Any]:
    """The label, the concepts that come next, and which of them are painted."""
    best = found.best
    listed = [best, *(one for one in found.order if one.candidate != best.candidate)][:KEPT]
    every = [best.candidate, *found.without, *(one.candidate for one in listed)]
    return {
        "label": best.candidate.text,
        "confidence": found.confidence,
        "evidence": {**asdict(found.evidence), "images": found.images},
        "concepts": [
            {"concept": one.candidate.text, "mcc": one.mcc, "threshold": one.threshold,
             "share": one.share}
            for one in listed
        ],
        "candidates": list(dict.fromkeys(one.text for one in every))[:painted],
        "counterfactuals": [one.text for one in found.without],
    }  # fmt: skip
