"""What the overview of a model says: labels by layer, clearest units, shared concepts, a map."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from dnd_assets.engine.cache.shared_results import TEXTS, text_id
from dnd_assets.engine.cache.vectors import Vectors
from dnd_assets.files.atomic import sha256
from dnd_assets.lineage.code import code_version
from dnd_assets.lineage.fingerprint import digest
from dnd_assets.lineage.records import Payload
from dnd_assets.report.entries import Entry
from dnd_assets.report.layout import plane

_COMMON: Final = 10
_RANKED: Final = 12
_SHARED: Final = 200
_WIDTH: Final = 64
Embedded = Mapping[str, NDArray[np.float32]]


@dataclass(frozen=True)
class LayerSummary:
    """Labels of one layer.

    Attributes:
        group: `model/layer`.
        units: how many.
        labelled: how many have a label.
        distinct: how many different labels.
        interpretable: how many count as interpretable; None where no method judges it.
        score: mean score of the labels; None without labels.
        common: the most frequent labels with their numbers.
        failures: units without a label by status.
    """

    group: str
    units: int
    labelled: int
    distinct: int
    interpretable: int | None
    score: float | None
    common: tuple[tuple[str, int], ...]
    failures: tuple[tuple[str, int], ...]


@dataclass(frozen=True)
class Ranking:
    """The clearest and the least clear units by one measure.

    Attributes:
        measure: what they are ranked by, for people.
        best: highest first, with the value.
        worst: lowest first.
    """

    measure: str
    best: tuple[tuple[Entry, float], ...]
    worst: tuple[tuple[Entry, float], ...]


@dataclass(frozen=True)
class Spot:
    """A place on the map.

    Attributes:
        x: in [0, 1].
        y: in [0, 1].
        label: what lies there.
        units: units of that label.
        group: the layer that most of them belong to.
        named: whether there is room to write the label beside it.
    """

    x: float
    y: float
    label: str
    units: int
    group: str
    page: str
    named: bool = False


@dataclass(frozen=True)
class Map:
    """Units on a plane, and what lies together there; `why` where there is no map."""

    spots: tuple[Spot, ...] = ()
    by: str = ""
    why: str = ""

    @classmethod
    def from_json(cls, value: Payload) -> Map:
        """The map that `dataclasses.asdict` told."""
        return cls(tuple(Spot(**spot) for spot in value["spots"]), value["by"], value["why"])


def layer_summaries(entries: Sequence[Entry]) -> list[LayerSummary]:
    """Each layer, in the order of the units."""
    groups: dict[str, list[Entry]] = {}
    for entry in entries:
        groups.setdefault(entry.group, []).append(entry)
    return [_summary(group, members) for group, members in groups.items()]


def _summary(group: str, entries: Sequence[Entry]) -> LayerSummary:
    labels = Counter(entry.main.label for entry in entries if entry.main.label)
    scores = [entry.main.score for entry in entries if entry.main.score is not None]
    judged = [entry.interpretable for entry in entries if entry.interpretable is not None]
    failed = Counter(entry.main.status for entry in entries if entry.main.label is None)
    return LayerSummary(
        group, len(entries), sum(labels.values()), len(labels),
        sum(judged) if judged else None,
        float(np.mean(scores)) if scores else None,
        tuple(_most_frequent(labels)[:_COMMON]), tuple(_most_frequent(failed)),
    )  # fmt: skip


def _most_frequent(counts: Mapping[Any, int]) -> list[tuple[str, int]]:
    """Names with their counts, the largest first, ties by name."""
    return sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))


def ranking(entries: Sequence[Entry]) -> Ranking:
    """Units by the confidence of their label, else by how well it holds, else by its score."""
    if any(entry.confidence is not None for entry in entries):
        confidences = {entry.unit: entry.confidence for entry in entries}
        return _ranked("probability that the label is right, 0 to 1", entries, confidences)
    main = next((name for entry in entries for name in entry.methods), "labels")
    judge = next(
        (
            name
            for entry in entries
            for name, summary in entry.methods.items()
            if summary.interpretable is not None
        ),
        None,
    )
    measure = "AUC of fresh pictures of the label against held-out images (CoSy)"
    values = {
        entry.unit: ((entry.metrics or {}).get(main) or {}).get("cosy_auc") for entry in entries
    }
    if not any(value is not None for value in values.values()) and judge:
        measure = f"similarity to the best concept ({judge})"
        summaries = {entry.unit: entry.methods.get(judge) for entry in entries}
        values = {unit: summary.score if summary else None for unit, summary in summaries.items()}
    elif not any(value is not None for value in values.values()):
        measure = "score of the label"
        values = {entry.unit: entry.main.score for entry in entries}
    return _ranked(measure, entries, values)


def _ranked(measure: str, entries: Sequence[Entry], values: Mapping[str, float | None]) -> Ranking:
    measured = [(entry, value) for entry in entries if (value := values[entry.unit]) is not None]
    ordered = sorted(measured, key=lambda pair: (-pair[1], pair[0].unit))
    count = min(_RANKED, len(ordered) // 2) or len(ordered)
    return Ranking(measure, tuple(ordered[:count]), tuple(reversed(ordered[count:][-count:])))


def shared_concepts(entries: Sequence[Entry]) -> tuple[list[tuple[str, list[Entry]]], int]:
    """Labels that two units or more have, most first, and how many more there are."""
    by_label: dict[str, list[Entry]] = {}
    for entry in entries:
        if entry.main.label:
            by_label.setdefault(entry.main.label, []).append(entry)
    shared = [(label, units) for label, units in by_label.items() if len(units) > 1]
    shared.sort(key=lambda pair: (-len(pair[1]), pair[0]))
    return shared[:_SHARED], max(len(shared) - _SHARED, 0)


def stored_embeddings(vectors: Vectors, entries: Sequence[Entry], texts: Sequence[str]) -> Embedded:
    """The stored embeddings of some texts by the study's image-text encoder."""
    providers = Counter(entry.texts for entry in entries if entry.texts)
    if not providers or not texts:
        return {}
    provider = _most_frequent(providers)[0][0]
    distinct = sorted(set(texts))
    values, stored = vectors.read(TEXTS, provider, [text_id(text) for text in distinct])
    return {text: values[i] for i, text in enumerate(distinct) if stored[i]}


