"""What the units of a study respond to, where its section [evaluation] says so."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from dnd_assets.assets.held_out_images import evaluation_of
from dnd_assets.engine.context import StudyContext
from dnd_assets.engine.context_builder import find_units
from dnd_assets.errors import StudyError
from dnd_assets.files.unit_texts import Numbering, Texts, by_key, numbering, read_truths
from dnd_assets.study.label_files import EMPTY, sizes_of
from dnd_assets.study.study import Study
from dnd_assets.units import Unit

CATEGORIES = "categories"
"""The setting that takes the network's own class names."""


def truths_of(context: StudyContext, model: str, layer: str) -> Mapping[int, str]:
    """The truth of each unit of a layer that has one, by neuron.

    Args:
        context: the study's context.
        model: the network's name in the study.
        layer: the layer's path.

    Raises:
        NotFoundError: when the study names a file that is not there.
        TableError: when the file cannot be understood or holds none of the study's units.
        StudyError: when class names are asked for and the network has none.
    """
    source = evaluation_of(context).truths
    if source is None:
        return {}
    if source == CATEGORIES:
        return _categories(context, model, layer)
    units = list(find_units(context).values())
    texts, _ = _numbered_texts(
        context.study, source, sizes_of(context.study, context.targets.units)
    )
    truths = by_key(texts, texts.by_unit, units)
    return {
        unit.neuron: truths[unit.key]
        for unit in units
        if (unit.model, unit.layer) == (model, layer) and unit.key in truths
    }


def check_truths(
    study: Study, units: Sequence[Unit], sizes: Mapping[str, int] = EMPTY
) -> Numbering:
    """See that the file of truths, if the study names one, is there and sound.

    Args:
        study: the study.
        units: all of its units.
        sizes: units of each layer by `model/layer`.

    Returns:
        How it counts units.

    Raises:
        NotFoundError: when it is not there.
        TableError: when it cannot be understood or holds none of the units.
    """
    source = study.evaluation.truths if study.evaluation else None
    if source is None or source == CATEGORIES:
        return Numbering(0)
    texts, counting = _numbered_texts(study, source, sizes)
    by_key(texts, texts.by_unit, units)
    return counting


def _numbered_texts(study: Study, file: str, sizes: Mapping[str, int]) -> tuple[Texts, Numbering]:
    """The file of truths with units counted from 0, and how it counts them."""
    texts = read_truths(study.path(file))
    first = study.evaluation.first_unit if study.evaluation else None
    size = next(iter(sizes.values())) if len(sizes) == 1 else None
    counting = numbering(texts, size, first, "say first_unit = 1 under [evaluation]")
    return texts.shifted(counting.first), counting


def _categories(context: StudyContext, model: str, layer: str) -> Mapping[int, str]:
    if layer not in context.targets.final_layers(model):
        return {}
    names = context.targets.categories(model)
    count = context.targets.units(model, layer)
    if names is None or len(names) != count:
        names_found = "no class names" if names is None else f"{len(names):,} class names"
        raise StudyError(
            f"evaluation.truths = 'categories', but network {model!r} comes with {names_found} "
            f"for the {count:,} units of its last layer {layer!r}. Give a file: "
            "truths = 'names.csv'"
        )
    return {neuron: name for neuron, name in enumerate(names) if name.strip()}
