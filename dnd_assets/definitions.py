"""The code location: the assets of one study, with its resources, checks and jobs."""

import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import dagster as dg

from dnd_assets.assets import concept_activations, probing_set
from dnd_assets.assets.activations import Activations
from dnd_assets.assets.by_unit import ALWAYS, RunMemory, at_work, unit_asset
from dnd_assets.assets.candidate_concepts import CandidateConcepts
from dnd_assets.assets.captions import Captions
from dnd_assets.assets.checks import stage_checks
from dnd_assets.assets.clip_dissect_labels import ClipDissectLabels
from dnd_assets.assets.crops import Crops
from dnd_assets.assets.labels import Labels
from dnd_assets.assets.scores import Scores
from dnd_assets.assets.sources import source_assets, sources_for, sources_of
from dnd_assets.assets.synthetic_images import SyntheticImages
from dnd_assets.bench import build_bench, find_units
from dnd_assets.concept_set import prompts
from dnd_assets.home import state_folder
from dnd_assets.lineage.records import CONCEPT_ACTIVATIONS, PROBING_SET
from dnd_assets.stage import Stage
from dnd_assets.study import Study
from dnd_assets.workbench import Workbench
from resources.compute import GPU_POOL

STAGES: dict[str, Stage] = {
    stage.name: stage
    for stage in (
        Activations(),
        Crops(),
        Captions(),
        CandidateConcepts(),
        SyntheticImages(),
        Scores(),
        Labels(),
    )
}
"""The seven products, in the order of the graph."""
_CLIP_DISSECT = ClipDissectLabels()


def stages_of(study: Study) -> dict[str, Stage]:
    """The products of a study by unit: the seven, and those of its optional sections."""
    return {**STAGES, **({_CLIP_DISSECT.name: _CLIP_DISSECT} if study.clip_dissect else {})}


def unpartitioned_of(study: Study) -> tuple[str, ...]:
    """The products of a study that belong to no unit."""
    return (PROBING_SET, CONCEPT_ACTIVATIONS) if study.clip_dissect else (PROBING_SET,)


_SHOWN = 10
OWNERS = ["team:interpretability"]
_GROUPS = {
    PROBING_SET: "step_1_probing",
    "activations": "step_1_probing",
    "crops": "step_1_probing",
    "captions": "step_2_candidates",
    "candidate_concepts": "step_2_candidates",
    "synthetic_images": "step_3_selection",
    "scores": "step_3_selection",
    "labels": "step_3_selection",
    CONCEPT_ACTIVATIONS: "baselines",
    "clip_dissect_labels": "baselines",
}
_KINDS = {
    PROBING_SET: {"python", "pillow"},
    "activations": {"pytorch"},
    "crops": {"pytorch", "scikitlearn"},
    "captions": {"huggingface"},
    "candidate_concepts": {"openai"},
    "synthetic_images": {"huggingface"},
    "scores": {"pytorch"},
    "labels": {"duckdb"},
    CONCEPT_ACTIVATIONS: {"pytorch"},
    "clip_dissect_labels": {"pytorch"},
}
RESOURCES = (
    *ALWAYS, "compute", "targets", "captioner", "summariser", "text_to_image", "clip"
)  # fmt: skip


def build_definitions(
    study: Study, home: Path | None = None, only: Sequence[str] = (), **overrides: Any
) -> dg.Definitions:
    """The assets, checks, jobs and resources of a study.

    Args:
        study: the study.
        home: the state folder; None takes `DND_HOME` or `.dnd`.
        only: units to partition by, as keys, prefixes or ranges; none for every unit of the study.
        overrides: resources to put in place of the study's, by field name of `Workbench`.

    Raises:
        StudyError: when the study names something that is not there.
        NotFoundError: when it names a layer that does not exist.
    """
    bench = replace(build_bench(study, home or state_folder()), **overrides)
    units = find_units(bench)
    partitions = dg.StaticPartitionsDefinition([unit.key for unit in units.select(only)])
    memory = RunMemory()
    stages = stages_of(study)
    assets = [
        unit_asset(stage, stages, bench, units, _spec(stage, bench, partitions), memory)
        for stage in stages.values()
    ]
    whole = [_WHOLE[name](bench) for name in unpartitioned_of(study)]
    return dg.Definitions(
        assets=[*source_assets(bench), *whole, *assets],
        asset_checks=stage_checks(bench, stages, units),
        jobs=_jobs(study, partitions),
        sensors=[_automation()],
        resources={name: getattr(bench, name) for name in RESOURCES},
        executor=dg.in_process_executor,
        metadata={"study": study.name, "state folder": str(bench.home)},
    )


def _spec(
    stage: Stage, bench: Workbench, partitions: dg.StaticPartitionsDefinition
) -> dg.AssetSpec:
    return dg.AssetSpec(
        stage.name,
        deps=[*stage.upstream, *(source.name for source in sources_of(stage.name))],
        automation_condition=_when_out_of_date(),
        skippable=True,
        description=(type(stage).__doc__ or "").strip(),
        group_name=_GROUPS[stage.name],
        owners=OWNERS,
        kinds=_KINDS[stage.name],
        code_version=stage.code(),
        partitions_def=partitions,
        metadata={"study": bench.study.name, "uses": ", ".join(stage.uses) or "nothing"},
    )


