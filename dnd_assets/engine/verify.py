"""`dnd verify`: does the store hold, byte for byte, what the lineage says?"""

from __future__ import annotations

import random
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from dnd_assets.engine.context import StudyContext
from dnd_assets.engine.context_builder import find_units
from dnd_assets.engine.materialize import materialize
from dnd_assets.engine.resolve import Graph
from dnd_assets.engine.stage import Stage, leading_to, study_assets_of
from resources.artefact_store import ArtefactStore
from resources.lineage_db.database import Lineage

_GONE = """
SELECT file FROM removed GROUP BY file HAVING max(recorded_at) >
  (SELECT max(recorded_at) FROM artefacts WHERE artefacts.file = removed.file)
"""
"""Files removed on purpose whose content has not been stored again since."""


@dataclass
class VerifyReport:
    """What `verify` found.

    Attributes:
        files: how many files the lineage knows.
        missing: known files that are not there.
        changed: files whose content is not what their name says.
        orphaned: files that no record names, set-aside damaged ones among them.
        segments: journal segments whose content has changed.
    """

    files: int = 0
    missing: list[str] = field(default_factory=list)
    changed: list[str] = field(default_factory=list)
    orphaned: list[str] = field(default_factory=list)
    segments: list[str] = field(default_factory=list)

    @property
    def clean(self) -> bool:
        """Whether everything recorded is there and unchanged."""
        return not (self.missing or self.changed or self.segments)


def verify(context: StudyContext, advance: Callable[[int], None] = lambda _: None) -> VerifyReport:
    """Hash every file of the store and the journal and compare with the lineage.

    Args:
        context: the study's context.
        advance: called with the number of files done since the last call.
    """
    report = VerifyReport(segments=context.lineage.changed_segments())
    recorded = {row["file"] for row in context.lineage.query("SELECT DISTINCT file FROM artefacts")}
    removed = {row["file"] for row in context.lineage.query(_GONE)}
    stored = context.store.names()
    report.files = len(recorded)
    report.missing = sorted(recorded - stored.keys() - removed)
    for name in sorted(stored):
        if name not in recorded:
            report.orphaned.append(name)
        elif not context.store.intact(name):
            report.changed.append(name)
        advance(1)
    return report


def set_aside(context: StudyContext, report: VerifyReport) -> int:
    """Take damaged files out of use, so that the next run computes what they held.

    A changed file is renamed to end in `.damaged`; that and missing files are recorded as gone.

    Args:
        context: the study's context.
        report: what `verify` found.

    Returns:
        How many files are out of use now.
    """
    damaged = sorted({*report.changed, *report.missing})
    with context.lineage.exclusive(context.log):
        context.lineage.record_removal(damaged, "damaged or lost")
        for name in report.changed:
            context.store.set_aside(name)
    return len(damaged)


@dataclass(frozen=True)
class Rebuilt:
    """One product computed again from nothing."""

    asset: str
    unit: str
    recorded: str
    rebuilt: str

    @property
    def same(self) -> bool:
        """Whether both contents have one hash."""
        return self.recorded == self.rebuilt


def rebuild(
    context: StudyContext, stages: Mapping[str, Stage], count: int, seed: int = 0
) -> list[Rebuilt]:
    """Compute random products of the study again in an empty state folder and compare them.

    Args:
        context: the study's context; its state stays as it is.
        stages: all stages by name.
        count: how many products.
        seed: which ones.

    Returns:
        One comparison for each product, under the present study and probing images.
    """
    graph = Graph(context, stages)
    units = list(find_units(context).values())
    candidates = [(name, unit) for name in stages for unit in units]
    random.Random(seed).shuffle(candidates)  # noqa: S311 (a sample, not a secret)
    comparisons = []
    with tempfile.TemporaryDirectory(prefix="dnd-verify-") as folder:
        home = Path(folder)
        empty_context = replace(
            context,
            home=home,
            lineage=Lineage(root=folder),
            store=ArtefactStore(root=str(home / "store")),
        )
        for study_asset in study_assets_of(stages).values():
            study_asset.materialize(empty_context, "verify")
        for name, unit in candidates[:count]:
            head = graph.resolve(name, [unit])[unit].head
            empty_graph = Graph(empty_context, stages)
            for stage in leading_to(stages, [name]).values():
                products = {
                    event.unit: event.product
                    for event in materialize(empty_graph, stage, [unit], "verify")
                }
            version = head.data_version if head else ""
            comparisons.append(Rebuilt(name, unit.key, version, products[unit].data_version))
    return comparisons
