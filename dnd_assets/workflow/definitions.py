"""The code location: the assets of one study, with its resources, checks and jobs."""

import inspect
import os
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import dagster as dg
from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition

from dnd_assets.assets.resolved import ResolvedStudy, resolve_study
from dnd_assets.engine.context import StudyContext
from dnd_assets.engine.observed_assets import Seen
from dnd_assets.engine.stage import Stage, StudyAsset, leading_to, study_assets_of
from dnd_assets.engine.stage_versions import stage_version, whole_version
from dnd_assets.errors import DndError
from dnd_assets.home import state_folder
from dnd_assets.lineage.records import PROBING_SET
from dnd_assets.study.study import Study
from dnd_assets.workflow.asset_checks import stage_checks
from dnd_assets.workflow.dagster_resources import as_dagster
from dnd_assets.workflow.external_sources import source_assets, sources_for, sources_of
from dnd_assets.workflow.freshness import CHECK, freshness_checks
from dnd_assets.workflow.metadata import whole_metadata
from dnd_assets.workflow.preflight import preflight
from dnd_assets.workflow.run_executor import executor_of
from dnd_assets.workflow.unit_asset import ALWAYS, RunMemory, at_work, unit_asset
from resources.lineage_db.reader import LineageReader

AUTOMATION = "DND_AUTOMATION"
"""Environment variable: 1 where automation is on from the start."""
OWNERS = ["team:interpretability"]
_STEPS = {
    "step_1_probing": "Activations and attention crops, from the images.",
    "step_2_candidates": "Captions and candidate concepts of units that have step 1.",
    "step_3_selection": "Synthetic images, scores and labels of units that have steps 1 and 2.",
    "baselines": "Labels of other methods, from the images.",
    "polysemantic": "How many concepts units answer to, from the images.",
    "evaluation": "Metrics of units that have labels.",
}
"""The groups of the interface, each with a job of its own."""
LABEL_UNITS, DESCRIBE_AND_DISSECT = "label_units", "describe_and_dissect"
"""Jobs that need nothing before them."""
RESOURCES = (
    *ALWAYS, "compute", "targets", "captioner", "summariser", "text_to_image", "clip",
    "sentences",
)  # fmt: skip


def build_definitions(
    study: Study, home: Path | None = None, only: Sequence[str] = (), **overrides: Any
) -> dg.Definitions:
    """The assets, checks, jobs and resources of a study.

    Args:
        study: the study.
        home: the state folder; None takes `DND_HOME` or `.dnd`.
        only: units to partition by, as keys, prefixes or ranges; none for every unit of the study.
        overrides: resources to put in place of the study's, by field name of `StudyContext`.

    Raises:
        StudyError: when the study names something that is not there.
        NotFoundError: when it names a layer that does not exist.
    """
    resolved = resolve_study(study, home or state_folder())
    return definitions_of(replace(resolved, context=replace(resolved.context, **overrides)), only)


def definitions_of(
    resolved: ResolvedStudy, only: Sequence[str] = (), seen: Seen | None = None
) -> dg.Definitions:
    """As `build_definitions`, of a study that is worked out already.

    Args:
        resolved: the study with its resources.
        only: units to partition by.
        seen: products of no unit as they are, for definitions of one run that looked at them.
    """
    study_context, stages, units = resolved.context, resolved.stages, resolved.units
    partitions = dg.StaticPartitionsDefinition([unit.key for unit in units.select(only)])
    memory = RunMemory()
    assets = [
        unit_asset(
            stage,
            stages,
            study_context,
            units,
            _spec(stage, stages, study_context, partitions),
            memory,
        )
        for stage in stages.values()
    ]
    study_assets = [
        _study_asset_definition(study_asset, study_context, seen or Seen())
        for study_asset in resolved.wholes.values()
    ]
    return dg.Definitions(
        assets=[*source_assets(study_context), *study_assets, *assets],
        asset_checks=[*stage_checks(resolved), freshness_checks(resolved)],
        jobs=_jobs(resolved, partitions),
        sensors=[_automation(resolved.study)],
        resources=_resources(study_context),
        executor=executor_of(partial(_preflight, resolved, partitions)),
        metadata={"study": resolved.study.name, "state folder": str(study_context.home)},
    )


def _preflight(
    resolved: ResolvedStudy,
    partitions: dg.StaticPartitionsDefinition,
    assets: Sequence[str],
    tags: Mapping[str, str],
) -> None:
    """Refuse a run from the interface that could not end well; `tags` name its partitions."""
    partition = tags.get("dagster/partition", "")
    first = tags.get("dagster/asset_partition_range_start", partition)
    last = tags.get("dagster/asset_partition_range_end", partition)
    keys = list(partitions.get_partition_keys())
    selected = keys[keys.index(first) : keys.index(last) + 1] if {first, last} <= set(keys) else []
    names = [name for name in resolved.products if name in assets]
    preflight(resolved, [resolved.units[key] for key in selected], names)


