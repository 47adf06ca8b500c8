"""Synthetic images: pictures painted of each candidate concept (DnD, step 3)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import NotRequired, TypedDict

from dnd_assets.engine.cache.shared_results import (
    first_failure,
    most_paintings,
    painting_cost,
    paintings,
)
from dnd_assets.engine.context import StudyContext
from dnd_assets.engine.stage import Results, Stage, Work
from dnd_assets.lineage.records import Outcome
from dnd_assets.methods import seeds
from dnd_assets.methods.dissection import painted
from dnd_assets.study.deciding import parameters_of_dissection
from dnd_assets.units import Unit
from resources.text_to_image.base import PaintRequest

ROUNDS = 2
"""A concept may be painted up to this many times Q before its rejections drop it."""


class PaintedEntry(TypedDict):
    """A synthetic picture of a concept.

    Attributes:
        index: its number among those of the concept, from 0.
        seed: what it was painted from, with the concept.
        image: its hash.
        rejected: whether it is no evidence.
        cause: why, unless the safety checker refused it.
        file: the pack that holds it; not part of the product.
    """

    index: int
    seed: int
    image: str
    rejected: bool
    cause: NotRequired[str]
    file: NotRequired[str]


Images = list[PaintedEntry]
Request = Callable[[str, int], PaintRequest]


class SyntheticImages(Stage):
    """Q pictures of every candidate concept, shared by all units that propose it.

    Each picture's seed comes from its concept and index. A picture that the safety checker rejects,
    or that is none (NaN, all pixels the same), is recorded and replaced by the next index.
    """

    name = "synthetic_images"
    upstream = ("candidate_concepts",)
    group = "step_3_selection"
    kinds = frozenset({"huggingface"})
    uses = ("text_to_image", "compute")

    def __init__(self, proposed_by: str = "candidate_concepts") -> None:
        """With the asset whose `candidates` are painted."""
        self.upstream = (proposed_by,)

    def parameters(self, context: StudyContext) -> dict[str, object]:
        """Q and the base seed."""
        return parameters_of_dissection(self.name, context.study)

    def weights(self, context: StudyContext, unit: Unit) -> dict[str, str]:
        """The text-to-image pipeline with its prompt, scheduler and steps."""
        return {"text_to_image": context.lineage.provider(context.text_to_image.fingerprint())}

    def cost(self, context: StudyContext, work: Iterable[Work]) -> dict[str, int]:
        """Pictures to paint, if none is rejected."""
        setting = context.study.dissection
        concepts = {
            concept
            for item in work
            for concept in item.inputs[self.upstream[0]].payload["candidates"]
        }
        requests = [
            _request(concept, index, setting.seed)
            for concept in concepts
            for index in range(setting.images_per_concept)
        ]
        return painting_cost(context, requests)

    def cost_upper_bound(self, context: StudyContext, units: int) -> dict[str, int]:
        """Q pictures of each of N_c concepts, all rejected and painted again."""
        most = ROUNDS * most_paintings(context, units)
        calls = {"picture calls": most} if context.study.text_to_image.SERVED else {}
        return {"paintings": most, **calls}

    def compute(self, context: StudyContext, work: Sequence[Work]) -> Results:
        """Outcomes with `concepts` [{concept, images [{index, seed, image, rejected}]}]."""
        proposals = {
            item.unit: item.inputs[self.upstream[0]].payload["candidates"] for item in work
        }
        result = painted_concepts(
            context, {concept for candidates in proposals.values() for concept in candidates}
        )
        count = context.study.dissection.images_per_concept
        for item in work:
            concepts = proposals[item.unit]
            failure = result.failure(concepts)
            remedy = context.text_to_image.remedy()
            yield (
                item,
                failure
                or _outcome(
                    {concept: result.images[concept] for concept in concepts}, count, remedy
                ),
            )


@dataclass(frozen=True)
class Painted:
    """What came of painting some concepts.

    Attributes:
        images: pictures of each concept, rejected ones beside them.
        failed: why pictures of a concept are lacking, where a service failed.
    """

    images: dict[str, Images]
    failed: dict[str, Outcome]

    def failure(self, concepts: Iterable[str]) -> Outcome | None:
        """What becomes of a unit that needs these concepts, when one of them failed."""
        return next((self.failed[concept] for concept in concepts if concept in self.failed), None)


def painted_concepts(context: StudyContext, concepts: Iterable[str]) -> Painted:
    """The study's Q pictures of each concept, rejected ones beside them."""
    count, seed = context.study.dissection.images_per_concept, context.study.dissection.seed
    distinct = sorted(set(concepts))
    return paint(context, distinct, count, lambda concept, index: _request(concept, index, seed))


