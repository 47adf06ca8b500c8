"""`dnd plan`: what a run would compute and reuse, and what it would cost, before it starts.

What the store and the lineage know is counted exactly. A stage whose inputs would be computed anew
cannot be counted yet, since equal content stops the change there: its units are listed as `may`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from dnd_assets.stage import Graph, Stage, load_inputs, reusable
from dnd_assets.units import Unit
from dnd_assets.workbench import Workbench


@dataclass
class StagePlan:
    """What a run would do for one asset.

    Attributes:
        asset: the asset.
        reuse: units whose stored product is taken.
        compute: units that are computed for certain.
        may: units whose inputs change; computed unless the new content equals the old.
        cost: work of the certain units, exactly: passes, captions, calls, pictures.
        seconds: time of the certain units from measured rates; None when nothing was measured.
    """

    asset: str
    reuse: int = 0
    compute: int = 0
    may: int = 0
    cost: dict[str, int] = field(default_factory=dict)
    seconds: float | None = None


def plan(
    bench: Workbench, stages: Mapping[str, Stage], units: Sequence[Unit], assets: Sequence[str]
) -> list[StagePlan]:
    """What materializing `assets` for `units` would do under the present study and probing set.

    Args:
        bench: the workbench.
        stages: all stages by name, in order.
        units: the units.
        assets: names of the stages, any order.

    Raises:
        UpstreamError: when the probing set has not been materialized under the present study.
    """
    graph = Graph(bench, stages)
    open_units: dict[str, set[Unit]] = {}
    plans = []
    for name, stage in stages.items():
        waiting = {u for up in stage.upstream for u in open_units.get(up, set())}
        settled = [unit for unit in units if unit not in waiting]
        resolved = graph.resolve(name, settled)
        kept = reusable(bench, resolved)
        missing = [unit for unit in settled if unit not in kept]
        open_units[name] = waiting | set(missing)
        if name not in assets:
            continue
        sharers = {resolved[unit].key: unit for unit in reversed(missing)}
        work = load_inputs(graph, stage, list(sharers.values()))
        cost = stage.cost(bench, [one for one in work if all(p.ok for p in one.inputs.values())])
        plans.append(
            StagePlan(
                name,
                reuse=len(settled) - len(missing),
                compute=len(missing),
                may=len(waiting),
                cost={what: count for what, count in cost.items() if count},
                seconds=_seconds(bench, name, len(missing)),
            )
        )
    return plans


def _seconds(bench: Workbench, asset: str, units: int) -> float | None:
    """Time for some units at the mean rate of all that were ever computed here."""
    sql = "SELECT avg(seconds) AS mean FROM materializations WHERE asset = ? AND NOT reused"
    mean = bench.lineage.query(sql, [asset])[0]["mean"]
    return None if mean is None else float(mean) * units
