"""`dnd search`: units whose labels say something, or whose exemplars look like a picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import numpy as np
from PIL import Image

from dnd_assets.analysis.unit_vectors import (
    UnitLabel,
    face_vectors,
    faces_of,
    labels_of,
    recorded_units,
    text_encoder,
    text_vectors,
)
from dnd_assets.engine.context import StudyContext
from dnd_assets.errors import NotFoundError, StudyError, nearest
from dnd_assets.files.containers.container_places import read_bytes
from dnd_assets.files.images import UnreadableImage, decode
from dnd_assets.files.rasters.reading import AS_FILES_SAY, Reading
from dnd_assets.results.tables.table_source import TableSource
from dnd_assets.units import Unit

How = Literal["exact", "words", "meaning", "exemplars"]
_RANK: Final[dict[str, int]] = {"exact": 0, "words": 1, "meaning": 2, "exemplars": 0}


@dataclass(frozen=True)
class Hit:
    """A unit that was found.

    Attributes:
        unit: the unit's key.
        label: the label that fits, or for pictures the unit's own; empty where it has none.
        asset: whose label it is.
        how: by the very label, by its words, by its embedding, or by exemplars.
        score: cosine of the embeddings; None where words decided and no encoder is there.
        own: the unit's own label, which another method's or a further one may differ from; empty
            where it has none.
        confidence: probability that the own label is right; None where nothing tells.
    """

    unit: str
    label: str
    asset: str
    how: How
    score: float | None
    own: str = ""
    confidence: float | None = None


@dataclass(frozen=True)
class SearchAnswer:
    """Hits, best first, and what kept the search from being complete, if anything did."""

    hits: tuple[Hit, ...]
    remark: str = ""


def search_text(
    context: StudyContext, text: str, units: Sequence[str] = (), top: int = 10
) -> SearchAnswer:
    """Units by what their labels say: the very label first, then its words, then its meaning.

    Of units that have the very label, or its words, those come first whose own label that is, the
    surest before the others.

    Args:
        context: the study's context.
        text: what to look for; the case does not matter.
        units: keys, prefixes or ranges; none for all.
        top: hits at most, one for each unit.

    Raises:
        StudyError: when the text is blank.
        UpstreamError: when nothing was recorded.
        NotFoundError: when a unit does not exist.
    """
    query_text = _one_spaced(text)
    if not query_text:
        raise StudyError("a text is needed to search labels, such as dnd search 'red circle'.")
    source = TableSource(context.lineage, context.study.name)
    order = {unit: position for position, unit in enumerate(recorded_units(source).select(units))}
    labels = [unit_label for unit_label in labels_of(source) if unit_label.unit in order]
    encoder, remark = text_encoder(context)
    if encoder is None or not labels:
        scores: list[float | None] = [None] * len(labels)
    else:
        # The query is not kept in the store: it would be a file for each search.
        query = np.asarray(encoder.encode([text])[0], np.float64)
        vectors = text_vectors(context, encoder, [unit_label.label for unit_label in labels])
        scores = [float(value) for value in vectors.astype(np.float64) @ query]
    own_labels = _own_labels(labels)
    best_hits: dict[Unit, tuple[tuple[float, ...], Hit]] = {}
    for unit_label, score in zip(labels, scores, strict=True):
        match_kind = _match_kind(query_text, _one_spaced(unit_label.label))
        if match_kind is None and score is None:
            continue
        own_label = own_labels[unit_label.unit]
        hit = Hit(
            unit_label.unit.key,
            unit_label.label,
            unit_label.asset,
            match_kind or "meaning",
            score,
            own_label.label,
            own_label.confidence,
        )
        certainty = (
            (unit_label is not own_label, -(own_label.confidence or 0.0)) if match_kind else (0, 0)
        )
        key = (
            _RANK[hit.how],
            *certainty,
            -(score or 0.0),
            not unit_label.best,
            order[unit_label.unit],
        )
        if unit_label.unit not in best_hits or key < best_hits[unit_label.unit][0]:
            best_hits[unit_label.unit] = (key, hit)
    hits = [hit for _, hit in sorted(best_hits.values(), key=lambda pair: pair[0])]
    note = f"labels were searched by their words alone: {remark}" if remark else ""
    return SearchAnswer(tuple(hits[:top]), note)


def _one_spaced(text: str) -> str:
    return " ".join(text.casefold().split())


def _match_kind(query: str, label: str) -> How | None:
    if query == label:
        return "exact"
    return "words" if all(word in label for word in query.split()) else None


def search_image(
    context: StudyContext, file: Path, units: Sequence[str] = (), top: int = 10
) -> SearchAnswer:
    """Units whose exemplars are most like a picture: mean cosine of their embeddings.

    Args:
        context: the study's context.
        file: the picture.
        units: keys, prefixes or ranges; none for all.
        top: hits at most.

    Raises:
        NotFoundError: when there is no such file, or a unit does not exist.
        StudyError: when the picture cannot be read, or the encoder is not on this machine.
        UpstreamError: when no exemplars were recorded.
    """
    probing = context.study.probing_set
    picture = open_picture(file, probing.max_pixels, probing.reading)
    source = TableSource(context.lineage, context.study.name)
    faces = faces_of(source, recorded_units(source).select(units))
    context.clip.check()
    query = context.clip.embed_images([picture], context.study.compute.batch.clip)[0]
    likeness = {
        unit: float((vectors.astype(np.float64) @ query.astype(np.float64)).mean())
        for unit, vectors in face_vectors(context, faces).items()
    }
    own_labels = _own_labels(labels_of(source))
    order = sorted(likeness, key=lambda unit: (-likeness[unit], unit))
    hits = []
    for unit in order[:top]:
        label = own_labels.get(unit)
        label_asset = (label.label, label.asset) if label else ("", "")
        label_confidence = (label.label, label.confidence) if label else ("", None)
        hits.append(Hit(unit.key, *label_asset, "exemplars", likeness[unit], *label_confidence))
    return SearchAnswer(tuple(hits))


def _own_labels(labels: Sequence[UnitLabel]) -> dict[Unit, UnitLabel]:
    """The best label of each unit, by the study's own method where it has one."""
    own_labels: dict[Unit, UnitLabel] = {}
    for unit_label in labels:
        own_labels.setdefault(unit_label.unit, unit_label)
    return own_labels


def open_picture(file: Path, max_pixels: int, reading: Reading = AS_FILES_SAY) -> Image.Image:
    """A picture from disk, RGB and upright.

    Raises:
        NotFoundError: when there is no such file; names the nearest beside it.
        StudyError: when it is no picture.
    """
    try:
        return decode(read_bytes(file.expanduser()), max_pixels, reading)
    except (FileNotFoundError, NotADirectoryError) as error:
        file_names = sorted(p.name for p in file.parent.iterdir()) if file.parent.is_dir() else []
        neighbours = ", ".join(nearest(file.name, file_names)) or "nothing"
        raise NotFoundError(f"no picture {file}; {file.parent} holds: {neighbours}.") from error
    except (OSError, UnreadableImage) as error:
        raise StudyError(f"picture {file} cannot be read: {error}. Name another.") from error
