"""The tasks of a human study from a study's own labels and exemplars (DnD, section 4.3)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from dnd_assets.analysis.compare import Method
from dnd_assets.analysis.human_study.questionnaire import Task
from dnd_assets.engine.context import StudyContext
from dnd_assets.errors import NotFoundError, not_found
from dnd_assets.methods.seeds import content_seed


@dataclass(frozen=True)
class RatingTasks:
    """What raters are asked.

    Attributes:
        tasks: one for each unit that every method has described.
        left_out: the other units, each with the reason.
    """

    tasks: tuple[Task, ...]
    left_out: dict[str, str]


def rating_tasks(
    context: StudyContext,
    methods: Sequence[Method],
    units: Sequence[str],
    images: int = 10,
    sample: int | None = None,
    seed: int = 0,
) -> RatingTasks:
    """A task for each unit: its most activating probing images, and what each method says of it.

    Args:
        context: the study's context, with the study's activations and the probing images.
        methods: the methods that are judged.
        units: keys of the units.
        images: pictures of a unit (paper: 10).
        sample: only so many of the units, drawn by their keys and `seed`; all where None.
        seed: of the sample.

    Raises:
        NotFoundError: when no unit has descriptions by all methods and enough pictures.
        StoreError: when a picture is not where it was.
    """
    exemplars = _exemplars(context)
    reasons = {unit: _why_not(unit, methods, exemplars, images) for unit in units}
    left_out = {unit: reason for unit, reason in reasons.items() if reason}
    described = [unit for unit in units if unit not in left_out]
    if not described:
        first = next(iter(left_out.items()), ("", "there is no unit"))
        raise NotFoundError(
            f"no unit can be judged: {' '.join(first)}. Run the methods first (`dnd compare`), or "
            "name fewer with --methods."
        )
    sampled = sorted(described, key=lambda unit: content_seed("judged", unit, seed))[:sample]
    tasks = [
        Task(
            unit,
            [context.pictures.file(name) for name in exemplars[unit][:images]],
            {method.name: str(method.by_unit[unit]) for method in methods},
        )
        for unit in described
        if unit in set(sampled)
    ]
    return RatingTasks(tuple(tasks), left_out)


def named(methods: Sequence[Method], names: Sequence[str]) -> list[Method]:
    """The methods of these names, or all.

    Raises:
        NotFoundError: with the nearest names.
    """
    by_name = {method.name: method for method in methods}
    for name in names:
        if name not in by_name:
            raise not_found("method", name, by_name)
    return [by_name[name] for name in names] if names else list(methods)


def _exemplars(context: StudyContext) -> dict[str, list[str]]:
    """Hashes of each unit's exemplars, most activating first."""
    sql = "SELECT unit, image FROM exemplars WHERE study = ? ORDER BY unit, position"
    by_unit: dict[str, list[str]] = {}
    for row in context.lineage.query(sql, [context.study.name]):
        by_unit.setdefault(row["unit"], []).append(row["image"])
    return by_unit


def _why_not(
    unit: str, methods: Sequence[Method], exemplars: dict[str, list[str]], images: int
) -> str:
    silent_methods = [method.name for method in methods if not method.by_unit.get(unit)]
    if silent_methods:
        return f"has no label by {', '.join(silent_methods)}"
    count = len(exemplars.get(unit, ()))
    return f"has {count} exemplars, not {images}" if count < images else ""
