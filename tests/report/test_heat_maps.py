"""Heat maps of exemplars, from the network that was recorded and kept beside the records."""

import io
import shutil

import numpy as np
import pytest
from PIL import Image

from dnd_assets.engine.cache.heat_maps import MAPS
from dnd_assets.engine.context_builder import build_context
from dnd_assets.methods.dissection.attention_crops import attention_boxes
from dnd_assets.report import heat_maps
from dnd_assets.report.build import build_report
from dnd_assets.report.heat_maps import make_heat_maps
from dnd_assets.results.unit_card.card_reader import Cards
from dnd_assets.study.study import parse_study
from tests import studies


@pytest.fixture(scope="module")
def folder(labelled, tmp_path_factory):
    """A copy of the small study's state, which maps may be added to."""
    place = tmp_path_factory.mktemp("maps")
    shutil.copytree(labelled[0] / "state", place / "state")
    return place


def cards_of(table, folder):
    context = build_context(parse_study(table, folder), folder / "state")
    return context, Cards(context.lineage, context.store, context.study.name)


def stored(context):
    sql = "SELECT item FROM shared WHERE kind = ? ORDER BY item"
    return [row["item"] for row in context.lineage.query(sql, [MAPS])]


def test_maps_are_those_that_the_boxes_were_cut_from(colours, folder):
    context, cards = cards_of(colours, folder)
    assert all(one.heat is None for card in cards.read() for one in card.exemplars)
    told = make_heat_maps(context, cards, cards.records)
    assert told == ["net/spoilt: no heat maps, its units have no extent in the picture"]
    setting, seen = context.study.dissection, 0
    for card in Cards(context.lineage, context.store, context.study.name).read():
        for one in card.exemplars:
            if card.layer == "spoilt":
                assert one.heat is None
                continue
            with Image.open(io.BytesIO(one.heat)) as opened:
                assert opened.mode == "L"
                assert max(opened.size) <= 32
                heat = np.asarray(opened.resize((32, 32), Image.Resampling.BICUBIC))
            assert heat.max() == 255
            for crop in one.crops:
                # What stands out of a map lies in the boxes that were cut by it.
                box = [round(32 * edge) for edge in (
                    crop.box.left, crop.box.top, crop.box.right, crop.box.bottom
                )]  # fmt: skip
                found = attention_boxes(
                    heat, setting.crops_per_image, setting.crop_overlap, setting.whole_image
                )[1]
                assert any(np.abs(np.subtract(box, other)).max() <= 1 for other in found)
                seen += 1
    assert seen > 5


def test_maps_are_made_once_and_shown(colours, folder, tmp_path):
    context, cards = cards_of(colours, folder)
    make_heat_maps(context, cards, cards.records)
    before = stored(context)
    built = build_report(context, tmp_path / "out", heat_maps=True)
    assert stored(context) == before
    assert built.rendered == len(cards.records)
    pages = [file.read_text() for file in (tmp_path / "out" / "units").iterdir()]
    assert sum(text.count('<svg class="heat"') for text in pages) == len(before)


def test_pages_are_made_anew_when_maps_appear(colours, labelled, tmp_path):
    shutil.copytree(labelled[0] / "state", tmp_path / "state")
    context, cards = cards_of(colours, tmp_path)
    assert any("--heat-maps" in line for line in build_report(context, tmp_path / "out").told)
    some = next(iter(cards.records))
    make_heat_maps(context, cards, [some])
    again = build_report(context, tmp_path / "out")
    # Maps are counted by neuron: those of one number in two layers are made anew together.
    number = cards.card(some).neuron
    same = [unit for unit in cards.records if cards.card(unit).neuron == number]
    assert again.rendered == len(same) < len(cards.records)


def test_a_picture_without_a_map_beside_others_is_told(colours, labelled, tmp_path, monkeypatch):
    shutil.copytree(labelled[0] / "state", tmp_path / "state")
    context, cards = cards_of(colours, tmp_path)
    with monkeypatch.context() as patch:  # as if some exemplars had come afterwards
        store = heat_maps._store
        patch.setattr(
            heat_maps, "_store", lambda context, maps, side: store(context, maps[1:], side)
        )
        make_heat_maps(context, cards, cards.records)
    told = build_report(context, tmp_path / "out").told
    assert any("lie without" in line and "--heat-maps" in line for line in told)
    told = build_report(context, tmp_path / "out", heat_maps=True).told
    assert not any("lie without" in line for line in told)


def test_a_network_that_the_study_names_twice_has_its_maps_under_both_names(
    colours, labelled, tmp_path
):
    shutil.copytree(labelled[0], tmp_path / "study")
    twice = studies.changed(colours)
    twice["models"].append({**twice["models"][0], "name": "twin"})
    studies.label(twice, tmp_path / "study", last="crops")
    context, cards = cards_of(twice, tmp_path / "study")
    make_heat_maps(context, cards, cards.records)
    found = {
        card.unit: [one.heat for one in card.exemplars]
        for card in Cards(context.lineage, context.store, context.study.name).read()
    }
    assert all(found["net/colours/1"])
    assert found["net/colours/1"] == found["twin/colours/1"]


def test_another_network_gives_no_maps(colours, folder):
    changed = studies.changed(colours)
    changed["models"][0]["layers"][0]["pooling"] = "max"
    context, cards = cards_of(changed, folder)
    told = make_heat_maps(context, cards, cards.records)
    assert any("not the one that was recorded" in line for line in told)
    changed["models"][0]["layers"] = changed["models"][0]["layers"][1:]
    context, cards = cards_of(changed, folder)
    told = make_heat_maps(context, cards, cards.records)
    assert any("no longer has this layer" in line for line in told)
