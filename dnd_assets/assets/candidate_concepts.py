"""Candidate concepts: what most captions of a unit have in common (DnD, step 2)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from dnd_assets.engine.cache.shared_results import call_cost, call_ledger
from dnd_assets.engine.context import StudyContext
from dnd_assets.engine.stage import Results, Stage, Work
from dnd_assets.lineage.records import Outcome
from dnd_assets.study.deciding import parameters_of_dissection
from dnd_assets.units import Unit
from resources.servers.lineage_ledger import LineageLedger
from resources.summarisers.base import Summary


class CandidateConcepts(Stage):
    """Up to N_c short concepts that summarise a unit's captions."""

    name = "candidate_concepts"
    upstream = ("captions",)
    group = "step_2_candidates"
    kinds = frozenset({"openai"})
    uses = ("summariser",)

    def parameters(self, context: StudyContext) -> dict[str, object]:
        """N_c and the seed of the caption orders."""
        return parameters_of_dissection(self.name, context.study)

    def weights(self, context: StudyContext, unit: Unit) -> dict[str, str]:
        """The summariser with its model and prompts."""
        return {"summariser": context.lineage.provider(context.summariser.fingerprint())}

    def cost(self, context: StudyContext, work: Iterable[Work]) -> dict[str, int]:
        """Calls to a language model that were never made, and their tokens at most.

        A wrong answer costs a call more, to repair it.
        """
        setting = context.study.dissection
        with context.lineage.connect():
            calls = context.summariser.calls_to_make(
                _texts(work), setting.candidates, setting.seed, LineageLedger(context.lineage)
            )
        return call_cost(calls)

    def cost_upper_bound(self, context: StudyContext, units: int) -> dict[str, int]:
        """One call to shorten the captions and N_c to label them, each repaired once or twice."""
        if not context.study.summariser.SERVED:
            return {}
        return {"LLM calls": units * (2 + 3 * context.study.dissection.candidates)}

    def compute(self, context: StudyContext, work: Sequence[Work]) -> Results:
        """Outcomes with `candidates`, in the summariser's order."""
        unit_summaries = summaries(context, _texts(work), "candidate concepts")
        for item, summary in zip(work, unit_summaries, strict=True):
            payload = {"candidates": list(summary.candidates)}
            notes = {"calls": list(summary.calls)}
            yield item, Outcome(summary.status, payload, summary.reason, notes)


def summaries(context: StudyContext, texts: Sequence[Sequence[str]], label: str) -> list[Summary]:
    """The study's summariser on each of some sets of captions; calls are kept in the lineage.

    Args:
        context: the study's context.
        texts: sets of captions.
        label: what the progress line calls them.
    """
    setting = context.study.dissection
    progress = context.progress(label, len(texts))
    return context.summariser.summarise_many(
        texts,
        setting.candidates,
        setting.seed,
        lambda *_: progress.advance(1),
        call_ledger(context),
    )


def _texts(work: Iterable[Work]) -> list[list[str]]:
    """The captions of each unit."""
    return [
        [entry["caption"] for entry in item.inputs["captions"].payload["captions"]] for item in work
    ]
