"""A study worked out: its resources, its products and its units, each made once and handed on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from dnd_assets.engine.context import StudyContext
from dnd_assets.engine.context_builder import build_context, find_units
from dnd_assets.engine.stage import Stage, StudyAsset, study_assets_of
from dnd_assets.study.study import Study
from dnd_assets.units import UnitIndex


@dataclass(frozen=True)
class ResolvedStudy:
    """A study with what it leads to; stages and units are found when they are first asked for.

    Attributes:
        context: the study's resources, nothing loaded yet.
    """

    context: StudyContext

    @property
    def study(self) -> Study:
        """The study itself."""
        return self.context.study

    @cached_property
    def stages(self) -> dict[str, Stage]:
        """The products by unit, by name in the order of the graph.

        Raises:
            StudyError: when a method of the user's own cannot be taken.
        """
        # Imported late: methods import PyTorch, and a wrong study is refused before that.
        from dnd_assets.assets.registry import stages_of

        return stages_of(self.study)

    @cached_property
    def wholes(self) -> dict[str, StudyAsset]:
        """The study assets (products of no unit), by name."""
        return study_assets_of(self.stages)

    @property
    def products(self) -> Mapping[str, Stage | StudyAsset]:
        """All products by name, in order."""
        return {**self.wholes, **self.stages}

    @cached_property
    def units(self) -> UnitIndex:
        """Every unit that the study selects, in its order.

        Raises:
            NotFoundError: when the study names a layer that does not exist.
        """
        return find_units(self.context)


def resolve_study(
    study: Study, home: Path, log: Callable[[str], None] = lambda _: None
) -> ResolvedStudy:
    """Work a study out for computing.

    Args:
        study: the study.
        home: the state folder.
        log: where progress goes.

    Raises:
        StudyError: when it names something that is not there.
    """
    return ResolvedStudy(build_context(study, home, log))
