"""How often the latents of a study's autoencoders fire on its probing set.

One pass of the network stores the codes of a whole layer, whichever latents the study selects, so
that these figures cost nothing more; `neurons = {file = …}` selects by them.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from dnd_assets.analysis.image_query import probing_images, recorded
from dnd_assets.engine.context import StudyContext
from dnd_assets.errors import StudyError
from dnd_assets.files.atomic import write_atomic
from dnd_assets.methods.sae.firing import Firing, firing
from dnd_assets.methods.sparse_matrix import SparseMatrix
from dnd_assets.results.tables.table_source import TableSource
from dnd_assets.units import Unit

COLUMNS = ("latent", "pictures", "share", "largest", "mean")
"""Columns of the table that is written."""


@dataclass(frozen=True)
class LayerFiring:
    """The latents of one layer.

    Attributes:
        model: the network's name in the study.
        layer: the layer's path.
        firing: what is counted.
    """

    model: str
    layer: str
    firing: Firing


def latents(context: StudyContext, layer: str | None = None) -> list[LayerFiring]:
    """How often latents fire, of each layer with an autoencoder.

    Args:
        context: the study's context.
        layer: path of the one layer that is asked for; None for all.

    Raises:
        StudyError: when the study has no such layer.
        UpstreamError: when activations are not stored.
    """
    layer_paths = [
        (model.name, layer_settings.path)
        for model in context.study.models
        for layer_settings in model.layers
        if layer_settings.sae is not None and layer in (None, layer_settings.path)
    ]
    if not layer_paths:
        study_paths = [
            layer_settings.path for model in context.study.models for layer_settings in model.layers
        ]
        raise StudyError(
            f"study {context.study.name!r} has no layer{f' {layer!r}' if layer else ''} with "
            f"[models.layers.sae]; its layers: {', '.join(study_paths)}. "
            "Attach an autoencoder to one."
        )
    images = probing_images(context, TableSource(context.lineage, context.study.name))
    firings = []
    for model, path in layer_paths:
        values = recorded(context, Unit(model, path, 0), images)
        assert isinstance(values, SparseMatrix), "codes of autoencoders are stored so"
        firings.append(LayerFiring(model, path, firing(values)))
    return firings


def write_table(firings: Sequence[LayerFiring], file: Path) -> None:
    """Write a row for each latent of a layer, `COLUMNS`, for `neurons = {file = …}`.

    Raises:
        StudyError: when there are several layers.
    """
    if len(firings) != 1:
        names = ", ".join(f"{entry.model}/{entry.layer}" for entry in firings)
        raise StudyError(f"a table is of one layer, and there are {names}. Name one: --layer.")
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    counts = firings[0].firing
    for latent, pictures in enumerate(counts.pictures.tolist()):
        share = pictures / counts.images
        writer.writerow(
            [latent, pictures, f"{share:.6f}", f"{counts.largest[latent]:.6g}",
             f"{counts.mean[latent]:.6g}"]
        )  # fmt: skip
    write_atomic(file, text.getvalue().encode())
