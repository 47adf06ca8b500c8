"""Candidate concepts: what most captions of a unit have in common (DnD, step 2)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dnd_assets.lineage.records import Outcome
from dnd_assets.methods import concepts
from dnd_assets.stage import Results, Stage, Work
from dnd_assets.units import Unit
from dnd_assets.workbench import Workbench
from resources.llm_ledger import LineageLedger


class CandidateConcepts(Stage):
    """Up to N_c short concepts that summarise a unit's captions."""

    name = "candidate_concepts"
    upstream = ("captions",)
    uses = ("summariser",)
    sources = (concepts,)

    def parameters(self, bench: Workbench) -> dict[str, Any]:
        """N_c and the seed of the caption orders."""
        return bench.study.dissection.model_dump(include={"candidates", "seed"})

    def weights(self, bench: Workbench, unit: Unit) -> dict[str, str]:
        """The summariser with its model and prompts."""
        return {"summariser": bench.lineage.provider(bench.summariser.fingerprint())}

    def cost(self, bench: Workbench, work: Sequence[Work]) -> dict[str, int]:
        """Calls to a language model, without repairs: one to shorten, N_c to label."""
        if bench.study.summariser.kind != "chat":
            return {}
        return {"LLM calls": len(work) * (1 + bench.study.dissection.candidates)}

    def compute(self, bench: Workbench, work: Sequence[Work]) -> Results:
        """Outcomes with `candidates`, in the summariser's order."""
        setting = bench.study.dissection
        texts = [
            [entry["caption"] for entry in one.inputs["captions"].payload["captions"]]
            for one in work
        ]
        progress = bench.progress("candidate concepts", len(work))
        found = bench.summariser.summarise_many(
            texts,
            setting.candidates,
            setting.seed,
            lambda *_: progress.advance(1),
            LineageLedger(bench.lineage),
        )
        for one, summary in zip(work, found, strict=True):
            payload = {"candidates": list(summary.candidates)}
            notes = {"calls": list(summary.calls)}
            yield one, Outcome(summary.status, payload, summary.reason, notes)
