"""Truths of the target's units, their judgement, and detectors worked by hand."""

from __future__ import annotations

import pytest
import torch
from PIL import Image

from dnd_assets.known_answers.target import (
    MEAN,
    STD,
    Truth,
    categories,
    is_correct,
    planted_names,
    transforms,
    truths,
    world_net,
)


def respond(colour: tuple[float, float, float]) -> torch.Tensor:
    """Planted maps (16, 16, 16) of a picture of one colour, from an untrained network."""
    net = world_net().eval()
    found = []
    net.get_submodule("planted").register_forward_hook(lambda _m, _i, maps: found.append(maps))
    pixels = torch.tensor(colour)[None, :, None, None].expand(1, 3, 64, 64)
    with torch.no_grad():
        net((pixels - MEAN) / STD)
    return found[0][0]


def test_units_and_layers():
    table = truths()
    assert len(categories()) == len(set(categories())) == 27
    assert len(planted_names()) == 16
    assert set(table) == {("head", unit) for unit in range(27)} | {
        ("planted", unit) for unit in range(16)
    }
    net = world_net().eval()
    modules = dict(net.named_modules())
    assert {"head", "planted"} <= set(modules)
    assert net(torch.zeros(2, 3, 64, 64)).shape == (2, 27)
    assert respond((0.5, 0.5, 0.5)).shape == (16, 16, 16)


def test_opponent_detectors_by_hand():
    units = planted_names()
    # Weights (1, -1, 0), threshold 0.62: pure red gives 1 - 0.62, green nothing.
    red = respond((1.0, 0.0, 0.0))
    assert red[units.index("red-green")] == pytest.approx(torch.full((16, 16), 0.38), abs=1e-5)
    assert red[units.index("green-red")].max() == 0
    # Weights (-0.5, -0.5, 1), threshold 0.60: (0.1, 0.2, 0.9) gives 0.9 - 0.15 - 0.6.
    blue = respond((0.1, 0.2, 0.9))
    assert blue[units.index("blue-yellow")] == pytest.approx(torch.full((16, 16), 0.15), abs=1e-5)
    assert blue[units.index("yellow-blue")].max() == 0
    assert respond((1.0, 1.0, 1.0))[: len(units[:4])].max() == 0


def test_dead_unit_stays_dead_and_maps_are_not_negative():
    for colour in ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0), (0.9, 0.1, 0.4)):
        maps = respond(colour)
        assert maps[planted_names().index("dead")].abs().max() == 0
        assert maps.min() >= 0


@pytest.mark.parametrize(
    ("label", "name", "right"),
    [
        ("red", "red", True),
        ("Red circles on sand", "red", True),
        ("a reddish thing", "red", False),
        ("stars", "star", True),
        ("two crosses", "cross", True),
        ("stripes", "horizontal stripes", False),
        ("horizontal stripe", "horizontal stripes", True),
        ("stripes, horizontal", "horizontal stripes", True),
        ("vertical stripes", "horizontal stripes", False),
        ("checked squares", "checks", True),
        ("bricks", "brick", True),
        ("", "red", False),
        (None, "red", False),
        ("large", "small", False),
    ],
)
def test_labels_of_final_units(label, name, right):
    truth = truths()["head", categories().index(name)]
    assert truth.kind == "final"
    assert is_correct(label, truth) is right


def test_labels_of_special_units():
    table = {name: truths()["planted", unit] for unit, name in enumerate(planted_names())}
    assert is_correct("blue shapes", table["blue-yellow"])
    assert not is_correct("yellow", table["blue-yellow"])
    either = table["cross or purple"]
    assert either.kind == "or"
    assert is_correct("crosses", either)
    assert is_correct("purple star", either)
    assert not is_correct("star", either)
    assert is_correct(None, table["dead"])
    assert is_correct("  ", table["dead"])
    assert not is_correct("red", table["dead"])
    assert table["random"] == Truth("random", None)
    assert not is_correct("red", table["random"])


def test_transforms_by_hand():
    for mode in ("RGB", "L"):
        tensor = transforms()(Image.new(mode, (64, 64), "white"))
        assert tensor.shape == (3, 64, 64)
        assert tensor.dtype == torch.float32
        assert tensor.unique().tolist() == [2.0]  # (1 - 0.5) / 0.25
    assert transforms()(Image.new("RGB", (96, 96), "black")).unique().tolist() == [-2.0]
