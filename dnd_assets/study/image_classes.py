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


def class_table(study: Study, named: str, home: Path) -> dict[str, str]:
    """Class of each file, by its path as the table has it.

    Args:
        study: the study, which relative paths start from.
        named: a CSV with columns `file` and `class`; `scenes`; `folders`; or `labels`.
        home: the state folder, in which tiles of scenes lie.

    Raises:
        NotFoundError: when there is no such file.
        TableError: when it cannot be read or has no such columns.
        StudyError: when a file has two classes, there is none, or the study has no scenes.
    """
    if named == SCENES:
        return _of_scenes(study, home)
    if named == FOLDERS:
        files = image_files(study, home).files
        _check_folders(files)
        return {f"{file.parent.name}/{file.name}": file.parent.name for file in files}
    if named == LABELS:
        return _of_set(study, home)
    table = read_csv(study.path(named))
    file, label = table.column(_FILE, "files"), table.column(_CLASS, "classes")
    found: dict[str, str] = {}
    for line, fields in table.rows:
        path, name = Path(fields[file].strip()).as_posix(), fields[label].strip()
        if not fields[file].strip() or not name:
            continue
        if found.setdefault(path, name) != name:
            raise StudyError(
                f"{table.path}, line {line:,}: {path!r} is {name!r} here and {found[path]!r} "
                "above. Give each file one class."
            )
    if not found:
        raise StudyError(f"{table.path} names no file with a class; add rows of file and class.")
    return found


def classes_by_hash(table: Mapping[str, str], paths: Mapping[str, list[str]]) -> dict[str, str]:
    """Class of each image, by its hash.

    Args:
        table: class by path, whole or only its last parts.
        paths: the paths at which each image was seen, by hash.

    Raises:
        StudyError: when an image gets two classes.
    """
    found: dict[str, str] = {}
    for image, places in paths.items():
        for place in places:
            parts = Path(place).as_posix().split("/")
            ends = ("/".join(parts[start:]) for start in range(len(parts)))
            name = next((table[end] for end in ends if end in table), None)
            if name is not None and found.setdefault(image, name) != name:
                raise StudyError(
                    f"{place} is {name!r} in the table of classes, and {found[image]!r} under "
                    "another path. Write longer paths in the table, or give both one class."
                )
    return found


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


def _of_set(study: Study, home: Path) -> dict[str, str]:
    found = truths_among(image_files(study, home).files, study.probing_set.columns.as_read)
    known = {place.as_posix(): truth.label for place, truth in found.items() if truth.label}
    if not known:
        raise StudyError(
            "ablation.classes = 'labels', and no shard or table under [probing_set] has labels. "
            "Add `.cls` files to shards or a column `label` to tables, or name a column by "
            "columns = {label = ...}."
        )
    return known


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
        found = {p: truth for one in homes for p, truth in truths_of(one, columns).items()}
    except OSError as error:
        raise StudyError(f"captions and labels cannot be read: {error}. Mend the file.") from error
    return {place: truth for place, truth in found.items() if place in wanted}


def _of_scenes(study: Study, home: Path) -> dict[str, str]:
    from dnd_assets.study.scenes import tiles_of

    scenes = study.probing_set.scenes
    if scenes is None:
        raise StudyError(
            f"ablation.classes = 'scenes', and study {study.name!r} has no probing_set.scenes. "
            "Name a CSV with columns file and class."
        )
    return tiles_of(study, scenes, home).classes()
