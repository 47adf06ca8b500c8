"""Labels by detection through the stages: what comes out, what fails how, what runs again."""

import re
import shutil
from io import StringIO

import pytest
from rich.console import Console

from dnd_assets.analysis.search import search_text
from dnd_assets.assets import probing_set
from dnd_assets.assets.registry import stages_of
from dnd_assets.cli.results import _print_labels
from dnd_assets.engine.context_builder import build_context, find_units
from dnd_assets.engine.plan import plan
from dnd_assets.lineage.trace import trace
from dnd_assets.results.labels import labels as label_table
from dnd_assets.results.tables.table_source import TableSource
from dnd_assets.results.trace_tree import tree
from dnd_assets.results.unit_card.card_reader import Cards
from dnd_assets.study.study import parse_study
from dnd_assets.workflow.metadata import unit_metadata
from resources.captioners.custom import OwnCaptioner
from resources.captioners.kinds.own import OwnCaptionerSettings
from resources.model import Failure
from tests.studies import changed, computed, label, statuses, write_images

TRUE = """
NAMES = ("red", "green", "blue")

def caption(picture):
    small = list(picture.convert("RGB").getdata())
    strongest = max(small, key=lambda pixel: max(pixel) - min(pixel))
    return f"a {NAMES[strongest.index(max(strongest))]} square on a table"
"""
NONSENSE = """
import zlib

WORDS = "tree house river cloud stone paper window garden".split()

def caption(picture):
    number = zlib.crc32(picture.convert("RGB").tobytes())
    return f"a {WORDS[number % 8]} and a {WORDS[number // 8 % 8]}"
"""
NAMES = {"net/colours/0": "red", "net/colours/1": "green", "net/colours/2": "blue"}


@pytest.fixture(scope="module")
def table(colours):
    found = changed(colours, dissection__select="detection", dissection__reference_images=30)
    del found["captioner"]
    return changed(found, captioner={"kind": "own", "source": "said:caption"})


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("detected")
    write_images(folder / "images", 42)
    (folder / "said.py").write_text(TRUE)
    return folder


@pytest.fixture(scope="module")
def found(table, place):
    return label(table, place)


def _bench(table, place):
    return build_context(parse_study(table, place), place / "state")


def _payload(found, asset, unit):
    return found[asset, unit].product.payload


def test_a_label_names_what_the_unit_detects_and_says_how_sure_it_is(found):
    for unit, name in NAMES.items():
        payload = _payload(found, "labels", unit)
        assert payload["label"] == name
        assert payload["score"] == payload["confidence"] > 0.9
        best = _payload(found, "detection_scores", unit)["concepts"][0]
        # The caption tells every image rightly; five misses are counted in advance each way.
        images = payload["evidence"]["images"]
        shown, every = round(best["share"] * images), images + 10
        perfect = (every * shown - (shown + 5) ** 2) / ((shown + 5) * (every - shown - 5))
        assert best["mcc"] == pytest.approx(perfect)
        # A threshold between images of one half may miss an image of the other half.
        assert payload["evidence"]["held_out"] > 0.9
        assert payload["evidence"]["label_set"][0][0] == name


def test_a_dead_unit_and_one_that_is_no_number_keep_their_status(found):
    assert statuses(found)["net/colours/3"] == "dead"
    assert statuses(found)["net/spoilt/3"] == "not_finite"
    assert statuses(found, "detection_scores")["net/colours/3"] == "dead"


def test_the_examples_are_of_the_whole_range_with_the_concept_and_without(found):
    for unit, name in NAMES.items():
        examples = _payload(found, "detection_scores", unit)["examples"]
        assert {one["shows"] for one in examples} == {True, False}
        assert {one["band"] for one in examples} >= {"high", "low"}
        for one in examples:
            assert one["shows"] == (name in one["caption"].split())


def test_each_image_is_captioned_once_and_the_plan_says_so(table, place, found, tmp_path):
    context = _bench(table, place)
    rows = context.lineage.query("SELECT asset, what, count FROM work WHERE what = 'captions'")
    made = sum(row["count"] for row in rows)
    kept = context.lineage.query("SELECT count(*) AS n FROM shared WHERE kind = 'caption'")
    assert made == kept[0]["n"], "no picture twice"
    work = {row["asset"]: row["count"] for row in rows}
    assert 0 < work["detection_scores"] <= 30

    home = tmp_path / "again"
    label(table, place, home=home, last="candidate_concepts")
    context = build_context(parse_study(table, place), home)
    units = list(find_units(context).values())
    planned = {one.asset: one for one in plan(context, stages_of(context.study), units, ALL)}
    assert planned["detection_scores"].cost == {"captions": work["detection_scores"]}
    assert planned["synthetic_images"].may == planned["detection_scores"].compute > 0
    fewer = plan(context, stages_of(context.study), units[:1], ALL)
    assert {one.asset: one for one in fewer}["detection_scores"].cost == {
        "captions": work["detection_scores"]
    }, "once for the study, not for each unit"


