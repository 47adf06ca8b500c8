"""Asset checks: what must hold of each product, shown beside it in the interface."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

import dagster as dg

from dnd_assets.lineage.records import CONCEPT_MASKS, HELD_OUT_IMAGES, PROBING_SET, is_labels
from dnd_assets.stage import Stage, wholes_of
from dnd_assets.units import UnitIndex
from dnd_assets.workbench import Workbench

_SCANNED = (PROBING_SET, CONCEPT_MASKS, HELD_OUT_IMAGES)
"""Assets that are read from folders of images."""


def stage_checks(
    bench: Workbench, stages: Mapping[str, Stage], units: UnitIndex
) -> list[dg.AssetChecksDefinition]:
    """The checks of every asset of a study."""
    answers = [name for name in stages if is_labels(name)]
    wholes = list(wholes_of(stages))
    scanned = [name for name in wholes if name in _SCANNED]
    checks = [_quarantine(bench, name) for name in scanned]
    checks += [_labelled(bench, units, name) for name in answers]
    whole = [name for name in wholes if name != PROBING_SET]
    return checks + [_intact(bench, name) for name in (*whole, *stages)]


def _quarantine(bench: Workbench, asset: str) -> dg.AssetChecksDefinition:
    limit = bench.study.probing_set.max_quarantined

    @dg.asset_check(
        asset=asset,
        name="few_images_quarantined",
        description=f"At most {limit:.1%} of the image files could not be read.",
    )
    def check() -> dg.AssetCheckResult:
        rows = _latest(bench, asset, "p.notes ->> '$.found' AS found, "
                       "json_array_length(p.notes, '$.quarantined') AS bad")  # fmt: skip
        found, bad = (int(rows[0]["found"]), int(rows[0]["bad"])) if rows else (0, 0)
        share = bad / max(found, 1)
        return dg.AssetCheckResult(
            passed=bool(found) and share <= limit,
            severity=dg.AssetCheckSeverity.WARN,
            metadata={"files": found, "quarantined": bad, "share": share},
        )

    return check


def _labelled(bench: Workbench, units: UnitIndex, asset: str) -> dg.AssetChecksDefinition:
    @dg.asset_check(
        asset=asset,
        name="every_unit_answered",
        description="Every unit of the study has a label or a typed reason for having none.",
    )
    def check() -> dg.AssetCheckResult:
        rows = _latest(bench, asset, "l.unit AS unit, l.status AS status")
        status = {row["unit"]: row["status"] for row in rows if row["unit"] in units}
        counts = Counter(status.values())
        missing = [key for key in units if key not in status]
        return dg.AssetCheckResult(
            passed=not missing,
            severity=dg.AssetCheckSeverity.WARN,
            metadata={"units": len(units), "not yet": len(missing), "statuses": dict(counts)},
        )

    return check


def _intact(bench: Workbench, asset: str) -> dg.AssetChecksDefinition:
    @dg.asset_check(
        asset=asset,
        name="artefacts_in_store",
        description="Every file that the newest products need is in the store.",
    )
    def check() -> dg.AssetCheckResult:
        rows = _latest(bench, asset, "DISTINCT unnest((p.notes -> '$.files')::VARCHAR[]) AS file")
        lost = [row["file"] for row in rows if not bench.store.has(row["file"])]
        return dg.AssetCheckResult(
            passed=not lost, metadata={"files": len(rows), "missing": lost[:20]}
        )

    return check


def _latest(bench: Workbench, asset: str, columns: str) -> list[dict[str, Any]]:
    sql = (
        f"SELECT {columns} FROM latest l JOIN products p USING (key) "  # noqa: S608 (own columns)
        "WHERE l.study = ? AND l.asset = ?"
    )
    return bench.lineage.query(sql, [bench.study.name, asset])
