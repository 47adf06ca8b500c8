"""Labels: the best concepts of each unit, in order (DnD, step 3)."""

from __future__ import annotations

from collections.abc import Sequence

from dnd_assets.engine.context import StudyContext
from dnd_assets.engine.stage import Results, Stage, Work
from dnd_assets.lineage.records import LabelEntry, Outcome, Payload
from dnd_assets.study.deciding import parameters_of_dissection
from dnd_assets.study.method_settings import DissectionSettings

CONFIRMED = 0.5
"""Share of a label's painted pictures that must activate the unit for the label to be confirmed."""


class Labels(Stage):
    """The best-scored concepts of a unit; with `select = "first"`, the first candidate.

    With `select = "detection"` it is the concept that detects best, with its probability of being
    right as the score, and what painted pictures say of it. A unit that failed before has no
    label; its status says why.
    """

    name = "labels"
    upstream = ("candidate_concepts", "scores")
    group = "step_3_selection"
    kinds = frozenset({"duckdb"})

    def __init__(self, proposed_by: str = "candidate_concepts") -> None:
        """With the asset that proposed the concepts."""
        self.upstream = (proposed_by, "scores")

    def parameters(self, context: StudyContext) -> dict[str, object]:
        """How many labels, and how they are selected."""
        return parameters_of_dissection(self.name, context.study)

    def compute(self, context: StudyContext, work: Sequence[Work]) -> Results:
        """Outcomes with `label`, its `score`, and `labels` [{label, score}], best first."""
        setting = context.study.dissection
        for item in work:
            scored_concepts = item.inputs["scores"].payload["concepts"]
            proposed = item.inputs[self.upstream[0]].payload
            if setting.select == "detection":
                yield item, Outcome("ok", detected_label(setting.labels, proposed, scored_concepts))
                continue
            candidates = proposed["candidates"]
            labels = best_labels(setting, scored_concepts, candidates)[: setting.labels]
            yield item, Outcome("ok", {**labels[0], "labels": labels})


def best_labels(
    setting: DissectionSettings, concepts: Sequence[Payload], candidates: Sequence[str]
) -> list[LabelEntry]:
    """Labels with their scores, as concepts by scores or by the summariser's order.

    Groups of exemplars take it, too. Of these `detection` is no choice: it judges a concept by all
    activations of a unit, of which a group is a part, so there it stands for scores.

    Args:
        setting: the study's section.
        concepts: concepts with their scores, best first.
        candidates: the candidate concepts in the summariser's order.
    """
    scored = {entry["concept"]: float(entry["score"]) for entry in concepts}
    order = list(scored)
    if setting.select == "first":
        order = [concept for concept in candidates if concept in scored]
    return [{"label": name, "score": scored[name]} for name in order]


def detected_label(count: int, detected: Payload, scored: Sequence[Payload]) -> dict[str, object]:
    """The label that detects best, with its evidence.

    Labels that come next have as score how often the bootstrap chose them instead. Painted
    pictures confirm the label or do not; they choose nothing, since the pictures of a conjunction
    and of one of its words are told apart worse than captions of many images tell them.

    Args:
        count: how many labels to keep.
        detected: the payload of `detection_scores`.
        scored: the concepts of `scores`, with the unit's activations on their painted pictures.
    """
    answers = {
        entry["concept"]: _share_active(entry["activations"], detected["concepts"][0]["threshold"])
        for entry in scored
    }
    label, runners_up = detected["label"], detected["concepts"][1:count]
    chosen_share = dict(detected["evidence"]["label_set"])
    counterfactuals = {
        name: answers[name] for name in detected["counterfactuals"] if name in answers
    }
    painted = answers.get(label)
    return {
        "label": label,
        "score": detected["confidence"],
        "confidence": detected["confidence"],
        "labels": [
            {
                "label": label,
                "score": detected["confidence"],
                "mcc": detected["concepts"][0]["mcc"],
            },
            *(
                {
                    "label": entry["concept"],
                    "score": chosen_share.get(entry["concept"], 0.0),
                    "mcc": entry["mcc"],
                }
                for entry in runners_up
            ),
        ],
        "evidence": {
            **detected["evidence"],
            "painted": painted,
            "painted_without": counterfactuals,
            "confirmed": painted is not None and painted >= CONFIRMED,
        },
    }


def _share_active(activations: Sequence[float], threshold: float) -> float:
    """Share of pictures that activate the unit as images of its concept do."""
    return sum(value >= threshold for value in activations) / len(activations)
