"""Methods of labels that a user writes: a function of what is known of a unit."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import ClassVar

from dnd_assets.engine.context import StudyContext
from dnd_assets.engine.stage import Results, Stage, Work
from dnd_assets.lineage.records import Outcome


class OwnMethod(Stage):
    """Base of methods that need one unit's upstream products and nothing else.

    A class derived from it names its `upstream` assets and says what a unit's `labels` are. It is
    an asset like any other: partitioned, cached by content, audited, compared and measured. A
    method that runs models, or looks at all units at once, derives from `Stage` instead.

    Attributes:
        upstream: assets whose payloads the labels are made from, `("captions",)` for example.
    """

    group = "baselines"
    kinds: ClassVar[frozenset[str]] = frozenset({"python"})

    @abstractmethod
    def labels(self, inputs: Mapping[str, Mapping[str, object]]) -> Sequence[tuple[str, float]]:
        """Labels of a unit with their scores, best first; none where nothing can be said.

        Args:
            inputs: payload of each upstream asset by name, as `dnd trace` shows it.
        """

    def parameters(self, context: StudyContext) -> dict[str, object]:
        """None: what can be set is in the code, whose version counts."""
        return {}

    def compute(self, context: StudyContext, work: Sequence[Work]) -> Results:
        """Outcomes with `label`, `score` and `labels` [{label, score}], best first."""
        for item in work:
            labels = self.labels({name: product.payload for name, product in item.inputs.items()})
            yield item, _outcome(labels)


def _outcome(scored_labels: Sequence[tuple[str, float]]) -> Outcome:
    labels = [
        {"label": text, "score": float(score)}
        for text, score in scored_labels
        if text.strip() and math.isfinite(score)
    ]
    if not labels:
        return Outcome("no_label", {}, "the method gave no label")
    return Outcome("ok", {**labels[0], "labels": labels})
