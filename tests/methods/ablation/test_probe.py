"""Linear probes: what they tell apart, and who judges whom."""

import numpy as np
import pytest

from dnd_assets.methods.ablation.probe import cross_fitted, fitted, halves


def blobs(count=40, seed=0):
    rng = np.random.default_rng(seed)
    truth = np.arange(count) % 3
    middles = np.array([[4.0, 0, 0], [0, 4.0, 0], [0, 0, 4.0]])
    return middles[truth] + 0.3 * rng.normal(size=(count, 3)), truth


def test_a_probe_tells_blobs_apart_whatever_the_scale_of_a_feature():
    vectors, truth = blobs()
    for scale in (1.0, 1e-4, 1e4):
        scaled = vectors * np.array([scale, 1.0, 1.0]) + 7
        found = fitted(scaled, truth, 3).scores(scaled)
        assert (found.argmax(axis=1) == truth).all()
        assert found == pytest.approx(fitted(vectors, truth, 3).scores(vectors), abs=1e-2)


def test_the_slope_of_the_loss_is_zero_at_the_end():
    """With the penalty: moving any weight makes the loss no smaller."""
    vectors, truth = blobs(30, 1)
    probe = fitted(vectors, truth, 3)
    given = (vectors - vectors.mean(axis=0)) / vectors.std(axis=0)
    weight = probe.weight * vectors.std(axis=0)[:, None]
    bias = probe.bias + vectors.mean(axis=0) @ probe.weight

    def loss(held, shift):
        raw = given @ held + shift
        log_p = raw - np.log(np.exp(raw).sum(axis=1, keepdims=True))
        return -log_p[np.arange(30), truth].mean() + (held**2).sum() / 60

    least = loss(weight, bias)
    for row in range(3):
        for column in range(3):
            for step in (-1e-2, 1e-2):
                moved = weight.copy()
                moved[row, column] += step
                assert loss(moved, bias) > least - 1e-9


def test_a_constant_feature_is_harmless():
    vectors, truth = blobs()
    found = fitted(np.column_stack([vectors, np.full(40, 3.0)]), truth, 3)
    assert np.isfinite(found.weight).all()


def test_no_image_is_judged_by_a_probe_that_has_seen_it():
    """A truth that nothing tells is not told, which a probe would do of images it was fitted to."""
    rng = np.random.default_rng(2)
    vectors, truth = rng.normal(size=(60, 80)), np.arange(60) % 2
    names = [f"{index:03d}" for index in range(60)]
    seen = fitted(vectors, truth, 2).scores(vectors).argmax(axis=1)
    unseen = cross_fitted(names, vectors, truth, 2).scores(vectors).argmax(axis=1)
    assert (seen == truth).mean() == 1
    assert 0.3 < (unseen == truth).mean() < 0.7


def test_halves_share_each_class_in_order_of_names_not_of_rows():
    truth = np.array([0, 0, 0, 0, 1, 1])
    found = halves(["d", "a", "c", "b", "y", "x"], truth)
    assert found.tolist() == [1, 0, 0, 1, 1, 0]
    turned = halves(["x", "y", "b", "c", "a", "d"], truth[::-1])
    assert turned.tolist() == found.tolist()[::-1]
