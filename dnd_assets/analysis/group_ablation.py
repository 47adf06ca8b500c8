"""Ablation of groups that are named when they are asked for, such as those of `dnd groups`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from dnd_assets.analysis.image_query import probing_images
from dnd_assets.analysis.label_grouping import group_study
from dnd_assets.assets.ablated_groups import GroupAblations
from dnd_assets.engine.context import StudyContext
from dnd_assets.errors import not_found
from dnd_assets.lineage.rows import Row
from dnd_assets.methods.ablation.settings import AblationSettings
from dnd_assets.methods.label_groups import plain_label
from dnd_assets.results.tables.table_source import TableSource
from dnd_assets.units import Unit

NO_SETTINGS: Final = AblationSettings()


def units_of_group(context: StudyContext, name: str, asset: str, units: Sequence[str]) -> list[str]:
    """The units of a group of `dnd groups`, by its name or by a label in it.

    Args:
        context: the study's context.
        name: of the group, or a label.
        asset: whose labels are grouped.
        units: keys, prefixes or ranges to group; none for all.

    Raises:
        NotFoundError: when there is no such group; names the nearest.
        UpstreamError: when there are no labels yet.
    """
    groups = group_study(context, units, asset).groups
    plain_name = plain_label(name)
    for group in groups:
        if plain_name in (
            plain_label(group.name),
            *(plain_label(text) for text, _ in group.labels),
        ):
            return list(group.units)
    advice = "`dnd groups` lists them."
    raise not_found("group", name, [group.name for group in groups], advice)


def ablate(
    context: StudyContext,
    units: Sequence[Unit],
    setting: AblationSettings | None = None,
    random: int = 20,
    seed: int = 0,
) -> list[Row]:
    """Ablate units together, those of each layer by themselves.

    Args:
        context: the study's context.
        units: the units.
        setting: how; None takes the study's section [ablation], or its defaults.
        random: random groups of the same size to compare with; 0 for none.
        seed: of these.

    Returns:
        `GroupAblation.as_json` of each layer, in the order of the units; what was worked out before
        is read back.

    Raises:
        UpstreamError: when the probing set has not been materialized.
        StudyError: when a network has no classes, or a layer too few units for random groups.
    """
    chosen = setting or context.study.ablation or NO_SETTINGS
    images = probing_images(context, TableSource(context.lineage, context.study.name))
    return GroupAblations(context, chosen, images, random, seed).by_layer(units)
