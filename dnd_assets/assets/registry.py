"""Which assets a study has: the seven products, and those of its optional sections."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from dnd_assets.assets.ablation_effects import AblationEffects
from dnd_assets.assets.activations import Activations
from dnd_assets.assets.candidate_concepts import CandidateConcepts
from dnd_assets.assets.captions import Captions
from dnd_assets.assets.clip_dissect_labels import ClipDissectLabels
from dnd_assets.assets.compositions_labels import CompositionsLabels
from dnd_assets.assets.crops import Crops
from dnd_assets.assets.detection_scores import DetectionScores
from dnd_assets.assets.group_ablation_effects import GroupAblationEffects
from dnd_assets.assets.image_invert_labels import ImageInvertLabels
from dnd_assets.assets.imported_labels import ImportedLabels
from dnd_assets.assets.invert_labels import InvertLabels
from dnd_assets.assets.label_metrics import SUFFIX, LabelMetrics
from dnd_assets.assets.labels import Labels
from dnd_assets.assets.linear_explanation_labels import LinearExplanationLabels
from dnd_assets.assets.milan_labels import MilanLabels
from dnd_assets.assets.named_directions_labels import NamedDirectionsLabels
from dnd_assets.assets.network_dissection_labels import NetworkDissectionLabels
from dnd_assets.assets.polysemantic_labels import PolysemanticLabels
from dnd_assets.assets.scores import Scores
from dnd_assets.assets.synthetic_images import SyntheticImages
from dnd_assets.engine.context import StudyContext
from dnd_assets.engine.stage import Results, Stage, Work, study_assets_of
from dnd_assets.errors import StudyError, not_found
from dnd_assets.lineage.records import HELD_OUT_IMAGES, LABELS_SUFFIX, is_labels
from dnd_assets.study.study import Study
from resources.own_code.own_function import OwnFunction, own_function

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

OPTIONAL: Mapping[str, tuple[Stage, ...]] = {
    "clip_dissect": (ClipDissectLabels(),),
    "named_directions": (NamedDirectionsLabels(),),
    "polysemantic": (PolysemanticLabels(),),
    "milan": (MilanLabels(),),
    "segmentation": (NetworkDissectionLabels(), CompositionsLabels(), InvertLabels()),
    "image_labels": (ImageInvertLabels(), LinearExplanationLabels()),
    "ablation": (AblationEffects(), GroupAblationEffects()),
}
"""The products that a section of the study adds, by the section's name, in their order."""


BY_DETECTION: tuple[Stage, ...] = (
    DetectionScores(),
    SyntheticImages(DetectionScores.name),
    Labels(DetectionScores.name),
)
"""The products that differ where concepts are chosen by detection."""


def _dissection(study: Study) -> dict[str, Stage]:
    """The products of Describe-and-Dissect, in the order of the graph."""
    if study.dissection.select != "detection":
        return STAGES
    changed = STAGES | {stage.name: stage for stage in BY_DETECTION}
    order = list(STAGES)
    order.insert(order.index(SyntheticImages.name), DetectionScores.name)
    return {name: changed[name] for name in order}


def stages_of(study: Study) -> dict[str, Stage]:
    """The products of a study by unit: the seven, and those of its optional sections."""
    extra = [
        stage
        for name, section_stages in OPTIONAL.items()
        if getattr(study, name)
        for stage in section_stages
    ]
    requested = [stage for stage in extra if _is_requested(study, stage)]
    additional = [*requested, *_imported(study), *_own_methods(study)]
    stages = _dissection(study) | {stage.name: stage for stage in additional}
    return stages | _metrics(study, stages)


def _imported(study: Study) -> list[ImportedLabels]:
    """The labels that section `imported_labels` names files of.

    Raises:
        StudyError: when one has the name of a product that is made here.
    """
    taken = {stage.name for section_stages in OPTIONAL.values() for stage in section_stages}
    imported = [ImportedLabels(name) for name in study.imported_labels]
    for stage in imported:
        if stage.name in taken:
            raise StudyError(
                f"imported_labels.{stage.method}: {stage.name} is made by this project itself; "
                f"call the file's method {stage.method}_published."
            )
    return imported


