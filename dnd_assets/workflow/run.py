"""A run from the command line, recorded in the Dagster instance that the web interface shows."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import dagster as dg
from dagster._core.execution.plan.objects import ErrorSource

from dnd_assets.assets.registry import chosen_from
from dnd_assets.assets.resolved import ResolvedStudy, resolve_study
from dnd_assets.engine.context import StudyContext
from dnd_assets.engine.models import assumptions
from dnd_assets.engine.observed_assets import Seen
from dnd_assets.engine.plan import newest_announced, out_of_date
from dnd_assets.engine.recording import record_run
from dnd_assets.engine.stage_versions import recorded_version
from dnd_assets.errors import DndError, UpstreamError
from dnd_assets.lineage.records import Product, now
from dnd_assets.results.standing import Standing
from dnd_assets.study.study import Study
from dnd_assets.units import Unit
from dnd_assets.workflow import stopping
from dnd_assets.workflow.asset_checks import service_failures
from dnd_assets.workflow.dead_runs import (
    OWNER_TAG,
    STUDY_TAG,
    cancelled_when_stopped,
    fail_dead_runs,
)
from dnd_assets.workflow.definitions import definitions_of
from dnd_assets.workflow.instance import RUN_TAGS, opened_instance
from dnd_assets.workflow.owner import Owner
from dnd_assets.workflow.preflight import check_models, observe, preflight
from resources.lineage_db.database import Lineage

__all__ = [
    "Run", "RunFailedError", "ServiceFailedError", "observe", "run", "run_resolved",
]  # fmt: skip
_NEWEST = """
SELECT run, study, asset, unit, model, layer, neuron, key, data_version, code_version, status,
       reason, device
FROM latest WHERE study = ? AND asset IN (SELECT unnest(?::VARCHAR[]))
"""


class RunFailedError(DndError):
    """A run that did not end well; the message tells the first cause."""


class ServiceFailedError(RunFailedError):
    """A run that did what it could, and got nothing from a service for some units."""

    exit_status = 3


@dataclass(frozen=True)
class Run:
    """What a run did.

    Attributes:
        id: the run's id, in Dagster and in lineage; empty when everything was up to date and no
            run was made.
        units: how many units it covered.
        computed: products made anew, by asset.
        reused: products taken from the store, by asset.
        work: forward passes, captions, calls and pictures that it took.
    """

    id: str
    units: int
    computed: dict[str, int]
    reused: dict[str, int]
    work: dict[str, int] = field(default_factory=dict)


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
    resolved: ResolvedStudy, units: Sequence[str] = (), assets: Sequence[str] = ()
) -> Run:
    """As `run`, of a study that is worked out already; its images are looked at once."""
    asset_names = chosen_from(resolved.stages, assets)
    context = resolved.context
    check_models(resolved, asset_names)
    chosen = resolved.units.select(units)
    with opened_instance(context.home) as instance:
        fail_dead_runs(instance, context.log)
        waits = context.lineage.waits
        seen = Seen(observe(context, asset_names, resolved.stages), waits)
        due, names = _due(resolved, instance, chosen, asset_names, seen)
        if not names:
            _confirm(context, chosen, asset_names, uuid.uuid4().hex)
            return Run("", len(chosen), {}, {})
        keys = set(due)
        for name, text in assumptions(context):
            context.log(f"assumed, {name}: {text}")
        preflight(resolved, [unit for unit in chosen if unit.key in keys], names, seen.products)
        try:
            finished = _recorded(resolved, instance, due or units, names, seen)
        finally:
            context.workers.close()
    _confirm(context, chosen, asset_names, finished.id)
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


def _due(
    resolved: ResolvedStudy,
    instance: dg.DagsterInstance,
    units: Sequence[Unit],
    assets: Sequence[str],
    seen: Seen,
) -> tuple[list[str], list[str]]:
    """Keys of the units for which a run has anything to do, and the assets for which it has.

    Where only images or concepts became others of equal content, there are assets but no keys.
    """
    everything = [unit.key for unit in units]
    context, stages = resolved.context, resolved.stages
    products = [product for product in seen.products if product.asset in assets]
    due: dict[str, set[str]] = {
        product.asset: set() for product in products if _is_news(context, instance, product)
    }
    try:
        for name, changed_units in out_of_date(context, stages, units, assets, *products).items():
            due[name] = {unit.key for unit in changed_units}
    except UpstreamError:
        return everything, list(assets)  # the run says what is missing
    for name in assets:
        if name in stages:
            materialized = instance.get_materialized_partitions(dg.AssetKey(name))
            absent = set(everything) - materialized
            if absent:
                due[name] = due.get(name, set()) | absent
    concerned = {key for keys in due.values() for key in keys}
    return [key for key in everything if key in concerned], [n for n in assets if n in due]


def _confirm(context: StudyContext, units: Sequence[Unit], assets: Sequence[str], run: str) -> None:
    """Record for readers that products stand, which a run found up to date by their keys.

    They see it from the settings that are recorded with runs, which may differ in what decides
    nothing in the case at hand, such as where the study's folder lies.
    """
    unrecorded = {
        (row["run"], row["asset"], row["model"], row["layer"])
        for row in Standing(context.lineage, context.study).others(assets)
    }
    if not unrecorded:
        return
    keys = {"", *(unit.key for unit in units)}
    rows = context.lineage.query(
        _NEWEST, [context.study.name, sorted({row[1] for row in unrecorded})]
    )
    confirmations = [
        {**row, "run": run, "reused": True, "seconds": 0.0, "recorded_at": now()}
        for row in rows
        if row["unit"] in keys
        and (row["run"], row["asset"], row["model"], row["layer"]) in unrecorded
    ]
    record_run(context, run)
    context.lineage.commit({"materializations": confirmations})


def _is_news(context: StudyContext, instance: dg.DagsterInstance, product: Product) -> bool:
    """Whether a product of the whole study is not the one that was announced last."""
    version = recorded_version(product)
    if newest_announced(context, product.asset).get("") != (product.key, version):
        return True
    return instance.get_latest_materialization_event(dg.AssetKey(product.asset)) is None


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
