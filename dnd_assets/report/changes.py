"""What changed since another run, or between this report and another one."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from dnd_assets.analysis.metric_means import method_name
from dnd_assets.engine.context import StudyContext
from dnd_assets.errors import NotFoundError
from dnd_assets.lineage.records import Payload
from dnd_assets.report.folder import read_manifest
from dnd_assets.results.diff import diff, find_run
from dnd_assets.results.recorded import Recorded
from dnd_assets.results.unit_card.card import MethodLabel
from dnd_assets.results.unit_card.card_reader import Cards


@dataclass(frozen=True)
class ChangedUnit:
    """A unit whose label is not the same in both.

    Attributes:
        method: whose label.
        unit: the unit's key.
        before: label, or status in brackets.
        after: the same now.
        why: first causes, where the records of both are at hand.
    """

    method: str
    unit: str
    before: str
    after: str
    why: tuple[str, ...] = ()


@dataclass(frozen=True)
class Changes:
    """Labels that differ.

    Attributes:
        before: what is compared with.
        after: what it is compared with.
        units: how many units both have.
        found: the differences.
        appeared: units that only the later one has.
        gone: units that only the earlier one has.
    """

    before: str
    after: str
    units: int
    found: tuple[ChangedUnit, ...]
    appeared: tuple[str, ...] = ()
    gone: tuple[str, ...] = ()


def changes_since(context: StudyContext, cards: Cards, against: str) -> Changes:
    """Compare labels with an earlier run or with another report.

    Args:
        context: the study's context.
        cards: what is recorded now.
        against: a run's id, or the start of it, or the folder of another report.

    Raises:
        NotFoundError: when there is no such run or report; names the nearest runs.
    """
    folder = Path(against).expanduser()
    if folder.is_dir():
        return _since_report(cards, folder)
    recorded = Recorded.of(context)
    before = find_run(recorded, against)
    sql = (
        "SELECT run FROM materializations WHERE study = ? GROUP BY run "
        "ORDER BY max(recorded_at) DESC LIMIT 1"
    )
    newest = str(context.lineage.query(sql, [context.study.name])[0]["run"])
    with context.lineage.connect():
        differences = [
            ChangedUnit(
                method_name(difference.asset),
                difference.unit,
                difference.before,
                difference.after,
                tuple(str(cause) for cause in difference.why),
            )
            for difference in diff(recorded, before, newest)
        ]
    shared = "SELECT count(DISTINCT unit) AS n FROM materializations WHERE study = ? AND unit <> ''"
    units = int(context.lineage.query(shared, [context.study.name])[0]["n"])
    return Changes(f"run {before[:8]}", f"run {newest[:8]}", units, tuple(differences))


def _since_report(cards: Cards, folder: Path) -> Changes:
    manifest = read_manifest(folder)
    try:
        old = {
            str(unit): _recorded_labels(unit_entry)
            for unit, unit_entry in (manifest or {})["units"].items()
        }
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise NotFoundError(
            f"{folder} holds no report that can be read. Give a folder that `dnd report` wrote, "
            "or a run's id."
        ) from error
    new = {
        card.unit: {method.asset: _label_or_status(method) for method in card.methods}
        for card in cards.read()
    }
    in_both = [unit for unit in new if unit in old]
    differences = [
        ChangedUnit(method_name(asset), unit, old[unit][asset], label)
        for unit in in_both
        for asset, label in new[unit].items()
        if asset in old[unit] and old[unit][asset] != label
    ]
    return Changes(
        f"report {folder.name}", "this report", len(in_both), tuple(differences),
        tuple(unit for unit in new if unit not in old),
        tuple(unit for unit in old if unit not in new),
    )  # fmt: skip


def _recorded_labels(unit: Payload) -> dict[str, str]:
    """Label or status by asset, from what a report's manifest keeps of a unit."""
    return {
        str(asset): str(summary["label"] or f"({summary['status']})")
        for asset, summary in unit["entry"]["methods"].items()
    }


def _label_or_status(method: MethodLabel) -> str:
    """A method's label of a unit; its status in brackets where it gave none."""
    return method.label or f"({method.status})"