ALL = (
    "activations", "crops", "captions", "candidate_concepts", "detection_scores",
    "synthetic_images", "scores", "labels",
)  # fmt: skip


def test_before_the_first_run_a_plan_counts_reference_images_once(table, place, tmp_path):
    context = build_context(parse_study(table, place), tmp_path / "state")
    probing_set.materialize(context, "scan")
    units = list(find_units(context).values())
    planned = {one.asset: one for one in plan(context, stages_of(context.study), units, ALL)}
    assert planned["detection_scores"].may == len(units)
    assert planned["detection_scores"].most == {"captions": 30}


@pytest.mark.parametrize(
    ("setting", "value", "again"),
    [("margin", 0.02, "detection_scores"), ("min_confidence", 0.4, "detection_scores"),
     ("reference_images", 36, "detection_scores"), ("labels", 1, "labels")],
)  # fmt: skip
def test_what_a_setting_makes_run_again(table, place, found, setting, value, again):
    changes = {f"dissection__{setting}": value}
    later = label(changed(table, **changes), place, run=setting)
    assets = {asset for asset, _ in computed(later)}
    assert again in assets
    assert not assets & set(ALL[: ALL.index(again)]), "nothing before it"
    if setting in ("margin", "min_confidence"):
        assert assets == {again}, "its content came out the same"
    for unit, name in NAMES.items():
        assert _payload(later, "labels", unit)["label"] == name


def test_an_image_more_costs_one_caption_at_most(table, place, found, tmp_path):
    shutil.copytree(place, tmp_path / "more")
    write_images(tmp_path / "more" / "images", 43)
    later = label(table, tmp_path / "more", run="more")
    context = _bench(table, tmp_path / "more")
    rows = context.lineage.query(
        "SELECT count FROM work WHERE run = 'more' AND what = 'captions' "
        "AND asset = 'detection_scores'"
    )
    assert sum(row["count"] for row in rows) <= 1
    assert {unit: _payload(later, "labels", unit)["label"] for unit in NAMES} == NAMES


def _failing(monkeypatch, status, names):
    plain = OwnCaptioner.caption_named

    def caption_named(self, missing, load, batch, keep, *rest):
        lost = [name for name in missing if name in names]
        keep({name: Failure(status, "it did not answer") for name in lost})
        plain(self, [name for name in missing if name not in names], load, batch, keep, *rest)

    monkeypatch.setattr(OwnCaptioner, "caption_named", caption_named)
    # Only captioners behind servers are asked picture by picture and may fail for some.
    monkeypatch.setattr(OwnCaptionerSettings, "SERVED", True)


def _one_reference_image(found):
    """One that is no exemplar of any unit."""
    examples = [
        one["image"]
        for unit in NAMES
        for one in _payload(found, "detection_scores", unit)["examples"]
    ]
    captioned = {
        entry["image"] for unit in (*NAMES, "net/spoilt/0", "net/spoilt/1", "net/spoilt/2")
        for entry in _payload(found, "captions", unit)["captions"]
    }  # fmt: skip
    return next(name for name in examples if name not in captioned)


def test_a_service_that_fails_is_asked_again(table, place, found, tmp_path, monkeypatch):
    lost = _one_reference_image(found)
    with monkeypatch.context() as patch:
        _failing(patch, "service_error", {lost})
        first = label(table, place, home=tmp_path / "state", last="detection_scores")
    assert {statuses(first, "captions")[unit] for unit in NAMES} == {"ok"}
    assert {statuses(first, "detection_scores")[unit] for unit in NAMES} == {"service_error"}
    later = label(table, place, home=tmp_path / "state", run="second")
    for unit in NAMES:
        assert _payload(later, "labels", unit) == _payload(found, "labels", unit)


def test_a_picture_that_is_refused_is_left_out(table, place, found, tmp_path, monkeypatch):
    lost = _one_reference_image(found)
    _failing(monkeypatch, "refused", {lost})
    said = []
    later = label(table, place, home=tmp_path / "state", last="detection_scores", log=said.append)
    for unit, name in NAMES.items():
        payload = _payload(later, "detection_scores", unit)
        assert payload["label"] == name
        assert lost not in [one["image"] for one in payload["examples"]]
    assert any("1 of 30 reference images have no caption of use" in line for line in said)


