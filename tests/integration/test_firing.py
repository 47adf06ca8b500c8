"""Exemplars fire: silent pictures explain no unit, and a picture on which a network fails none."""

import io

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from dnd_assets.assets import clip_dissect_labels, concept_activations, probing_set
from dnd_assets.assets.registry import stages_of
from dnd_assets.assets.scores import scored
from dnd_assets.engine.cache.shared_results import embeddings
from dnd_assets.engine.context_builder import build_context, find_units
from dnd_assets.engine.materialize import materialize
from dnd_assets.engine.resolve import Graph
from dnd_assets.files.atomic import sha256
from dnd_assets.lineage.trace import trace
from dnd_assets.results.labels import labels as read_labels
from dnd_assets.results.tables.registry import TABLES, rows_of
from dnd_assets.results.tables.table_source import TableSource
from dnd_assets.results.trace_tree import tree
from dnd_assets.results.unit_card.card_reader import Cards
from dnd_assets.study.study import parse_study
from dnd_assets.units import Unit
from tests import firing
from tests.studies import changed, label, statuses

FEW, SHIFTED, SIGNED, DEAD = (f"net/units/{neuron}" for neuron in range(4))
CONCEPTS = "red\ngreen\nblue\nsky\n"


def _table(colours, net="firing_net"):
    model = {"name": "net", "source": f"module:tests.firing:{net}", "layers": [{"path": "units"}]}
    concepts = {"concepts": "concepts.txt", "similarity": "soft_wpmi", "top_images": 14}
    return changed(colours, models=[model], dissection__exemplars=10, clip_dissect=concepts)


def _folder(folder, marked=False):
    firing.write_pictures(folder / "images", marked=marked)
    (folder / "concepts.txt").write_text(CONCEPTS)
    return folder


@pytest.fixture(scope="module")
def fired(colours, tmp_path_factory):
    folder = _folder(tmp_path_factory.mktemp("firing"))
    return folder, label(_table(colours), folder, last="")


@pytest.fixture(scope="module")
def marked(colours, tmp_path_factory):
    """The same with one more picture, on which every unit is NaN; and what the log said."""
    folder = _folder(tmp_path_factory.mktemp("marked"), marked=True)
    lines = []
    return label(_table(colours), folder, last="clip_dissect_labels", log=lines.append), lines


def _payload(found, asset, unit):
    return found[asset, unit].product.payload


@pytest.mark.parametrize("unit", [FEW, SHIFTED])
def test_a_unit_that_fires_on_three_of_fourteen_has_three_exemplars(fired, unit):
    _, found = fired
    one = found["activations", unit].product
    assert len(one.payload["exemplars"]) == 3
    assert all(e["activation"] > one.payload["off"] for e in one.payload["exemplars"])
    assert one.outcome.notes["summary"]["fires"] == pytest.approx(3 / 14)
    (remark,) = one.outcome.notes["remarks"]
    assert remark["kind"] == "few_exemplars"
    assert remark["text"] == "3 of 10 exemplars asked: the unit fires on 3 of 14 images"
    shown = {e["image"] for e in _payload(found, "crops", unit)["activating"]}
    assert shown == {e["image"] for e in one.payload["exemplars"]}
    assert {e["image"] for e in _payload(found, "captions", unit)["captions"]} == shown


def test_a_signed_unit_is_ranked_and_a_dead_one_stays_dead(fired):
    _, found = fired
    one = found["activations", SIGNED].product
    assert len(one.payload["exemplars"]) == 10
    assert one.payload["off"] is None
    assert one.outcome.notes["summary"]["fires"] is None
    assert one.outcome.notes["remarks"] == []
    assert statuses(found, "activations")[DEAD] == "dead"


def test_share_and_remark_stand_in_tables_trace_and_card(fired, colours):
    folder, found = fired
    context = build_context(parse_study(_table(colours), folder), folder / "state")
    said = "3 of 10 exemplars asked: the unit fires on 3 of 14 images"
    table = read_labels(context.lineage, "colours").set_index("unit")
    assert table["remarks"][FEW] == said
    assert table["remarks"][SIGNED] is None
    summary = next(one for one in TABLES if one.name == "activations")
    (few,) = (
        row
        for part in TableSource(context.lineage, "colours").records("activations")
        for one in part
        for row in rows_of(summary, one)
        if row["unit"] == FEW
    )
    assert few["fires"] == pytest.approx(3 / 14)
    assert few["off"] == _payload(found, "activations", FEW)["off"]
    assert few["remarks"] == [said]
    console = Console(width=200, record=True, file=io.StringIO())
    console.print(tree(trace(context.lineage.query, "colours", FEW, "labels")))
    shown = console.export_text()
    assert f"remark: {said}" in shown
    assert "fires on 21.4% of 14 images" in shown
    card = Cards(context.lineage, context.store, "colours").card(FEW)
    assert card.remarks == (said,)
    assert card.distribution.fires == pytest.approx(3 / 14)


