"""The files of labels that a study imports."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Final

from dnd_assets.errors import StudyError, not_found
from dnd_assets.files.unit_texts import Numbering, Texts, by_key, names_of, numbering, read_labels
from dnd_assets.study.method_settings import LabelFile
from dnd_assets.study.study import Study
from dnd_assets.units import Unit

SUFFIX = "_labels"
"""What the assets of imported labels end in, after the name of their method."""

EMPTY: Final[Mapping[str, int]] = MappingProxyType({})
"""No layer whose size is known."""
_cached_texts: dict[Path, tuple[tuple[int, int, int], Texts]] = {}


def label_path(study: Study, name: str) -> Path:
    """Where the file of an imported method lies.

    Raises:
        StudyError: when the study imports no method of that name.
    """
    return study.path(_section(study, name).file)


def imported_texts(study: Study, name: str) -> Texts:
    """The file of an imported method, read again only when it has changed.

    Args:
        study: the study.
        name: the method, as section `imported_labels` calls it.

    Raises:
        NotFoundError: when there is no such file.
        TableError: when it cannot be understood.
    """
    path = label_path(study, name)
    try:
        status = path.stat()
        state = (status.st_ino, status.st_size, status.st_mtime_ns)
    except OSError:
        return read_labels(path)  # it says what is wrong
    cached = _cached_texts.get(path)
    if cached is None or cached[0] != state:
        _cached_texts[path] = cached = (state, read_labels(path))
    return cached[1]


def counted(study: Study, name: str, sizes: Mapping[str, int]) -> Numbering:
    """How a file counts units: as the study says, else as its numbers tell.

    Args:
        study: the study.
        name: the method.
        sizes: how many units a layer has, by `model/layer`; layers that are not there are unknown.

    Raises:
        NotFoundError: when there is no such file.
        TableError: when it cannot be understood, or is not counted as the study says.
    """
    section, layers = _section(study, name), _layers(study)
    layer = section.layer or (layers[0] if len(layers) == 1 else "")
    advice = f"say so under [imported_labels]: {name} = {{ file = …, first_unit = 1 }}"
    return numbering(imported_texts(study, name), sizes.get(layer), section.first_unit, advice)


def sizes_of(study: Study, count: Callable[[str, str], int]) -> dict[str, int]:
    """Units of each layer of a study by `model/layer`; `count` tells those of a model's layer."""
    return {
        f"{model.name}/{layer.path}": count(model.name, layer.path)
        for model in study.models
        for layer in model.layers
    }


def imported_labels(
    study: Study, name: str, units: Sequence[Unit], sizes: Mapping[str, int] = EMPTY
) -> dict[Unit, tuple[str | None, str]]:
    """The label of each unit in a file, or None and why it has none.

    A file names units by keys, or by numbers: those of the only layer that the study has, or of
    the layer that the section names.

    Args:
        study: the study.
        name: the method.
        units: every unit of the study whose label is wanted; the others decide nothing.
        sizes: see `counted`.

    Raises:
        NotFoundError: when there is no such file, or the section names a layer that is not there.
        TableError: when it cannot be understood, or numbers units of several layers.
    """
    texts, section = imported_texts(study, name), _section(study, name)
    texts = texts.shifted(counted(study, name, sizes).first)
    layers = _layers(study)
    if section.layer is not None and section.layer not in layers:
        raise not_found("layer", section.layer, layers, f"imported_labels.{name}.layer names one.")
    labels: dict[str, str | None] = {**dict.fromkeys(texts.blank), **texts.by_unit}
    selected = [u for u in units if section.layer in (None, _layer(u))]
    labels_by_key = _by_unit_key(
        texts, labels, selected, layers if section.layer is None else [section.layer]
    )
    answers: dict[Unit, tuple[str | None, str]] = {}
    for unit in units:
        if unit.key in labels_by_key:
            answers[unit] = (
                labels_by_key[unit.key],
                "" if labels_by_key[unit.key] else "its label is blank",
            )
        else:
            answers[unit] = (None, "the file does not hold it")
    return answers


def check_imported(
    study: Study, units: Sequence[Unit], sizes: Mapping[str, int] = EMPTY
) -> list[str]:
    """See that every file of labels is there, sound, and holds some of the units.

    Returns:
        Messages on how the files count units.

    Raises:
        NotFoundError: as `imported_labels`.
        TableError: as `imported_labels`, or when a file holds none of the units.
    """
    remarks = []
    for name, section in study.imported_labels.items():
        imported_labels(study, name, units, sizes)
        counting = counted(study, name, sizes)
        remarks.append(counting.told)
        texts = imported_texts(study, name).shifted(counting.first)
        selected = [u for u in units if section.layer in (None, _layer(u))]
        by_key(texts, {**dict.fromkeys(texts.blank), **texts.by_unit}, selected)
    return [remark for remark in remarks if remark]


def _by_unit_key(
    texts: Texts, labels: Mapping[str, str | None], units: Sequence[Unit], layers: Sequence[str]
) -> dict[str, str | None]:
    """Labels by key; numbers count when the layer is known and no unit is named by key."""
    if any("/" in unit for unit in labels):
        return {
            u.key: labels[name] for u in units for name in reversed(names_of(u)) if name in labels
        }
    if len(layers) > 1 and labels:
        raise StudyError(
            f"{texts.path} numbers its units, which does not tell the layers "
            f"{', '.join(layers[:3])} apart. Name the layer in the study, {{ file = "
            f"{texts.path.name!r}, layer = {layers[0]!r} }}, or name the units by whole keys, such "
            f"as {layers[0]}/0."
        )
    return {unit.key: labels[str(unit.neuron)] for unit in units if str(unit.neuron) in labels}


def _section(study: Study, name: str) -> LabelFile:
    if name not in study.imported_labels:
        raise StudyError(
            f"study {study.name!r} imports no labels called {name!r}; name the file in section "
            f"[imported_labels]: {name} = '{name}.csv'"
        )
    return study.imported_labels[name]


def _layer(unit: Unit) -> str:
    return unit.key.rpartition("/")[0]


def _layers(study: Study) -> list[str]:
    """The layers of a study, as the keys of units have them."""
    return [
        _layer(Unit(model.name, layer.path, 0)) for model in study.models for layer in model.layers
    ]
