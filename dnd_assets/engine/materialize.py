"""The one engine that all products share: what is missing, compute it, commit, announce.

Every unit's key is resolved from the present study and inputs; stored products are taken where the
key is known, the others are handed to the stage in one go, and each result is recorded: artefacts
first, then the journal and DuckDB, then an announcement that becomes a Dagster event.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain

from dnd_assets.engine.batch_sizes import with_batch_sizes
from dnd_assets.engine.context import StudyContext
from dnd_assets.engine.recording import MaterializationEvent, Recorder, record_models, record_run
from dnd_assets.engine.resolve import Graph, Resolved, load_inputs, parts
from dnd_assets.engine.stage import Stage, Work
from dnd_assets.errors import UpstreamError
from dnd_assets.lineage.records import RETRYABLE, Outcome
from dnd_assets.units import Unit
from resources.runtime.model_cache import limit_models

_COMMIT = 256
"""Units recorded together when they are computed."""
_REUSE = 4096
"""Units recorded together when they are reused: nothing is lost with them."""


def materialize(
    graph: Graph, stage: Stage, units: Sequence[Unit], run: str
) -> Iterator[MaterializationEvent]:
    """Bring one product of many units up to date.

    Args:
        graph: resolves keys.
        stage: the product.
        units: which units; the order does not matter to any result.
        run: id of the run that asks.

    Yields:
        One announcement for each unit, after it has been recorded for good.

    Raises:
        UpstreamError: when inputs have not been materialized.
    """
    context = graph.context
    purpose = f"run {run[:8]} of {context.study.name}: {stage.name}"
    with context.lineage.exclusive(context.log, purpose):
        with context.lineage.connect():
            record_run(context, run)
            graph.forget(stage.name, units)
            resolved = graph.resolve(stage.name, units)
            reused = reusable(context, resolved)
            record_models(context, stage, run)
        missing = {unit: resolved[unit] for unit in units if unit not in reused}
        context.log(f"{stage.name}: {len(missing):,} units to compute, {len(reused):,} to reuse")
        recorder = Recorder(graph, stage, run)
        for part in parts([unit for unit in units if unit in reused], _REUSE):
            yield from recorder.reuse({unit: resolved[unit] for unit in part})
        if missing:
            tally_before = Counter(context.tally)
            limit_models(context.study.compute.models_gb)
            recorder.watch()
            with context.lineage.grouped():
                yield from _compute(graph, stage, missing, recorder)
            recorder.tally(context.tally - tally_before)
            recorder.sum_up(len(missing))
            context.lineage.settle()
            graph.forget(stage.name, missing)


def reusable(context: StudyContext, resolved: Mapping[Unit, Resolved]) -> set[Unit]:
    """Units whose stored product may be taken: no failure of a service, all its files there."""
    in_store: dict[str, bool] = {}

    def has(file: str) -> bool:
        if file not in in_store:
            in_store[file] = context.store.has(file)
        return in_store[file]

    return {
        unit
        for unit, state in resolved.items()
        if state.head is not None
        and state.head.status not in RETRYABLE
        and all(has(file) for file in state.head.files)
    }


def _compute(
    graph: Graph, stage: Stage, missing: Mapping[Unit, Resolved], recorder: Recorder
) -> Iterator[MaterializationEvent]:
    """Compute each key once, pass failures of upstream on, record in groups."""
    context = with_batch_sizes(graph.context, stage.uses)
    units_by_key: dict[str, list[Unit]] = {}
    for unit, state in missing.items():
        units_by_key.setdefault(state.key, []).append(unit)
    work = load_inputs(graph, stage, [units[0] for units in units_by_key.values()])
    failures = {item.unit: reason for item in work if (reason := _failure(item)) is not None}
    ready_items = [item for item in work if item.unit not in failures]
    computed = stage.compute(context, ready_items) if ready_items else iter(())
    group: dict[Unit, Outcome] = {}
    for unit, outcome in chain(
        failures.items(), ((item.unit, result) for item, result in computed)
    ):
        group.update(dict.fromkeys(units_by_key[missing[unit].key], outcome))
        if len(group) >= _COMMIT:
            _require_same(graph, stage, group, missing)
            yield from recorder.record(group, missing)
            group = {}
    _require_same(graph, stage, group, missing)
    yield from recorder.record(group, missing)


def _require_same(
    graph: Graph, stage: Stage, units: Iterable[Unit], resolved: Mapping[Unit, Resolved]
) -> None:
    """Check that models, own code and settings are those that the products' keys were made of.

    Raises:
        UpstreamError: when something was changed while the products were computed.
    """
    first_units = {(unit.model, unit.layer): unit for unit in units}
    for layer, recipe in graph.recipes(stage, list(first_units.values())).items():
        keyed_recipe = resolved[first_units[layer]].recipe
        changed = [name for name in recipe if recipe[name] != keyed_recipe[name]]
        if changed:
            raise UpstreamError(
                f"the {' and '.join(changed)} of {stage.name} changed while it was computed, so "
                "the results are not kept: they may be of the old or of the new. Run again; "
                "finished work is kept."
            )


def _failure(work: Work) -> Outcome | None:
    """The failure that a unit inherits from its inputs, if any."""
    for name, product in work.inputs.items():
        if not product.ok:
            reason = product.outcome.reason or f"{name}: {product.outcome.status}"
            return Outcome(product.outcome.status, {}, reason)
    return None
