"""Traces: from a label back to pixels, prompts, seeds and weights, as they were recorded."""

import json

import pytest

from dnd_assets.errors import NotFoundError
from dnd_assets.lineage.records import Outcome
from dnd_assets.lineage.trace import image_hashes, trace
from dnd_assets.units import Unit
from resources.lineage_db.database import Lineage
from tests.lineage import handmade
from tests.lineage.handmade import BLUE, CONTENT, CROP, RED, UNIT, UPSTREAM, A, B, record


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    """One unit of the study `mine`; for reading only. Returns lineage and versions."""
    found = Lineage(root=str(tmp_path_factory.mktemp("recorded")))
    return found, record(found, "mine", UNIT, beta=5)


@pytest.fixture
def lineage(tmp_path):
    return Lineage(root=str(tmp_path))


def test_every_product_behind_a_label_is_found(recorded):
    lineage, versions = recorded
    found = trace(lineage.query, "mine", UNIT.key)

    assert next(iter(found.steps)) == "labels"
    assert set(found.steps) == {*UPSTREAM, "probing_set"}
    for asset, step in found.steps.items():
        assert step.record["data_version"] == versions[asset]
        assert step.asset == asset
        if asset != "probing_set":
            assert step.payload == CONTENT[asset] == found.payload(asset)
            assert set(step.preimage["inputs"]) == set(UPSTREAM[asset])


def test_inputs_of_each_step_are_the_versions_of_the_steps_before(recorded):
    lineage, _ = recorded
    steps = trace(lineage.query, "mine", UNIT.key).steps

    for asset in UPSTREAM:
        for name, version in steps[asset].preimage["inputs"].items():
            assert steps[name].record["data_version"] == version


def test_weights_are_spelled_out(recorded):
    lineage, _ = recorded
    found = trace(lineage.query, "mine", UNIT.key)

    assert found.steps["activations"].weights == handmade.WEIGHTS["activations"]
    assert found.steps["captions"].weights == handmade.WEIGHTS["captions"]
    assert found.prompt("red dot") == "One realistic image of red dot"


def test_a_provider_that_was_not_recorded_shows_its_hash(recorded):
    lineage, _ = recorded
    known = lineage.query("SELECT provider FROM providers WHERE fingerprint LIKE '%blip%'")

    def without_providers(sql, parameters):
        return [] if "FROM providers" in sql else lineage.query(sql, parameters)

    found = trace(without_providers, "mine", UNIT.key)
    assert found.steps["captions"].weights == {"captioner": known[0]}
    assert found.prompt("red dot") == "red dot"


def test_images_come_with_every_path_and_only_those_involved(recorded):
    lineage, _ = recorded
    found = trace(lineage.query, "mine", UNIT.key)

    assert set(found.images) == {A, B}
    assert found.images[B]["paths"] == ["/images/also-b.jpg", "/images/b.jpg"]
    assert found.images[A]["paths"] == ["/images/a.png"]
    assert (found.images[A]["width"], found.images[A]["format"]) == (8, "PNG")
    assert "path" not in found.images[A]


def test_the_whole_trace_is_json(recorded):
    lineage, _ = recorded
    found = json.loads(json.dumps(trace(lineage.query, "mine", UNIT.key).as_json()))

    assert found["unit"] == "net/fc/3"
    assert found["study"] == "mine"
    scores = found["products"]["scores"]
    assert scores["content"] == CONTENT["scores"]
    assert scores["parameters"] == {"asset": "scores", "beta": 5}
    assert (scores["run"], scores["device"], scores["seconds"]) == ("run-1", "cpu", 0.5)
    assert scores["code"] == "code of scores"
    assert set(found["images"]) == {A, B}


def test_a_trace_may_start_anywhere(recorded):
    lineage, _ = recorded
    found = trace(lineage.query, "mine", UNIT.key, "captions")

    assert set(found.steps) == {"captions", "crops", "activations", "probing_set"}
    assert found.payload("labels") == {}
    assert found.prompt("x") == ""  # nothing was painted


