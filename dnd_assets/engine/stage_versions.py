"""Versions of products as Dagster shows them: hashes of code, settings and models."""

from __future__ import annotations

from dataclasses import replace

from dnd_assets.engine.context import StudyContext
from dnd_assets.engine.stage import Settings, Stage
from dnd_assets.errors import DndError
from dnd_assets.lineage.fingerprint import digest
from dnd_assets.lineage.records import Product
from dnd_assets.study.study import Study
from dnd_assets.units import Unit
from resources.lineage_db.reader import LineageReader

_OF_ONE_LAYER = ("target", "truths")
"""Weights that differ between layers; what of a layer's settings matters stands for them."""


def stage_version(context: StudyContext, stage: Stage) -> str:
    """What Dagster calls a stage's code version: a hash of its code, parameters and models.

    It changes when the keys of all units do for a reason of the stage's own, so that the interface
    and automation see what `dnd plan` sees. A network's files are told by their source asset.
    """
    first_model = context.study.models[0]
    # Asking for the hash of a model's fingerprint records it otherwise.
    reading_context = replace(context, lineage=LineageReader(root=context.lineage.root))
    try:
        weights = stage.weights(
            reading_context, Unit(first_model.name, first_model.layers[0].path, 0)
        )
    except DndError:  # a model that is not here is told when it is needed
        weights = {}
    own_weights = {name: value for name, value in weights.items() if name not in _OF_ONE_LAYER}
    layers = _unusual_layers(context.study) if "target" in weights else {}
    made_by = {"parameters": stage.parameters(context), "weights": own_weights, "layers": layers}
    return digest({"code": stage.code(), **made_by})[:12]


def whole_version(code: str, settings: Settings) -> str:
    """As `stage_version`, of a study asset; `code` is the code version in its key."""
    parameters, weights = settings
    return digest({"code": code, "parameters": parameters, "weights": weights})[:12]


def recorded_version(product: Product) -> str:
    """`whole_version` of an unpartitioned product that was made or looked at."""
    preimage = product.preimage
    return whole_version(preimage["code"], (preimage["parameters"], preimage["weights"]))


def _unusual_layers(study: Study) -> dict[str, object]:
    """Settings of layers that are not the default, so that one more layer changes nothing."""
    excluded = {"path", "neurons"}
    layer_settings = {
        f"{model.name}/{layer.path}": layer.model_dump(
            mode="json", exclude=excluded, exclude_defaults=True
        )
        for model in study.models
        for layer in model.layers
    }
    return {name: settings for name, settings in layer_settings.items() if settings}
