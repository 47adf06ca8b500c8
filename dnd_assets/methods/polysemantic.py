"""Polysemantic units: how many concepts a unit answers to, by clustering its exemplars."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.spatial.distance import pdist, squareform

Floats = NDArray[np.floating[Any]]

THRESHOLD: Final = 0.3
"""Silhouette from which a partition counts as real; below 0.25 there is no structure (Kaufman and
Rousseeuw, Finding Groups in Data, 1990, table 4)."""


@dataclass(frozen=True)
class Cluster:
    """Exemplars that look alike.

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
        outliers: row numbers in no cluster, in the order of their activations.
        silhouette: of the partition into two or more clusters that is best, in [-1, 1], whether
            or not it was taken; NaN when none has clusters that are large enough.
    """

    clusters: tuple[Cluster, ...]
    outliers: tuple[int, ...]
    silhouette: float


def concepts_of_unit(
    embeddings: Floats,
    activations: Sequence[float] | Floats,
    ids: Sequence[str],
    *,
    threshold: float = THRESHOLD,
    smallest: int = 2,
) -> Concepts:
    """Groups of exemplars that look alike within and different between.

    Average linkage on cosine distances; of all cuts of the tree the one with the largest mean
    silhouette (Rousseeuw, 1987), if it reaches `threshold`; otherwise the unit has one concept
    and all exemplars are its cluster. Groups of fewer than `smallest` are outliers, which lower
    the mean, as they count with a silhouette of 0.

    The order of the exemplars does not matter: equal distances are merged in the order of ids.

    Args:
        embeddings: image embeddings of the exemplars, (K, D), of any length but 0.
        activations: of the unit on them, (K,).
        ids: content hashes, K, all different.
        threshold: the least silhouette of more than one concept.
        smallest: the least number of exemplars that make a concept.

    Raises:
        ValueError: when there is no exemplar, shapes do not fit, ids repeat, or a value is not
            finite.
    """
    vectors, values = _check(embeddings, activations, ids, smallest)
    by_id = sorted(range(len(ids)), key=ids.__getitem__)
    labels, silhouette = _best_cut(_cosine_distances(vectors[by_id]), smallest)
    if not silhouette >= threshold:  # NaN too
        labels = np.ones(len(ids), dtype=np.int64)
    groups: dict[int, list[int]] = {}
    for row, label in zip(by_id, labels, strict=True):
        groups.setdefault(int(label), []).append(row)
    outliers = groups.pop(0, [])

    def ordered(rows: list[int]) -> tuple[int, ...]:
        return tuple(sorted(rows, key=lambda row: (-values[row], ids[row])))

    clusters = [
        Cluster(ordered(rows), float(values[rows].clip(min=0).sum())) for rows in groups.values()
    ]
    clusters.sort(key=lambda cluster: (-cluster.mass, ids[cluster.members[0]]))
    return Concepts(tuple(clusters), ordered(outliers), silhouette)


def silhouettes(distances: Floats, labels: NDArray[np.integer[Any]]) -> NDArray[np.float64]:
    """(b - a) / max(a, b) of each point: how much nearer it is to its own cluster than to others.

    a is its mean distance to the others of its cluster, b the least mean distance to another
    cluster (Rousseeuw, 1987). Points alone in their cluster, and those labelled 0, have 0; points
    labelled 0 belong to no cluster. So do points with a = b = 0.

    Args:
        distances: symmetric, (N, N), with zeros on the diagonal.
        labels: the cluster of each point, (N,), from 1; 0 is none.

    Returns:
        float64, (N,), in [-1, 1].

    Raises:
        ValueError: for fewer than two clusters.
    """
    names = [name for name in np.unique(labels) if name]
    if len(names) < 2:
        raise ValueError(f"silhouettes take two clusters at least, not {len(names)}")
    of = np.stack([labels == name for name in names], axis=1)
    sizes = of.sum(axis=0)
    sums = distances @ of
    own = np.where(of, sums, 0).sum(axis=1) / np.maximum(of @ (sizes - 1), 1)
    other = np.where(of, np.inf, sums / sizes).min(axis=1)
    largest = np.maximum(own, other)
    counts = (of @ sizes > 1) & (largest > 0)
    return np.where(counts, (other - own) / np.where(counts, largest, 1), 0.0)


def _best_cut(distances: Floats, smallest: int) -> tuple[NDArray[np.int64], float]:
    """Labels of the cut with the largest mean silhouette, fewest clusters first, and that mean."""
    best, found = np.ones(len(distances), dtype=np.int64), float("nan")
    if len(distances) < 2 * smallest:
        return best, found
    tree = linkage(squareform(distances, checks=False), method="average")
    for count in range(2, len(distances)):
        labels = _without_small(fcluster(tree, count, criterion="maxclust"), smallest)
        if len(set(labels.tolist()) - {0}) < 2:
            continue
        mean = float(silhouettes(distances, labels).mean())
        if not mean <= found + 1e-12:
            best, found = labels, mean
    return best, found


def _without_small(labels: NDArray[Any], smallest: int) -> NDArray[np.int64]:
    """Labels of clusters with fewer than `smallest` members become 0."""
    sizes = np.bincount(labels)
    return np.where(sizes[labels] >= smallest, labels, 0)


def _cosine_distances(vectors: Floats) -> Floats:
    return squareform(pdist(vectors, metric="cosine").clip(min=0.0))


def _check(
    embeddings: Floats, activations: Sequence[float] | Floats, ids: Sequence[str], smallest: int
) -> tuple[Floats, Floats]:
    vectors = np.asarray(embeddings, dtype=np.float64)
    values = np.asarray(activations, dtype=np.float64)
    if vectors.ndim != 2 or not len(vectors) or values.shape != (len(vectors),):
        raise ValueError(
            "embeddings and activations have to be of shapes (K, D) and (K,), K at least 1, not "
            f"{vectors.shape} and {values.shape}"
        )
    if len(ids) != len(vectors) or len(set(ids)) != len(ids):
        raise ValueError(f"{len(set(ids))} different ids do not fit {len(vectors)} exemplars")
    if smallest < 1:
        raise ValueError(f"smallest has to be positive, not {smallest}")
    if not (np.isfinite(vectors).all() and np.isfinite(values).all()):
        raise ValueError("embeddings or activations hold NaN or infinite values")
    if not np.abs(vectors).max(axis=1).all():
        raise ValueError("an embedding is zero; it has no direction")
    return vectors, values
