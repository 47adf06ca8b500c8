"""`dnd plan`: what a run would compute and reuse, and what it would cost, before it starts.

What the store and the lineage know is counted exactly. A stage whose inputs would be computed anew
cannot be counted yet, since equal content stops the change there: its units are listed as `may`,
with the most that they can cost.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from dnd_assets.engine.context import StudyContext
from dnd_assets.engine.materialize import reusable
from dnd_assets.engine.resolve import Graph, Resolved, parts, stream_inputs
from dnd_assets.engine.stage import Stage, leading_to
from dnd_assets.engine.stage_plan import StagePlan
from dnd_assets.engine.stage_versions import stage_version
from dnd_assets.lineage.explain import own_changes
from dnd_assets.lineage.fingerprint import Preimage
from dnd_assets.lineage.records import RETRYABLE, Product
from dnd_assets.units import Unit


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
        waiting = {unit for upstream in stage.upstream for unit in changing.get(upstream, ())}
        settled = [unit for unit in units if unit not in waiting]
        resolved = graph.resolve(name, settled)
        stored = reusable(graph.context, resolved)
        missing = tuple(unit for unit in settled if unit not in stored)
        changing[name] = waiting.union(missing)
        yield Outlook(stage, resolved, missing, frozenset(waiting))
        needed = {
            upstream
            for later_stage in order[order.index(name) + 1 :]
            for upstream in graph.stages[later_stage].upstream
        }
        for past_stage in order[: order.index(name) + 1]:
            if past_stage not in needed:  # tens of thousands of units are a lot of memory
                graph.forget(past_stage, units)


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
    graph = Graph(
        context, leading_to(stages, assets), seen={product.asset: product for product in seen}
    )
    with context.lineage.connect():
        return [
            _stage_plan(graph, stage_outlook, workers or context.workers.count or 1)
            for stage_outlook in outlook(graph, units)
            if stage_outlook.stage.name in assets
        ]


def _stage_plan(graph: Graph, stage_outlook: Outlook, workers: int) -> StagePlan:
    context, stage = graph.context, stage_outlook.stage
    sharers = {stage_outlook.resolved[unit].key: unit for unit in reversed(stage_outlook.missing)}
    cost = stage.cost(context, stream_inputs(graph, stage, list(sharers.values())))
    may = len(stage_outlook.waiting)
    rate = _rate(context, stage.name, workers)
    return StagePlan(
        stage.name,
        reuse=len(stage_outlook.resolved) - len(stage_outlook.missing),
        compute=len(stage_outlook.missing),
        may=may,
        cost={kind: count for kind, count in cost.items() if count},
        most=stage.cost_upper_bound(context, may) if may else {},
        seconds=None if rate is None else rate * len(stage_outlook.missing),
        most_seconds=None if rate is None else rate * (len(stage_outlook.missing) + may),
        why=dict(_reasons(context, stage_outlook).most_common()),
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
    (row,) = context.lineage.query(sql, [asset])
    if row["parts"] is not None:
        return float(row["parts"]) / workers + float(row["own"])
    sql = "SELECT avg(seconds) AS mean FROM materializations WHERE asset = ? AND NOT reused"
    mean = context.lineage.query(sql, [asset])[0]["mean"]
    return None if mean is None else float(mean)


def _reasons(context: StudyContext, stage_outlook: Outlook) -> Counter[str]:
    """Why each missing unit has to be computed."""
    asset = stage_outlook.stage.name
    newest = newest_keys(context, asset) if stage_outlook.missing else {}
    reasons: Counter[str] = Counter()
    for part in parts(stage_outlook.missing):
        preimages = context.lineage.preimages(
            newest[unit.key] for unit in part if unit.key in newest
        )
        for unit in part:
            state = stage_outlook.resolved[unit]
            if state.head is not None:
                file_gone = state.head.status not in RETRYABLE
                reasons[
                    "a stored file is gone" if file_gone else f"{state.head.status} before"
                ] += 1
            elif newest.get(unit.key) not in preimages:
                reasons["never made"] += 1
            else:
                reasons.update(
                    _differences(context, asset, preimages[newest[unit.key]], state.preimage)
                )
    return reasons


def _differences(context: StudyContext, asset: str, old: Preimage, new: Preimage) -> list[str]:
    inputs = {**old["inputs"], **new["inputs"]}
    changed_inputs = [name for name in inputs if old["inputs"].get(name) != new["inputs"].get(name)]
    stage_changes = [str(change) for change in own_changes(context.lineage.query, asset, old, new)]
    return [*stage_changes, *(f"{asset}: other {name}" for name in changed_inputs)]


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
    due_by_asset: dict[str, set[Unit]] = {}
    with context.lineage.connect():
        observed = {product.asset: product for product in seen}
        for stage_outlook in outlook(
            Graph(context, leading_to(stages, assets), seen=observed), units
        ):
            if stage_outlook.stage.name in assets:
                newest = newest_announced(context, stage_outlook.stage.name)
                version = stage_version(context, stage_outlook.stage)
                reannounced = {
                    unit
                    for unit, state in stage_outlook.resolved.items()
                    if newest.get(unit.key) != (state.key, version)
                }
                due_by_asset[stage_outlook.stage.name] = {
                    *stage_outlook.missing,
                    *stage_outlook.waiting,
                    *reannounced,
                }
    return {name: due_units for name, due_units in due_by_asset.items() if due_units}


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
