"""Builds the workbench that a study describes, and finds the study's units."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from dnd_assets.errors import not_found
from dnd_assets.study import Study
from dnd_assets.units import Unit, UnitIndex
from dnd_assets.workbench import Workbench
from resources.artefacts import ArtefactStore
from resources.captioner import BlipCaptioner
from resources.clip import OpenClip
from resources.compute import Compute
from resources.lineage_db import Lineage
from resources.networks import TargetModel
from resources.summariser import (
    CaptionsAsConcepts,
    ChatSummariser,
    ConsensusSummariser,
    Summariser,
)
from resources.targets import LayerInfo, TargetNetworks
from resources.text_to_image import DiffusersTextToImage, TextToImage
from resources.world_painter import WorldPainter


def build_bench(study: Study, home: Path, log: Callable[[str], None] = lambda _: None) -> Workbench:
    """The resources of a study, nothing loaded yet.

    Args:
        study: the study.
        home: the state folder.
        log: where progress goes.
    """
    base = str(study.folder)
    compute = Compute(device=study.compute.device, dtype=study.compute.dtype)
    models = [TargetModel(name=m.name, source=m.source, weights=m.weights) for m in study.models]
    return Workbench(
        study=study,
        home=home,
        lineage=Lineage(root=str(home)),
        store=ArtefactStore(root=str(home / "store")),
        compute=compute,
        targets=TargetNetworks(
            models=models, base=base, cards=str(home / "networks"), compute=compute
        ),
        captioner=BlipCaptioner(**study.captioner.model_dump(), base=base, compute=compute),
        summariser=_summariser(study),
        text_to_image=_painter(study, base, compute),
        clip=OpenClip(**study.clip.model_dump(), base=base, compute=compute),
        log=log,
    )


def _summariser(study: Study) -> Summariser:
    settings = study.summariser.model_dump(exclude={"kind"})
    match study.summariser.kind:
        case "chat":
            return ChatSummariser(**settings)
        case "none":
            return CaptionsAsConcepts()
        case _:
            return ConsensusSummariser()


def _painter(study: Study, base: str, compute: Compute) -> TextToImage:
    if study.text_to_image.kind == "world":
        return WorldPainter()
    settings = study.text_to_image.model_dump(exclude={"kind"})
    return DiffusersTextToImage(**settings, base=base, compute=compute)


def find_units(bench: Workbench) -> UnitIndex:
    """Every unit that the study selects, in its order.

    Raises:
        StudyError: when a model cannot be loaded or a neuron does not exist.
        NotFoundError: when a layer does not exist; names the nearest.
    """
    units = []
    for model in bench.study.models:
        sizes = layer_sizes(bench, model.name)
        for layer in model.layers:
            if layer.path not in sizes:
                advice = f"`dnd layers {model.name}` lists them."
                raise not_found(f"layer of {model.name!r}", layer.path, sizes, advice)
            count = sizes[layer.path].units or 0
            units += [Unit(model.name, layer.path, i) for i in layer.indices(count)]
    return UnitIndex(units)


def layer_sizes(bench: Workbench, model: str) -> dict[str, LayerInfo]:
    """The layers of a network that have units, by path."""
    return {layer.path: layer for layer in bench.targets.layers(model) if layer.units}