@pytest.fixture(scope="module")
def nonsense(table, tmp_path_factory):
    """Captions that say nothing of what the units answer to."""
    folder = tmp_path_factory.mktemp("nonsense")
    write_images(folder / "images", 42)
    (folder / "said.py").write_text(NONSENSE)
    said = []
    return folder, label(table, folder, log=said.append), said


def test_a_unit_that_no_concept_explains_has_none_and_says_what_came_nearest(nonsense):
    _, found, said = nonsense
    without = [u for u in NAMES if statuses(found)[u] == "no_concept"]
    assert len(without) >= 2, "a chance word may fit one of three"
    for unit in without:
        record = found["labels", unit].record
        assert found["labels", unit].product.payload == {}
        assert re.search(
            r"nearest is '.+', right with probability 0\.\d\d|no phrase", record.reason
        )
        assert statuses(found, "synthetic_images")[unit] == "no_concept"
    assert any("units end without a concept" in line for line in said)


def test_the_tables_tell_what_came_nearest(table, nonsense, capsys):
    folder, _, _ = nonsense
    context = _bench(table, folder)
    frame = label_table(context.lineage, "colours")
    rows = frame[frame["status"] == "no_concept"]
    assert len(rows)
    assert rows["nearest"].str.contains(r" \(0\.\d\d\)$").any()
    _print_labels(frame.to_dict("records"), context.study, None)
    assert "nearest" in capsys.readouterr().out
    unit = rows["unit"].iloc[0]
    card = Cards(context.lineage, context.store, "colours").card(unit)
    assert card.label is None
    assert card.evidence is not None
    assert card.evidence.confidence < 0.5
    assert "nearest" in card.main.reason


def test_a_trace_a_card_a_table_and_an_event_show_the_evidence(table, place, found):
    context = _bench(table, place)
    unit = "net/colours/0"
    console = Console(width=200, record=True, file=StringIO())
    console.print(tree(trace(context.lineage.query, "colours", unit)))
    text = console.export_text()
    said = _payload(found, "labels", unit)
    held_out = said["evidence"]["held_out"]
    assert f"confidence {said['confidence']:.2f}: held out {held_out:.2f}, stability" in text
    assert "confirmed" in text
    assert "resamples choose: red" in text
    best = _payload(found, "detection_scores", unit)["concepts"][0]
    assert re.search(rf"{best['mcc']:.4f}  red: active from", text)

    card = Cards(context.lineage, context.store, "colours").card(unit)
    payload = _payload(found, "labels", unit)
    assert card.evidence.confidence == payload["confidence"]
    assert card.evidence.painted == payload["evidence"]["painted"]
    high = card.evidence.bands["high"]
    assert high[0]
    assert all("red" in one.caption for one in high[0])

    source = TableSource(context.lineage, "colours")
    for name in ("detection", "detection_scores", "detection_examples"):
        assert source.table(name)
    (row,) = [
        row
        for part in source.batches("labels", [source.table("labels")])
        for row in part.by_table["labels"]
        if row["unit"] == unit
    ]
    assert row["confidence"] == row["score"] == payload["confidence"]
    assert row["confirmed"] is payload["evidence"]["confirmed"]

    shown = unit_metadata(context, "detection_scores", found["detection_scores", unit])
    assert shown["confidence"] == pytest.approx(payload["confidence"], rel=1e-3)
    assert {"detection scores", "images with it", "images without it"} <= shown.keys()
    assert unit_metadata(context, "labels", found["labels", unit])["stability"] > 0.5


def test_a_search_tells_the_unit_s_own_label(table, place, found):
    hits = search_text(_bench(table, place), "red", top=8).hits
    first = hits[0]
    assert first.own == first.label == "red"
    assert first.confidence > 0.9
    for one in hits:
        if one.unit in NAMES:
            assert one.own == NAMES[one.unit]


def test_what_a_network_is_called_decides_nothing(table, place, found):
    other = changed(table, name="other")
    other["models"] = [{**other["models"][0], "name": "called-otherwise"}]
    later = label(other, place, run="other", last="detection_scores")
    assert not [pair for pair in computed(later) if pair[0] == "detection_scores"]
    assert label(other, place, home=place / "fresh", run="x", last="detection_scores")[
        "detection_scores", "called-otherwise/colours/0"
    ].product.payload == _payload(found, "detection_scores", "net/colours/0")


def test_an_encoder_may_judge_presence_too(table, place, found):
    later = label(changed(table, dissection__presence="both"), place, run="both")
    scored = {unit: _payload(later, "detection_scores", unit)["concepts"] for unit in NAMES}
    assert "detection_scores" in {asset for asset, _ in computed(later)}
    assert all(-1 <= one["agreement"] <= 1 for some in scored.values() for one in some)
    before = _payload(found, "detection_scores", "net/colours/0")["concepts"]
    assert all(one["agreement"] is None for one in before)
