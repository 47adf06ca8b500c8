"""Whether networks and the pictures of a study fit each other, seen from its first files.

A network that takes bands is given some; of any other that meets pictures of further bands, bits or
types, it is said which rendering it gets.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from PIL import Image

from dnd_assets.engine.context import StudyContext
from dnd_assets.errors import DndError, StudyError
from dnd_assets.files.containers.container_places import read_bytes
from dnd_assets.files.image_folders import shown_name
from dnd_assets.files.images import UnreadableImage, as_raster, looked_at
from dnd_assets.files.rasters.raster import Raster
from dnd_assets.files.rasters.rendering import rendered
from dnd_assets.study.probing_images import PROBING, image_files

_LOOKED_AT: Final = 3
_PAINTED: Final = ("scores", "polysemantic_labels")
"""Products for which a network sees painted pictures."""


def check_inputs(context: StudyContext, assets: Sequence[str]) -> None:
    """Refuse a run whose networks do not take its pictures, before anything is computed.

    Args:
        context: the study's context.
        assets: names of the assets that are asked for.

    Raises:
        StudyError: naming the network, the picture, and what to write.
    """
    networks = [model for model in context.study.models if context.targets.takes_bands(model.name)]
    if not networks:
        return
    probing_set = context.study.probing_set
    for model in networks:
        for path in _first_files(context):
            with suppress(UnreadableImage, OSError):  # it is set aside, and that is said
                raster = as_raster(read_bytes(path), probing_set.max_pixels, probing_set.reading)
                _check_prepared(context, model.name, raster, f"of {shown_name(path)}")
        if any(name in _PAINTED or name.endswith("_metrics") for name in assets):
            _check_prepared(context, model.name, Image.new("RGB", (64, 64)), "of a painted picture")


def told_of_inputs(context: StudyContext) -> list[tuple[str, str]]:
    """What networks get of pictures that are more than 8-bit RGB, by network; never raises."""
    notes: list[tuple[str, str]] = []
    probing_set = context.study.probing_set
    rgb_networks = [
        model.name for model in context.study.models if not context.targets.takes_bands(model.name)
    ]
    for path in _first_files(context) if rgb_networks else ():
        with suppress(DndError, OSError):
            _, raster = looked_at(read_bytes(path), probing_set.max_pixels, probing_set.reading)
            rendering = "" if raster is None else rendered(raster, probing_set.reading).told
            if rendering:
                line = (
                    f"it takes RGB pictures, and of {path.name}, which is {rendering}, it gets "
                    "this rendering; a network that takes bands says so by [models.input]"
                )
                notes += [(f"target: {name}", line) for name in rgb_networks]
                break
    return notes


def given_of_pictures(context: StudyContext, model: str) -> list[str]:
    """What a network is given of the first pictures of each kind, one line each; never raises."""
    probing_set = context.study.probing_set
    bands = context.targets.takes_bands(model)
    lines: dict[str, None] = {}
    for path in _first_files(context):
        with suppress(DndError, OSError):
            data = read_bytes(path)
            image, raster = looked_at(data, probing_set.max_pixels, probing_set.reading)
            if bands:
                raster = as_raster(data, probing_set.max_pixels, probing_set.reading)
            prepared = context.targets.prepared(model, raster if bands and raster else image)
            size = " x ".join(map(str, prepared.shape))
            rendering = "" if raster is None else rendered(raster, probing_set.reading).told
            description = rendering or f"RGB of 8 bits, {image.size[0]} x {image.size[1]} pixels"
            view = "its bands" if bands else "its rendering" if rendering else "the picture"
            lines[f"of {shown_name(path)} ({description}) it gets {view} as {size}"] = None
    return list(lines)


def _check_prepared(
    context: StudyContext, model: str, picture: Image.Image | Raster, described: str
) -> None:
    try:
        context.targets.prepared(model, picture)
    except StudyError as error:
        raise StudyError(
            f"network {model!r} does not take the bands {described}: {error}"
        ) from error


def _first_files(context: StudyContext) -> list[Path]:
    """The first files of the probing set; none where it names none."""
    with suppress(DndError):
        images = context.study.probing_set
        if images.world is None and images.hard_world is None and not _needs_environment(context):
            return list(image_files(context.study, context.home, PROBING).files[:_LOOKED_AT])
    return []


def _needs_environment(context: StudyContext) -> bool:
    """Whether a folder waits for a variable of the environment."""
    return any("${" in name for name in context.study.probing_set.folders)
