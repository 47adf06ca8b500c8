"""Vectors of texts from a file: one for each concept, without any code of the file being run."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dnd_assets.errors import StudyError
from dnd_assets.files.concept_sets import ConceptSet
from dnd_assets.study.method_settings import NamedDirections
from dnd_assets.study.study import Study
from resources.checkpoints import file_hash, resolve_file

Matrix = NDArray[np.float32]


def vectors_hash(study: Study, name: str) -> str:
    """Hash of a file of vectors.

    Raises:
        StudyError: when it is not there.
    """
    return file_hash(resolve_file(name, study.folder))


def text_vectors(study: Study, chosen: NamedDirections, concepts: ConceptSet) -> Matrix:
    """The vectors of section [named_directions].

    Args:
        study: the study, which relative paths start from.
        chosen: its section, which names a file.
        concepts: the concepts, each of which has a vector.

    Returns:
        float32 (concepts, width).

    Raises:
        StudyError: when the file is not there, holds no such matrix, or rows and columns may both
            be the texts; or the list of concepts has a line twice or a blank one.
    """
    assert chosen.vectors is not None, "only where a file is named"
    file, count = resolve_file(chosen.vectors, study.folder), len(concepts.concepts)
    if concepts.duplicates or concepts.blanks:
        raise StudyError(
            f"{chosen.concepts} has {concepts.duplicates} concepts twice and {concepts.blanks} "
            f"blank lines, so that its lines are not those of {file.name}. Write each concept once."
        )
    if file.suffix != ".npy":
        raise StudyError(f"{file.name} is refused: vectors of texts are read from .npy files.")
    try:
        matrix = np.load(file, allow_pickle=False)
    except (ValueError, OSError) as error:
        raise StudyError(f"{file} is no sound .npy file of numbers ({error}).") from error
    if matrix.ndim != 2 or matrix.dtype.kind not in "fiu" or count not in matrix.shape:
        raise StudyError(
            f"{file} holds {matrix.shape} {matrix.dtype}, and there are {count:,} concepts: it "
            "needs a matrix with a row or a column for each. Give the concepts that it was made "
            "for."
        )
    if matrix.shape[0] == matrix.shape[1] and chosen.columns is None:
        raise StudyError(
            f"{file} is square, so that rows or columns may be the texts. Say it: columns = true "
            "or false in [named_directions]."
        )
    columns = matrix.shape[0] != count if chosen.columns is None else chosen.columns
    vectors: Matrix = (matrix.T if columns else matrix).astype(np.float32)
    if len(vectors) != count or not np.isfinite(vectors).all() or not vectors.any(axis=1).all():
        raise StudyError(
            f"{file} has no finite vector other than zero for each of {count:,} concepts. Correct "
            "`columns`, or the file."
        )
    return vectors
