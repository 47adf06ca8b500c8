"""What a product is to the engine: a stage, partitioned by unit, or a study asset, of no unit.

A stage says what its product depends on and how to compute it for many units at once. Keys are
resolved in `resolve`, what is missing is computed in `materialize`, and results are recorded in
`recording`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType, ModuleType
from typing import ClassVar

from dnd_assets.engine.context import StudyContext
from dnd_assets.lineage.code import method_version
from dnd_assets.lineage.records import Outcome, Product
from dnd_assets.units import Unit


@dataclass(frozen=True)
class Work:
    """One unit to compute: its upstream products by asset name, and what was read for it alone."""

    unit: Unit
    inputs: Mapping[str, Product]
    external_inputs: Mapping[str, object] = field(default_factory=dict)


Results = Iterator[tuple[Work, Outcome]]
Settings = tuple[dict[str, object], dict[str, str]]
"""Parameters and weights of an unpartitioned product."""


class StudyAsset(ABC):
    """One product of the whole study, of no unit: what it was read from decides its key.

    Attributes:
        name: the asset's key.
        uses: resources that compute it.
        group: the step that the interface shows it in.
        kinds: tags of the interface: what it is made with.
    """

    name: ClassVar[str]
    uses: ClassVar[tuple[str, ...]] = ()
    group: ClassVar[str]
    kinds: ClassVar[frozenset[str]]

    @abstractmethod
    def settings(self, context: StudyContext) -> Settings:
        """What of the study decides the product, besides the files it is read from."""

    @abstractmethod
    def observe(self, context: StudyContext) -> Product:
        """The product as it is now, for a plan: recorded as seen, not as materialized."""

    @abstractmethod
    def materialize(self, context: StudyContext, run: str) -> Product:
        """Read everything again, and record the product in the name of a run."""

    def code(self) -> str:
        """Code version of everything that `observe` leads to, which reads the files."""
        return method_version(type(self), "observe")


class Stage(ABC):
    """One product, partitioned by unit.

    Attributes:
        name: the asset's key.
        upstream: assets it reads, of the same unit or unpartitioned.
        wholes: the unpartitioned ones among them.
        uses: resources that compute it, for the interface and for `device`.
        sources: of a stage outside this project: what else of its code decides the result; all of
            its module, and what it uses of this project, counts anyway.
        by_neuron: whether the neuron's index decides the result, besides what the inputs say.
        own: what counts of a user's own code that it runs; see `resources.own_code.own_function`.
        group: the step that the interface shows it in.
        kinds: tags of the interface: what it is made with.
    """

    name: str
    upstream: tuple[str, ...]
    wholes: ClassVar[tuple[StudyAsset, ...]] = ()
    uses: tuple[str, ...] = ()
    sources: tuple[ModuleType | Callable[..., object], ...] = ()
    by_neuron: ClassVar[bool] = False
    own: Mapping[str, object] = MappingProxyType({})
    group: ClassVar[str]
    kinds: ClassVar[frozenset[str]]

    @abstractmethod
    def parameters(self, context: StudyContext) -> dict[str, object]:
        """The settings that matter to this product, and no others."""

    def external_inputs(
        self, context: StudyContext, units: Sequence[Unit]
    ) -> dict[Unit, dict[str, object]]:
        """What is read from outside for single units; it counts as parameters of theirs."""
        return {}

    def weights(self, context: StudyContext, unit: Unit) -> dict[str, str]:
        """Provider hashes of the models that this product uses; the same for a whole layer."""
        return {}

    @abstractmethod
    def compute(self, context: StudyContext, work: Sequence[Work]) -> Results:
        """Outcomes of all units of `work`, whose upstream products are all `ok`."""

    def cost(self, context: StudyContext, work: Iterable[Work]) -> dict[str, int]:
        """What `compute` would have to do for `work`, counted exactly, by kind.

        `work` is gone through once, so that the inputs of many units need not lie in memory.
        """
        return {}

    def cost_upper_bound(self, context: StudyContext, units: int) -> dict[str, int]:
        """What `compute` may have to do at most for units whose inputs are not known yet."""
        return {}

    def code(self) -> str:
        """Code version of everything that `compute` leads to; see `dnd_assets.lineage.code`."""
        return method_version(type(self), "compute", sources=self.sources)


def study_assets_of(stages: Mapping[str, Stage]) -> dict[str, StudyAsset]:
    """The unpartitioned products that stages read, by name, in the order of the stages."""
    return {
        study_asset.name: study_asset for stage in stages.values() for study_asset in stage.wholes
    }


def leading_to(stages: Mapping[str, Stage], names: Iterable[str]) -> dict[str, Stage]:
    """The named stages and those upstream of them, in order."""
    needed = set(names)
    for name in reversed(list(stages)):
        if name in needed:
            needed |= set(stages[name].upstream)
    return {name: stage for name, stage in stages.items() if name in needed}
