"""Labels: the best concepts of each unit, in order (DnD, step 3)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from dnd_assets.lineage.deciding import parameters_of_dissection
from dnd_assets.lineage.records import Outcome
from dnd_assets.stage import Results, Stage, Work
from dnd_assets.study import Dissection
from dnd_assets.workbench import Workbench


class Labels(Stage):
    """The best-scored concepts of a unit; with `select = "first"`, the first candidate.

    A unit that failed before has no label; its status says why.
    """

    name = "labels"
    upstream = ("candidate_concepts", "scores")
    group = "step_3_selection"
    kinds = frozenset({"duckdb"})

    def parameters(self, bench: Workbench) -> dict[str, Any]:
        """How many labels, and how they are selected."""
        return parameters_of_dissection(self.name, bench.study)

    def compute(self, bench: Workbench, work: Sequence[Work]) -> Results:
        """Outcomes with `label`, its `score`, and `labels` [{label, score}], best first."""
        setting = bench.study.dissection
        for one in work:
            found = one.inputs["scores"].payload["concepts"]
            candidates = one.inputs["candidate_concepts"].payload["candidates"]
            labels = best_labels(setting, found, candidates)[: setting.labels]
            yield one, Outcome("ok", {**labels[0], "labels": labels})


def best_labels(
    setting: Dissection, found: Sequence[Mapping[str, Any]], candidates: Sequence[str]
) -> list[dict[str, Any]]:
    """Labels with their scores in the order that the study selects by.

    Args:
        setting: the study's section.
        found: concepts with their scores, best first.
        candidates: the candidate concepts in the summariser's order.
    """
    scored = {entry["concept"]: float(entry["score"]) for entry in found}
    order = list(scored)
    if setting.select == "first":
        order = [concept for concept in candidates if concept in scored]
    return [{"label": name, "score": scored[name]} for name in order]
