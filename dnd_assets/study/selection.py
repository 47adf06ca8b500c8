"""Which units a study selects: its networks' layers, and the neurons chosen of each.

This file stays light, so that a wrong name fails before anything heavy is imported.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from dnd_assets.settings import Options
from dnd_assets.study.band_statistics import measured_bands
from dnd_assets.study.compute_settings import Role
from dnd_assets.study.network_settings import HeadsSettings, LayerSettings, ModelSettings
from dnd_assets.study.study import Study
from dnd_assets.units import Unit, UnitIndex
from resources.runtime.compute import Compute
from resources.targets.cards import LayerInfo
from resources.targets.declared_coding import DeclaredCoding
from resources.targets.declared_layout import DeclaredLayout
from resources.targets.network_sources import TargetModel
from resources.targets.networks import TargetNetworks


def compute_of(study: Study, role: Role | None = None) -> Compute:
    """Where and how a model of the study runs; without a role, any other work."""
    settings = study.compute
    return Compute(
        device=settings.device.partition(":")[0],  # which card: `resources.runtime.gpu_cards`
        dtype=settings.dtype_of(role),
        compile=settings.compile and role == "text_to_image",
        workers=settings.threads,
    )


def target_networks(study: Study, home: Path, *, reading: bool = False) -> TargetNetworks:
    """The study's networks, none loaded yet; their cards are kept in the state folder.

    With `reading`, cards are taken from there and none is added.
    """
    networks = TargetNetworks(
        models=[_target(study, model) for model in study.models],
        base=str(study.folder),
        cards=str(home / "networks"),
        reading=reading,
        compute=compute_of(study, "target"),
    )
    return networks.measured_by(lambda: measured_bands(study, home, keep=not reading))


def _target(study: Study, model: ModelSettings) -> TargetModel:
    layouts = [
        DeclaredLayout(path=layer.path, **layer.declared)
        for layer in model.layers
        if layer.declared
    ]
    inputs = input_of(study, model)
    codings = [_coding(layer) for layer in model.layers if layer.coding is not None]
    return TargetModel(
        **model.all_but("layers", "input"), layouts=layouts, input=inputs, codings=codings
    )


def input_of(study: Study, model: ModelSettings) -> Options:
    """What a network takes as plain values, with what the probing set says; often nothing."""
    if model.input is None:
        return {}
    probing_set, rendering = study.probing_set, study.probing_set.rendering
    declared = model.input.model_dump(mode="json", exclude_none=True)
    defaults = {
        "bands": probing_set.bands if model.input.convention != "torchxrayvision" else None,
        "scale": probing_set.model_dump(mode="json")["scale"],
        "shown_bands": rendering.bands
        if rendering.bands is not None and len(rendering.bands) == 3
        else None,
        "shown_range": list(rendering.range) if isinstance(rendering.range, tuple) else None,
        "convention": "",
    }
    return {**{name: value for name, value in defaults.items() if value is not None}, **declared}


def _coding(layer: LayerSettings) -> DeclaredCoding:
    assert layer.coding is not None, "only layers with a coding are asked"
    if isinstance(layer.coding, HeadsSettings):
        return DeclaredCoding(path=layer.path, kind="heads", **layer.coding.model_dump())
    return DeclaredCoding(
        **layer.coding.all_but("path"),
        path=layer.path,
        file=layer.coding.path,
        kind="directions" if layer.sae is None else "sae",
    )


def without_units(layers: Sequence[LayerInfo]) -> dict[str, list[str]]:
    """Paths of layers that run and have no units, by the reason."""
    paths: dict[str, list[str]] = {}
    for layer in layers:
        if not layer.units and layer.raw is not None:
            paths.setdefault(layer.reason, []).append(layer.path)
    return paths


def unproven(layers: Sequence[LayerInfo]) -> dict[str, list[str]]:
    """Paths of layers whose reading rests on an assumption, by that assumption."""
    paths: dict[str, list[str]] = {}
    for layer in layers:
        if layer.unproven:
            places = "places " if layer.layout is not None and layer.layout.places else ""
            paths.setdefault(f"{places}{layer.unproven}", []).append(layer.path)
    return paths


def select_units(study: Study, targets: TargetNetworks) -> UnitIndex:
    """Every unit that the study selects, in its order.

    Raises:
        StudyError: when a network cannot be loaded or a neuron does not exist.
        NotFoundError: when a layer does not exist; names the nearest.
    """
    units = []
    for model in study.models:
        layer_infos = targets.described(model.name, [layer.path for layer in model.layers])
        for layer in model.layers:
            # Of a layer without units it raises, and says why it has none.
            count = layer_infos[layer.path].units or targets.units(model.name, layer.path)
            units += [Unit(model.name, layer.path, i) for i in layer.indices(count, study.folder)]
    return UnitIndex(units)
