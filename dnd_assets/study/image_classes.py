"""Which class each image shows, as a table or the scenes of a study say it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

from dnd_assets.errors import StudyError
from dnd_assets.files.containers.container_places import home_of, truths_of
from dnd_assets.files.containers.contents import Columns, PictureTruth
from dnd_assets.files.csv_tables import read_csv
from dnd_assets.study.probing_images import image_files
from dnd_assets.study.study import Study

SCENES: Final = "scenes"
"""The setting that takes what covers most of each tile of the probing set's scenes."""
FOLDERS: Final = "folders"
"""The setting that takes the folder that an image lies in."""
LABELS: Final = "labels"
"""The setting that takes what shards and tables of the probing set say of their pictures."""
_FILE: Final = ("file", "path", "image")
_CLASS: Final = ("class", "label", "truth")


def class_table(study: Study, source: str, home: Path) -> dict[str, str]:
    """Class of each file, by its path as the table has it.

    Args:
        study: the study, which relative paths start from.
        source: a CSV with columns `file` and `class`; `scenes`; `folders`; or `labels`.
        home: the state folder, in which tiles of scenes lie.

    Raises:
        NotFoundError: when there is no such file.
        TableError: when it cannot be read or has no such columns.
        StudyError: when a file has two classes, there is none, or the study has no scenes.
    """
    if source == SCENES:
        return _classes_from_scenes(study, home)
    if source == FOLDERS:
        files = image_files(study, home).files
        _check_folders(files)
        return {f"{file.parent.name}/{file.name}": file.parent.name for file in files}
    if source == LABELS:
        return _classes_from_labels(study, home)
    table = read_csv(study.path(source))
    file, label = table.column(_FILE, "files"), table.column(_CLASS, "classes")
    classes: dict[str, str] = {}
    for line, fields in table.rows:
        path, name = Path(fields[file].strip()).as_posix(), fields[label].strip()
        if not fields[file].strip() or not name:
            continue
        if classes.setdefault(path, name) != name:
            raise StudyError(
                f"{table.path}, line {line:,}: {path!r} is {name!r} here and {classes[path]!r} "
                "above. Give each file one class."
            )
    if not classes:
        raise StudyError(f"{table.path} names no file with a class; add rows of file and class.")
    return classes


def classes_by_hash(table: Mapping[str, str], paths: Mapping[str, list[str]]) -> dict[str, str]:
    """Class of each image, by its hash.

    Args:
        table: class by path, whole or only its last parts.
        paths: the paths at which each image was seen, by hash.

    Raises:
        StudyError: when an image gets two classes.
    """
    classes: dict[str, str] = {}
    for image, image_paths in paths.items():
        for path in image_paths:
            parts = Path(path).as_posix().split("/")
            ends = ("/".join(parts[start:]) for start in range(len(parts)))
            name = next((table[end] for end in ends if end in table), None)
            if name is not None and classes.setdefault(image, name) != name:
                raise StudyError(
                    f"{path} is {name!r} in the table of classes, and {classes[image]!r} under "
                    "another path. Write longer paths in the table, or give both one class."
                )
    return classes


def _check_folders(files: Iterable[Path]) -> None:
    """Refuse pictures that lie right inside a shard or table, which is no class."""
    for file in files:
        home = home_of(file)
        if home is not None and (home.suffix.lower() != ".tar" or file.parent == home):
            raise StudyError(
                f"ablation.classes = 'folders', and {file} lies in no folder that names a class. "
                "Write classes = 'labels', for what the set itself says of its pictures, or name a "
                "CSV with columns file and class."
            )


def _classes_from_labels(study: Study, home: Path) -> dict[str, str]:
    truths = truths_among(image_files(study, home).files, study.probing_set.columns.as_read)
    classes = {path.as_posix(): truth.label for path, truth in truths.items() if truth.label}
    if not classes:
        raise StudyError(
            "ablation.classes = 'labels', and no shard or table under [probing_set] has labels. "
            "Add `.cls` files to shards or a column `label` to tables, or name a column by "
            "columns = {label = ...}."
        )
    return classes


def truths_among(files: Iterable[Path], columns: Columns) -> dict[Path, PictureTruth]:
    """What files of many pictures say of those of `files` that lie in them.

    Args:
        files: places of pictures.
        columns: which columns of tables are which.

    Raises:
        StudyError: when one of them cannot be read.
    """
    wanted = set(files)
    homes = dict.fromkeys(filter(None, map(home_of, files)))
    try:
        truths = {path: truth for home in homes for path, truth in truths_of(home, columns).items()}
    except OSError as error:
        raise StudyError(f"captions and labels cannot be read: {error}. Mend the file.") from error
    return {path: truth for path, truth in truths.items() if path in wanted}


def _classes_from_scenes(study: Study, home: Path) -> dict[str, str]:
    from dnd_assets.study.scenes import tiles_of

    scenes = study.probing_set.scenes
    if scenes is None:
        raise StudyError(
            f"ablation.classes = 'scenes', and study {study.name!r} has no probing_set.scenes. "
            "Name a CSV with columns file and class."
        )
    return tiles_of(study, scenes, home).classes()