def map_key(entries: Sequence[Entry], embedded: Embedded) -> str:
    """Hash of what decides the map."""
    units = [
        [entry.unit, entry.main.label, entry.group, entry.page, entry.exemplars]
        for entry in entries
    ]
    vectors = [[text, sha256(vector.tobytes())] for text, vector in sorted(embedded.items())]
    return digest([units, vectors, code_version(unit_map)])


def unit_map(entries: Sequence[Entry], embedded: Embedded) -> Map:
    """Labels by the likeness of their embeddings; units by shared exemplars where few are known."""
    labels: dict[str, list[Entry]] = {}
    for entry in entries:
        if entry.main.label:
            labels.setdefault(entry.main.label, []).append(entry)
    texts = sorted(
        (label for label in labels if label in embedded),
        key=lambda label: (-len(labels[label]), label),
    )
    if len(texts) >= max(3, 0.9 * len(labels)):
        places = plane(np.stack([embedded[text] for text in texts]))
        spots = [
            _spot(labels[text], text, *xy) for text, xy in zip(texts, places.tolist(), strict=True)
        ]
        return Map(
            _with_written_labels(spots), "likeness of the labels to the study's image-text encoder"
        )
    return _by_overlap(entries)


def _by_overlap(entries: Sequence[Entry]) -> Map:
    """A map that puts units together that share exemplars."""
    from scipy.sparse import csr_matrix

    units = [entry for entry in entries if entry.exemplars]
    if len(units) < 3:
        return Map(why="There are too few units with labels or exemplars for a map.")
    columns: dict[str, int] = {}
    rows = [
        (i, columns.setdefault(image, len(columns)))
        for i, unit in enumerate(units)
        for image in unit.exemplars
    ]
    indices = np.array(rows).T
    incidence = csr_matrix(
        (np.ones(len(rows)), (indices[0], indices[1])), shape=(len(units), len(columns))
    )
    places = plane(_reduced(incidence))
    spots = [
        _spot([unit], unit.main.label or unit.unit, *xy)
        for unit, xy in zip(units, places.tolist(), strict=True)
    ]
    return Map(
        _with_written_labels(spots),
        "shared exemplars, since embeddings of the labels are not stored",
    )


def _reduced(incidence: Any) -> NDArray[np.float64]:
    """Rows of a large sparse table by fewer numbers; their angles hardly change."""
    if incidence.shape[1] <= _WIDTH or incidence.shape[0] <= _WIDTH:
        dense: NDArray[np.float64] = incidence.toarray()
        return dense
    from scipy.sparse.linalg import svds

    start = np.ones(min(incidence.shape))
    left, sizes, _ = svds(incidence, k=_WIDTH, v0=start)
    reduced: NDArray[np.float64] = np.round(left * sizes, 9)
    return reduced


def _spot(units: Sequence[Entry], label: str, x: float, y: float) -> Spot:
    group = _most_frequent(Counter(entry.group for entry in units))[0][0]
    return Spot(x, y, label, len(units), group, units[0].page)


def _with_written_labels(spots: Sequence[Spot]) -> tuple[Spot, ...]:
    """Write the labels of the largest spots, as far as there is room."""
    boxes: list[tuple[float, float, float]] = []
    labelled = []
    for spot in spots:
        width = 0.011 * min(len(spot.label), 24) + 0.02
        is_free = all(
            abs(spot.y - y) > 0.03 or spot.x > x + taken_width or x > spot.x + width
            for x, y, taken_width in boxes
        )
        is_written = is_free and len(boxes) < 60 and len(spot.label) <= 32
        if is_written:
            boxes.append((spot.x, spot.y, width))
        labelled.append(
            Spot(spot.x, spot.y, spot.label, spot.units, spot.group, spot.page, is_written)
        )
    return tuple(labelled)
