"""Data of units, sources in words, intervals and class names."""

import json

import numpy as np
import pytest

from dnd_assets.engine.context_builder import build_context
from dnd_assets.lineage.fingerprint import digest
from dnd_assets.methods.metrics.means import Mean
from dnd_assets.report.build import build_report
from dnd_assets.report.class_names import class_names, class_names_key
from dnd_assets.report.entries import Entry, MethodSummary, index_data, metric_names
from dnd_assets.report.pages import interval
from dnd_assets.report.sources_page import Fact, facts, sections
from dnd_assets.report.unit_data import unit_data
from dnd_assets.results.unit_card.card import Exemplar, MetricSet, UnitCard
from dnd_assets.results.unit_card.card_reader import Cards
from dnd_assets.study.study import load_study
from dnd_assets.workflow.atlas_address import page_name
from tests.report import made
from tests.report.conftest import UNITS


def test_a_units_data_is_all_that_its_card_says(atlas):
    folder, state = atlas
    card = Cards(state.context.lineage, state.context.store, "atlas").card(UNITS[0].key)
    name = page_name(UNITS[0].key).removesuffix(".html")
    data = json.loads((folder / "data" / f"{name}.json").read_text())
    assert (data["format"], data["version"], data["study"]) == ("dnd-unit", 1, "atlas")
    assert (data["unit"], data["label"]) == (card.unit, card.label)
    assert [one["activation"] for one in data["exemplars"]] == [
        one.activation for one in card.exemplars
    ]
    assert data["exemplars"][0]["heat"].startswith("iVBOR")  # a PNG in base64
    assert [one["key"] for one in data["made"]] == [one.key for one in card.made]
    assert set(data["files"]) == {one.image for one in card.exemplars}
    assert not any("/" in one for one in data["files"].values())
    assert (
        f'href="../data/{name}.json" download'
        in (folder / "units" / page_name(UNITS[0].key)).read_text()
    )


def test_numbers_that_are_not_finite_are_null():
    card = UnitCard("n/l/0", "n", "l", 0, exemplars=(Exemplar("aa", float("nan")),))
    text = unit_data(card, "s", "", {}).decode()
    assert json.loads(text, parse_constant=pytest.fail)["exemplars"][0]["activation"] is None


def test_settings_are_told_in_words_without_what_is_not_set():
    told = facts({
        "kind": "chat", "temperature": 0.0, "key": None, "safe": True,
        "layers": [{"path": "a"}, {"path": "b"}], "one": [{"path": "c"}],
        "many": list(range(14)), "weights": "ab" * 32, "empty": {},
    })  # fmt: skip
    assert told == [
        Fact("kind", "chat"), Fact("temperature", "0.0"), Fact("safe", "yes"),
        Fact("layers 1 path", "a"), Fact("layers 2 path", "b"), Fact("one path", "c"),
        Fact("many", ", ".join(map(str, range(12))) + ", and 2 more"),
        Fact("weights", "ab" * 32, hash=True),
    ]  # fmt: skip
    parts = sections({"name": "mine", "clip": {"model": "m"}, "models": [{"name": "n"}], "x": None})
    assert [(name, len(some)) for name, some in parts] == [("", 1), ("clip", 1), ("models", 1)]


def test_intervals_of_shares_are_no_points():
    assert interval(Mean(1.0, 1.0, 1.0, 27)) == "88 to 100 %"
    assert interval(Mean(0.0, 0.0, 0.0, 13)) == "0 to 23 %"
    # 9 of 10, Wilson's formula by hand.
    assert interval(Mean(0.9, 0.7, 1.0, 10)) == "60 to 98 %"


def test_metrics_of_all_methods_are_columns_of_the_index():
    ok = MethodSummary("red", 1.0, "ok")
    some = [
        Entry(
            "n/l/0", "n", "l", 0, {"labels": ok}, metrics={"labels": {"auc": 0.51234, "f1": None}}
        ),
        Entry("n/l/1", "n", "l", 1, {"labels": ok}, class_name="zebra"),
        Entry("n/l/2", "n", "l", 2, {"labels": ok}, metrics={"milan_labels": {"auc": 1.0}}),
    ]  # fmt: skip
    assert metric_names(some) == ["auc", "f1"]
    found = index_data(some, [])
    assert found["metrics"]["labels"]["auc"] == [0.5123, None, None]
    assert found["metrics"]["milan_labels"]["auc"] == [None, None, 1.0]
    assert [found["texts"][n] if n >= 0 else "" for n in found["class"]] == ["", "zebra", ""]


def test_units_of_a_final_layer_bear_the_names_of_their_classes(tmp_path):
    context = build_context(load_study("known-answers"), tmp_path)
    found = class_names(context)
    assert (found["worldnet/head/0"], len(found)) == ("red", 27)
    assert not any("planted" in unit for unit in found)
    assert class_names_key(context) == class_names_key(build_context(context.study, tmp_path / "b"))


def test_a_network_that_is_gone_gives_no_names(atlas):
    assert class_names(atlas[1].context) == {}


def test_a_class_name_that_changes_makes_the_page_anew(state, tmp_path, monkeypatch):
    build_report(state.context, tmp_path / "out")
    key = digest("other names")
    monkeypatch.setattr("dnd_assets.report.build.class_names_key", lambda context: key)
    monkeypatch.setattr(
        "dnd_assets.report.build.class_names", lambda context: {UNITS[2].key: "<b>zebra"}
    )
    assert build_report(state.context, tmp_path / "out").rendered == 1
    text = (tmp_path / "out" / "units" / page_name(UNITS[2].key)).read_text()
    assert "class: <bdi>&lt;b&gt;zebra</bdi>" in text


def test_a_heat_map_leaves_the_picture_alone_where_it_is_low(atlas):
    """The overlay's opacity is 0 up to a quarter of the map's range, and never above 0.7."""
    import re

    text = (atlas[0] / "units" / page_name(UNITS[0].key)).read_text()
    alpha = [
        float(v) for v in re.search(r'feFuncA type="table" tableValues="([^"]+)"', text)[1].split()
    ]
    shown = np.interp(np.linspace(0, 1, 101), np.linspace(0, 1, len(alpha)), alpha)
    assert (shown[:26] == 0).all()
    assert shown.max() <= 0.7
    assert (np.diff(shown) >= 0).all()


def test_a_lost_data_file_is_made_again(state, tmp_path):
    build_report(state.context, tmp_path / "out")
    name = page_name(UNITS[5].key).removesuffix(".html")
    (tmp_path / "out" / "data" / f"{name}.json").unlink()
    assert build_report(state.context, tmp_path / "out").written == 1
    assert (
        len(json.loads((tmp_path / "out" / "data" / f"{name}.json").read_text())["exemplars"])
        == made.EXEMPLARS
    )


def test_metric_sets_stand_in_the_data():
    one = MetricSet("labels", "red", None, {"auc": float("inf")}, {}, 3, 1, ())
    card = UnitCard("n/l/0", "n", "l", 0, metrics=(one,))
    assert json.loads(unit_data(card, "s", "c", {}))["metrics"][0]["values"] == {"auc": None}
