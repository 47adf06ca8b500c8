"""Weights and labels between adjacent layers, on networks known by hand."""

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from torchvision.transforms import v2

from dnd_assets.engine.context_builder import build_context
from dnd_assets.report.connections import LabelSpace, _between, connections, measured
from dnd_assets.results.unit_card.card_reader import Cards
from dnd_assets.study.study import parse_study
from tests import studies

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


class Chain(nn.Module):
    """Three units of a picture's colours, and two that read them."""

    def __init__(self):
        super().__init__()
        self.low = nn.Conv2d(3, 3, 1)
        self.high = nn.Conv2d(3, 2, 1)

    def forward(self, images):
        return self.high(self.low(images).relu())


def transforms():
    """Sixteen pixels a side."""
    return v2.Compose([v2.Resize((16, 16)), v2.ToImage(), v2.ToDtype(torch.float32, scale=True)])


def chain():
    """As a study's network."""
    torch.manual_seed(0)
    return Chain()


def test_weights_are_read_from_the_recorded_network_alone(colours, colour_folder):
    table = studies.changed(colours, name="chain")
    source = "module:tests.report.test_connections:chain"
    layers = [{"path": "low"}, {"path": "high"}]
    table["models"] = [{"name": "net", "source": source, "layers": layers}]
    studies.label(table, colour_folder, last="activations")
    context = build_context(parse_study(table, colour_folder), colour_folder / "state")
    cards = Cards(context.lineage, context.store, "chain")
    labels = {unit: f"label {place}" for place, unit in enumerate(cards.records)}
    vectors = {text: np.eye(5, dtype=np.float32)[i] for i, text in enumerate(labels.values())}
    found = connections(context, cards, LabelSpace(labels, vectors))
    (pair,) = found.adjacent
    assert (pair.lower, pair.upper, found.why) == ("net/low", "net/high", "")
    assert "too few" in pair.reason  # 2 x 3 pairs
    net = chain()
    assert np.allclose(_between(net, "low", "high"), net.high.weight.detach()[:, :, 0, 0])
    # The same source with other weights is another network than the recorded one.
    other = colour_folder / "other.safetensors"
    save_file({name: value + 1 for name, value in net.state_dict().items()}, other)
    table["models"][0]["weights"] = str(other)
    context = build_context(parse_study(table, colour_folder), colour_folder / "state")
    found = connections(context, cards, LabelSpace(labels, vectors))
    assert "not those that were recorded" in found.why