def _resources(study_context: StudyContext) -> dict[str, object]:
    """What assets ask for by name; a study without sentence encoder has none."""
    resources = {name: getattr(study_context, name) for name in RESOURCES}
    return {
        name: as_dagster(name, resource)
        for name, resource in resources.items()
        if resource is not None
    }


def _spec(
    stage: Stage,
    stages: Mapping[str, Stage],
    study_context: StudyContext,
    partitions: dg.StaticPartitionsDefinition,
) -> dg.AssetSpec:
    return dg.AssetSpec(
        stage.name,
        deps=[*stage.upstream, *(source.name for source in sources_of(stage))],
        automation_condition=_when_out_of_date(_upstream_names(stage, stages)),
        skippable=True,
        description=f"{_description(stage)}\n\n{_how_to_make(stage.name, stages)}",
        group_name=stage.group,
        owners=OWNERS,
        kinds=set(stage.kinds),
        code_version=stage_version(study_context, stage),
        partitions_def=partitions,
        metadata={"study": study_context.study.name, "uses": ", ".join(stage.uses) or "nothing"},
    )


def _study_asset_definition(
    study_asset: StudyAsset, study_context: StudyContext, seen: Seen
) -> dg.AssetsDefinition:
    resource_keys = {*ALWAYS, *study_asset.uses}

    @dg.asset(
        name=study_asset.name,
        description=_description(study_asset),
        group_name=study_asset.group,
        owners=OWNERS,
        kinds=set(study_asset.kinds),
        required_resource_keys=resource_keys,
        deps=[source.name for source in sources_of(study_asset)],
        automation_condition=_when_out_of_date(()),
        code_version=_study_asset_version(study_asset, study_context),
    )
    def asset(context: dg.AssetExecutionContext) -> dg.MaterializeResult[None]:
        run_context = at_work(context, study_context)
        product = seen.record(run_context, study_asset, context.run_id)
        if product is None:
            product = study_asset.materialize(run_context, context.run_id)
        else:  # the look itself has told the terminal
            for line in product.outcome.notes.get("told", ()):
                context.log.info(line)
        tags = {}
        for source in sources_of(study_asset):
            state = source.observation(run_context, product)
            context.log_event(state)
            # Dagster asked for the versions before they were observed here.
            tags[f"dagster/input_data_version/{source.name}"] = state.tags["dagster/data_version"]
        return dg.MaterializeResult(
            data_version=dg.DataVersion(product.data_version),
            tags=tags,
            metadata=whole_metadata(run_context, product),
        )

    return asset


def _study_asset_version(study_asset: StudyAsset, study_context: StudyContext) -> str | None:
    """Its version; None where its file or model is not here, which is told when it is needed."""
    try:
        read_only = replace(study_context, lineage=LineageReader(root=study_context.lineage.root))
        return whole_version(study_asset.code(), study_asset.settings(read_only))
    except DndError:
        return None


def _description(product: Stage | StudyAsset) -> str:
    return inspect.cleandoc(type(product).__doc__ or "")


def _how_to_make(name: str, stages: Mapping[str, Stage]) -> str:
    """What to do on an empty state, where the button beside an asset makes that asset alone."""
    in_paper = "labels" in stages and name in leading_to(stages, ["labels"])
    job = DESCRIBE_AND_DISSECT if in_paper else LABEL_UNITS
    return f"To make it with everything that it comes from, materialize the job `{job}`."


def _upstream_names(stage: Stage, stages: Mapping[str, Stage]) -> list[str]:
    """The assets that lead to a stage, by unit."""
    return [name for name in leading_to(stages, [stage.name]) if name != stage.name]


def _when_out_of_date(upstream: Sequence[str]) -> dg.AutomationCondition[Any]:
    """When an input's content or the code has changed, or a unit was added; never twice at once.

    What was never materialized is left to its user: nobody wants hours of work to begin by itself.

    A stage follows its inputs only when their *content* changed, so automation has the same early
    cutoff as a run from the command line. It waits while anything that leads to it is out of date
    or at work, since a product of other settings is no input.

    Args:
        upstream: the partitioned assets that lead to it.
    """
    content: dg.AutomationCondition[Any] = dg.AutomationCondition.data_version_changed()
    missing: dg.AutomationCondition[Any] = dg.AutomationCondition.missing()
    changed: dg.AutomationCondition[Any] = (
        dg.AutomationCondition.any_deps_match(content)
        | dg.AutomationCondition.code_version_changed()
    )
    added: dg.AutomationCondition[Any] = dg.AutomationCondition.newly_missing()
    due: dg.AutomationCondition[Any] = (changed & ~missing) | added
    busy: dg.AutomationCondition[Any] = dg.AutomationCondition.in_progress()
    condition: dg.AutomationCondition[Any] = (
        due.since_last_handled()
        & ~dg.AutomationCondition.any_deps_missing()
        & ~dg.AutomationCondition.any_deps_in_progress()
        & ~busy
    ).with_label("out of date")
    for name in upstream:
        unsettled: dg.AutomationCondition[Any] = due.since_last_handled() | busy
        condition = condition & ~dg.AutomationCondition.asset_matches(name, unsettled)
    return condition


