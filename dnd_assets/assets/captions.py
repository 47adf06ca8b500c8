"""Captions: each activating image in words (DnD, step 2)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from dnd_assets.engine.cache.shared_results import caption_cost, captions, first_unanswered
from dnd_assets.engine.context import StudyContext
from dnd_assets.engine.stage import Results, Stage, Work
from dnd_assets.lineage.records import Outcome
from dnd_assets.methods.text import caption_text
from dnd_assets.units import Unit
from resources.model import Failure


class Captions(Stage):
    """A caption for every image of the activating set; one caption per distinct picture."""

    name = "captions"
    upstream = ("crops",)
    group = "step_2_candidates"
    kinds = frozenset({"huggingface"})
    uses = ("captioner", "compute")

    def parameters(self, context: StudyContext) -> dict[str, object]:
        """Nothing but the model, whose settings are part of its fingerprint."""
        return {}

    def weights(self, context: StudyContext, unit: Unit) -> dict[str, str]:
        """The captioner."""
        return {"captioner": context.lineage.provider(context.known_by(context.captioner))}

    def cost(self, context: StudyContext, work: Iterable[Work]) -> dict[str, int]:
        """Pictures that have no caption yet, and calls to a server that they take."""
        return caption_cost(context, [name for item in work for name in _activating(item)])

    def cost_upper_bound(self, context: StudyContext, units: int) -> dict[str, int]:
        """A caption for each of K pictures."""
        most = units * context.study.dissection.exemplars
        calls = {"LLM calls": most} if context.study.captioner.SERVED else {}
        return {"captions": most, **calls}

    def compute(self, context: StudyContext, work: Sequence[Work]) -> Results:
        """Outcomes with `captions` [{image, caption}], most activating image first.

        A caption that a summariser reads otherwise than it is written has that as `read`. One that
        says nothing is empty, with `status`, `reason` and, where its model wrote anything, `raw`.
        """
        exemplars = {item.unit: _activating(item) for item in work}
        caption_by_image = captions(
            context, {name for names in exemplars.values() for name in names}
        )
        for item in work:
            names = exemplars[item.unit]
            failure = first_unanswered(caption_by_image, names)
            yield (
                item,
                failure
                or _outcome([caption_entry(name, caption_by_image[name]) for name in names]),
            )


def _activating(work: Work) -> list[str]:
    return [entry["image"] for entry in work.inputs["crops"].payload["activating"]]


def caption_entry(image: str, caption: str | Failure) -> dict[str, str]:
    """What is kept of a picture's caption: the text as it was written, and what is made of it."""
    if isinstance(caption, Failure):
        return {"image": image, "caption": "", "status": caption.status, "reason": caption.reason}
    problem = caption_text.caption_problem(caption)
    if problem is not None:
        status = {"status": problem[0], "reason": problem[1]} if caption.strip() else {}
        raw = {"raw": caption} if caption.strip() else {}
        return {"image": image, "caption": "", **status, **raw}
    read = caption_text.read_caption(caption)
    differs = read != " ".join(caption.split())
    return {"image": image, "caption": caption, **({"read": read} if differs else {})}


def _outcome(entries: Sequence[dict[str, str]]) -> Outcome:
    payload = {"captions": list(entries)}
    if any(entry["caption"] for entry in entries):
        return Outcome("ok", payload)
    reason = f"the captioner returned nothing for all {len(entries)} activating images"
    kinds = Counter(entry["status"] for entry in entries if "status" in entry)
    if kinds:
        counts = ", ".join(f"{count} {kind}" for kind, count in kinds.most_common())
        example = next(entry["reason"] for entry in entries if "reason" in entry)
        reason = f"no caption of {len(entries)} activating images is of use ({counts}): {example}"
    return Outcome("no_captions", payload, reason)
