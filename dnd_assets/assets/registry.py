"""Which assets a study has: the seven products, and those of its optional sections."""

from __future__ import annotations

from collections.abc import Mapping

from dnd_assets.assets.activations import Activations
from dnd_assets.assets.candidate_concepts import CandidateConcepts
from dnd_assets.assets.captions import Captions
from dnd_assets.assets.clip_dissect_labels import ClipDissectLabels
from dnd_assets.assets.compositions_labels import CompositionsLabels
from dnd_assets.assets.crops import Crops
from dnd_assets.assets.invert_labels import InvertLabels
from dnd_assets.assets.labels import Labels
from dnd_assets.assets.network_dissection_labels import NetworkDissectionLabels
from dnd_assets.assets.scores import Scores
from dnd_assets.assets.synthetic_images import SyntheticImages
from dnd_assets.stage import Stage, wholes_of
from dnd_assets.study import Study

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
    "segmentation": (NetworkDissectionLabels(), CompositionsLabels(), InvertLabels()),
}
"""The products that a section of the study adds, by the section's name, in their order."""


def stages_of(study: Study) -> dict[str, Stage]:
    """The products of a study by unit: the seven, and those of its optional sections."""
    extra = [stage for name, some in OPTIONAL.items() if getattr(study, name) for stage in some]
    return STAGES | {stage.name: stage for stage in extra if _chosen(study, stage)}


def _chosen(study: Study, stage: Stage) -> bool:
    """Whether the section that brings a product asks for it: one may list methods."""
    section = getattr(study, str(section_of(stage.name)))
    methods = getattr(section, "methods", None)
    return methods is None or stage.name.removesuffix("_labels") in methods


def section_of(asset: str) -> str | None:
    """The section of a study that brings an asset; None for the seven, and for unknown names."""
    for section, stages in OPTIONAL.items():
        ours = {stage.name: stage for stage in stages}
        if asset in ours or (asset in wholes_of(ours) and asset not in wholes_of(STAGES)):
            return section
    return None