def test_units_and_studies_are_apart(lineage):
    other = Unit("net", "fc", 30)
    record(lineage, "mine", UNIT)
    named = Outcome("ok", {"label": "other", "score": 1.0, "labels": []})
    record(lineage, "mine", other, changes={"labels": named})
    record(lineage, "yours", UNIT, run="run-9", changes={"labels": named}, seed=1)

    assert trace(lineage.query, "mine", UNIT.key).payload("labels")["label"] == "red dot"
    assert trace(lineage.query, "mine", other.key).payload("labels")["label"] == "other"
    assert trace(lineage.query, "yours", UNIT.key).steps["crops"].record["run"] == "run-9"


def test_a_label_is_traced_to_what_it_was_made_from_not_to_what_came_later(lineage):
    record(lineage, "mine", UNIT)
    later = Outcome("ok", {"captions": [{"image": B, "caption": "something else"}]})
    crops = lineage.query("SELECT data_version FROM latest WHERE asset = 'crops'")
    inputs = {"crops": crops[0]["data_version"]}
    handmade.announce(lineage, "mine", UNIT, "captions", later, inputs, run="run-2", beams=2)

    found = trace(lineage.query, "mine", UNIT.key)
    assert found.payload("captions") == CONTENT["captions"]
    assert found.steps["captions"].record["run"] == "run-1"
    assert trace(lineage.query, "mine", UNIT.key, "captions").payload("captions") == later.payload


def test_the_newest_of_equal_labels_is_shown(lineage):
    record(lineage, "mine", UNIT)
    record(lineage, "mine", UNIT, run="run-2")

    steps = trace(lineage.query, "mine", UNIT.key).steps
    assert {step.record["run"] for step in steps.values()} == {"run-2"}


def test_a_dead_unit_is_traced_as_far_as_it_got(lineage):
    dead = Outcome("dead", {}, "it never fires")
    record(lineage, "mine", UNIT, changes=dict.fromkeys(UPSTREAM, dead))
    found = trace(lineage.query, "mine", UNIT.key)

    assert found.steps["labels"].record["status"] == "dead"
    assert found.steps["labels"].record["reason"] == "it never fires"
    assert found.steps["labels"].summary()["status"] == "dead"
    assert found.images == {}


def test_a_step_that_was_never_recorded_is_left_out(lineage):
    inputs = {"scores": "0" * 64}
    handmade.announce(lineage, "mine", UNIT, "labels", Outcome("ok", {"label": "x"}), inputs)

    assert list(trace(lineage.query, "mine", UNIT.key).steps) == ["labels"]


@pytest.mark.parametrize(
    ("study", "unit", "asset"),
    [("mine", "net/fc/4", "labels"), ("nine", "net/fc/3", "labels"), ("mine", "net/fc/3", "x")],
)
def test_what_was_never_made_says_what_to_run(recorded, study, unit, asset):
    lineage, _ = recorded

    with pytest.raises(NotFoundError) as caught:
        trace(lineage.query, study, unit, asset)
    assert f"study {study!r} has no {asset} of {unit!r}" in str(caught.value)
    assert f"dnd run {unit}" in str(caught.value)


def test_sql_in_a_name_is_only_a_name(recorded):
    lineage, _ = recorded

    with pytest.raises(NotFoundError):
        trace(lineage.query, "mine' OR 1=1 --", UNIT.key)
    assert len(lineage.query("SELECT * FROM labels")) == 1


def test_every_picture_of_a_product_is_named():
    assert sorted(set(image_hashes(CONTENT["crops"]))) == sorted([A, B, CROP])
    assert sorted(image_hashes(CONTENT["synthetic_images"])) == sorted(["", RED, BLUE])
    assert list(image_hashes({"image": {"image": "x"}, "caption": "y", "n": 3})) == ["x"]
    assert list(image_hashes([])) == []
