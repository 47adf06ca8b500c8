"""Units as vectors: embeddings of their exemplars and of their labels, kept in the store."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from dnd_assets.engine.cache.shared_results import TEXTS, embeddings, text_id
from dnd_assets.engine.cache.vectors import Matrix
from dnd_assets.engine.context import StudyContext
from dnd_assets.errors import DndError, UpstreamError
from dnd_assets.lineage.fingerprint import Json
from dnd_assets.lineage.records import is_labels
from dnd_assets.results.tables.table_source import TableSource
from dnd_assets.units import Unit, UnitIndex
from resources.encoders.base import ImageTextEncoder
from resources.encoders.sentence import SentenceEncoder

_FACES: Final = (("crops", "activating"), ("activations", "exemplars"))
"""Where a unit's pictures are read from: the activating set, which scoring embeds, comes first."""


@dataclass(frozen=True)
class UnitLabel:
    """One label of a unit.

    Attributes:
        unit: the unit.
        asset: whose label it is.
        label: the text.
        best: whether it is the method's best, or a further one.
        confidence: probability that the best one is right; None where nothing tells.
    """

    unit: Unit
    asset: str
    label: str
    best: bool
    confidence: float | None = None


def recorded_units(source: TableSource) -> UnitIndex:
    """The units for which anything was recorded.

    Raises:
        UpstreamError: when there is none.
    """
    rows = source.units()
    if not rows:
        raise UpstreamError(f"study {source.study!r} has no products yet. Run `dnd run` on it.")
    return UnitIndex([Unit(row["model"], row["layer"], row["neuron"]) for row in rows])


def labels_of(source: TableSource) -> list[UnitLabel]:
    """Every label that any method kept, the study's own first, best first of each unit."""
    assets = sorted(filter(is_labels, source.assets), key=lambda name: (name != "labels", name))
    labels = []
    for asset in assets:
        for records in source.records(asset):
            for record in records:
                payload = record.product.payload
                texts = [
                    payload.get("label"),
                    *(entry["label"] for entry in payload.get("labels", ())),
                ]
                unit = Unit(record.model, record.layer, record.neuron or 0)
                distinct = dict.fromkeys(text for text in texts if text)
                confidence = payload.get("confidence")
                labels += [
                    UnitLabel(unit, asset, text, not rank, None if rank else confidence)
                    for rank, text in enumerate(distinct)
                ]
    return labels


def faces_of(source: TableSource, units: Iterable[Unit]) -> dict[Unit, list[str]]:
    """Hashes of the pictures that activate each unit most; units without any are left out.

    Raises:
        UpstreamError: when no unit has any.
    """
    selected = set(units)
    images_of: dict[Unit, list[str]] = {}
    for asset, key in _FACES:
        for records in source.records(asset):
            for record in records:
                unit = Unit(record.model, record.layer, record.neuron or 0)
                images = [entry["image"] for entry in record.product.payload.get(key, ())]
                if images and unit in selected:
                    images_of.setdefault(unit, images)
    if not images_of:
        raise UpstreamError(
            f"study {source.study!r} has no exemplars of these units. Run "
            "`dnd run --assets +activations` on it."
        )
    return {unit: images_of[unit] for unit in sorted(images_of)}


def face_vectors(context: StudyContext, faces: Mapping[Unit, Sequence[str]]) -> dict[Unit, Matrix]:
    """Embeddings of each unit's pictures by the image-text encoder, float32 (pictures, width)."""
    rows, values = embeddings(context, {name for names in faces.values() for name in names})
    # An image that the encoder fails on says nothing; a unit of such images alone has no vectors.
    usable = np.asarray(np.isfinite(values).all(axis=1))
    usable_rows = {
        unit: [rows[n] for n in names if usable[rows[n]]] for unit, names in faces.items()
    }
    return {
        unit: values[picture_rows] for unit, picture_rows in usable_rows.items() if picture_rows
    }


def text_encoder(context: StudyContext) -> tuple[ImageTextEncoder | SentenceEncoder | None, str]:
    """The encoder of labels to compare: the study's sentence encoder, else its image-text encoder.

    Returns:
        The encoder, or None and why it cannot be used.
    """
    encoder = context.sentences or context.clip
    try:
        encoder.check()
    except DndError as error:
        return None, str(error)
    return encoder, ""


def text_vectors(
    context: StudyContext, encoder: ImageTextEncoder | SentenceEncoder, texts: Sequence[str]
) -> Matrix:
    """Embeddings of texts, unit length, float32 (texts, width); each is computed once."""
    fingerprint: dict[str, Json] = encoder.fingerprint()
    provider = context.lineage.provider(fingerprint)
    text_of = {text_id(text): text for text in texts}
    table = context.vectors.table(TEXTS, provider, list(text_of))
    missing = sorted(table.missing())
    if missing:
        values = encoder.encode([text_of[name] for name in missing])
        context.vectors.add(TEXTS, provider, missing, values)
        table.fill(missing, values)
    return table.values[[table.rows[text_id(text)] for text in texts]]
