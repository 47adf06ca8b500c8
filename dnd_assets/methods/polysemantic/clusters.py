"""Polysemantic units: how many concepts a unit answers to, by clustering its exemplars.

Pictures of one concept differ in everything else, so any clustering finds groups among them; a
silhouette tells groups, not concepts. What tells concepts is whether groups have anything in
common that the average picture has not. So embeddings are centred on the average picture, where
unrelated pictures have a mean cosine of 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import scipy
from numpy.typing import NDArray

Floats = NDArray[np.floating]

SHARED: Final = 0.05
"""Mean cosine up to which two groups have nothing in common.

In the known-answers world, whose pictures have six independent attributes, with 20 exemplars, all
13 units of one colour or background come out as one concept; of the 28 units of two colours 22
come out as two, 3 as three and 3 as one. tests/known_answers holds this.
"""


@dataclass(frozen=True)
class Cluster:
    """Exemplars with something in common.

    Attributes:
        members: row numbers, most activating first, ties by id.
        mass: sum of their activations; negative ones count as 0.
    """

    members: tuple[int, ...]
    mass: float


@dataclass(frozen=True)
class Concepts:
    """What the exemplars of one unit fall into.

    Attributes:
        clusters: largest mass first, ties by the id of the first member; at least one.
        outliers: row numbers in no cluster, most activating first.
        shared: mean cosine, beyond the average picture, between the two groups that have least
            in common; NaN for a single exemplar.
    """

    clusters: tuple[Cluster, ...]
    outliers: tuple[int, ...]
    shared: float


def concepts_of_unit(
    embeddings: Floats,
    activations: Sequence[float] | Floats,
    ids: Sequence[str],
    centre: Floats,
    *,
    shared: float = SHARED,
    smallest: int = 2,
) -> Concepts:
    """Groups of exemplars that have nothing in common with each other: one for each concept.

    Average linkage on the cosine distances of centred embeddings, cut where the two groups to be
    merged have a mean cosine of at most `shared`. Groups of fewer than `smallest` are outliers;
    if no group is large enough, all exemplars are one.

    The order of the exemplars does not matter: equal distances are merged in the order of ids.

    Args:
        embeddings: image embeddings of the exemplars, (K, D), of one length.
        activations: of the unit on them, (K,).
        ids: content hashes, K, all different.
        centre: mean embedding of the probing images, or of a few hundred of them, (D,).
        shared: mean cosine up to which groups are different concepts.
        smallest: the least number of exemplars that make a concept.

    Raises:
        ValueError: when there is no exemplar, shapes do not fit, ids repeat, a value is not
            finite, or an embedding is the centre.
    """
    vectors = _centred(embeddings, centre)
    values = np.asarray(activations, dtype=np.float64)
    _check(vectors, values, ids, smallest)
    by_id = sorted(range(len(ids)), key=ids.__getitem__)
    labels, least = _cut(vectors[by_id], shared)
    groups: dict[int, list[int]] = {}
    for row, label in zip(by_id, labels, strict=True):
        groups.setdefault(label, []).append(row)
    large_groups = [rows for rows in groups.values() if len(rows) >= smallest] or [by_id]

    def ordered(rows: Sequence[int]) -> tuple[int, ...]:
        return tuple(sorted(rows, key=lambda row: (-values[row], ids[row])))

    clusters = [
        Cluster(ordered(rows), float(values[rows].clip(min=0).sum())) for rows in large_groups
    ]
    clusters.sort(key=lambda cluster: (-cluster.mass, ids[cluster.members[0]]))
    outliers = set(by_id).difference(*large_groups)
    return Concepts(tuple(clusters), ordered(list(outliers)), least)


def _cut(vectors: Floats, shared: float) -> tuple[list[int], float]:
    """The group of each vector, and the mean cosine of the last two groups merged."""
    if len(vectors) == 1:
        return [1], float("nan")
    tree = scipy.cluster.hierarchy.linkage(
        scipy.spatial.distance.pdist(vectors, metric="cosine"), method="average"
    )
    # Groups at a distance of exactly 1 - shared stay apart.
    height = np.nextafter(1 - shared, -np.inf)
    groups = scipy.cluster.hierarchy.fcluster(tree, height, criterion="distance")
    return groups.tolist(), float(1 - tree[-1, 2])


def _centred(embeddings: Floats, centre: Floats) -> Floats:
    vectors = np.asarray(embeddings, dtype=np.float64)
    middle = np.asarray(centre, dtype=np.float64)
    if vectors.ndim != 2 or not len(vectors) or middle.shape != vectors.shape[1:]:
        raise ValueError(
            "embeddings and centre have to be of shapes (K, D) and (D,), K at least 1, not "
            f"{vectors.shape} and {middle.shape}"
        )
    return np.asarray(vectors - middle)


def _check(vectors: Floats, values: Floats, ids: Sequence[str], smallest: int) -> None:
    if values.shape != (len(vectors),):
        raise ValueError(f"activations of shape {values.shape} do not fit {len(vectors)} exemplars")
    if len(ids) != len(vectors) or len(set(ids)) != len(ids):
        raise ValueError(f"{len(set(ids))} different ids do not fit {len(vectors)} exemplars")
    if smallest < 1:
        raise ValueError(f"smallest has to be positive, not {smallest}")
    if not (np.isfinite(vectors).all() and np.isfinite(values).all()):
        raise ValueError("embeddings, centre or activations hold NaN or infinite values")
    if not np.abs(vectors).max(axis=1).all():
        raise ValueError("an embedding is the centre itself; it has no direction")
