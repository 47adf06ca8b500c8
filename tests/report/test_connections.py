"""Weights and labels between adjacent layers, on networks known by hand."""

import numpy as np
import pytest
from torch import nn

from dnd_assets.report.connections import LabelSpace, _between, measured

LABELS = {"a/0": "red", "a/1": "blue", "a/2": "red", "b/0": "red", "b/1": "blue"}
VECTORS = {"red": np.array([1.0, 0.0], np.float32), "blue": np.array([0.0, 1.0], np.float32)}
BELOW = {n: f"a/{n}" for n in range(3)}
ABOVE = {n: f"b/{n}" for n in range(2)}


def test_weights_between_equal_labels_correlate_with_likeness(monkeypatch):
    monkeypatch.setattr("dnd_assets.report.connections._ENOUGH", 6)
    # Heavy exactly where the two labels are the same, whatever the sign.
    weight = np.array([[2.0, 0.1, -2.0], [0.1, 2.0, -0.1]])
    found = measured("a", "b", weight, LabelSpace(LABELS, VECTORS), BELOW, ABOVE)
    assert found.correlation == pytest.approx(1.0)
    assert found.pairs == 6
    first = found.strongest[0]
    assert (first.source, first.target, first.weight, first.similarity) == ("a/0", "b/0", 2.0, 1.0)
    other = measured("a", "b", 3 - np.abs(weight), LabelSpace(LABELS, VECTORS), BELOW, ABOVE)
    assert other.correlation == pytest.approx(-1.0)


def test_too_few_labels_are_told():
    found = measured("a", "b", np.ones((2, 3)), LabelSpace(LABELS, {}), BELOW, ABOVE)
    assert found.correlation is None
    assert "too few" in found.reason


def test_equal_weights_have_no_correlation(monkeypatch):
    monkeypatch.setattr("dnd_assets.report.connections._ENOUGH", 6)
    found = measured("a", "b", np.ones((2, 3)), LabelSpace(LABELS, VECTORS), BELOW, ABOVE)
    assert (found.correlation, found.reason) == (None, "all weights or all labels are alike")


def test_adjacent_is_what_reads_a_layer_through_its_own_weights():
    net = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2), nn.Linear(2, 2))
    weight = net[2].weight.detach().numpy().astype(np.float64)
    assert np.array_equal(_between(net, "0", "2"), weight)
    assert np.array_equal(_between(net, "1", "2"), weight) is False  # ReLU does not tell its width
    assert _between(net, "0", "3") is None  # another layer lies between
    assert _between(net, "2", "0") is None  # the wrong way round
    assert _between(net, "0", "gone") is None


def test_kernels_are_summed_and_groups_left_out():
    net = nn.Sequential(nn.Conv2d(3, 4, 1), nn.Conv2d(4, 2, 3), nn.Conv2d(2, 2, 1, groups=2))
    expected = net[1].weight.detach().numpy().astype(np.float64).sum(axis=(2, 3))
    assert _between(net, "0", "1") == pytest.approx(expected)
    assert _between(net, "1", "2") is None
