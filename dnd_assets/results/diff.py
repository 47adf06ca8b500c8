"""`dnd diff`: which labels differ between two runs, and why."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from dnd_assets.errors import not_found
from dnd_assets.lineage.explain import Change, Version, explain, image_changes, versions
from dnd_assets.lineage.records import UNPARTITIONED
from dnd_assets.results.labels import label_assets
from dnd_assets.results.recorded import Recorded


@dataclass(frozen=True)
class LabelChange:
    """One unit whose label, or status, is not the same in both runs.

    Attributes:
        asset: whose label it is.
        unit: the unit's key.
        before: the label after the one run, or the status in brackets.
        after: the same after the other.
        why: the first causes.
    """

    asset: str
    unit: str
    before: str
    after: str
    why: tuple[Change, ...]

    def as_json(self) -> dict[str, object]:
        """The change as `dnd diff --json` writes it."""
        return {**asdict(self), "why": [change.as_json() for change in self.why]}


def find_run(recorded: Recorded, name: str) -> str:
    """The full id of a run, from its id or the start of it.

    Raises:
        NotFoundError: with the nearest ids.
    """
    sql = "SELECT run FROM materializations WHERE study = ? GROUP BY run ORDER BY max(recorded_at)"
    runs = [row["run"] for row in recorded.lineage.query(sql, [recorded.study.name])]
    matching = [run for run in runs if run.startswith(name)]
    if len(matching) != 1:
        raise not_found("run", name, runs, "Give enough of its id to be unique.")
    return str(matching[0])


def diff(
    recorded: Recorded, before: str, after: str, asset: str | None = None
) -> list[LabelChange]:
    """Units whose labels after the one run and after the other differ, with the causes of each.

    A run leaves out what is up to date, so a unit's label after a run may be of an earlier one.

    Args:
        recorded: of the study.
        before: id of the earlier run.
        after: id of the later run.
        asset: whose labels; None for those of every method.

    Raises:
        NotFoundError: when the study has no such labels; names the nearest.
    """
    assets = label_assets(recorded.lineage, recorded.study.name)
    if asset is not None and asset not in assets:
        raise not_found("labels", asset, assets)
    moments = _end(recorded, before), _end(recorded, after)
    label_changes = []
    for name in assets if asset is None else [asset]:
        old, new = (_labels(recorded, name, moment) for moment in moments)
        for unit in sorted(old.keys() & new.keys()):
            if old[unit] != new[unit]:
                causes = why_changed(recorded, name, unit, *moments)
                label_changes.append(LabelChange(name, unit, old[unit], new[unit], causes))
    return label_changes


def _end(recorded: Recorded, run: str) -> str:
    """When a run recorded its last product."""
    sql = "SELECT max(recorded_at) AS at FROM materializations WHERE study = ? AND run = ?"
    return str(recorded.lineage.query(sql, [recorded.study.name, run])[0]["at"])


def _labels(recorded: Recorded, asset: str, moment: str) -> dict[str, str]:
    """The newest label of each unit at a moment."""
    sql = (
        "SELECT m.unit, m.status, p.payload ->> 'label' AS label FROM materializations m "
        "JOIN products p USING (key) WHERE m.study = ? AND m.asset = ? "
        "AND m.recorded_at <= ? ORDER BY m.recorded_at, m.run"
    )
    rows = recorded.lineage.query(sql, [recorded.study.name, asset, moment])
    return {row["unit"]: row["label"] or f"({row['status']})" for row in rows}


def why_changed(
    recorded: Recorded, asset: str, unit: str, before: str, after: str
) -> tuple[Change, ...]:
    """First causes of the difference between a unit's products at two moments."""
    history = versions(recorded.lineage.query, recorded.study.name, asset, unit)
    old, new = (
        [version for version in history if version.recorded_at <= moment][-1]
        for moment in (before, after)
    )
    return tuple(changes(recorded, asset, unit, old, new))


def changes(recorded: Recorded, asset: str, unit: str, old: Version, new: Version) -> list[Change]:
    """First causes, with the images that came and went where the probing set is one of them."""
    query, study = recorded.lineage.query, recorded.study.name
    causes = explain(query, study, asset, unit, old, new)
    probing = next((cause for cause in causes if cause.asset == "probing_set"), None)
    if probing is not None:
        causes = [cause for cause in causes if cause.what != "images"]
        causes += image_changes(*(_manifest(recorded, unit, version) for version in (old, new)))
    return causes


def _manifest(recorded: Recorded, unit: str, version: Version) -> Sequence[str]:
    """The images of the probing set that a version was made from."""
    while "probing_set" not in version.preimage["inputs"]:
        inputs = version.preimage["inputs"].items()
        name, data_version = next(item for item in inputs if item[0] not in UNPARTITIONED)
        history = versions(recorded.lineage.query, recorded.study.name, name, unit)
        version = next(
            record for record in reversed(history) if record.data_version == data_version
        )
    data_version = version.preimage["inputs"]["probing_set"]
    history = versions(recorded.lineage.query, recorded.study.name, "probing_set", "")
    probing_set = next(
        record for record in reversed(history) if record.data_version == data_version
    )
    images: list[str] = json.loads(recorded.store.get(probing_set.payload["manifest"]))
    return images
