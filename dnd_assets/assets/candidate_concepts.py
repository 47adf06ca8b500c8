"""Candidate concepts: what most captions of a unit have in common (DnD, step 2)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from dnd_assets.engine.cache.shared_results import call_cost, call_ledger
from dnd_assets.engine.context import Workbench
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

    def parameters(self, bench: Workbench) -> dict[str, object]:
        """N_c and the seed of the caption orders."""
        return parameters_of_dissection(self.name, bench.study)

    def weights(self, bench: Workbench, unit: Unit) -> dict[str, str]:
        """The summariser with its model and prompts."""
        return {"summariser": bench.lineage.provider(bench.summariser.fingerprint())}

    def cost(self, bench: Workbench, work: Iterable[Work]) -> dict[str, int]:
        """Calls to a language model that were never made, and their tokens at most.

        A wrong answer costs a call more, to repair it.
        """
        setting = bench.study.dissection
        with bench.lineage.connect():
            calls = bench.summariser.calls_to_make(
                _texts(work), setting.candidates, setting.seed, LineageLedger(bench.lineage)
            )
        return call_cost(calls)

    def most(self, bench: Workbench, units: int) -> dict[str, int]:
        """One call to shorten the captions and N_c to label them, each repaired once or twice."""
        if not bench.study.summariser.SERVED:
            return {}
        return {"LLM calls": units * (2 + 3 * bench.study.dissection.candidates)}

    def compute(self, bench: Workbench, work: Sequence[Work]) -> Results:
        """Outcomes with `candidates`, in the summariser's order."""
        found = summaries(bench, _texts(work), "candidate concepts")
        for one, summary in zip(work, found, strict=True):
            payload = {"candidates": list(summary.candidates)}
            notes = {"calls": list(summary.calls)}
            yield one, Outcome(summary.status, payload, summary.reason, notes)


def summaries(bench: Workbench, texts: Sequence[Sequence[str]], label: str) -> list[Summary]:
    """The study's summariser on each of some sets of captions; calls are kept in the lineage.

    Args:
        bench: the workbench.
        texts: sets of captions.
        label: what the progress line calls them.
    """
    setting = bench.study.dissection
    progress = bench.progress(label, len(texts))
    return bench.summariser.summarise_many(
        texts,
        setting.candidates,
        setting.seed,
        lambda *_: progress.advance(1),
        call_ledger(bench),
    )


def _texts(work: Iterable[Work]) -> list[list[str]]:
    """The captions of each unit."""
    return [
        [entry["caption"] for entry in one.inputs["captions"].payload["captions"]] for one in work
    ]