def _automation(study: Study) -> dg.AutomationConditionSensorDefinition:
    """The sensor that reruns; off until somebody wants it, since runs of its own bury others."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", dg.BetaWarning)  # Dagster is pinned to one minor version
        everything = dg.AssetSelection.all(include_sources=True)
    on = os.environ.get(AUTOMATION) == "1"
    status = dg.DefaultSensorStatus.RUNNING if on else dg.DefaultSensorStatus.STOPPED
    notice = " This study calls a server: reruns may cost money." if study.servers() else ""
    return dg.AutomationConditionSensorDefinition(
        "rerun_what_is_out_of_date",
        target=everything,
        default_status=status,
        description=(
            "Looks at images, weights and prompts every ten minutes, and reruns what was made from "
            "other content. It starts nothing that was never materialized. Off until you switch it "
            f"on here, or start `dnd ui --automation`.{notice}"
        ),
    )


def _jobs(
    resolved: ResolvedStudy, partitions: dg.StaticPartitionsDefinition
) -> list[UnresolvedAssetJobDefinition]:
    """Describe-and-Dissect, everything that the study asks for, and each step of the paper.

    A job covers the products of no unit, too: one that leaves them out fails on an empty state,
    and the interface warns of it in a dialog before. A single asset is materialized from the graph.
    """
    jobs = [
        _job(
            LABEL_UNITS,
            list(resolved.products),
            f"Everything that the study {resolved.study.name} asks for, for the units that you "
            "choose: other methods and metrics, too. Needs nothing before it.",
            partitions,
        ),
        *_describe_and_dissect(resolved, partitions),
        *_jobs_that_look(resolved),
    ]
    for group, description in _STEPS.items():
        names = _of_step(resolved, group)
        if names:
            jobs.append(_job(group, names, description, partitions))
    return jobs


def _jobs_that_look(resolved: ResolvedStudy) -> list[UnresolvedAssetJobDefinition]:
    """The jobs that compute nothing for units."""
    names = (source.name for source in sources_for(resolved.study))
    checks = (dg.AssetCheckKey(dg.AssetKey(name), CHECK) for name in resolved.stages)
    return [
        dg.define_asset_job(
            "scan_probing_set",
            dg.AssetSelection.assets(PROBING_SET),
            description="Look at the probing folders again.",
        ),
        dg.define_asset_job(
            "observe_sources",
            dg.AssetSelection.assets(*names) | dg.AssetSelection.checks(*checks),
            description="Look at images, weights and prompts, and mark what is out of date.",
        ),
    ]


def _of_step(resolved: ResolvedStudy, group: str) -> list[str]:
    """The assets of a step; the images, too, where it needs no step before it."""
    stages = {name: stage for name, stage in resolved.stages.items() if stage.group == group}
    begins = leading_to(resolved.stages, stages).keys() == stages.keys()
    wholes = study_assets_of(stages).items()
    return [*(name for name, whole in wholes if begins or whole.group == group), *stages]


def _describe_and_dissect(
    resolved: ResolvedStudy, partitions: dg.StaticPartitionsDefinition
) -> list[UnresolvedAssetJobDefinition]:
    """The job for the labels of Describe-and-Dissect and what they come from, and nothing else."""
    if "labels" not in resolved.stages:
        return []
    stages = leading_to(resolved.stages, ["labels"])
    names = [*study_assets_of(stages), *stages]
    description = (
        "Start here: from the images to the labels of Describe-and-Dissect, for the units that "
        "you choose, without other methods. Needs nothing before it."
    )
    return [_job(DESCRIBE_AND_DISSECT, names, description, partitions)]


def _job(
    name: str, assets: Sequence[str], description: str, partitions: dg.StaticPartitionsDefinition
) -> UnresolvedAssetJobDefinition:
    selection = dg.AssetSelection.assets(*assets)
    return dg.define_asset_job(name, selection, description=description, partitions_def=partitions)