def _own_methods(study: Study) -> list[Stage]:
    """The methods of the user's own that section `own_methods` names.

    Raises:
        StudyError: when one cannot be imported, is no method, or has another's name.
    """
    taken = {stage.name for section_stages in OPTIONAL.values() for stage in section_stages}
    taken |= {f"{name}{LABELS_SUFFIX}" for name in study.imported_labels}
    stages = []
    for name, source in study.own_methods.items():
        method = own_function(source, study.folder, "method")
        method_class = method.function
        if not (isinstance(method_class, type) and issubclass(method_class, Stage)):
            raise StudyError(
                f"own_methods.{name}: {source} is no method of labels; write a class derived from "
                "OwnMethod, as docs/extend.md shows."
            )
        with method.running():
            stage = method_class()
        stage.name = f"{name}{LABELS_SUFFIX}"
        stage.own = method.version()
        stage.compute = _watched(stage.compute, method)  # type: ignore[assignment, method-assign]
        if stage.name in taken:
            raise StudyError(f"own_methods.{name}: {stage.name} is there already; rename it.")
        stages.append(stage)
    return stages


def _watched(
    compute: Callable[[StudyContext, Sequence[Work]], Results], method: OwnFunction
) -> Callable[[StudyContext, Sequence[Work]], Results]:
    """`compute` of a user's own method, which must use nothing that its key does not cover."""

    def watched(context: StudyContext, work: Sequence[Work]) -> Results:
        with method.running(direct=False):
            results = iter(compute(context, work))
        while True:
            with method.running(direct=False):
                result = next(results, None)
            if result is None:
                return
            yield result

    return watched


def _metrics(study: Study, stages: Mapping[str, Stage]) -> dict[str, Stage]:
    """The metrics of the labels that section `evaluation` asks for."""
    evaluation = study.evaluation
    if evaluation is None:
        return {}
    answers = [name for name in stages if is_labels(name)]
    for name in evaluation.methods or ():
        if name not in answers:
            advice = "evaluation.methods takes the study's assets of labels."
            raise not_found("asset of labels", name, answers, advice)
    sentences = evaluation.sentence_encoder is not None
    measured = [
        name for name in answers if evaluation.methods is None or name in evaluation.methods
    ]
    metrics = [LabelMetrics(name, sentences=sentences) for name in measured]
    return {stage.name: stage for stage in metrics}


def _is_requested(study: Study, stage: Stage) -> bool:
    """Whether the section that brings a product asks for it: one may list methods."""
    section = getattr(study, str(section_of(stage.name)))
    if isinstance(stage, GroupAblationEffects):
        return bool(section.groups)
    methods = getattr(section, "methods", None)
    return methods is None or stage.name.removesuffix(LABELS_SUFFIX) in methods


def section_of(asset: str) -> str | None:
    """The section of a study that brings an asset; None for the seven, and for unknown names."""
    for section, stages in OPTIONAL.items():
        section_stages = {stage.name: stage for stage in stages}
        if asset in section_stages or (
            asset in study_assets_of(section_stages) and asset not in study_assets_of(STAGES)
        ):
            return section
    if asset == HELD_OUT_IMAGES or asset.endswith(SUFFIX):
        return "evaluation"
    return None


def chosen_assets(study: Study, names: Sequence[str]) -> list[str]:
    """Assets of a study by name; a plus sign before one brings everything upstream along.

    Raises:
        NotFoundError: with the nearest names.
    """
    return chosen_from(stages_of(study), names)


def chosen_from(stages: Mapping[str, Stage], names: Sequence[str]) -> list[str]:
    """As `chosen_assets`, of a study whose stages are known."""
    all_names = [*study_assets_of(stages), *stages]
    selected: set[str] = set()
    for pattern in names:
        name = pattern.removeprefix("+")
        if name not in all_names:
            section = section_of(name)
            advice = f"It needs a section [{section}] in the study." if section else ""
            raise not_found("asset", pattern, all_names, advice)
        selected |= {name} | (_upstream(stages, name) if pattern.startswith("+") else set())
    return [name for name in all_names if name in selected or not names]


def _upstream(stages: Mapping[str, Stage], name: str) -> set[str]:
    direct = stages[name].upstream if name in stages else ()
    return set(direct).union(*(_upstream(stages, parent) for parent in direct))