def accepted(images: Images, count: int) -> list[str] | None:
    """Hashes of so many pictures that were not rejected; None when there are fewer."""
    hashes = [image["image"] for image in images if not image["rejected"]]
    return hashes[:count] if len(hashes) >= count else None


def paint(context: StudyContext, concepts: Sequence[str], count: int, request: Request) -> Painted:
    """Pictures of each concept until so many are accepted or the rounds are used up.

    Args:
        context: the study's context.
        concepts: what to paint.
        count: how many accepted pictures each of them needs.
        request: the request for a concept and the index of a picture.
    """
    pictures: dict[str, Images] = {concept: [] for concept in concepts}
    failures: dict[str, Outcome] = {}
    for _ in range(ROUNDS):
        requests = {}
        for concept, images in pictures.items():
            if concept in failures:
                continue
            missing = count - sum(not image["rejected"] for image in images)
            for index in range(len(images), len(images) + missing):
                requests[concept, index] = request(concept, index)
        results = paintings(context, requests.values()) if requests else {}
        for (concept, index), painting_request in requests.items():
            failure = first_failure(results, [painting_request])
            if failure is None:
                painting = results[painting_request]  # no Failure: see `failure`
                picture = {"index": index, "seed": painting_request.seed, **painting}
                pictures[concept].append(picture)  # type: ignore[arg-type]
            else:
                failures.setdefault(concept, failure)
    _warn(context, [image for images in pictures.values() for image in images])
    return Painted(pictures, failures)


def rejection(images: Images, names: Iterable[str], remedy: str) -> str:
    """Why no concept has enough pictures, and what to do, unless the safety checker did it all."""
    reason = painted.why(images, f"the pictures of every candidate concept ({', '.join(names)})")
    safe = all(painted.cause_of(image) in ("", "safety") for image in images)
    return reason if safe else f"{reason}. {remedy}"


def _warn(context: StudyContext, images: Images) -> None:
    """Say how many pictures are none, with the remedy."""
    count = sum(painted.cause_of(image) in ("not_finite", "constant") for image in images)
    if count:
        context.log(
            f"warning: {count:,} of {len(images):,} painted pictures are NaN or of one colour, and "
            f"are not scored. {context.text_to_image.remedy()}"
        )


def _request(concept: str, index: int, seed: int) -> PaintRequest:
    drawn = seeds.content_seed("synthetic image", concept, index, seed)
    return PaintRequest(concept, drawn, index)


def _outcome(images_by_concept: dict[str, Images], count: int, remedy: str) -> Outcome:
    complete = {
        concept: images
        for concept, images in images_by_concept.items()
        if accepted(images, count) is not None
    }
    all_images = [image for images in images_by_concept.values() for image in images]
    files = sorted({image["file"] for image in all_images})
    payload = {
        "concepts": [
            {
                "concept": concept,
                "images": [{k: v for k, v in image.items() if k != "file"} for image in images],
            }
            for concept, images in (complete or images_by_concept).items()
        ]
    }
    if not complete:
        return Outcome(
            "rejected", payload, rejection(all_images, images_by_concept, remedy), {"files": files}
        )
    return Outcome(
        "ok",
        payload,
        notes={"files": files, "dropped": sorted(set(images_by_concept) - set(complete))},
    )
