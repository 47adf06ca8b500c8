"""Captions: each activating image in words (DnD, step 2)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from dnd_assets.lineage.records import Outcome
from dnd_assets.sharing import caption_cost, captions, first_failure
from dnd_assets.stage import Results, Stage, Work
from dnd_assets.units import Unit
from dnd_assets.workbench import Workbench


class Captions(Stage):
    """A caption for every image of the activating set; one caption per distinct picture."""

    name = "captions"
    upstream = ("crops",)
    group = "step_2_candidates"
    kinds = frozenset({"huggingface"})
    uses = ("captioner", "compute")

    def parameters(self, bench: Workbench) -> dict[str, Any]:
        """Nothing but the model, whose settings are part of its fingerprint."""
        return {}

    def weights(self, bench: Workbench, unit: Unit) -> dict[str, str]:
        """The captioner."""
        return {"captioner": bench.lineage.provider(bench.captioner.fingerprint())}

    def cost(self, bench: Workbench, work: Iterable[Work]) -> dict[str, int]:
        """Pictures that have no caption yet, and calls to a server that they take."""
        return caption_cost(bench, [name for one in work for name in _activating(one)])

    def most(self, bench: Workbench, units: int) -> dict[str, int]:
        """A caption for each of K pictures."""
        most = units * bench.study.dissection.exemplars
        calls = {"LLM calls": most} if bench.study.captioner.kind == "chat" else {}
        return {"captions": most, **calls}

    def compute(self, bench: Workbench, work: Sequence[Work]) -> Results:
        """Outcomes with `captions` [{image, caption}], most activating image first."""
        chosen = {one.unit: _activating(one) for one in work}
        known = captions(bench, {name for names in chosen.values() for name in names})
        for one in work:
            names = chosen[one.unit]
            failed = first_failure(known, names)
            yield one, failed or _outcome([(name, str(known[name])) for name in names])


def _activating(work: Work) -> list[str]:
    return [entry["image"] for entry in work.inputs["crops"].payload["activating"]]


def _outcome(found: Sequence[tuple[str, str]]) -> Outcome:
    payload = {"captions": [{"image": name, "caption": said} for name, said in found]}
    if not any(said.strip() for _, said in found):
        reason = f"the captioner returned nothing for all {len(found)} activating images"
        return Outcome("no_captions", payload, reason)
    return Outcome("ok", payload)