def _probing_set(bench: Workbench) -> dg.AssetsDefinition:
    @dg.asset(
        name=PROBING_SET,
        description=(
            "The images that units are probed with, by SHA-256 of their bytes; unreadable files "
            "are set aside with path and reason. Materialize it after the folders changed."
        ),
        group_name=_GROUPS[PROBING_SET],
        owners=OWNERS,
        kinds=_KINDS[PROBING_SET],
        required_resource_keys=set(ALWAYS),
        deps=[source.name for source in sources_of(PROBING_SET)],
        automation_condition=_when_out_of_date(),
    )
    def asset(context: dg.AssetExecutionContext) -> dg.MaterializeResult[None]:
        table = at_work(context, bench, set(ALWAYS))
        product, manifest = probing_set.materialize(table, context.run_id)
        set_aside = [
            dg.TableRecord({"path": one.path, "reason": one.quarantined})
            for one in manifest.quarantined[:100]
        ]
        columns = dg.TableSchema([dg.TableColumn("path"), dg.TableColumn("reason")])
        for source in sources_of(PROBING_SET):
            context.log_event(source.observation(table))
        return dg.MaterializeResult(
            data_version=dg.DataVersion(product.data_version),
            metadata={
                "images": product.payload["images"],
                "files": len(manifest.files),
                "quarantined": len(manifest.quarantined),
                "quarantine": dg.MetadataValue.table(set_aside, columns),
                "manifest": product.payload["manifest"],
            },
        )

    return asset


def _concept_activations(bench: Workbench) -> dg.AssetsDefinition:
    needed = {*ALWAYS, "clip", "compute"}

    @dg.asset(
        name=CONCEPT_ACTIVATIONS,
        description=(
            "The concept set of CLIP-Dissect: each concept's text before the image-text encoder. "
            "Materialize it after the file of concepts changed."
        ),
        group_name=_GROUPS[CONCEPT_ACTIVATIONS],
        owners=OWNERS,
        kinds=_KINDS[CONCEPT_ACTIVATIONS],
        required_resource_keys=needed,
        deps=[source.name for source in sources_of(CONCEPT_ACTIVATIONS)],
        automation_condition=_when_out_of_date(),
        pool=GPU_POOL,
    )
    def asset(context: dg.AssetExecutionContext) -> dg.MaterializeResult[None]:
        table = at_work(context, bench, needed)
        product, found = concept_activations.materialize(table, context.run_id)
        tags = {}
        for source in sources_of(CONCEPT_ACTIVATIONS):
            seen = source.observation(table)
            context.log_event(seen)
            # Dagster asked for the versions before they were observed here.
            tags[f"dagster/input_data_version/{source.name}"] = seen.tags["dagster/data_version"]
        first = prompts(found.concepts[:_SHOWN], str(product.preimage["parameters"]["prompt"]))
        return dg.MaterializeResult(
            data_version=dg.DataVersion(product.data_version),
            tags=tags,
            metadata={
                "concepts": len(found.concepts),
                "duplicates": found.duplicates,
                "blank lines": found.blanks,
                "first texts": dg.MetadataValue.json(first),
                "encoder": product.payload["encoder"],
            },
        )

    return asset


_WHOLE = {PROBING_SET: _probing_set, CONCEPT_ACTIVATIONS: _concept_activations}


def _when_out_of_date() -> dg.AutomationCondition[Any]:
    """When an input's content or the code has changed, or a unit was added; never twice at once.

    A stage follows its inputs only when their *content* changed, so automation has the same early
    cutoff as a run from the command line.
    """
    content: dg.AutomationCondition[Any] = dg.AutomationCondition.data_version_changed()
    changed: dg.AutomationCondition[Any] = dg.AutomationCondition.any_deps_match(content)
    due: dg.AutomationCondition[Any] = (
        changed
        | dg.AutomationCondition.code_version_changed()
        | dg.AutomationCondition.newly_missing()
    )
    return (
        due.since_last_handled()
        & ~dg.AutomationCondition.any_deps_missing()
        & ~dg.AutomationCondition.any_deps_in_progress()
        & ~dg.AutomationCondition.in_progress()
    ).with_label("out of date")


def _automation() -> dg.AutomationConditionSensorDefinition:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", dg.BetaWarning)  # Dagster is pinned to one minor version
        everything = dg.AssetSelection.all(include_sources=True)
    return dg.AutomationConditionSensorDefinition(
        "rerun_what_is_out_of_date",
        target=everything,
        description=(
            "Looks at images, weights and prompts every ten minutes, and reruns the units whose "
            "inputs have other content. Off until you switch it on: reruns may cost money."
        ),
    )


def _jobs(study: Study, partitions: dg.StaticPartitionsDefinition) -> list[Any]:
    """One job for everything that is partitioned, one for each step of the paper."""
    by_unit = list(stages_of(study))
    groups = {
        "step_1_probing": "Activations and attention crops.",
        "step_2_candidates": "Captions and candidate concepts.",
        "step_3_selection": "Synthetic images, scores and labels.",
    }
    if study.clip_dissect:
        groups["baselines"] = "Labels of CLIP-Dissect."
    jobs = [
        dg.define_asset_job(
            "label_units",
            dg.AssetSelection.assets(*by_unit),
            description="Everything from activations to labels, for the chosen units.",
            partitions_def=partitions,
        ),
        dg.define_asset_job(
            "scan_probing_set",
            dg.AssetSelection.assets(PROBING_SET),
            description="Look at the probing folders again.",
        ),
        dg.define_asset_job(
            "observe_sources",
            dg.AssetSelection.assets(*(source.name for source in sources_for(study))),
            description="Look at images, weights and prompts, and mark what is out of date.",
        ),
    ]
    for group, description in groups.items():
        chosen = [name for name in by_unit if _GROUPS[name] == group]
        jobs.append(
            dg.define_asset_job(
                group,
                dg.AssetSelection.assets(*chosen),
                description=description,
                partitions_def=partitions,
            )
        )
    return jobs
