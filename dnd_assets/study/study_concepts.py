"""The concept set that a study names."""

from __future__ import annotations

from pathlib import Path

from dnd_assets.files.concept_sets import ConceptSet, read_concepts
from dnd_assets.study.method_settings import ClipDissect, NamedDirections
from dnd_assets.study.study import Study
from resources.checkpoints import PACKAGE, local_path


def study_concepts(study: Study, chosen: ClipDissect) -> ConceptSet:
    """The concepts of section `clip_dissect`.

    Args:
        study: the study, which relative paths start from.
        chosen: its section.

    Raises:
        NotFoundError: when the file is not there; names the nearest.
        StudyError: when it is not UTF-8, or holds no concept.
    """
    return read_concepts(concept_path(study, chosen))


def named_concepts(study: Study, chosen: NamedDirections) -> ConceptSet:
    """The concepts of section `named_directions`; see `study_concepts`."""
    return read_concepts(concept_path(study, chosen))


def concept_path(study: Study, chosen: ClipDissect | NamedDirections) -> Path:
    """Where the file of concepts lies.

    Raises:
        StudyError: when a `package:` path has no such package.
    """
    packaged = local_path(chosen.concepts) if chosen.concepts.startswith(PACKAGE) else None
    return packaged or study.path(chosen.concepts)


def check_concepts(study: Study) -> None:
    """See that the study's concept file, if it names one, is there and sound.

    Raises:
        NotFoundError: when it is not there.
        StudyError: when it is not sound.
    """
    if study.clip_dissect is not None:
        study_concepts(study, study.clip_dissect)
    if study.named_directions is not None:
        named_concepts(study, study.named_directions)
