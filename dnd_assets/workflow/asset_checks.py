"""Asset checks: what must hold of each product, shown beside it in the interface."""

from collections import Counter
from collections.abc import Iterator, Sequence

import dagster as dg

from dnd_assets.assets.resolved import ResolvedStudy
from dnd_assets.engine.context import StudyContext
from dnd_assets.lineage.records import (
    CONCEPT_MASKS,
    HELD_OUT_IMAGES,
    PROBING_SET,
    is_labels,
)
from dnd_assets.lineage.rows import Row
from dnd_assets.units import UnitIndex

_SCANNED = (PROBING_SET, CONCEPT_MASKS, HELD_OUT_IMAGES)
"""Assets that are read from folders of images."""
_INTACT = "artefacts_in_store"
_INTACT_TEXT = "Every file that the newest products need is in the store."
_ANSWERED = "services_answered"
_ANSWERED_TEXT = (
    "No unit waits for a service that failed, or for a budget, since it was last attempted."
)


def stage_checks(resolved: ResolvedStudy) -> list[dg.AssetChecksDefinition]:
    """The checks of every asset of a study."""
    study_context, stages, units = resolved.context, resolved.stages, resolved.units
    label_assets = [name for name in stages if is_labels(name)]
    study_assets = list(resolved.wholes)
    scanned = [name for name in study_assets if name in _SCANNED]
    checks = [_quarantine(study_context, name) for name in scanned]
    checks += [_labelled(study_context, units, name) for name in label_assets]
    beside_probing_set = [name for name in study_assets if name != PROBING_SET]
    checks += [_intact(study_context, name) for name in beside_probing_set]
    return checks + [_sound(study_context, name) for name in stages]


def _quarantine(study_context: StudyContext, asset: str) -> dg.AssetChecksDefinition:
    limit = study_context.study.probing_set.max_quarantined

    @dg.asset_check(
        asset=asset,
        name="few_images_quarantined",
        description=f"At most {limit:.1%} of the image files could not be read.",
    )
    def check() -> dg.AssetCheckResult:
        rows = _latest(study_context, asset, "p.notes ->> '$.found' AS found, "
                       "json_array_length(p.notes, '$.quarantined') AS bad")  # fmt: skip
        files, quarantined = (int(rows[0]["found"]), int(rows[0]["bad"])) if rows else (0, 0)
        share = quarantined / max(files, 1)
        return dg.AssetCheckResult(
            passed=bool(files) and share <= limit,
            severity=dg.AssetCheckSeverity.WARN,
            metadata={"files": files, "quarantined": quarantined, "share": share},
        )

    return check


def _labelled(
    study_context: StudyContext, units: UnitIndex, asset: str
) -> dg.AssetChecksDefinition:
    @dg.asset_check(
        asset=asset,
        name="every_unit_answered",
        description=(
            "Every unit of the study has a label or a typed reason for having none. It warns until "
            "all units were materialized, also where you chose a few: `not yet` counts the others."
        ),
    )
    def check() -> dg.AssetCheckResult:
        rows = _latest(study_context, asset, "l.unit AS unit, l.status AS status")
        status = {row["unit"]: row["status"] for row in rows if row["unit"] in units}
        counts = Counter(status.values())
        missing = [key for key in units if key not in status]
        return dg.AssetCheckResult(
            passed=not missing,
            severity=dg.AssetCheckSeverity.WARN,
            metadata={"units": len(units), "not yet": len(missing), "statuses": dict(counts)},
        )

    return check


def _intact(study_context: StudyContext, asset: str) -> dg.AssetChecksDefinition:
    @dg.asset_check(
        asset=asset,
        name=_INTACT,
        description=_INTACT_TEXT,
    )
    def check() -> dg.AssetCheckResult:
        return _files_in_store(study_context, asset)

    return check


