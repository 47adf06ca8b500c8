"""A run from the command line, recorded in the Dagster instance that the web interface shows."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import dagster as dg
from dagster._core.execution.plan.objects import ErrorSource

from dnd_assets.assets.resolved import ResolvedStudy, resolve_study
from dnd_assets.engine.context import StudyContext
from dnd_assets.engine.models import assumptions
from dnd_assets.engine.observed_assets import Seen
from dnd_assets.errors import DndError
from dnd_assets.study.study import Study
from dnd_assets.workflow import stopping
from dnd_assets.workflow.asset_checks import service_failures
from dnd_assets.workflow.dead_runs import (
    OWNER_TAG,
    STUDY_TAG,
    cancelled_when_stopped,
    fail_dead_runs,
)
from dnd_assets.workflow.definitions import definitions_of
from dnd_assets.workflow.due import Due, Run, confirm, decide, decide_from_files
from dnd_assets.workflow.instance import RUN_TAGS, opened_instance
from dnd_assets.workflow.owner import Owner
from dnd_assets.workflow.preflight import observe, preflight
from resources.lineage_db.database import Lineage

__all__ = [
    "Run", "RunFailedError", "ServiceFailedError", "observe", "run", "run_resolved",
]  # fmt: skip


class RunFailedError(DndError):
    """A run that did not end well; the message tells the first cause."""


class ServiceFailedError(RunFailedError):
    """A run that did what it could, and got nothing from a service for some units."""

    exit_status = 3


@dataclass(frozen=True)
class _Instance:
    """What Dagster itself says of what it was told; see `workflow.announced`.

    Attributes:
        instance: the instance.
    """

    instance: dg.DagsterInstance

    def partitions(self, asset: str) -> set[str]:
        """Keys of the units for which it was materialized."""
        return self.instance.get_materialized_partitions(dg.AssetKey(asset))

    def ever(self, asset: str) -> bool:
        """Whether it was materialized at all."""
        return self.instance.get_latest_materialization_event(dg.AssetKey(asset)) is not None


def run(
    study: Study,
    home: Path,
    units: Sequence[str] = (),
    assets: Sequence[str] = (),
    log: Callable[[str], None] = print,
) -> Run:
    """Materialize assets for some units of a study in one Dagster run.

    Units and assets for which nothing would change are left out, as `make` does.

    Args:
        study: the study.
        home: the state folder.
        units: keys, prefixes or ranges; none for all units of the study.
        assets: names, with `+` for everything upstream; none for all.
        log: where progress goes.

    Raises:
        StudyError: when a model, a server, a key, a device or room on the disk is missing.
        RunFailedError: when a step failed; finished work is kept.
        ServiceFailedError: when a service gave nothing for some units; the others are done.
    """
    return run_resolved(resolve_study(study, home, log), units, assets)


def run_resolved(
    resolved: ResolvedStudy,
    units: Sequence[str] = (),
    assets: Sequence[str] = (),
    due: Due | None = None,
) -> Run:
    """As `run`, of a study that is worked out already; its images are looked at once.

    Args:
        resolved: the study with its resources.
        units: as of `run`.
        assets: as of `run`.
        due: what there is to do, where that was decided already.
    """
    if due is None:
        due = decide_from_files(resolved, units, assets)
    if due is not None and not due.assets:
        confirm(resolved.context, due.chosen, due.asked)
        return due.nothing_done(resolved)
    context = resolved.context
    with opened_instance(context.home) as instance:
        fail_dead_runs(instance, context.log)
        due = due or decide(resolved, units, assets, _Instance(instance))
        if not due.assets:
            confirm(context, due.chosen, due.asked)
            return due.nothing_done(resolved)
        keys = set(due.units)
        for name, text in assumptions(context):
            context.log(f"assumed, {name}: {text}")
        concerned = [unit for unit in due.chosen if unit.key in keys]
        preflight(resolved, concerned, due.assets, due.seen.products)
        try:
            finished = _recorded(resolved, instance, due.units or units, due.assets, due.seen)
        finally:
            context.workers.close()
    confirm(context, due.chosen, due.asked, finished.id)
    return finished


def _recorded(
    resolved: ResolvedStudy,
    instance: dg.DagsterInstance,
    units: Sequence[str],
    assets: Sequence[str],
    seen: Seen,
) -> Run:
    """Materialize what is due in one Dagster run that names this process as its owner."""
    context, home = resolved.context, resolved.context.home
    definitions = definitions_of(resolved, units, seen)
    keys = _partition_keys(definitions)
    run_id = str(uuid.uuid4())
    with cancelled_when_stopped(instance, run_id):
        result = definitions.resolve_implicit_global_asset_job_def().execute_in_process(
            run_id=run_id,
            run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
            instance=instance,
            asset_selection=[dg.AssetKey(name) for name in assets],
            raise_on_error=False,
            tags={
                "dagster/asset_partition_range_start": keys[0],
                "dagster/asset_partition_range_end": keys[-1],
                **RUN_TAGS,
                STUDY_TAG: resolved.study.name,
                OWNER_TAG: Owner.this().text,
            },
        )
    _require_success(context, result, assets)
    counts = _counts(home, run_id)
    return Run(run_id, len(keys), counts[False], counts[True], _work(home, run_id))


def _require_success(
    context: StudyContext, result: dg.ExecuteInProcessResult, assets: Sequence[str]
) -> None:
    """Raise what kept a run from ending well: an interrupt, an error, or a service that failed."""
    failed = [event for event in result.all_events if event.is_step_failure]
    sources = {event.step_failure_data.error_source for event in failed}
    if stopping.requested() or ErrorSource.INTERRUPT in sources:
        raise KeyboardInterrupt
    service_message = service_failures(context, result.run_id, assets)
    errors = [event for event in failed if event.step_failure_data.user_failure_data is None]
    if errors or not (result.success or service_message):
        raise RunFailedError(_first_cause(result, errors))
    if service_message:
        raise ServiceFailedError(service_message)


def _work(home: Path, run_id: str) -> dict[str, int]:
    sql = "SELECT what, sum(count) AS n FROM work WHERE run = ? GROUP BY what ORDER BY what"
    rows = Lineage(root=str(home)).query(sql, [run_id])
    return {row["what"]: int(row["n"]) for row in rows}


def _partition_keys(definitions: dg.Definitions) -> list[str]:
    partitions = definitions.resolve_assets_def("labels").partitions_def
    assert partitions is not None
    return list(partitions.get_partition_keys())


def _first_cause(result: dg.ExecuteInProcessResult, failed: Sequence[dg.DagsterEvent]) -> str:
    """The message of the error at the root of the first failed step."""
    for event in failed:
        error = event.step_failure_data.error
        while error is not None and error.cause is not None:
            error = error.cause
        if error is not None:
            message = error.message.partition(": ")[2] if "Error" in error.message else ""
            prefix = f"{event.step_key}: "
            return prefix + (message or error.message).strip()
    return f"run {result.run_id} failed; its events are in the web interface (`dnd ui`)."


def _counts(home: Path, run_id: str) -> dict[bool, dict[str, int]]:
    rows = Lineage(root=str(home)).query(
        "SELECT asset, reused, count(*) AS n FROM materializations WHERE run = ? "
        "GROUP BY asset, reused",
        [run_id],
    )
    counts: dict[bool, dict[str, int]] = {False: {}, True: {}}
    for row in rows:
        counts[bool(row["reused"])][row["asset"]] = int(row["n"])
    return counts
