"""What a study declares of its layers: read, checked, handed on, in the keys of what it decides."""

from pathlib import Path

import pytest

from dnd_assets.cli.setup import _axes
from dnd_assets.engine.cache.shared_results import layer_provider
from dnd_assets.errors import StudyError
from dnd_assets.methods.layer_axes import Layout
from dnd_assets.study.selection import target_networks, without_units
from dnd_assets.study.study import parse_study
from dnd_assets.units import Unit
from resources.targets.cards import LayerInfo

OWN = "module:tests.resources.layer_nets:queries"


def study(**layer):
    model = {"name": "net", "source": OWN, "layers": [{"path": "norm", **layer}]}
    return parse_study(
        {"name": "s", "models": [model], "probing_set": {"folders": ["x"]}}, Path("/studies")
    )


def test_declarations_reach_the_networks(tmp_path):
    said = study(layout="ntc", grid=[10, 10], prefix_tokens=0)

    (model,) = target_networks(said, tmp_path).models

    (one,) = model.layouts
    assert (one.path, one.layout, one.grid, one.prefix_tokens) == ("norm", "ntc", [10, 10], 0)
    assert target_networks(study(), tmp_path).models[0].layouts == []


@pytest.mark.parametrize(
    ("layer", "why"),
    [
        ({"layout": "nchww"}, "is no layout; write one of vectors, maps"),
        ({"grid": [10, 0]}, "grid"),
        ({"grid": [10]}, "grid"),
        ({"prefix_tokens": -1}, "prefix_tokens"),
    ],
)
def test_what_is_no_declaration_is_refused_with_the_study(layer, why):
    with pytest.raises(StudyError, match=why):
        study(**layer)


class Bench:
    """As much of a study context as the key of a layer takes."""

    def __init__(self, chosen, home):
        self.chosen = chosen
        self.targets = target_networks(chosen, home)
        self.lineage, self.shown = self, {}

    def layer(self, unit):
        return self.chosen.model(unit.model).layers[0]

    def provider(self, image):
        return image


def test_a_declaration_is_in_the_key_of_what_it_decides(tmp_path):
    unit = Unit("net", "norm", 0)
    plain = layer_provider(Bench(study(), tmp_path), unit)
    grid = layer_provider(Bench(study(grid=[10, 10]), tmp_path), unit)
    same = layer_provider(Bench(study(layout="nxc"), tmp_path), unit)

    assert plain != grid
    assert plain == same  # what was found is declared: nothing is computed again


def test_layers_without_units_are_listed_by_reason():
    layers = [
        LayerInfo("a", "A", 3, (3,), raw=(1, 3)),
        LayerInfo("b", "B", None, (4, 9), reason="heads", raw=(1, 4, 9)),
        LayerInfo("c", "B", None, (4, 9), reason="heads", raw=(1, 4, 9)),
        LayerInfo("d", "D", None, None, reason="does not run"),
    ]

    assert without_units(layers) == {"heads": ["b", "c"]}


def test_a_layout_in_a_cell():
    assert _axes(Layout("nchw")) == "nchw"
    assert _axes(Layout("ntc", (9, 16), 5, class_token=True)) == (
        "ntc, 9 x 16, 5 class token first"
    )
