"""Units grouped by the likeness of their labels: what a layer is about, in a few lines.

Average-linkage clustering of the cosine distances of distinct labels (Sokal & Michener 1958, by
`scipy.cluster.hierarchy`): two groups are one while the mean cosine between their labels is above a
bound. Nothing is drawn, and the order of units does not matter.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import scipy
from numpy.typing import NDArray

from dnd_assets.methods.dissection.candidate_concepts import content_words

SIMILARITY: Final = 0.45
"""Mean cosine from which two groups are one; chosen by eye for all-mpnet-base-v2."""
MOST_LABELS: Final = 20_000
"""Distinct labels that can be grouped; their distances take memory as the square of them."""
_COVERED: Final = 0.8
_MOST_WORDS: Final = 3


@dataclass(frozen=True)
class LabelGroup:
    """Units whose labels are alike.

    Attributes:
        name: the words that most of the labels have, joined by "or".
        label: the label that is most like all the others, units counted.
        labels: the labels and how many units have each, most common first.
        units: keys of the units, ascending.
    """

    name: str
    label: str
    labels: tuple[tuple[str, int], ...]
    units: tuple[str, ...]


def plain_label(text: str) -> str:
    """A label in lower case with single spaces, by which labels are the same."""
    return " ".join(text.lower().split())


def group_labels(
    labels: Mapping[str, str],
    vectors: Mapping[str, NDArray[np.floating]],
    similarity: float = SIMILARITY,
) -> list[LabelGroup]:
    """Groups of units whose labels are alike, the largest first.

    Args:
        labels: of each unit, by key; none blank.
        vectors: a unit vector of each distinct label, by `plain_label`.
        similarity: mean cosine from which two groups are one.

    Returns:
        Every unit in one group; of groups of one size the one whose label comes first.

    Raises:
        ValueError: when there is no unit or a blank label, a vector is missing or no unit vector,
            `similarity` is out of (-1, 1], or there are too many distinct labels.
    """
    label_of = {unit: plain_label(text) for unit, text in labels.items()}
    counts = Counter(label_of.values())
    texts = sorted(counts)
    _check(texts, vectors, similarity)
    rows = np.stack([np.asarray(vectors[text], dtype=np.float64) for text in texts])
    cosines = np.clip(rows @ rows.T, -1.0, 1.0)
    places: dict[int, list[int]] = {}
    for place, group in enumerate(_clusters(cosines, similarity)):
        places.setdefault(group, []).append(place)
    units: dict[str, list[str]] = {}
    for unit in sorted(label_of):
        units.setdefault(label_of[unit], []).append(unit)
    groups = [_group([texts[p] for p in indices], cosines[np.ix_(indices, indices)], units)
             for indices in places.values()]  # fmt: skip
    return sorted(groups, key=lambda group: (-len(group.units), group.label))


def group_name(counts: Mapping[str, int]) -> str:
    """The words that tell what labels have in common: "fishing", "purple or pink".

    Content words as they are written, the most common first, until 80 % of the units have one of
    them, in singular or plural, or three are named; a word that brings no further unit is left out.

    Args:
        counts: how many units have each label.

    Returns:
        The most common label where labels have no content words.
    """
    words = {text: content_words(text) for text in counts}
    share = Counter[tuple[str, str]]()
    for text, count in counts.items():
        share.update(dict.fromkeys(words[text], count))
    total, covered_units = sum(counts.values()), 0
    uncovered = dict(counts)
    name_words: list[str] = []
    for (word, written), _ in sorted(share.items(), key=lambda item: (-item[1], item[0])):
        if covered_units >= _COVERED * total or len(name_words) == _MOST_WORDS:
            break
        covered_texts = [text for text in uncovered if word in dict(words[text])]
        if covered_texts:
            name_words.append(written)
            covered_units += sum(uncovered.pop(text) for text in covered_texts)
    return " or ".join(name_words) or min(counts, key=lambda text: (-counts[text], text))


def _group(
    texts: Sequence[str], cosines: NDArray[np.float64], units: Mapping[str, list[str]]
) -> LabelGroup:
    counts = {text: len(units[text]) for text in texts}
    weights = np.array([counts[text] for text in texts])
    centre = texts[int(np.argmax((cosines @ weights).round(9)))]
    order = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    unit_keys = sorted(unit for text in texts for unit in units[text])
    return LabelGroup(group_name(counts), centre, tuple(order), tuple(unit_keys))


def _clusters(cosines: NDArray[np.float64], similarity: float) -> list[int]:
    if len(cosines) == 1:
        return [1]
    distances = 1 - cosines
    np.fill_diagonal(distances, 0)
    tree = scipy.cluster.hierarchy.linkage(
        scipy.spatial.distance.squareform((distances + distances.T) / 2, checks=False),
        method="average",
    )
    return [
        int(group)
        for group in scipy.cluster.hierarchy.fcluster(tree, 1 - similarity, criterion="distance")
    ]


def _check(
    texts: Sequence[str], vectors: Mapping[str, NDArray[np.floating]], similarity: float
) -> None:
    if not texts or not all(texts):
        raise ValueError("labels are needed, and none of them blank; leave units without one out")
    if not -1 < similarity <= 1:
        raise ValueError(f"similarity = {similarity} has to be above -1 and at most 1")
    if len(texts) > MOST_LABELS:
        raise ValueError(
            f"{len(texts):,} distinct labels are too many to be compared with one another; "
            f"at most {MOST_LABELS:,} can be"
        )
    for text in texts:
        length = float(np.linalg.norm(vectors[text])) if text in vectors else 0.0
        if abs(length - 1) > 1e-3:
            raise ValueError(
                f"the vector of {text!r} has length {length:.3f}, not 1, or is missing"
            )
