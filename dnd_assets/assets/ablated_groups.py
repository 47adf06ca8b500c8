"""What the classes of a network lose without a group of units, against random groups of as many."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Final

import numpy as np

from dnd_assets.assets.ablation_runs import AblationCase, ablation_case, ablation_parameters
from dnd_assets.engine.cache.shared_results import activations, cached, layer_provider, shared_row
from dnd_assets.engine.context import StudyContext
from dnd_assets.errors import StudyError
from dnd_assets.lineage.code import code_version
from dnd_assets.lineage.fingerprint import Json, canonical, digest
from dnd_assets.lineage.rows import Row
from dnd_assets.methods.ablation.effects import Effects, effects
from dnd_assets.methods.ablation.random_groups import Beyond, beyond_random, random_groups
from dnd_assets.methods.ablation.settings import AblationSettings
from dnd_assets.methods.dissection.exemplars import is_dead
from dnd_assets.methods.sparse_matrix import dense
from dnd_assets.units import Unit, by_layer
from resources.targets.ablated import AblatedPasses

KIND: Final = "ablation"
"""Kind of stored results."""


@dataclass(frozen=True)
class GroupAblation:
    """The effects of one group of units of a layer.

    Attributes:
        layer: `model/layer` in slugs.
        units: keys of the units that are ablated together.
        how: how they are ablated.
        images: images that effects are measured on.
        probe: whether classes are read off by a linear probe.
        effects: what the classes lose.
        random: how many random groups were compared.
        scores: changes of scores beside those by random groups; none without random groups.
        accuracies: the same of accuracies; none where classes of images are not known.
        left_out: classes of too few images for a probe, with their numbers.
    """

    layer: str
    units: tuple[str, ...]
    how: str
    images: int
    probe: bool
    effects: Effects
    random: int
    scores: tuple[Beyond, ...]
    accuracies: tuple[Beyond, ...]
    left_out: dict[str, int]

    def as_json(self) -> dict[str, object]:
        """All attributes as plain values."""
        return {
            **{name: getattr(self, name) for name in ("layer", "how", "images", "probe", "random")},
            "units": list(self.units),
            "classes": [class_effect.as_json() for class_effect in self.effects.classes],
            "accuracy": None if self.effects.accuracy is None else asdict(self.effects.accuracy),
            "chosen": self.effects.chosen,
            "scores": [change.as_json() for change in self.scores],
            "accuracies": [change.as_json() for change in self.accuracies],
            "left_out": self.left_out,
        }


@dataclass
class GroupAblations:
    """Ablates groups of units on the same images; the whole network runs once for all of them.

    Attributes:
        context: the study's context.
        setting: how units are ablated.
        images: hashes of the probing images, ascending.
        random: random groups of the same size to compare with; 0 for none.
        seed: of these.
    """

    context: StudyContext
    setting: AblationSettings
    images: Sequence[str]
    random: int
    seed: int = 0
    _cases: dict[str, AblationCase] = field(default_factory=dict)

    def by_layer(self, units: Sequence[Unit]) -> list[Row]:
        """As `of_layer`, of the units of each layer by themselves, in the order of the units."""
        return [self.of_layer(layer_units) for layer_units in by_layer(units).values()]

    def of_layer(self, units: Sequence[Unit]) -> Row:
        """`GroupAblation.as_json` of units of one layer; read back where it was worked out before.

        Raises:
            StudyError: when a network has no classes, or a layer too few units for random groups.
        """
        context, (provider, item) = self.context, self.stored_as(units)
        stored = cached(context, KIND, provider, [item])
        if item in stored:
            return {**stored[item], "units": [unit.key for unit in units]}
        result = _ablated(self._case(units[0].model), units, self.random, self.seed).as_json()
        if context.lineage.keeps:
            context.lineage.commit({"shared": [shared_row(KIND, provider, item, result)]})
        return result

    def stored_as(self, units: Sequence[Unit]) -> tuple[str, str]:
        """Provider and item under which the result of some units of one layer is stored."""
        made_by = _made_by(
            self.context, units[0], self.setting, self.images, self.random, self.seed
        )
        item = digest(sorted(unit.neuron for unit in units))
        return self.context.lineage.provider(made_by), item

    def _case(self, model: str) -> AblationCase:
        if model not in self._cases:
            self._cases[model] = ablation_case(self.context, model, self.setting, self.images)
        return self._cases[model]


def _made_by(
    context: StudyContext, unit: Unit, setting: AblationSettings, images: Sequence[str], *draw: int
) -> dict[str, Json]:
    return {
        "target": layer_provider(context, unit),
        "parameters": canonical(ablation_parameters(context, setting)),
        "images": digest(list(images)),
        "draw": list(draw),
        "names": digest(context.targets.categories(unit.model)),
        "code": code_version(AblatedPasses, ablation_case, GroupAblation, _ablated),
    }


def _ablated(case: AblationCase, units: Sequence[Unit], random: int, seed: int) -> GroupAblation:
    """The effects of ablating a group of units of one layer, beside those of random groups."""
    first = units[0]
    group = tuple(sorted({unit.neuron for unit in units}))
    random_sets = _random_sets(case, first, group, random, seed) if random else []
    label = f"{first.model}/{first.layer}: ablation of {len(group):,} units"
    intact, ablated, *random_results = case.without(first.layer, [(), group, *random_sets], label)
    scores, accuracies = [], []
    if random_results:
        common_arguments = (intact, ablated, np.stack(random_results), case.names, case.truth)
        scores = beyond_random(*common_arguments, accuracy=False)
        accuracies = [] if case.truth is None else beyond_random(*common_arguments, accuracy=True)
    return GroupAblation(
        first.key.rpartition("/")[0], tuple(unit.key for unit in units), case.setting.how,
        len(case.images), case.probe is not None,
        effects(intact, ablated, case.names, case.truth), len(random_sets),
        tuple(scores), tuple(accuracies), case.left_out,
    )  # fmt: skip


def _random_sets(
    case: AblationCase, unit: Unit, group: tuple[int, ...], random: int, seed: int
) -> list[tuple[int, ...]]:
    """Random groups of the layer's units that are not dead on the images."""
    label = f"{unit.model}/{unit.layer}: activations"
    layer_images = {unit.layer: case.images}
    rows, values = activations(case.context, unit.model, layer_images, label)[unit.layer]
    alive_mask = ~is_dead(dense(values[[rows[name] for name in case.images]]))
    try:
        return random_groups(group, np.flatnonzero(alive_mask).tolist(), random, seed)
    except ValueError as error:
        raise StudyError(
            f"layer {unit.layer!r} of {unit.model!r}: {error}, of those that are not dead. Ablate "
            "fewer units, or compare with no random groups: --random 0."
        ) from error
