"""Group ablation effects: what the classes of a network lose without groups that a unit is in."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from dnd_assets.assets.ablated_groups import KIND, GroupAblations
from dnd_assets.assets.ablation_effects import AblationEffects, ablation_of
from dnd_assets.assets.ablation_runs import FewClassesError
from dnd_assets.assets.activations import probing_images
from dnd_assets.engine.cache.shared_results import cached
from dnd_assets.engine.context import StudyContext
from dnd_assets.engine.context_builder import find_units
from dnd_assets.engine.stage import Results, Work
from dnd_assets.errors import NotFoundError
from dnd_assets.lineage.records import Outcome
from dnd_assets.lineage.rows import Row
from dnd_assets.units import Unit


class GroupAblationEffects(AblationEffects):
    """What the classes of a network lose without a group, beside random groups of as many units.

    Groups are those of `ablation.groups`; units of a group that lie in one layer are ablated
    together. A group is ablated once, for all of its units.
    """

    name = "group_ablation_effects"
    by_neuron = False

    def parameters(self, context: StudyContext) -> dict[str, object]:
        """As those of single units, and the number of random groups."""
        random = ablation_of(context).random_groups
        return {**super().parameters(context), "random_groups": random}

    def external_inputs(
        self, context: StudyContext, units: Sequence[Unit]
    ) -> dict[Unit, dict[str, object]]:
        """The groups that each unit is in, with the units of its layer in them."""
        members = _groups(context)
        return {
            unit: {
                "groups": {
                    name: sorted(other.neuron for other in group if _beside(unit, other))
                    for name, group in members.items()
                    if unit in group
                }
            }
            for unit in units
        }

    def cost(self, context: StudyContext, work: Iterable[Work]) -> dict[str, int]:
        """Ablations of single images by groups that were not ablated before."""
        setting = ablation_of(context)
        passes, seen = 0, set()
        for item, ablations in _with_ablations(context, work):
            for units in _groups_of(item).values():
                provider, name = key = ablations.stored_as(units)
                if key in seen or cached(context, KIND, provider, [name]):
                    continue
                seen.add(key)
                passes += min(len(ablations.images), setting.images) * (2 + setting.random_groups)
        return {"ablations": passes} if passes else {}

    def compute(self, context: StudyContext, work: Sequence[Work]) -> Results:
        """Outcomes with `groups` [{name, units, how, images, classes, accuracy, random, scores}].

        A unit in no group has an empty list.
        """
        top = ablation_of(context).top
        for item, ablations in _with_ablations(context, work):
            try:
                groups = [
                    _entry(name, ablations.of_layer(units), top)
                    for name, units in _groups_of(item).items()
                ]
            except FewClassesError as error:  # other images have other classes
                yield item, Outcome("no_classes", {}, str(error))
                continue
            yield item, Outcome("ok", {"groups": groups})


def _with_ablations(
    context: StudyContext, work: Iterable[Work]
) -> Iterator[tuple[Work, GroupAblations]]:
    """Each unit with what ablates its groups: the same for all, since they share the images."""
    setting, ablations = ablation_of(context), None
    for item in work:
        if ablations is None:
            images = probing_images(context, item)
            ablations = GroupAblations(context, setting, images, setting.random_groups)
        yield item, ablations


def _groups(context: StudyContext) -> dict[str, set[Unit]]:
    """The units of each group that the section names.

    Raises:
        NotFoundError: when a group names a unit that there is not; says the nearest.
    """
    index = find_units(context)
    members = {}
    for name, patterns in ablation_of(context).groups.items():
        try:
            members[name] = set(index.select(patterns))
        except NotFoundError as error:
            raise NotFoundError(f"ablation.groups.{name}: {error}") from error
    return members


def _beside(unit: Unit, other: Unit) -> bool:
    """Whether two units are of one layer."""
    return (unit.model, unit.layer) == (other.model, other.layer)


def _groups_of(item: Work) -> dict[str, list[Unit]]:
    """The units that are ablated together with a unit, by the group's name."""
    groups = item.external_inputs["groups"]
    assert isinstance(groups, Mapping), "as `external_inputs` gives them"
    unit = item.unit
    return {
        name: [Unit(unit.model, unit.layer, neuron) for neuron in neurons]
        for name, neurons in sorted(groups.items())
    }


def _entry(name: str, effect: Row, top: int) -> Row:
    """A group in the product: the classes of the largest changes, beside random groups."""
    classes = sorted(effect["classes"], key=lambda change: -abs(change["logit"]["change"]))[:top]
    kept = {change["class"] for change in classes}
    parts = {
        part: [change for change in effect[part] if change["name"] in kept]
        for part in ("scores", "accuracies")
    }
    whole = ("layer", "how", "images", "probe", "random", "accuracy", "chosen")
    return {
        "name": name, "units": len(effect["units"]), "classes": classes, **parts,
        **{key: effect[key] for key in whole},
    }  # fmt: skip