@pytest.mark.parametrize("asset", ["activations", "clip_dissect_labels"])
@pytest.mark.parametrize("unit", [FEW, SHIFTED, SIGNED, DEAD])
def test_a_picture_on_which_the_network_fails_changes_no_unit(fired, marked, asset, unit):
    before, after = fired[1][asset, unit].product, marked[0][asset, unit].product
    assert after.outcome.status == before.outcome.status
    assert after.payload == before.payload


def test_the_picture_is_named(marked):
    found, lines = marked
    remarks = found["activations", SIGNED].product.outcome.notes["remarks"]
    assert [one["kind"] for one in remarks] == ["images_set_aside"]
    assert remarks[0]["text"].startswith("NaN or infinite on 1 of 15 images, set aside: ")
    assert any("fails.png" in line and "1 of 15 images" in line for line in lines)


def test_a_unit_that_alone_fails_on_a_picture_is_kept(colours, tmp_path):
    folder = _folder(tmp_path, marked=True)
    found = label(
        _table(colours, "one_failing_net"), folder, ["net/units/0-1"], last="clip_dissect_labels"
    )
    assert set(statuses(found, "activations").values()) == {"ok"}
    assert set(statuses(found, "clip_dissect_labels").values()) == {"ok"}
    assert len(_payload(found, "activations", FEW)["exemplars"]) == 3
    assert len(_payload(found, "activations", SHIFTED)["exemplars"]) == 4


def test_a_network_that_fails_on_most_pictures_is_not_finite(colours, tmp_path):
    folder = _folder(tmp_path)
    for index in range(20):
        pixels = np.full((16, 16, 3), (index, 0, 37), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / "images" / f"fails-{index}.png")
    found = label(_table(colours), folder, last="activations")
    assert set(statuses(found, "activations").values()) == {"not_finite"}
    reasons = {one.record.reason for one in found.values()}
    assert reasons == {"NaN or infinite on 20 of 34 images"}


def test_a_picture_on_which_the_encoder_fails_changes_no_label(
    fired, colours, tmp_path, monkeypatch
):
    folder = _folder(tmp_path)
    extra = folder / "images" / "extra.png"
    Image.new("RGB", (16, 16), (5, 90, 200)).save(extra)
    lost = sha256(extra.read_bytes())

    def failing(context, images):
        rows, values = embeddings(context, images)
        values = values.copy()
        values[rows[lost]] = np.nan
        return rows, values

    monkeypatch.setattr(clip_dissect_labels, "embeddings", failing)
    study = parse_study(_table(colours), folder)
    context = build_context(study, folder / "state")
    probing_set.materialize(context, "run")
    concept_activations.materialize(context, "run")
    stages = stages_of(study)
    units = find_units(context).select([])
    found = materialize(Graph(context, stages), stages["clip_dissect_labels"], units, "run")
    for one in found:
        before = fired[1]["clip_dissect_labels", one.unit.key].product
        assert one.product.payload == before.payload
        if before.ok:
            (remark,) = one.product.outcome.notes["remarks"]
            assert remark["images"] == [lost]


def test_exemplars_on_which_the_encoder_fails_do_not_count_in_scores(fired, colours):
    folder, _ = fired
    context = build_context(parse_study(_table(colours), folder), folder / "state")
    unit, pictures = Unit("net", "units", 0), {"red": ["p", "q"], "sky": ["p", "q"]}
    active = ({"p": 0, "q": 1}, np.array([[1, 0, 0, 0], [2, 0, 0, 0]], np.float32))
    rows = {"a": 0, "b": 1, "p": 2, "q": 3}
    vectors = np.array([[1, 0], [np.nan, 0], [0.6, 0.8], [0, 1]], np.float32)
    both = scored(context, unit, pictures, ["a", "b"], active, (rows, vectors))
    alone = scored(context, unit, pictures, ["a"], active, (rows, vectors))

    assert both.status == "ok"
    assert both.payload == alone.payload
    assert scored(context, unit, pictures, ["b"], active, (rows, vectors)).status == "not_finite"
    lost = (rows | {"q": 1}, vectors)
    assert scored(context, unit, pictures, ["a"], active, lost).status == "not_finite"
