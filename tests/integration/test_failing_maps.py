"""A picture on which a network's maps fail is set aside, named, and changes no label from maps."""

import numpy as np
import pytest
from PIL import Image

from dnd_assets.assets import concept_masks
from dnd_assets.assets.registry import stages_of
from dnd_assets.assets.segmentation import map_parts, map_passes
from dnd_assets.engine.context_builder import build_context, find_units
from dnd_assets.engine.materialize import materialize
from dnd_assets.engine.resolve import Graph
from dnd_assets.files.atomic import sha256_file
from dnd_assets.results.labels import labels as read_labels
from dnd_assets.study.study import parse_study
from resources.targets.networks import TargetNetworks
from tests.integration.test_segmentation import (
    AUC,
    FORMULA,
    GREEN,
    NET,
    SIDE,
    WIDE,
    rows_of,
    write_case,
    write_mask,
    write_table,
)
from tests.studies import changed, table

RED, GREEN_UNIT, BLUE, DEAD = UNITS = [f"net/colours/{n}" for n in range(4)]


def _study(net, **other):
    section = {"table": {"file": "table.csv", "images": "images", "masks": "masks"}, "share": 0.05}
    source = f"module:tests.failing_maps:{net}"
    model = {"name": "net", "source": source, "layers": [{"path": "colours"}]}
    return changed(
        table("b", "c", "p"), models=[model], segmentation=section, probing_set__folders=["images"],
        **other,
    )  # fmt: skip


def _mark(folder, name):
    """One more picture: red all over, with its masks where they tell another story."""
    pixels = np.zeros((SIDE, SIDE, 3), dtype=np.uint8)
    pixels[:, :, 0] = 255
    pixels[12:, :, 1] = 200
    pixels[0, -1] = 255
    pixels[1, 1, 2] = int(name.removeprefix("fails")) + 1
    Image.fromarray(pixels).save(folder / "images" / f"{name}.png")
    for concept, box in {"green": WIDE, "wide": GREEN}.items():
        write_mask(folder / "masks" / f"{name}-{concept}.png", box)
    write_table(
        folder, [*rows_of(folder), *(f"{name}.png,{name}-{c}.png,{c}" for c in ("green", "wide"))]
    )
    return sha256_file(folder / "images" / f"{name}.png")


def _label(study, folder, log=lambda _: None, assets=(NET, FORMULA, AUC), home="state"):
    context = build_context(parse_study(study, folder), folder / home, log)
    concept_masks.materialize(context, "run")
    stages = stages_of(context.study)
    units = list(find_units(context).values())
    return {
        (name, one.unit.key): one.product
        for name in assets
        for one in materialize(Graph(context, stages), stages[name], units, "run")
    }


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """The case without the picture."""
    folder = tmp_path_factory.mktemp("plain")
    write_case(folder)
    return _label(_study("sound"), folder)


@pytest.fixture
def folder(tmp_path):
    write_case(tmp_path)
    return tmp_path


def _told(product):
    return product.outcome.status, product.outcome.reason, product.payload


LOST = {
    "whole_layer": UNITS,
    "all_but_red": UNITS,
    "red_alone": [RED],
    "red_and_green_infinite": [RED, GREEN_UNIT],
}
"""Units for which the picture is set aside, by network."""


@pytest.mark.parametrize("net", LOST)
def test_labels_are_those_without_the_picture(net, plain, folder):
    name = _mark(folder, "fails0")
    found = _label(_study(net), folder)

    for asset in (NET, FORMULA, AUC):
        for unit in LOST[net]:
            product = found[asset, unit]
            assert _told(product) == _told(plain[asset, unit]), (asset, unit)
            if product.ok:
                (remark,) = product.outcome.notes["remarks"]
                assert (remark["kind"], remark["images"]) == ("images_set_aside", [name])
                assert remark["text"].startswith("NaN or infinite on 1 of 9 images, set aside: ")


@pytest.mark.parametrize("net", ["red_alone", "red_and_green_infinite"])
def test_other_units_keep_the_picture(net, folder):
    _mark(folder, "fails0")
    sound, found = _label(_study("sound"), folder), _label(_study(net), folder)
    for asset in (NET, FORMULA, AUC):
        for unit in set(UNITS) - set(LOST[net]):
            assert _told(found[asset, unit]) == _told(sound[asset, unit])
            assert "remarks" not in found[asset, unit].outcome.notes


def test_the_picture_is_named_in_log_and_table(folder):
    _mark(folder, "fails0")
    lines, study = [], _study("whole_layer")
    _label(study, folder, lines.append, [NET])
    told = [line for line in lines if "fails0.png" in line]
    assert told
    assert all("net/colours gives NaN or infinity on 1 of 9 images" in line for line in told)
    context = build_context(parse_study(study, folder), folder / "state", reading=True)
    rows = read_labels(context.lineage, context.study.name, asset=NET).set_index("unit")
    assert "set aside" in rows["remarks"][RED]


def test_a_layer_that_fails_on_most_pictures_is_not_finite(folder):
    for number in range(9):
        _mark(folder, f"fails{number}")
    found = _label(_study("whole_layer"), folder)
    for asset in (NET, FORMULA, AUC):
        for unit in UNITS:
            product = found[asset, unit]
            assert product.outcome.status == "not_finite"
            assert product.outcome.reason.startswith("NaN or infinite on 9 of 17 images")


def test_a_unit_that_is_sound_among_others_that_never_are_keeps_all_pictures(plain, folder):
    found = _label(_study("all_but_red_always"), folder)
    for asset in (NET, FORMULA, AUC):
        assert _told(found[asset, RED]) == _told(plain[asset, RED])
        assert "remarks" not in found[asset, RED].outcome.notes
        assert {found[asset, unit].outcome.status for unit in UNITS[1:]} == {"not_finite"}
        assert found[asset, BLUE].outcome.reason.startswith("NaN or infinite on 8 of 8 images")


@pytest.mark.parametrize("net", ["red_alone", "all_but_red_always"])
def test_a_pass_that_dies_keeps_what_is_set_aside(net, folder, monkeypatch):
    for number in range(3):
        _mark(folder, f"fails{number}")
    whole = _label(_study(net), folder, assets=[NET, FORMULA])
    monkeypatch.setattr(map_passes, "_SAVE_EVERY_S", 0.0)
    monkeypatch.setattr(map_parts, "IMAGES", 1)
    layer_maps, calls = TargetNetworks.layer_maps, []

    def fragile(self, *asked, **more):
        calls.append(1)
        if len(calls) % 6 == 0:
            raise InterruptedError
        return layer_maps(self, *asked, **more)

    monkeypatch.setattr(TargetNetworks, "layer_maps", fragile)
    study = _study(net, compute__batch__target=2)
    for _ in range(20):
        try:
            found = _label(study, folder, assets=[NET, FORMULA], home="other")
            break
        except InterruptedError:
            continue
    assert len(calls) > 18
    assert {key: _told(one) for key, one in found.items()} == {
        key: _told(one) for key, one in whole.items()
    }
