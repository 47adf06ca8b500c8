"""Labels: the best concepts of each unit, in order (DnD, step 3)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dnd_assets.lineage.records import Outcome
from dnd_assets.stage import Results, Stage, Work
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
        return bench.study.dissection.model_dump(include={"labels", "select"})

    def compute(self, bench: Workbench, work: Sequence[Work]) -> Results:
        """Outcomes with `label`, its `score`, and `labels` [{label, score}], best first."""
        setting = bench.study.dissection
        for one in work:
            scored = {
                entry["concept"]: float(entry["score"])
                for entry in one.inputs["scores"].payload["concepts"]
            }
            order = list(scored)
            if setting.select == "first":
                candidates = one.inputs["candidate_concepts"].payload["candidates"]
                order = [concept for concept in candidates if concept in scored]
            labels = [{"label": name, "score": scored[name]} for name in order[: setting.labels]]
            yield one, Outcome("ok", {**labels[0], "labels": labels})
