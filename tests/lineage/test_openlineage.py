"""OpenLineage events: one run for each product, tied together by dataset versions."""

import json
import uuid

import pytest

from dnd_assets.assets.registry import STAGES
from dnd_assets.engine.context_builder import build_context
from dnd_assets.lineage.openlineage import events
from dnd_assets.lineage.trace import trace
from dnd_assets.study.study import parse_study


@pytest.fixture(scope="module")
def found(labelled, colours):
    folder, _ = labelled
    context = build_context(parse_study(colours, folder), folder / "state")
    return trace(context.lineage.query, "colours", "net/colours/1")


@pytest.fixture(scope="module")
def sent(found):
    return json.loads(json.dumps(events(found), allow_nan=False))


def _version(dataset):
    return dataset["facets"]["version"]["datasetVersion"]


def test_every_product_starts_and_completes_once(sent):
    for asset in ("probing_set", *STAGES):
        mine = [event for event in sent if event["job"]["name"] == asset]
        assert [event["eventType"] for event in mine] == ["START", "COMPLETE"]
        assert mine[0]["eventTime"] <= mine[1]["eventTime"]
        assert mine[0]["run"]["runId"] == mine[1]["run"]["runId"]
    assert len({event["run"]["runId"] for event in sent}) == len(STAGES) + 1


def test_inputs_are_outputs_of_earlier_events(sent):
    outputs = {}
    for event in sent:
        inner = [one for one in event["inputs"] if one["namespace"] == "dnd://colours"]
        asset = event["job"]["name"]
        assert len(inner) == (len(STAGES[asset].upstream) if asset in STAGES else 0)
        for one in inner:
            assert _version(one) == outputs[one["name"]]
        outputs.update({one["name"]: _version(one) for one in event["outputs"]})


def test_weights_images_and_fingerprints_travel_along(sent, found):
    activations = next(event for event in sent if event["job"]["name"] == "activations")
    names = {(one["namespace"], one["name"]): _version(one) for one in activations["inputs"]}
    assert ("dnd://weights", "target") in names
    exemplars = {one["image"] for one in found.payload("activations")["exemplars"]}
    assert {v for (space, _), v in names.items() if space == "file"} == exemplars
    facet = activations["run"]["facets"]["dnd_fingerprint"]
    step = found.steps["activations"]
    assert facet["key"] == step.record["key"]
    assert facet["parameters"] == {"exemplars": 5, "neuron": 1}
    output = activations["outputs"][0]["facets"]["dnd_content"]["content"]
    assert output == found.payload("activations")


def test_events_have_what_the_standard_requires(sent):
    for event in sent:
        assert event["producer"] == "urn:dnd-assets"
        assert event["schemaURL"].startswith("https://openlineage.io/spec/")
        uuid.UUID(event["run"]["runId"])
        uuid.UUID(event["run"]["facets"]["parent"]["run"]["runId"])
        for facets in (event["run"]["facets"], *(one["facets"] for one in event["inputs"])):
            for facet in facets.values():
                assert facet["_producer"]
                assert facet["_schemaURL"].startswith("https://")
