"""Which concepts each image shows, as the tables of section [image_labels] say it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from dnd_assets.errors import StudyError
from dnd_assets.files.csv_tables import read_csv
from dnd_assets.methods.image_labels.hierarchy import CycleError, ancestors, closed
from dnd_assets.methods.image_labels.settings import ImageLabelsSettings
from dnd_assets.study.study import Study, needed

_FILE: Final = ("file", "path", "image")
_CONCEPT: Final = ("concept", "concepts", "label", "class")
_CHILD: Final = ("concept", "child", "label", "class")
_PARENT: Final = ("parent", "parents", "is a", "is_a")


@dataclass(frozen=True)
class ImageConcepts:
    """What images show.

    Attributes:
        images: hashes of the images that the table names, ascending, (N,).
        names: of the concepts, ascending, the broader ones among them, (C,).
        presence: which image shows which concept, (N, C).
    """

    images: tuple[str, ...]
    names: tuple[str, ...]
    presence: NDArray[np.bool_]


def image_labels_of(study: Study) -> ImageLabelsSettings:
    """The study's section `image_labels`.

    Raises:
        StudyError: when it has none.
    """
    return needed(study.image_labels, "image_labels", study, "file = 'labels.csv'")


def check_image_labels(study: Study) -> None:
    """Read the tables of the section, where the study has it.

    Raises:
        NotFoundError: when one is missing.
        TableError: when one has no such columns.
        StudyError: when one says nothing, or a concept is a kind of itself.
    """
    if study.image_labels is not None:
        concept_table(study)


def concept_table(study: Study) -> dict[str, list[str]]:
    """The concepts of each file with all broader concepts, ascending, by its path in the table.

    Raises:
        NotFoundError: when a table is missing.
        TableError: when one has no such columns.
        StudyError: when one says nothing, or a concept is a kind of itself.
    """
    setting = image_labels_of(study)
    ancestors_by_concept = _read_hierarchy(study.path(setting.parents)) if setting.parents else {}
    concepts_by_file: dict[str, set[str]] = {}
    path = study.path(setting.file)
    for file, concepts in _pairs(path, _FILE, "files", _CONCEPT, "concepts"):
        concepts_by_file.setdefault(Path(file).as_posix(), set()).update(concepts)
    if not concepts_by_file:
        raise StudyError(f"{path} names no file with a concept; add rows of file and concept.")
    return {
        file: sorted(closed(concepts, ancestors_by_concept))
        for file, concepts in concepts_by_file.items()
    }


def image_concepts(
    table: Mapping[str, Sequence[str]], paths: Mapping[str, Sequence[str]]
) -> ImageConcepts:
    """Which images show which concepts.

    Args:
        table: concepts by path, whole or only its last parts.
        paths: the paths at which each image was seen, by hash.

    Raises:
        StudyError: when no image is in the table.
    """
    concepts_by_image: dict[str, set[str]] = {}
    for image, image_paths in paths.items():
        for path in image_paths:
            parts = Path(path).as_posix().split("/")
            ends = ("/".join(parts[start:]) for start in range(len(parts)))
            concepts = next((table[end] for end in ends if end in table), None)
            if concepts is not None:
                concepts_by_image.setdefault(image, set()).update(concepts)
    if not concepts_by_image:
        raise StudyError(
            f"image_labels.file names {len(table):,} files, such as {min(table)!r}, and none of "
            f"the {len(paths):,} probing images. Write paths that theirs end in."
        )
    images = tuple(sorted(concepts_by_image))
    names = tuple(sorted(set().union(*concepts_by_image.values())))
    columns = {name: column for column, name in enumerate(names)}
    presence = np.zeros((len(images), len(names)), dtype=bool)
    for row, image in enumerate(images):
        presence[row, [columns[name] for name in concepts_by_image[image]]] = True
    return ImageConcepts(images, names, presence)


def _read_hierarchy(path: Path) -> dict[str, frozenset[str]]:
    parents: dict[str, set[str]] = {}
    for concept, broader in _pairs(path, _CHILD, "concepts", _PARENT, "what they are kinds of"):
        parents.setdefault(concept, set()).update(broader)
    try:
        return ancestors(parents)
    except CycleError as error:
        raise StudyError(f"{path}: {error}. Take one of these rows out.") from error


def _pairs(
    path: Path, first: Sequence[str], first_kind: str, second: Sequence[str], second_kind: str
) -> list[tuple[str, list[str]]]:
    """Two columns of a table, the second split at semicolons; rows with a blank are left out."""
    table = read_csv(path)
    first_column, second_column = table.column(first, first_kind), table.column(second, second_kind)
    pairs = []
    for _, fields in table.rows:
        parts = [part.strip() for part in fields[second_column].split(";") if part.strip()]
        if fields[first_column].strip() and parts:
            pairs.append((fields[first_column].strip(), parts))
    return pairs
