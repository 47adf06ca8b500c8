"""Ablation effects: what the classes of a network lose without a unit."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import Final

import numpy as np

from dnd_assets.assets.ablation_parts import Scores
from dnd_assets.assets.ablation_runs import (
    AblationCase,
    FewClassesError,
    ablation_case,
    ablation_parameters,
)
from dnd_assets.assets.activations import probing_images
from dnd_assets.assets.probing_set import ProbingSet
from dnd_assets.engine.cache.shared_results import layer_provider
from dnd_assets.engine.context import StudyContext
from dnd_assets.engine.stage import Results, Stage, Work
from dnd_assets.lineage.records import PROBING_SET, Outcome
from dnd_assets.methods.ablation.effects import effects
from dnd_assets.methods.ablation.settings import AblationSettings
from dnd_assets.study.study import needed
from dnd_assets.units import Unit, by_layer

_PART: Final = 512
"""Units whose effects are kept together, so that a run that dies loses no more."""


class AblationEffects(Stage):
    """What the classes of a network lose without a unit: changes of scores and of accuracies.

    The unit is set to zero, to its mean, or to what it gives for another image, and the network
    runs on; see `methods.ablation`. Intervals are over images.
    """

    name = "ablation_effects"
    upstream = (PROBING_SET,)
    wholes = (ProbingSet(),)
    group = "evaluation"
    kinds = frozenset({"pytorch"})
    uses = ("targets", "compute")
    by_neuron = True

    def parameters(self, context: StudyContext) -> dict[str, object]:
        """How units are ablated, the number of images, and their classes by content."""
        return ablation_parameters(context, ablation_of(context))

    def weights(self, context: StudyContext, unit: Unit) -> dict[str, str]:
        """The layer of the target network."""
        return {"target": layer_provider(context, unit)}

    def cost(self, context: StudyContext, work: Iterable[Work]) -> dict[str, int]:
        """Ablations of single images."""
        units = list(work)
        if not units:
            return {}
        images = min(len(probing_images(context, units[0])), ablation_of(context).images)
        return {"ablations": images * len(units)}

    def compute(self, context: StudyContext, work: Sequence[Work]) -> Results:
        """Outcomes with `how`, `images`, `classes` [see `ClassEffect`], `accuracy`, `chosen`."""
        lookup = {item.unit: item for item in work}
        cases: dict[str, AblationCase] = {}
        for (model, layer), layer_units in by_layer(lookup).items():
            if model not in cases:
                probing = probing_images(context, work[0])
                try:
                    cases[model] = ablation_case(context, model, ablation_of(context), probing)
                except FewClassesError as error:  # other images have other classes
                    outcome = Outcome("no_classes", {}, str(error))
                    yield from ((lookup[unit], outcome) for unit in layer_units)
                    continue
            case = cases[model]
            for start in range(0, len(layer_units), _PART):
                part = layer_units[start : start + _PART]
                groups = [(), *((unit.neuron,) for unit in part)]
                scores = case.without(layer, groups, f"{model}/{layer}: ablation")
                for unit, ablated in zip(part, scores[1:], strict=True):
                    yield lookup[unit], _outcome(case, scores[0], ablated)


def ablation_of(context: StudyContext) -> AblationSettings:
    """The study's section `ablation`.

    Raises:
        StudyError: when it has none.
    """
    return needed(context.study.ablation, "ablation", context.study, "how = 'mean'")


def _outcome(case: AblationCase, intact: Scores, ablated: Scores) -> Outcome:
    if not np.isfinite(ablated).all():
        bad_images = int((~np.isfinite(ablated)).any(axis=1).sum())
        reason = (
            f"scores are NaN or infinite without it, on {bad_images:,} of {len(ablated):,} images"
        )
        return Outcome("not_finite", {}, reason)
    result = effects(intact, ablated, case.names, case.truth)
    payload = {
        "how": case.setting.how,
        "images": len(case.images),
        "probe": case.probe is not None,
        "classes": [effect.as_json() for effect in result.largest(case.setting.top)],
        "accuracy": None if result.accuracy is None else asdict(result.accuracy),
        "chosen": result.chosen,
    }
    notes = {"too_few_images": case.left_out} if case.left_out else {}
    return Outcome("ok", payload, notes=notes)
