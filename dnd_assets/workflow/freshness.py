"""An asset check that says of each asset what `dnd plan` says, where the interface shows it.

Dagster works out for one partition whether it is stale, but shows it of no asset with partitions as
a whole. So this check asks the fingerprints of all units that were made before. It is run with its
asset, with the sources, and whenever `dnd ui` has read the study: what an edit makes out of date is
in the graph after a reload.
"""

import logging
import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import dagster as dg
from dagster._core.definitions.definitions_load_context import (
    DefinitionsLoadContext,
    DefinitionsLoadType,
)

from dnd_assets.assets.resolved import ResolvedStudy
from dnd_assets.engine.plan import newest_keys, outlook
from dnd_assets.engine.resolve import Graph
from dnd_assets.errors import DndError
from resources.lineage_db.reader import LineageReader

CHECK = "up_to_date"
SAY_WHEN_LOADED = "DND_SAY_WHAT_IS_STALE"
"""Environment variable: 1 where the study's checks are run when it is loaded, as `dnd ui` does."""
_EVERY = "*/10 * * * *"


@dataclass(frozen=True)
class StaleUnits:
    """What a run would do for the units of an asset that were made before.

    Attributes:
        compute: units that it would compute.
        may: units that follow where the content of an input comes out otherwise.
        made: units that were made before; the others do not count.
        reason: why nobody can say so; empty otherwise.
    """

    compute: int = 0
    may: int = 0
    made: int = 0
    reason: str = ""

    @property
    def fresh(self) -> bool:
        """Whether nothing would be done."""
        return not (self.compute or self.may or self.reason)


def verdicts(resolved: ResolvedStudy) -> dict[str, StaleUnits]:
    """What is out of date of each asset under the present study; reads only."""
    study_context, stages = resolved.context, resolved.stages
    study_context = replace(study_context, lineage=LineageReader(root=study_context.lineage.root))
    stale: dict[str, StaleUnits] = {}
    try:
        with study_context.lineage.connect():
            for expected in outlook(Graph(study_context, stages), list(resolved.units.values())):
                made_units = newest_keys(study_context, expected.stage.name).keys()
                compute = sum(unit.key in made_units for unit in expected.missing)
                may = sum(unit.key in made_units for unit in expected.waiting)
                stale[expected.stage.name] = StaleUnits(compute, may, len(made_units))
    except DndError as error:
        return {name: stale.get(name, StaleUnits(reason=str(error))) for name in stages}
    return stale


def freshness_checks(resolved: ResolvedStudy) -> dg.AssetChecksDefinition:
    """One check for every asset by unit; automation runs all of them every ten minutes."""
    often: dg.AutomationCondition[Any] = dg.AutomationCondition.cron_tick_passed(_EVERY)
    specs = [
        dg.AssetCheckSpec(
            CHECK,
            asset=name,
            description="`dnd plan` has nothing to do for units that were made before.",
            automation_condition=often,
        )
        for name in resolved.stages
    ]

    @dg.multi_asset_check(name="up_to_date_with_the_study", specs=specs, can_subset=True)
    def check(context: dg.AssetCheckExecutionContext) -> Iterator[dg.AssetCheckResult]:
        stale = verdicts(resolved)
        for key in sorted(context.selected_asset_check_keys):
            verdict = stale[key.asset_key.to_user_string()]
            yield dg.AssetCheckResult(
                asset_key=key.asset_key,
                check_name=key.name,
                passed=verdict.fresh,
                severity=dg.AssetCheckSeverity.WARN,
                metadata=_metadata(verdict),
            )

    return check


def _metadata(verdict: StaleUnits) -> dict[str, int | str]:
    counts: dict[str, int | str] = {"to compute": verdict.compute, "may follow": verdict.may}
    return {**counts, "reason": verdict.reason} if verdict.reason else counts


def say_when_loaded(resolved: ResolvedStudy) -> None:
    """Run the checks, in a thread, if a code server of `dnd ui` reads the study anew.

    A run reads it as well, with its own process; that is no time to look.
    """
    anew = DefinitionsLoadContext.get().load_type == DefinitionsLoadType.INITIALIZATION
    if anew and os.environ.get(SAY_WHEN_LOADED) == "1":
        threading.Thread(target=_record_anew, args=[resolved], daemon=True).start()


def _record_anew(resolved: ResolvedStudy) -> None:
    try:
        with dg.DagsterInstance.get() as instance:
            record_verdicts(resolved, instance)
    except Exception as error:  # noqa: BLE001 (the graph is there without it)
        logging.getLogger("dagster").warning("what is out of date was not looked at: %s", error)


def record_verdicts(resolved: ResolvedStudy, instance: dg.DagsterInstance) -> None:
    """Record what is out of date as outcomes of the check that belong to no run.

    Assets of which nothing was made have none.
    """
    for name, verdict in verdicts(resolved).items():
        if verdict.made:
            outcome = dg.AssetCheckEvaluation(
                asset_key=dg.AssetKey(name),
                check_name=CHECK,
                passed=verdict.fresh,
                severity=dg.AssetCheckSeverity.WARN,
                metadata=_metadata(verdict),
            )
            instance.report_runless_asset_event(outcome)
