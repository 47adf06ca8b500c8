"""What a run has to do, decided before Dagster is imported; often it is nothing."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field

from dnd_assets.assets.registry import chosen_from
from dnd_assets.assets.resolved import ResolvedStudy
from dnd_assets.engine.context import StudyContext
from dnd_assets.engine.observed_assets import Seen
from dnd_assets.engine.plan import newest_announced, out_of_date
from dnd_assets.engine.recording import record_run
from dnd_assets.engine.stage_versions import recorded_version
from dnd_assets.errors import UpstreamError
from dnd_assets.lineage.records import Product, now
from dnd_assets.results.standing import Standing
from dnd_assets.units import Unit
from dnd_assets.workflow.announced import Announced, FileHistory
from dnd_assets.workflow.preflight import check_models, observe

_NEWEST = """
SELECT run, study, asset, unit, model, layer, neuron, key, data_version, code_version, status,
       reason, device
FROM latest WHERE study = ? AND asset IN (SELECT unnest(?::VARCHAR[]))
"""


@dataclass(frozen=True)
class Run:
    """What a run did.

    Attributes:
        id: the run's id, in Dagster and in lineage; empty when everything was up to date and no
            run was made.
        units: how many units it covered.
        computed: products made anew, by asset.
        reused: products taken from the store, by asset; where no run was made, those that stand.
        work: forward passes, captions, calls and pictures that it took.
    """

    id: str
    units: int
    computed: dict[str, int]
    reused: dict[str, int]
    work: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Due:
    """What a run has to do.

    Attributes:
        chosen: the units that were asked for.
        asked: the assets that were asked for.
        units: keys of those units for which there is anything to do.
        assets: those assets for which there is anything to do; none when all is up to date.
        seen: products of no unit, as they were observed.
    """

    chosen: Sequence[Unit]
    asked: Sequence[str]
    units: Sequence[str]
    assets: Sequence[str]
    seen: Seen

    def nothing_done(self, resolved: ResolvedStudy) -> Run:
        """What to tell of a run that was not made, since all is up to date."""
        count = len(self.chosen)
        stages = resolved.stages
        return Run("", count, {}, {name: count if name in stages else 1 for name in self.asked})


def decide(
    resolved: ResolvedStudy, units: Sequence[str], assets: Sequence[str], announced: Announced
) -> Due:
    """What a run of some units and assets has to do.

    Args:
        resolved: the study, worked out.
        units: keys, prefixes or ranges; none for all units of the study.
        assets: names, with `+` for everything upstream; none for all.
        announced: asked for what Dagster knows.

    Raises:
        StudyError: when a model is missing.
    """
    names = chosen_from(resolved.stages, assets)
    check_models(resolved, names)
    chosen = resolved.units.select(units)
    waits = resolved.context.lineage.waits
    seen = Seen(observe(resolved.context, names, resolved.stages), waits)
    return Due(chosen, names, *_due(resolved, announced, chosen, names, seen), seen)


def decide_from_files(
    resolved: ResolvedStudy, units: Sequence[str], assets: Sequence[str]
) -> Due | None:
    """As `decide`, without Dagster; None where Dagster has to be asked.

    That is where its history lies elsewhere than in files, and where a run has not ended as far as
    it knows: the process of that run may be gone.
    """
    history = FileHistory.of(resolved.context.home)
    if history is None or history.goes_on():
        return None
    return decide(resolved, units, assets, history)


def _due(
    resolved: ResolvedStudy,
    announced: Announced,
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
        product.asset: set() for product in products if _is_news(context, announced, product)
    }
    try:
        for name, changed_units in out_of_date(context, stages, units, assets, *products).items():
            due[name] = {unit.key for unit in changed_units}
    except UpstreamError:
        return everything, list(assets)  # the run says what is missing
    for name in assets:
        if name in stages:
            absent = set(everything) - announced.partitions(name)
            if absent:
                due[name] = due.get(name, set()) | absent
    concerned = {key for keys in due.values() for key in keys}
    return [key for key in everything if key in concerned], [n for n in assets if n in due]


def _is_news(context: StudyContext, announced: Announced, product: Product) -> bool:
    """Whether a product of the whole study is not the one that was announced last."""
    version = recorded_version(product)
    if newest_announced(context, product.asset).get("") != (product.key, version):
        return True
    return not announced.ever(product.asset)


def confirm(
    context: StudyContext, units: Sequence[Unit], assets: Sequence[str], run: str = ""
) -> None:
    """Record for readers that products stand, which a run found up to date by their keys.

    They see it from the settings that are recorded with runs, which may differ in what decides
    nothing in the case at hand, such as where the study's folder lies.

    Args:
        context: the study's context.
        units: the units that were asked for.
        assets: the assets that were asked for.
        run: id of the run; empty when none was made.
    """
    unrecorded = {
        (row["run"], row["asset"], row["model"], row["layer"])
        for row in Standing(context.lineage, context.study).others(assets)
    }
    if not unrecorded:
        return
    keys = {"", *(unit.key for unit in units)}
    run = run or uuid.uuid4().hex
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
