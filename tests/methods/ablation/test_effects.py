"""Changes of scores and accuracies, by hand and against SciPy's bootstrap."""

import numpy as np
import pytest
from scipy.stats import bootstrap

from dnd_assets.methods.ablation.effects import best_class, effects, intervals

BEFORE = np.array([[3.0, 0.0], [2.0, 0.0], [0.0, 1.0], [0.0, 4.0]])
TRUTH = np.array([0, 0, 1, 1])


def test_scores_and_accuracies_by_hand():
    after = BEFORE.copy()
    after[:, 0] -= 2.5
    found = effects(BEFORE, after, ["a", "b"], TRUTH)
    a, b = found.classes
    assert (a.name, a.images, a.logit.before, a.logit.change) == ("a", 2, 2.5, -2.5)
    assert (a.logit.low, a.logit.high) == (-2.5, -2.5), "all images change alike"
    assert (a.accuracy.before, a.accuracy.change) == (1.0, -0.5), "the second is -0.5 against 0"
    assert (b.logit.change, b.accuracy.change) == (0.0, 0.0)
    assert found.accuracy.change == -0.25
    assert found.chosen == 0.25
    assert [one.name for one in found.largest(1)] == ["a"]


def test_without_truths_scores_are_means_over_all_images():
    after = BEFORE + np.array([1.0, -1.0])
    found = effects(BEFORE, after, ["a", "b"])
    assert [one.logit.change for one in found.classes] == [1.0, -1.0]
    assert [one.logit.before for one in found.classes] == [1.25, 1.25]
    assert [one.images for one in found.classes] == [4, 4]
    assert found.accuracy is None
    assert all(one.accuracy is None for one in found.classes)


def test_a_class_of_no_image_is_left_out_and_one_of_a_single_image_has_no_interval():
    found = effects(BEFORE, BEFORE - 1, ["a", "b", "c"][:2], np.array([0, 0, 0, 1]))
    assert [one.images for one in found.classes] == [3, 1]
    assert found.classes[1].logit.low is None
    alone = effects(BEFORE, BEFORE, ["a", "b"], np.zeros(4, np.int64))
    assert [one.name for one in alone.classes] == ["a"]


def test_a_tie_is_no_class():
    """Else whatever class comes first would keep its images when all scores become zero."""
    assert best_class(np.array([[1.0, 2.0], [0.0, 0.0], [3.0, 1.0]])).tolist() == [1, -1, 0]
    found = effects(BEFORE, np.zeros_like(BEFORE), ["a", "b"], TRUTH)
    assert [one.accuracy.change for one in found.classes] == [-1.0, -1.0]


def test_nothing_changes_where_nothing_changes():
    found = effects(BEFORE, BEFORE, ["a", "b"], TRUTH)
    assert found.chosen == 0
    for one in (*(c.logit for c in found.classes), *(c.accuracy for c in found.classes)):
        assert (one.change, one.low, one.high) == (0, 0, 0)


def test_intervals_are_those_of_the_percentile_bootstrap():
    values = np.random.default_rng(3).normal(size=(40, 2)) + np.array([0, 5])
    low, high = intervals(values, resamples=20_000)
    for column in range(2):
        theirs = bootstrap((values[:, column],), np.mean, method="percentile", n_resamples=20_000,
                           rng=np.random.default_rng(0)).confidence_interval  # fmt: skip
        assert low[column] == pytest.approx(theirs.low, abs=0.02)
        assert high[column] == pytest.approx(theirs.high, abs=0.02)


def test_the_order_of_classes_does_not_matter():
    after = BEFORE - np.array([[1.0, 0.5], [0.0, 0.25], [2.0, 0.0], [0.5, 3.0]])
    one = effects(BEFORE, after, ["a", "b"]).classes
    other = effects(BEFORE[:, ::-1], after[:, ::-1], ["b", "a"]).classes
    assert {c.name: c.logit for c in one} == {c.name: c.logit for c in other}
