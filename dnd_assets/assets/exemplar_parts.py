"""Parts of work on exemplars: a batch of images, each with the units that need something of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from dnd_assets.engine.context import StudyContext
from dnd_assets.engine.workers.at_work import agree
from dnd_assets.engine.workers.parts import Part
from dnd_assets.lineage.fingerprint import canonical, digest
from dnd_assets.units import Unit, by_layer

LayerProvider = Callable[[StudyContext, Unit], str]
"""Hash of what decides the results of a unit's layer."""


def units_of_images(pairs: Iterable[tuple[Unit, str]]) -> dict[str, list[Unit]]:
    """The units that need each image, in order."""
    units: dict[str, list[Unit]] = {}
    for unit, image in pairs:
        units.setdefault(image, []).append(unit)
    return units


def exemplar_item(unit: Unit, image: str) -> str:
    """Name of what was made of an exemplar, among the results of a layer."""
    return canonical([image, unit.neuron])


def exemplar_part(
    context: StudyContext,
    model: str,
    images: Sequence[str],
    units: Mapping[str, Sequence[Unit]],
    provider: LayerProvider,
) -> Part:
    """A part: images of one network, with the units that need each."""
    pairs = {image: [[unit.layer, unit.neuron] for unit in units[image]] for image in images}
    made_by = _made_by(context, (unit for image in images for unit in units[image]), provider)
    return Part(images, images, {"model": model, "units": pairs}, made_by)


def units_of_part(
    context: StudyContext, part: Part, provider: LayerProvider
) -> tuple[str, dict[str, list[Unit]]]:
    """The network of a part, and its units by image.

    Raises:
        WorkerError: when what would make the results here is not what the part was cut for.
    """
    model = part.about["model"]
    units = {
        image: [Unit(model, layer, neuron) for layer, neuron in part.about["units"][image]]
        for image in part.items
    }
    every = [unit for image_units in units.values() for unit in image_units]
    agree(context, part, lambda: _made_by(context, every, provider))
    return model, units


def _made_by(context: StudyContext, units: Iterable[Unit], provider: LayerProvider) -> str:
    """Hash of what decides the results of all layers of some units."""
    layers = by_layer(units)
    return digest(
        {layer: provider(context, layer_units[0]) for (_, layer), layer_units in layers.items()}
    )