def _files_in_store(study_context: StudyContext, asset: str) -> dg.AssetCheckResult:
    rows = _latest(
        study_context, asset, "DISTINCT unnest((p.notes -> '$.files')::VARCHAR[]) AS file"
    )
    missing = [row["file"] for row in rows if not study_context.store.has(row["file"])]
    return dg.AssetCheckResult(
        asset_key=asset,
        check_name=_INTACT,
        passed=not missing,
        metadata={"files": len(rows), "missing": missing[:20]},
    )


def _sound(study_context: StudyContext, asset: str) -> dg.AssetChecksDefinition:
    """Both checks of a product of units, in one step, for steps take time.

    Once both are told, the step fails if a service failed in the very run: so does the run, while
    everything that could be computed was.
    """

    @dg.multi_asset_check(
        name=f"{asset}_is_sound",
        specs=[
            dg.AssetCheckSpec(_INTACT, asset=asset, description=_INTACT_TEXT),
            dg.AssetCheckSpec(_ANSWERED, asset=asset, description=_ANSWERED_TEXT),
        ],
        can_subset=True,
    )
    def check(context: dg.AssetCheckExecutionContext) -> Iterator[dg.AssetCheckResult]:
        chosen = {key.name for key in context.selected_asset_check_keys}
        with study_context.lineage.connect():  # opened once for all that is asked of it
            intact = _files_in_store(study_context, asset) if _INTACT in chosen else None
            waiting = unanswered(study_context, asset) if _ANSWERED in chosen else []
            failures = service_failures(study_context, context.run.run_id, [asset])
        if intact is not None:
            yield intact
        if _ANSWERED not in chosen:
            return
        yield dg.AssetCheckResult(
            asset_key=asset,
            check_name=_ANSWERED,
            passed=not waiting,
            metadata={"units": len(waiting), "first": waiting[0]["reason"] if waiting else "-"},
        )
        if failures:
            raise dg.Failure(failures, allow_retries=False)

    return check


def unanswered(study_context: StudyContext, asset: str) -> list[Row]:
    """Units whose newest attempt ended in a failure of a service, with the reason."""
    sql = (
        "SELECT f.unit, f.reason FROM failures f WHERE f.study = ? AND f.asset = ? AND NOT EXISTS "
        "(SELECT 1 FROM materializations m WHERE (m.study, m.asset, m.unit) = "
        "(f.study, f.asset, f.unit) AND m.recorded_at > f.recorded_at) "
        "QUALIFY row_number() OVER (PARTITION BY f.unit ORDER BY f.recorded_at DESC) = 1 "
        "ORDER BY f.unit"
    )
    return study_context.lineage.query(sql, [study_context.study.name, asset])


def service_failures(study_context: StudyContext, run: str, assets: Sequence[str]) -> str:
    """What a run did not get from services: asset, units, first reason, what to do; or nothing.

    Of what a failure leads to only the first asset is told.
    """
    sql = (
        "SELECT asset, count(*) AS n, min(unit) AS unit, arg_min(status, unit) AS status, "
        "arg_min(reason, unit) AS reason FROM failures WHERE run = ? AND study = ? GROUP BY asset"
    )
    rows = {
        row["asset"]: row
        for row in study_context.lineage.query(sql, [run, study_context.study.name])
    }
    failure = next((rows[name] for name in assets if name in rows), None)
    if failure is None:
        return ""
    units = f"{failure['n']:,} unit{'s' if failure['n'] > 1 else ''}"
    return (
        f"{failure['asset']}: {units} ended in {failure['status']}; first {failure['unit']}: "
        f"{failure['reason']} What was made before stays as it was, and finished work is kept. "
        "Mend the service and run again: only what failed is asked for."
    )


def _latest(study_context: StudyContext, asset: str, columns: str) -> list[Row]:
    sql = (
        f"SELECT {columns} FROM latest l JOIN products p USING (key) "  # noqa: S608 (own columns)
        "WHERE l.study = ? AND l.asset = ?"
    )
    return study_context.lineage.query(sql, [study_context.study.name, asset])
