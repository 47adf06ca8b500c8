"""Concepts of a unit: made-up units, the known-answers world, naive merging, refusals."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dnd_assets.methods.polysemantic.clusters import concepts_of_unit

WIDTH = 64
CENTRE = 3 * np.ones(WIDTH)  # all pictures lie in a narrow cone, as CLIP's do


def axes(seed):
    """Directions that have nothing in common."""
    return np.linalg.qr(np.random.default_rng(seed).normal(size=(WIDTH, WIDTH)))[0]


def exemplars(*counts, noise=0.3, seed=0):
    """Pictures of as many concepts as there are counts, and their ids."""
    rng = np.random.default_rng(seed)
    rows = [axes(seed)[c] for c, count in enumerate(counts) for _ in range(count)]
    vectors = np.array(rows) + noise * rng.normal(size=(len(rows), WIDTH)) / WIDTH**0.5
    return CENTRE + vectors, [f"{value:04x}" for value in rng.permutation(len(rows)) * 7919]


@pytest.mark.parametrize("seed", range(10))
def test_a_unit_of_one_concept_has_one_cluster(seed):
    vectors, ids = exemplars(10, seed=seed)

    found = concepts_of_unit(vectors, np.arange(10.0), ids, CENTRE)

    (cluster,) = found.clusters
    assert cluster.members == tuple(range(9, -1, -1))
    assert cluster.mass == 45
    assert found.outliers == ()
    assert found.shared > 0.5


@pytest.mark.parametrize("seed", range(10))
def test_a_unit_made_to_answer_to_either_of_two_concepts_has_two(seed):
    """An OR unit: its activation is that of whichever concept is there, so both are exemplars."""
    vectors, ids = exemplars(6, 4, seed=seed)
    activations = np.array([3.0] * 6 + [7.0] * 4)

    found = concepts_of_unit(vectors, activations, ids, CENTRE)

    # 4 * 7 is more than 6 * 3: the order is by mass, not by number.
    assert [set(cluster.members) for cluster in found.clusters] == [{6, 7, 8, 9}, set(range(6))]
    assert [cluster.mass for cluster in found.clusters] == [28, 18]
    assert found.shared < 0.05


def test_what_differs_besides_the_concept_does_not_matter():
    """One concept before two backgrounds: two groups for the eye, with the concept in common."""
    concept, *backgrounds = axes(0)[:3]
    rows = [concept + backgrounds[i % 2] for i in range(10)]
    vectors = CENTRE + np.array(rows) + 0.01 * axes(1)[:10]

    found = concepts_of_unit(vectors, np.ones(10), [str(i) for i in range(10)], CENTRE)

    # (c + b1)(c + b2) / |c + b|^2 = 1 / 2.
    assert len(found.clusters) == 1
    assert found.shared == pytest.approx(0.5, abs=0.01)


def test_three_concepts_and_a_stray_picture():
    vectors, ids = exemplars(5, 4, 3, 1, noise=0.2)

    found = concepts_of_unit(vectors, np.ones(13), ids, CENTRE)

    assert [len(cluster.members) for cluster in found.clusters] == [5, 4, 3]
    assert found.outliers == (12,)


def test_smallest_decides_what_is_a_concept():
    vectors, ids = exemplars(8, 2, noise=0.2)

    def sizes(smallest):
        found = concepts_of_unit(vectors, np.ones(10), ids, CENTRE, smallest=smallest)
        return [len(cluster.members) for cluster in found.clusters], len(found.outliers)

    assert sizes(1) == sizes(2) == ([8, 2], 0)
    assert sizes(3) == ([8], 2)
    assert sizes(9) == ([10], 0)


def test_shared_decides_what_is_apart():
    """Three pictures in the plane at right angles: cosines 0, 0 and -1."""
    vectors, ids = np.array([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]]), ["a", "b", "c"]

    def found(shared):
        return concepts_of_unit(vectors, [3, 2, 1], ids, np.zeros(2), shared=shared, smallest=1)

    # a and b merge first, at cosine 0; then c, at the mean of -1 and 0.
    assert [cluster.members for cluster in found(0.0).clusters] == [(0,), (1,), (2,)]
    assert [cluster.members for cluster in found(-0.1).clusters] == [(0, 1), (2,)]
    assert [cluster.members for cluster in found(-0.5).clusters] == [(0, 1), (2,)]
    assert [cluster.members for cluster in found(-0.6).clusters] == [(0, 1, 2)]
    assert found(0.0).shared == pytest.approx(-0.5)


@given(st.integers(0, 10_000), st.integers(2, 9), st.floats(-0.3, 0.6))
def test_merging_in_loops(seed, count, shared):
    vectors = np.random.default_rng(seed).normal(size=(count, 4))
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    groups = [[i] for i in range(count)]

    def common(pair):
        return np.mean([unit[i] @ unit[j] for i, j in itertools.product(*pair)])

    while len(groups) > 1:
        best = max(itertools.combinations(groups, 2), key=common)
        if common(best) <= shared:
            break
        groups = [group for group in groups if group not in best] + [best[0] + best[1]]

    ids = [str(i) for i in range(count)]
    found = concepts_of_unit(vectors, np.ones(count), ids, np.zeros(4), shared=shared, smallest=1)

    assert {frozenset(c.members) for c in found.clusters} == {frozenset(g) for g in groups}


@given(st.integers(0, 500), st.randoms(use_true_random=False))
def test_the_order_of_exemplars_does_not_matter(seed, random):
    vectors, ids = exemplars(4, 3, 1, seed=seed, noise=1.0)
    vectors[1] = vectors[0]  # equal distances
    activations = np.random.default_rng(seed).integers(-1, 4, size=8)
    order = random.sample(range(8), 8)
    names = [ids[i] for i in order]

    plain = concepts_of_unit(vectors, activations, ids, CENTRE)
    moved = concepts_of_unit(vectors[order], activations[order], names, CENTRE)

    def named(found, known):
        groups = [tuple(known[i] for i in cluster.members) for cluster in found.clusters]
        return groups, [known[i] for i in found.outliers], found.shared

    assert named(moved, names) == named(plain, ids)
    rows = [i for cluster in plain.clusters for i in cluster.members] + list(plain.outliers)
    assert sorted(rows) == list(range(8))


def test_few_or_equal_exemplars_are_one_concept():
    alone = concepts_of_unit(np.ones((1, 2)), [1], ["a"], np.zeros(2))
    assert [cluster.members for cluster in alone.clusters] == [(0,)]
    assert np.isnan(alone.shared)
    apart = concepts_of_unit(np.eye(2), [1, 2], ["a", "b"], np.zeros(2))
    assert [cluster.members for cluster in apart.clusters] == [(1, 0)]
    equal = concepts_of_unit(np.ones((6, 4)), np.ones(6), list("fedcba"), np.zeros(4))
    assert [cluster.members for cluster in equal.clusters] == [(5, 4, 3, 2, 1, 0)]


def test_wrong_inputs_are_refused():
    vectors, ids = exemplars(3, 3)

    def refused(message, *arguments, **options):
        with pytest.raises(ValueError, match=message):
            concepts_of_unit(*arguments, **options)

    refused("activations of shape .5,. do not fit 6", vectors, np.ones(5), ids, CENTRE)
    refused("K at least 1", vectors[:0], [], [], CENTRE)
    refused("not .6, 64. and .3,.", vectors, np.ones(6), ids, CENTRE[:3])
    refused("1 different ids do not fit 6", vectors, np.ones(6), ["a"] * 6, CENTRE)
    refused("smallest", vectors, np.ones(6), ids, CENTRE, smallest=0)
    refused("NaN", vectors * np.nan, np.ones(6), ids, CENTRE)
    refused("NaN", vectors, np.ones(6) * np.inf, ids, CENTRE)
    refused("the centre itself", np.array([CENTRE] * 6), np.ones(6), ids, CENTRE)
