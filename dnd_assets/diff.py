"""`dnd diff`: which labels differ between two runs, and why."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from dnd_assets.errors import not_found
from dnd_assets.lineage.explain import Change, Version, explain, image_changes, versions
from dnd_assets.lineage.records import UNPARTITIONED
from dnd_assets.workbench import Workbench


@dataclass(frozen=True)
class LabelChange:
    """One unit whose label, or status, is not the same in both runs."""

    unit: str
    before: str
    after: str
    why: tuple[Change, ...]


def find_run(bench: Workbench, name: str) -> str:
    """The full id of a run, from its id or the start of it.

    Raises:
        NotFoundError: with the nearest ids.
    """
    sql = "SELECT run FROM materializations WHERE study = ? GROUP BY run ORDER BY max(recorded_at)"
    runs = [row["run"] for row in bench.lineage.query(sql, [bench.study.name])]
    matching = [run for run in runs if run.startswith(name)]
    if len(matching) != 1:
        raise not_found("run", name, runs, "Give enough of its id to be unique.")
    return str(matching[0])


def diff(bench: Workbench, before: str, after: str) -> list[LabelChange]:
    """Units whose labels after the one run and after the other differ, with the causes of each.

    A run leaves out what is up to date, so a unit's label after a run may be of an earlier one.

    Args:
        bench: the workbench.
        before: id of the earlier run.
        after: id of the later run.
    """
    ends = _end(bench, before), _end(bench, after)
    old, new = (_labels(bench, end) for end in ends)
    found = []
    for unit in sorted(old.keys() & new.keys()):
        if old[unit] != new[unit]:
            why = why_changed(bench, "labels", unit, *ends)
            found.append(LabelChange(unit, old[unit], new[unit], why))
    return found


def _end(bench: Workbench, run: str) -> str:
    """When a run recorded its last product."""
    sql = "SELECT max(recorded_at) AS at FROM materializations WHERE study = ? AND run = ?"
    return str(bench.lineage.query(sql, [bench.study.name, run])[0]["at"])


def _labels(bench: Workbench, end: str) -> dict[str, str]:
    """The newest label of each unit at a moment."""
    sql = (
        "SELECT m.unit, m.status, p.payload ->> 'label' AS label FROM materializations m "
        "JOIN products p USING (key) WHERE m.study = ? AND m.asset = 'labels' "
        "AND m.recorded_at <= ? ORDER BY m.recorded_at, m.run"
    )
    rows = bench.lineage.query(sql, [bench.study.name, end])
    return {row["unit"]: row["label"] or f"({row['status']})" for row in rows}


def why_changed(
    bench: Workbench, asset: str, unit: str, before: str, after: str
) -> tuple[Change, ...]:
    """First causes of the difference between a unit's products at two moments."""
    found = versions(bench.lineage.query, bench.study.name, asset, unit)
    old, new = ([one for one in found if one.recorded_at <= end][-1] for end in (before, after))
    return tuple(changes(bench, asset, unit, old, new))


def changes(bench: Workbench, asset: str, unit: str, old: Version, new: Version) -> list[Change]:
    """First causes, with the images that came and went where the probing set is one of them."""
    query, study = bench.lineage.query, bench.study.name
    found = explain(query, study, asset, unit, old, new)
    probing = next((one for one in found if one.asset == "probing_set"), None)
    if probing is not None:
        found = [one for one in found if one.what != "images"]
        found += image_changes(*(_manifest(bench, unit, one) for one in (old, new)))
    return found


def _manifest(bench: Workbench, unit: str, version: Version) -> Sequence[str]:
    """The images of the probing set that a version was made from."""
    while "probing_set" not in version.preimage["inputs"]:
        inputs = version.preimage["inputs"].items()
        name, wanted = next(item for item in inputs if item[0] not in UNPARTITIONED)
        found = versions(bench.lineage.query, bench.study.name, name, unit)
        version = next(one for one in reversed(found) if one.data_version == wanted)
    wanted = version.preimage["inputs"]["probing_set"]
    found = versions(bench.lineage.query, bench.study.name, "probing_set", "")
    manifest = next(one for one in reversed(found) if one.data_version == wanted)
    images: list[str] = json.loads(bench.store.get(manifest.payload["manifest"]))
    return images
