"""`dnd plan`: what a run would compute and reuse, and what it would cost, before it starts.

What the store and the lineage know is counted exactly. A stage whose inputs would be computed anew
cannot be counted yet, since equal content stops the change there: its units are listed as `may`,
with the most that they can cost.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from dnd_assets.engine.context import StudyContext
from dnd_assets.engine.materialize import reusable
from dnd_assets.engine.resolve import Graph, Resolved, parts, stream_inputs
from dnd_assets.engine.stage import Stage, leading_to
from dnd_assets.engine.stage_versions import stage_version
from dnd_assets.lineage.explain import own_changes
from dnd_assets.lineage.fingerprint import Preimage
from dnd_assets.lineage.records import RETRYABLE, Product
from dnd_assets.units import Unit


@dataclass
class StagePlan:
    """What a run would do for one asset.

    Attributes:
        asset: the asset.
        reuse: units whose stored product is taken.
        compute: units that are computed for certain.
        may: units whose inputs change; computed unless the new content equals the old.
        cost: work of the certain units, exactly: passes, captions, calls, pictures.
        most: work of the `may` units, at most.
        seconds: time of the certain units from measured rates; None when nothing was measured.
        most_seconds: the same with all `may` units.
        why: reasons for which the certain units are computed, with the number of units of each.
    """

    asset: str
    reuse: int = 0
    compute: int = 0
    may: int = 0
    cost: dict[str, int] = field(default_factory=dict)
    most: dict[str, int] = field(default_factory=dict)
    seconds: float | None = None
    most_seconds: float | None = None
    why: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Outlook:
    """One stage of a plan before it is counted.

    Attributes:
        stage: the stage.
        resolved: units whose inputs are known, with their keys.
        missing: those of them that will be computed.
        waiting: units whose inputs will be computed anew.
    """

    stage: Stage
    resolved: Mapping[Unit, Resolved]
    missing: tuple[Unit, ...]
    waiting: frozenset[Unit]


def outlook(graph: Graph, units: Sequence[Unit]) -> Iterator[Outlook]:
    """What is known of every stage before a run, in the order of the graph.

    Raises:
        UpstreamError: when the probing set has not been materialized under the present study.
    """
    changing: dict[str, set[Unit]] = {}
    order = list(graph.stages)
    for name, stage in graph.stages.items():
        waiting = {u for up in stage.upstream for u in changing.get(up, ())}
        settled = [unit for unit in units if unit not in waiting]
        resolved = graph.resolve(name, settled)
        kept = reusable(graph.context, resolved)
        missing = tuple(unit for unit in settled if unit not in kept)
        changing[name] = waiting.union(missing)
        yield Outlook(stage, resolved, missing, frozenset(waiting))
        needed = {
            up for later in order[order.index(name) + 1 :] for up in graph.stages[later].upstream
        }
        for done in order[: order.index(name) + 1]:
            if done not in needed:  # tens of thousands of units are a lot of memory
                graph.forget(done, units)


def plan(
    context: StudyContext,
    stages: Mapping[str, Stage],
    units: Sequence[Unit],
    assets: Sequence[str],
    *seen: Product,
    workers: int | None = None,
) -> list[StagePlan]:
    """What materializing `assets` for `units` would do under the present study.

    Args:
        context: the study's context.
        stages: all stages by name, in order.
        units: the units.
        assets: names of the stages, any order.
        seen: unpartitioned products as they are now, in place of the materialized ones.
        workers: how many workers to reckon with; None for those of the study, as far as it says.

    Raises:
        UpstreamError: when the probing set has not been materialized under the present study.
    """
    context = replace(context, promised={})  # what one stage will compute, the next one finds
    graph = Graph(context, leading_to(stages, assets), seen={one.asset: one for one in seen})
    with context.lineage.connect():
        return [
            _counted(graph, one, workers or context.workers.count or 1)
            for one in outlook(graph, units)
            if one.stage.name in assets
        ]


def _counted(graph: Graph, found: Outlook, workers: int) -> StagePlan:
    context, stage = graph.context, found.stage
    sharers = {found.resolved[unit].key: unit for unit in reversed(found.missing)}
    cost = stage.cost(context, stream_inputs(graph, stage, list(sharers.values())))
    may = len(found.waiting)
    rate = _rate(context, stage.name, workers)
    return StagePlan(
        stage.name,
        reuse=len(found.resolved) - len(found.missing),
        compute=len(found.missing),
        may=may,
        cost={what: count for what, count in cost.items() if count},
        most=stage.cost_upper_bound(context, may) if may else {},
        seconds=None if rate is None else rate * len(found.missing),
        most_seconds=None if rate is None else rate * (len(found.missing) + may),
        why=dict(_reasons(context, found).most_common()),
    )


def _rate(context: StudyContext, asset: str, workers: int) -> float | None:
    """Mean seconds for a unit, over all that were ever computed here, with so many workers.

    What workers did divides by their number; what the coordinator did beside it does not.
    """
    sql = (
        "WITH done AS (SELECT run, study, asset, sum(seconds) AS parts, count(*) AS many "
        "FROM workers GROUP BY ALL) "
        "SELECT sum(d.parts) / sum(s.units) AS parts, "
        "sum(greatest(s.seconds - d.parts / d.many, 0)) / sum(s.units) AS own "
        "FROM stage_runs s JOIN done d USING (run, study, asset) WHERE s.asset = ?"
    )
    (found,) = context.lineage.query(sql, [asset])
    if found["parts"] is not None:
        return float(found["parts"]) / workers + float(found["own"])
    sql = "SELECT avg(seconds) AS mean FROM materializations WHERE asset = ? AND NOT reused"
    mean = context.lineage.query(sql, [asset])[0]["mean"]
    return None if mean is None else float(mean)


def _reasons(context: StudyContext, found: Outlook) -> Counter[str]:
    """Why each missing unit has to be computed."""
    asset = found.stage.name
    newest = newest_keys(context, asset) if found.missing else {}
    reasons: Counter[str] = Counter()
    for part in parts(found.missing):
        before = context.lineage.preimages(newest[u.key] for u in part if u.key in newest)
        for unit in part:
            state = found.resolved[unit]
            if state.head is not None:
                lost = state.head.status not in RETRYABLE
                reasons["a stored file is gone" if lost else f"{state.head.status} before"] += 1
            elif newest.get(unit.key) not in before:
                reasons["never made"] += 1
            else:
                reasons.update(
                    _differences(context, asset, before[newest[unit.key]], state.preimage)
                )
    return reasons


def _differences(context: StudyContext, asset: str, old: Preimage, new: Preimage) -> list[str]:
    inputs = {**old["inputs"], **new["inputs"]}
    changed = [name for name in inputs if old["inputs"].get(name) != new["inputs"].get(name)]
    own = [str(change) for change in own_changes(context.lineage.query, asset, old, new)]
    return [*own, *(f"{asset}: other {name}" for name in changed)]


def out_of_date(
    context: StudyContext,
    stages: Mapping[str, Stage],
    units: Sequence[Unit],
    assets: Sequence[str],
    *seen: Product,
) -> dict[str, set[Unit]]:
    """Units, by asset, for which a run would compute anything, or would announce another product.

    A stored product that is not the newest of its study, or was announced under other settings that
    came to the same, has to be announced again. Assets without any such unit are left out.

    Raises:
        UpstreamError: when the probing set has not been materialized under the present study.
    """
    due: dict[str, set[Unit]] = {}
    with context.lineage.connect():
        now = {one.asset: one for one in seen}
        for one in outlook(Graph(context, leading_to(stages, assets), seen=now), units):
            if one.stage.name in assets:
                newest = newest_announced(context, one.stage.name)
                version = stage_version(context, one.stage)
                other = {
                    unit
                    for unit, state in one.resolved.items()
                    if newest.get(unit.key) != (state.key, version)
                }
                due[one.stage.name] = {*one.missing, *one.waiting, *other}
    return {name: found for name, found in due.items() if found}


def newest_keys(context: StudyContext, asset: str) -> dict[str, str]:
    """Key of the product that the study announced last, by unit."""
    return {unit: key for unit, (key, _) in newest_announced(context, asset).items()}


def newest_announced(context: StudyContext, asset: str) -> dict[str, tuple[str, str]]:
    """Key of the product that the study announced last, and under which version, by unit."""
    sql = (
        "SELECT unit, key, code_version FROM materializations WHERE study = ? AND asset = ? "
        "QUALIFY row_number() OVER (PARTITION BY unit ORDER BY recorded_at DESC, run DESC) = 1"
    )
    rows = context.lineage.query(sql, [context.study.name, asset])
    return {row["unit"]: (row["key"], row["code_version"]) for row in rows}
