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
        return cls(tuple(Spot(**one) for one in value["spots"]), value["by"], value["why"])


def layer_summaries(entries: Sequence[Entry]) -> list[LayerSummary]:
    """Each layer, in the order of the units."""
    groups: dict[str, list[Entry]] = {}
    for one in entries:
        groups.setdefault(one.group, []).append(one)
    return [_summary(group, some) for group, some in groups.items()]


def _summary(group: str, entries: Sequence[Entry]) -> LayerSummary:
    labels = Counter(one.main.label for one in entries if one.main.label)
    scores = [one.main.score for one in entries if one.main.score is not None]
    judged = [one.interpretable for one in entries if one.interpretable is not None]
    failed = Counter(one.main.status for one in entries if one.main.label is None)
    return LayerSummary(
        group, len(entries), sum(labels.values()), len(labels),
        sum(judged) if judged else None,
        float(np.mean(scores)) if scores else None,
        tuple(_most(labels)[:_COMMON]), tuple(_most(failed)),
    )  # fmt: skip


def _most(counted: Mapping[Any, int]) -> list[tuple[str, int]]:
    return sorted(counted.items(), key=lambda pair: (-pair[1], pair[0]))


def ranking(entries: Sequence[Entry]) -> Ranking:
    """Units by the confidence of their label, else by how well it holds, else by its score."""
    if any(one.confidence is not None for one in entries):
        sure = {one.unit: one.confidence for one in entries}
        return _ranked("probability that the label is right, 0 to 1", entries, sure)
    main = next((name for one in entries for name in one.methods), "labels")
    judge = next(
        (n for one in entries for n, s in one.methods.items() if s.interpretable is not None), None
    )
    measure = "AUC of fresh pictures of the label against held-out images (CoSy)"
    values = {one.unit: ((one.metrics or {}).get(main) or {}).get("cosy_auc") for one in entries}
    if not any(value is not None for value in values.values()) and judge:
        measure = f"similarity to the best concept ({judge})"
        said = {one.unit: one.methods.get(judge) for one in entries}
        values = {unit: one.score if one else None for unit, one in said.items()}
    elif not any(value is not None for value in values.values()):
        measure = "score of the label"
        values = {one.unit: one.main.score for one in entries}
    return _ranked(measure, entries, values)


def _ranked(measure: str, entries: Sequence[Entry], values: Mapping[str, float | None]) -> Ranking:
    known = [(one, v) for one in entries if (v := values[one.unit]) is not None]
    ordered = sorted(known, key=lambda pair: (-pair[1], pair[0].unit))
    count = min(_RANKED, len(ordered) // 2) or len(ordered)
    return Ranking(measure, tuple(ordered[:count]), tuple(reversed(ordered[count:][-count:])))


def shared_concepts(entries: Sequence[Entry]) -> tuple[list[tuple[str, list[Entry]]], int]:
    """Labels that two units or more have, most first, and how many more there are."""
    found: dict[str, list[Entry]] = {}
    for one in entries:
        if one.main.label:
            found.setdefault(one.main.label, []).append(one)
    several = [(label, some) for label, some in found.items() if len(some) > 1]
    several.sort(key=lambda pair: (-len(pair[1]), pair[0]))
    return several[:_SHARED], max(len(several) - _SHARED, 0)


def stored_embeddings(vectors: Vectors, entries: Sequence[Entry], texts: Sequence[str]) -> Embedded:
    """The stored embeddings of some texts by the study's image-text encoder."""
    providers = Counter(one.texts for one in entries if one.texts)
    if not providers or not texts:
        return {}
    provider = _most(providers)[0][0]
    distinct = sorted(set(texts))
    values, known = vectors.read(TEXTS, provider, [text_id(text) for text in distinct])
    return {text: values[i] for i, text in enumerate(distinct) if known[i]}


def map_key(entries: Sequence[Entry], embedded: Embedded) -> str:
    """Hash of what decides the map."""
    of = [[one.unit, one.main.label, one.group, one.page, one.exemplars] for one in entries]
    vectors = [[text, sha256(vector.tobytes())] for text, vector in sorted(embedded.items())]
    return digest([of, vectors, code_version(unit_map)])


def unit_map(entries: Sequence[Entry], embedded: Embedded) -> Map:
    """Labels by the likeness of their embeddings; units by shared exemplars where few are known."""
    labels: dict[str, list[Entry]] = {}
    for one in entries:
        if one.main.label:
            labels.setdefault(one.main.label, []).append(one)
    known = sorted((t for t in labels if t in embedded), key=lambda t: (-len(labels[t]), t))
    if len(known) >= max(3, 0.9 * len(labels)):
        places = plane(np.stack([embedded[text] for text in known]))
        spots = [
            _spot(labels[text], text, *place)
            for text, place in zip(known, places.tolist(), strict=True)
        ]
        return Map(_named(spots), "likeness of the labels to the study's image-text encoder")
    return _by_overlap(entries)


def _by_overlap(entries: Sequence[Entry]) -> Map:
    from scipy.sparse import csr_matrix

    some = [one for one in entries if one.exemplars]
    if len(some) < 3:
        return Map(why="There are too few units with labels or exemplars for a map.")
    columns: dict[str, int] = {}
    rows = [
        (i, columns.setdefault(e, len(columns))) for i, o in enumerate(some) for e in o.exemplars
    ]
    at = np.array(rows).T
    shown = csr_matrix((np.ones(len(rows)), (at[0], at[1])), shape=(len(some), len(columns)))
    places = plane(_reduced(shown))
    spots = [
        _spot([one], one.main.label or one.unit, *place)
        for one, place in zip(some, places.tolist(), strict=True)
    ]
    return Map(_named(spots), "shared exemplars, since embeddings of the labels are not stored")


def _reduced(shown: Any) -> NDArray[np.float64]:
    """Rows of a large sparse table by fewer numbers; their angles hardly change."""
    if shown.shape[1] <= _WIDTH or shown.shape[0] <= _WIDTH:
        found: NDArray[np.float64] = shown.toarray()
        return found
    from scipy.sparse.linalg import svds

    start = np.ones(min(shown.shape))
    left, sizes, _ = svds(shown, k=_WIDTH, v0=start)
    reduced: NDArray[np.float64] = np.round(left * sizes, 9)
    return reduced


def _spot(units: Sequence[Entry], label: str, x: float, y: float) -> Spot:
    group = _most(Counter(one.group for one in units))[0][0]
    return Spot(x, y, label, len(units), group, units[0].page)


def _named(spots: Sequence[Spot]) -> tuple[Spot, ...]:
    """Write the labels of the largest spots, as far as there is room."""
    taken: list[tuple[float, float, float]] = []
    found = []
    for spot in spots:
        width = 0.011 * min(len(spot.label), 24) + 0.02
        free = all(
            abs(spot.y - y) > 0.03 or spot.x > x + w or x > spot.x + width for x, y, w in taken
        )
        named = free and len(taken) < 60 and len(spot.label) <= 32
        if named:
            taken.append((spot.x, spot.y, width))
        found.append(Spot(spot.x, spot.y, spot.label, spot.units, spot.group, spot.page, named))
    return tuple(found)
