"""Concepts of a unit: made-up units of one, two and three, worked silhouettes, refusals."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dnd_assets.methods.polysemantic import concepts_of_unit, silhouettes


def exemplars(*counts, spread=0.5, seed=0, width=64):
    """Pictures of as many concepts as there are counts, all within a narrow cone like CLIP's."""
    rng = np.random.default_rng(seed)
    cone = rng.normal(size=width)
    rows = []
    for count in counts:
        concept = cone + rng.normal(size=width)
        rows += [concept + spread * rng.normal(size=width) for _ in range(count)]
    ids = [f"{value:016x}" for value in rng.permutation(len(rows)) * 7919]
    return np.array(rows), ids


@pytest.mark.parametrize("seed", range(10))
def test_a_unit_of_one_concept_has_one_cluster(seed):
    vectors, ids = exemplars(10, seed=seed)

    found = concepts_of_unit(vectors, np.arange(10.0), ids)

    (cluster,) = found.clusters
    assert cluster.members == tuple(range(9, -1, -1))
    assert cluster.mass == 45
    assert found.outliers == ()
    assert found.silhouette < 0.3


@pytest.mark.parametrize("seed", range(10))
def test_a_unit_made_to_answer_to_either_of_two_concepts_has_two(seed):
    """An OR unit: its activation is that of whichever concept is there, so both are exemplars."""
    vectors, ids = exemplars(6, 4, seed=seed)
    activations = np.array([3.0] * 6 + [7.0] * 4)

    found = concepts_of_unit(vectors, activations, ids)

    # 4 * 7 is more than 6 * 3: the order is by mass, not by number.
    assert [set(cluster.members) for cluster in found.clusters] == [{6, 7, 8, 9}, set(range(6))]
    assert [cluster.mass for cluster in found.clusters] == [28, 18]
    assert found.silhouette > 0.3


def test_three_concepts_and_a_stray_picture():
    vectors, ids = exemplars(5, 4, 3, 1, spread=0.4)

    found = concepts_of_unit(vectors, np.ones(13), ids)

    assert [len(cluster.members) for cluster in found.clusters] == [5, 4, 3]
    assert found.outliers == (12,)


def test_smallest_decides_what_is_a_concept():
    vectors, ids = exemplars(8, 2)

    assert len(concepts_of_unit(vectors, np.ones(10), ids, smallest=2).clusters) == 2
    found = concepts_of_unit(vectors, np.ones(10), ids, smallest=3)
    assert [len(cluster.members) for cluster in found.clusters] == [10]
    vectors, ids = exemplars(8, 1)
    assert len(concepts_of_unit(vectors, np.ones(9), ids, smallest=1).clusters) == 2


def test_the_threshold_decides_what_is_apart():
    vectors, ids = exemplars(5, 5)
    value = concepts_of_unit(vectors, np.ones(10), ids).silhouette

    assert len(concepts_of_unit(vectors, np.ones(10), ids, threshold=value).clusters) == 2
    assert len(concepts_of_unit(vectors, np.ones(10), ids, threshold=value + 1e-9).clusters) == 1


def test_silhouettes_of_a_worked_case():
    # Points 0, 1 | 4, 6 on a line. a = 1, 1, 2, 2; b = 5, 4, 3.5, 5.5.
    points = np.array([0.0, 1.0, 4.0, 6.0])
    distances = np.abs(points[:, None] - points)

    found = silhouettes(distances, np.array([1, 1, 2, 2]))

    assert found == pytest.approx([4 / 5, 3 / 4, 1.5 / 3.5, 3.5 / 5.5])
    # Alone in a cluster, or in none: 0. The point at 4 is 3 and 4 from the first two.
    found = silhouettes(distances, np.array([1, 1, 2, 0]))
    assert found == pytest.approx([3 / 4, 2 / 3, 0, 0])


@given(st.integers(0, 10_000), st.integers(2, 4), st.integers(4, 14))
def test_silhouettes_in_loops(seed, clusters, n):
    rng = np.random.default_rng(seed)
    points, labels = rng.integers(0, 4, size=(n, 2)), rng.integers(0, clusters + 1, size=n)
    labels[:2] = 1, 2
    distances = np.linalg.norm(points[:, None] - points[None], axis=2)

    found = silhouettes(distances, labels)

    for i in range(n):
        own = [distances[i, j] for j in range(n) if j != i and labels[j] == labels[i]]
        others = [
            np.mean([distances[i, j] for j in range(n) if labels[j] == name])
            for name in set(labels) - {0, labels[i]}
        ]
        if not labels[i] or not own:
            assert found[i] == 0
            continue
        a, b = np.mean(own), min(others)
        assert found[i] == pytest.approx((b - a) / max(a, b) if max(a, b) else 0)
    assert np.abs(found).max() <= 1


@given(st.integers(0, 500), st.randoms(use_true_random=False))
def test_the_order_and_length_of_embeddings_do_not_matter(seed, random):
    vectors, ids = exemplars(4, 3, 1, seed=seed, spread=0.7)
    vectors[1] = vectors[0]  # equal distances
    activations = np.random.default_rng(seed).integers(-1, 4, size=8)
    order = random.sample(range(8), 8)

    plain = concepts_of_unit(vectors, activations, ids)
    moved = concepts_of_unit(vectors[order] * 4, activations[order], [ids[i] for i in order])

    def named(found, names):
        groups = [tuple(names[i] for i in cluster.members) for cluster in found.clusters]
        return groups, [names[i] for i in found.outliers]

    assert named(moved, [ids[i] for i in order]) == named(plain, ids)
    assert moved.silhouette == pytest.approx(plain.silhouette, nan_ok=True)
    rows = [i for cluster in plain.clusters for i in cluster.members] + list(plain.outliers)
    assert sorted(rows) == list(range(8))


def test_few_or_equal_exemplars_are_one_concept():
    for count in (1, 2, 3):
        found = concepts_of_unit(np.eye(3)[:count], np.ones(count), list("abc")[:count])
        assert len(found.clusters) == 1
        assert np.isnan(found.silhouette)
    found = concepts_of_unit(np.ones((6, 4)), np.ones(6), list("fedcba"))
    assert [cluster.members for cluster in found.clusters] == [(5, 4, 3, 2, 1, 0)]


def test_wrong_inputs_are_refused():
    vectors, ids = exemplars(3, 3)
    with pytest.raises(ValueError, match=r"shapes \(K, D\) and \(K,\)"):
        concepts_of_unit(vectors, np.ones(5), ids)
    with pytest.raises(ValueError, match="K at least 1"):
        concepts_of_unit(vectors[:0], np.ones(0), [])
    with pytest.raises(ValueError, match="1 different ids do not fit 6"):
        concepts_of_unit(vectors, np.ones(6), ["a"] * 6)
    with pytest.raises(ValueError, match="smallest"):
        concepts_of_unit(vectors, np.ones(6), ids, smallest=0)
    with pytest.raises(ValueError, match="NaN"):
        concepts_of_unit(vectors * np.nan, np.ones(6), ids)
    with pytest.raises(ValueError, match="no direction"):
        concepts_of_unit(vectors * 0, np.ones(6), ids)
    with pytest.raises(ValueError, match="two clusters at least, not 1"):
        silhouettes(np.zeros((2, 2)), np.array([1, 1]))
