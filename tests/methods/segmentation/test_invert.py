"""INVERT: AUC of units as detectors of concepts and formulas."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from dnd_assets.methods.segmentation.compositions import PackedMasks, search
from dnd_assets.methods.segmentation.invert import (
    AreaUnderCurve,
    auc,
    formulas_tried,
    significance,
)


@st.composite
def cases(draw):
    images, units, concepts = draw(st.tuples(st.integers(2, 30), *[st.integers(1, 5)] * 2))
    random = np.random.default_rng(draw(st.integers(0, 2**31)))
    levels = draw(st.integers(1, 40))
    activations = random.integers(0, levels, (images, units)).astype(np.float32)
    return activations, random.random((images, concepts)) < 0.4


def test_a_worked_case():
    activations = np.array([[5.0], [3.0], [3.0], [1.0]])
    presence = np.array([[1, 0], [1, 1], [0, 0], [0, 1]], dtype=bool)

    # First concept {5, 3} against {3, 1}: 1, 1, 1/2 and 1 of 4 pairs. Second {3, 1} against {5, 3}:
    # 3 is equal to 3, all else loses.
    assert auc(activations, presence).tolist() == [[3.5 / 4, 0.5 / 4]]


@given(cases())
def test_auc_is_the_mann_whitney_statistic(case):
    activations, presence = case
    found = auc(activations, presence)

    for unit, values in enumerate(activations.T):
        for concept, has in enumerate(presence.T):
            if has.all() or not has.any():
                assert math.isnan(found[unit, concept])
                continue
            statistic = stats.mannwhitneyu(values[has], values[~has]).statistic
            assert found[unit, concept] == pytest.approx(statistic / (has.sum() * (~has).sum()))


@given(cases())
def test_auc_by_counting_pairs(case):
    activations, presence = case
    values, has = activations[:, 0], presence[:, 0]
    pairs = [(x, y) for x in values[has] for y in values[~has]]
    if pairs:
        wins = sum((x > y) + (x == y) / 2 for x, y in pairs)
        assert auc(activations, presence)[0, 0] == pytest.approx(wins / len(pairs), abs=1e-12)


@given(cases())
def test_only_the_order_of_activations_counts(case):
    activations, presence = case
    found = auc(activations, presence)

    np.testing.assert_array_equal(auc(np.exp(activations / 8.0), presence), found)
    np.testing.assert_allclose(auc(-activations, presence), 1 - found, atol=1e-12)
    np.testing.assert_allclose(auc(activations, ~presence), 1 - found, atol=1e-12)


@given(cases(), st.data())
def test_other_units_the_order_of_images_and_blocks_do_not_matter(case, data):
    activations, presence = case
    units = data.draw(st.permutations(range(activations.shape[1])))[:2]
    order = data.draw(st.permutations(range(len(activations))))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("dnd_assets.methods.segmentation.invert._UNITS_AT_ONCE", 1)
        patch.setattr("dnd_assets.methods.segmentation.invert._CONCEPTS_AT_ONCE", 2)
        some = auc(activations[order][:, units], presence[order])

    np.testing.assert_array_equal(some, auc(activations, presence)[units])


def test_constant_units_are_at_chance_and_units_that_are_not_finite_are_nan():
    activations = np.array([[1.0, math.nan, 0.0], [1.0, 1.0, 1.0], [1.0, 0.0, 2.0]])
    presence = np.array([[True], [False], [True]])

    assert auc(activations, presence)[[0, 2]].tolist() == [[0.5], [0.5]]
    assert math.isnan(auc(activations, presence)[1, 0])


def test_a_composition_detects_better_than_its_concepts():
    # On for dogs and cats but not at night.
    activations = np.array([9.0, 8.0, 7.0, 2.0, 1.0, 3.0])
    dog = [1, 0, 1, 1, 0, 0]
    cat = [0, 1, 0, 0, 1, 0]
    night = [0, 0, 0, 1, 1, 0]
    concepts = PackedMasks(["dog", "cat", "night"], np.array([dog, cat, night], dtype=bool))

    best = search(AreaUnderCurve(activations, concepts))[0]

    assert str(best.formula) == "((dog OR cat) AND NOT night)"
    assert best.score == 1.0


@given(cases(), st.integers(1, 4))
def test_scores_of_formulas_are_their_auc(case, beam):
    activations, presence = case
    names = [f"c{i}" for i in range(presence.shape[1])]

    found = search(
        AreaUnderCurve(activations[:, 0], PackedMasks(names, presence.T.copy())), beam=beam
    )

    for explanation in found:
        holds = explanation.formula.holds(dict(zip(names, presence.T, strict=True)))
        assert explanation.score == auc(activations[:, :1], holds[:, None])[0, 0]


def test_shares_limit_what_a_formula_holds_for():
    activations = np.arange(100.0)
    rare, common = activations > 93.5, activations > 30
    concepts = PackedMasks(["rare", "common"], np.stack([rare, common]))

    def names(**options):
        objective = AreaUnderCurve(activations, concepts, **options)
        return [str(found.formula) for found in search(objective, length=1)]

    assert rare.sum() == 6
    assert names() == ["rare", "common"]
    assert names(min_share=0.06) == ["rare", "common"]
    assert names(min_share=0.07) == ["common"]
    assert names(max_share=0.5) == ["rare"]


def test_refusals():
    presence = np.ones((3, 2), dtype=bool)
    concepts = PackedMasks(["a", "b"], presence.T.copy())

    with pytest.raises(ValueError, match=r"\(4, 1\) and presence bool \(3, 2\) do not fit"):
        auc(np.zeros((4, 1)), presence)
    with pytest.raises(ValueError, match=r"presence int64"):
        auc(np.zeros((3, 1)), presence.astype(np.int64))
    with pytest.raises(ValueError, match=r"these are \(3,\), 1 of them not finite"):
        AreaUnderCurve(np.array([0.0, 1.0, math.nan]), concepts)
    with pytest.raises(ValueError, match=r"these are \(2,\), 0"):
        AreaUnderCurve(np.zeros(2), concepts)
    with pytest.raises(ValueError, match=r"min_share = 0.5 and max_share = 0.1"):
        AreaUnderCurve(np.zeros(3), concepts, min_share=0.5, max_share=0.1)


def test_p_values_are_those_of_the_mann_whitney_test():
    rng = np.random.default_rng(0)
    presence = rng.random(200) < 0.2
    values = rng.normal(size=200) + presence
    found = significance(values, presence)
    expected = stats.mannwhitneyu(values[presence], values[~presence], alternative="greater")
    assert found.p_value == pytest.approx(expected.pvalue)
    assert (found.adjusted, found.images) == (found.p_value, presence.sum())
    assert significance(values, presence, tried=50).adjusted == pytest.approx(50 * found.p_value)
    assert significance(values, ~presence, tried=50).adjusted == 1.0
    # Of all 10 ways to choose 2 of 5 images just one has the two most active.
    exact = significance(np.arange(5.0), np.arange(5) > 2)
    assert exact.p_value == pytest.approx(0.1)


def test_random_concepts_are_significant_as_often_as_the_level_says():
    rng = np.random.default_rng(1)
    values = rng.normal(size=300)
    found = [significance(values, rng.random(300) < 0.1).p_value for _ in range(400)]
    assert 0.02 < np.mean(np.array(found) < 0.05) < 0.09
    # The best of forty concepts: without the correction nearly every unit had a significant one.
    best = [significance(values, rng.random(300) < 0.1, tried=40).adjusted for _ in range(400)]
    assert np.mean(np.array(best).reshape(10, 40).min(axis=1) < 0.05) <= 0.2


def test_a_concept_that_is_everywhere_has_no_p_value():
    assert np.isnan(significance(np.arange(5.0), np.ones(5, dtype=bool)).p_value)
    assert significance(np.ones(6), np.arange(6) > 3).p_value > 0.4, "all images tie"
    for wrong in ({"tried": 0}, {"activations": np.array([np.nan, 1.0])}):
        arguments = {"activations": np.arange(2.0), "presence": np.array([True, False]), **wrong}
        with pytest.raises(ValueError, match="finite"):
            significance(**arguments)
    assert formulas_tried(concepts=50, length=1, beam=5) == 50
    assert formulas_tried(concepts=50, length=3, beam=10) == 50 + 2 * 10 * 150
