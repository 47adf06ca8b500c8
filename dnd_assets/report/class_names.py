"""Names of the classes that units of a final layer stand for, where the network brings them."""

from __future__ import annotations

from collections.abc import Mapping

from dnd_assets.engine.context import StudyContext
from dnd_assets.lineage.code import code_version
from dnd_assets.lineage.fingerprint import digest
from dnd_assets.units import Unit

Names = Mapping[str, str]
"""Class name by the key of the unit."""


def class_names_key(context: StudyContext) -> str:
    """Hash of what decides the names; the networks are not loaded."""
    models = [
        [model.name, model.source, model.categories, [layer.path for layer in model.layers],
         fingerprint(context, model.name)]
        for model in context.study.models
    ]  # fmt: skip
    return digest([models, code_version(class_names)])


def fingerprint(context: StudyContext, model: str) -> object:
    """What a network is known by; the kind of error where it is not at hand."""
    try:
        return context.targets.fingerprint(model)
    except Exception as error:  # noqa: BLE001 (a network's own code may raise anything)
        return str(type(error).__name__)


def class_names(context: StudyContext) -> dict[str, str]:
    """Class name of each unit of the final layers of a study, by the unit's key.

    Networks that are not at hand, or that bring no names, give none.
    """
    found: dict[str, str] = {}
    for model in context.study.models:
        try:
            names = context.targets.categories(model.name)
            final = context.targets.final_layers(model.name) if names else []
        except Exception:  # noqa: BLE001, S112 (a network's own code may raise anything)
            continue
        for layer in (one.path for one in model.layers if one.path in final):
            if names and len(names) == context.targets.units(model.name, layer):
                found |= {Unit(model.name, layer, n).key: name for n, name in enumerate(names)}
    return {unit: name for unit, name in found.items() if name.strip()}
