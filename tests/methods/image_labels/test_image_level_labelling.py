"""INVERT with p-values."""

import math

import numpy as np
import pytest
import scipy

from dnd_assets.methods.image_labels.image_level_labelling import invert_labels

NAMES = ("dog", "cat", "animal")


def test_auc_and_p_values_by_hand():
    """Dogs and cats activate most: no single kind is as good as what both are."""
    activations = np.array([6.0, 5.0, 4.0, 3.0, 2.0, 1.0])
    presence = np.array([[1, 0, 1], [0, 1, 1], [1, 0, 1], [0, 0, 0], [0, 0, 0], [0, 0, 0]], bool)
    first, second, third = invert_labels(activations, presence, NAMES)
    assert (str(first.formula), first.auc, first.images) == ("animal", 1.0, 3)
    # One of the 20 ways to choose three of six images is the best.
    assert first.p_value == pytest.approx(1 / math.comb(6, 3))
    assert first.adjusted == pytest.approx(3 / math.comb(6, 3)), "three concepts were compared"
    assert (str(second.formula), second.auc) == ("dog", 7 / 8)
    assert (str(third.formula), third.auc) == ("cat", 4 / 5)


def test_p_values_are_those_of_scipy_on_ties_and_formulas():
    rng = np.random.default_rng(3)
    activations = rng.integers(0, 6, 200).astype(float)
    presence = rng.random((200, 4)) < 0.3
    found = invert_labels(activations, presence, ["a", "b", "c", "d"], length=2, beam=3)
    shown = {name: presence[:, i] for i, name in enumerate("abcd")}
    for one in found:
        where = one.formula.holds(shown)
        told = scipy.stats.mannwhitneyu(
            activations[where], activations[~where], alternative="greater"
        )
        assert one.auc == pytest.approx(told.statistic / (where.sum() * (~where).sum()))
        assert one.p_value == pytest.approx(told.pvalue)
        assert one.adjusted == pytest.approx(min(1, told.pvalue * (4 + 3 * 3 * 4)))


def test_of_concepts_dealt_out_at_random_few_are_significant():
    """At most about one unit in twenty has a best concept of an adjusted p below 0.05."""
    rng = np.random.default_rng(5)
    presence = rng.random((300, 30)) < 0.1
    names = [f"c{i}" for i in range(30)]
    best = [invert_labels(rng.normal(size=300), presence, names, top=1)[0] for _ in range(100)]
    assert sum(one.adjusted <= 0.05 for one in best) <= 10
    assert sum(one.p_value <= 0.05 for one in best) > 50, "the best of thirty is good by chance"
