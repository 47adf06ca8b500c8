"""A stage as a Dagster asset with one event for every unit.

Dagster gives all partitions of a single-run step one data version. So the body yields an
`AssetMaterialization` for each unit itself, from an asset that need not produce an output, and ends
with the step's output event, because steps downstream of a missing output would be skipped. That
last event has no public constructor; this is the only file that reaches for it.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import dagster as dg
from dagster._core.execution.plan.outputs import StepOutputData, StepOutputHandle

from dnd_assets.assets.activations import Activations
from dnd_assets.engine.context import StudyContext
from dnd_assets.engine.materialize import materialize
from dnd_assets.engine.recording import MaterializationEvent
from dnd_assets.engine.resolve import Graph, Resolved
from dnd_assets.engine.stage import Stage
from dnd_assets.errors import UpstreamError
from dnd_assets.lineage.records import RETRYABLE, UNPARTITIONED, is_labels
from dnd_assets.units import Unit, UnitIndex
from dnd_assets.workflow.atlas_address import page_link
from dnd_assets.workflow.event_batches import materialized
from dnd_assets.workflow.external_sources import sources_of
from dnd_assets.workflow.instance import show_in_timeline
from dnd_assets.workflow.metadata import unit_metadata

ALWAYS = ("lineage", "store")
"""Resources that every stage needs."""
_VERSION = "dagster/data_version"
_PAGE = "page in the atlas"
_FEW = 100
"""Units of a run up to which every event has pictures, those of reused products, too."""


@dataclass
class RunMemory:
    """What the run at work has resolved, handed from stage to stage; one run at a time."""

    run: str = ""
    resolved: dict[tuple[str, Unit], Resolved] = field(default_factory=dict)

    def of(self, run: str) -> dict[tuple[str, Unit], Resolved]:
        """What was resolved in this run; another run starts with nothing."""
        if run != self.run:
            self.run, self.resolved = run, {}
        return self.resolved


def unit_asset(
    stage: Stage,
    stages: dict[str, Stage],
    study_context: StudyContext,
    units: UnitIndex,
    spec: dg.AssetSpec,
    memory: RunMemory,
) -> dg.AssetsDefinition:
    """The asset of one stage, partitioned by unit; all units of a run are computed together.

    Args:
        stage: what it computes.
        stages: all stages, to resolve what is upstream.
        study_context: the study with its resources, which Dagster is handed.
        units: the units by partition key.
        spec: key, dependencies, partitions and what the interface says.
        memory: shared by the stages.
    """
    resource_keys = {*ALWAYS, *stage.uses}

    @dg.multi_asset(
        name=stage.name,
        specs=[spec],
        can_subset=True,
        required_resource_keys=resource_keys,
        backfill_policy=dg.BackfillPolicy.single_run(),
    )
    def compute(context: dg.AssetExecutionContext) -> Iterator[object]:
        run_context = at_work(context, study_context)
        selected_units = [units[key] for key in context.partition_keys]
        graph = Graph(run_context, stages, memory.of(context.run_id))
        pointers = _input_pointers(context.instance, stage)
        observations = [source.observation(run_context) for source in sources_of(stage)]
        yield from observations
        source_versions = {
            str(observation.asset_key.to_user_string()): observation.tags[_VERSION]
            for observation in observations
        }
        gallery = _Gallery(graph, stage, len(selected_units))
        announced = (
            _event(stage, announcement, source_versions, pointers, gallery.metadata(announcement))
            for announcement in materialize(graph, stage, selected_units, context.run_id)
            # Of what may be tried again, what stands in the interface stays; the check tells, and
            # fails the run.
            if announcement.record.status not in RETRYABLE
        )
        yield from materialized(context, announced)
        yield _step_output(context, stage.name)

    return compute


@dataclass(frozen=True)
class _Gallery:
    """Metadata of one run's events: all of it for few units, pictures of new products for many."""

    graph: Graph
    stage: Stage
    units: int

    def metadata(self, announcement: MaterializationEvent) -> dict[str, object]:
        few_units, labels = self.units <= _FEW, is_labels(self.stage.name)
        study_context, unit = self.graph.context, announcement.unit
        entries = unit_metadata(
            study_context,
            self.stage.name,
            announcement,
            self._exemplars(unit) if few_units and labels else (),
            pictures=few_units or not announcement.record.reused,
        )
        if not labels:
            return entries
        link, is_open = page_link(study_context.home, study_context.study.name, unit.key)
        page = dg.MetadataValue.url(link) if is_open else dg.MetadataValue.text(link)
        return {_PAGE: page, **entries}

    def _exemplars(self, unit: Unit) -> list[str]:
        try:
            resolved = self.graph.resolve(Activations.name, [unit])[unit]
        except UpstreamError:  # labels made elsewhere need no activations
            return []
        product = self.graph.context.lineage.products([resolved.key]).get(resolved.key)
        return (
            [exemplar["image"] for exemplar in product.payload["exemplars"]]
            if product and product.ok
            else []
        )


def at_work(context: dg.AssetExecutionContext, study_context: StudyContext) -> StudyContext:
    """The study's context with the run's log; Dagster has seen that its resources are these."""

    def log(line: str) -> None:
        context.log.info(line)
        study_context.log(line)

    show_in_timeline(context.instance, context.run)
    return replace(study_context, log=log)


def _input_pointers(instance: dg.DagsterInstance, stage: Stage) -> dict[str, dict[str, int]]:
    """The newest event of each upstream partition: what Dagster compares to call a unit fresh."""
    return {
        name: dict(
            instance.get_latest_storage_id_by_partition(
                dg.AssetKey(name), dg.DagsterEventType.ASSET_MATERIALIZATION
            )
        )
        for name in stage.upstream
        if name not in UNPARTITIONED
    }


def _event(
    stage: Stage,
    announcement: MaterializationEvent,
    sources: dict[str, str],
    pointers: dict[str, dict[str, int]],
    metadata: dict[str, Any],
) -> dg.AssetMaterialization:
    product, record, key = announcement.product, announcement.record, announcement.unit.key
    versions = {**product.preimage["inputs"], **sources}
    inputs = {
        f"dagster/input_data_version/{name}": version for name, version in versions.items()
    } | {
        # Of what is not partitioned Dagster compares data versions alone, so it needs no event.
        f"dagster/input_event_pointer/{name}": str(pointers.get(name, {}).get(key, "NULL"))
        for name in versions
    }
    return dg.AssetMaterialization(
        stage.name,
        partition=key,
        metadata=metadata,
        tags={
            _VERSION: record.data_version,
            "dagster/data_version_is_user_provided": "true",
            "dagster/code_version": record.code_version,
            **inputs,
        },
    )


def _step_output(context: dg.AssetExecutionContext, name: str) -> dg.DagsterEvent:
    step = context.op_execution_context._step_execution_context
    handle = StepOutputHandle(step.step.key, name)
    return dg.DagsterEvent.step_output_event(step, StepOutputData(step_output_handle=handle))
