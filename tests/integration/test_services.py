"""Studies whose captioner and painter are servers: failures, payments, and the key."""

import json
import logging

import pytest
from werkzeug import Response

from dnd_assets.assets.registry import STAGES
from dnd_assets.engine.context_builder import build_context, find_units
from dnd_assets.engine.plan import plan
from dnd_assets.study.study import parse_study
from dnd_assets.workflow.run import observe
from resources.servers.lineage_ledger import LineageLedger
from tests import studies
from tests.command_line import dnd, toml
from tests.painting_server import Painter, refusal
from tests.vision_server import Vision, colour, completion, picture_of

KEY = "sk-canary-0123456789abcdef"
ALIVE = [f"net/colours/{index}" for index in range(3)]


@pytest.fixture
def servers(running):
    """A vision model and a painter behind one address, as they are before any test."""
    running.clear()
    return Vision(running), Painter(running)


@pytest.fixture
def table(colours, running):
    """The small study with both of them."""
    server = {"base_url": running.url_for("/v1"), "model": "m", "api_key_env": "", "max_retries": 0}
    table = studies.changed(colours, dissection__crop=False, dissection__candidates=1)
    table["dissection"] |= {"exemplars": 3, "images_per_concept": 2}
    table["models"][0]["layers"] = [{"path": "colours", "neurons": [0, 1, 2]}]
    return table | {
        "captioner": {"kind": "chat", **server},
        "text_to_image": {"kind": "images", **server},
    }


def _statuses(found, asset):
    return studies.statuses(found, asset)


def test_a_failed_caption_fails_its_units_alone_and_is_asked_again(table, servers, colour_folder):
    vision, _ = servers
    vision.rule = lambda body: Response("down", 500) if colour(picture_of(body)) == "red" else None
    found = studies.label(table, colour_folder)
    assert _statuses(found, "labels") == {
        ALIVE[0]: "service_error", ALIVE[1]: "ok", ALIVE[2]: "ok",
    }  # fmt: skip
    failed = found["captions", ALIVE[0]].product
    assert failed.payload == {}, "a failure is no caption"
    assert "HTTP 500" in failed.outcome.reason
    context = build_context(parse_study(table, colour_folder), colour_folder / "state")
    stored = context.lineage.query("SELECT value FROM shared WHERE kind = 'caption'")
    assert len(stored) == 6
    assert not any("500" in row["value"] for row in stored)
    asked = len(vision.requests)
    vision.rule = lambda _: None
    again = studies.label(table, colour_folder, run="second")
    assert set(_statuses(again, "labels").values()) == {"ok"}
    assert len(vision.requests) == asked + 3, "only the pictures that failed"
    assert studies.computed(again) == {(asset, ALIVE[0]) for asset in list(STAGES)[2:]}


def test_a_refused_picture_is_no_caption_and_its_unit_does_without_it(
    table, servers, colour_folder
):
    vision, _ = servers
    refused = []

    def rule(body):
        shown = picture_of(body).tobytes()
        if colour(picture_of(body)) != "red" or (refused and refused[0] != shown):
            return None
        refused[:] = [shown]
        error = {"message": "filtered", "code": "content_filter", "param": "prompt"}
        return Response(json.dumps({"error": error}), 400, content_type="application/json")

    vision.rule = rule
    found = studies.label(table, colour_folder)
    assert set(_statuses(found, "labels").values()) == {"ok"}
    entries = found["captions", ALIVE[0]].product.payload["captions"]
    assert sorted(entry.get("status", "ok") for entry in entries) == ["ok", "ok", "refused"]
    assert [entry["caption"] for entry in entries if "status" in entry] == [""]
    (colour_folder / "study.toml").write_text(toml(table), encoding="utf-8")
    shown = dnd(colour_folder, "trace", ALIVE[0]).output
    assert "refused" in shown
    asked = len(vision.requests)
    again = studies.label(table, colour_folder, run="again")
    assert studies.versions(again) == studies.versions(found)
    assert len(vision.requests) == asked, "an answer is an answer"


def test_pictures_are_planned_paid_once_and_stop_at_the_budget(table, servers, colour_folder):
    _, painter = servers
    study = studies.changed(
        table, text_to_image__max_cost=0.11, text_to_image__price_per_picture=0.04,
        text_to_image__max_concurrency=1,
    )  # fmt: skip
    first = studies.label(study, colour_folder, last="candidate_concepts")
    assert len({json.dumps(first["candidate_concepts", u].product.payload) for u in ALIVE}) == 3
    context = build_context(parse_study(study, colour_folder), colour_folder / "state")
    units = list(find_units(context).values())
    (planned,) = plan(context, STAGES, units, ["synthetic_images"], *observe(context))
    assert planned.cost == {"paintings": 6, "picture calls": 6}

    found = studies.label(study, colour_folder, run="poor")

    assert len(painter.requests) == 2, "no request beyond the budget"
    ended = _statuses(found, "synthetic_images")
    assert sorted(ended.values()) == ["ok", "over_budget", "over_budget"]
    reason = next(
        one.product.outcome.reason
        for (asset, unit), one in found.items()
        if asset == "labels" and ended[unit] == "over_budget"
    )
    assert "text_to_image.max_cost" in reason
    painter.rule = lambda body: refusal() if "red" in body["prompt"] else None
    rich = studies.label(table, colour_folder, run="rich")
    assert _statuses(rich, "labels") == {
        ALIVE[0]: "rejected", ALIVE[1]: "ok", ALIVE[2]: "ok",
    }  # fmt: skip
    assert len(painter.requests) == 2 + 2 + 4, "red is tried twice over"
    painter.rule = lambda _: Response("down", 500)
    replayed = studies.label(table, colour_folder, run="replayed")
    assert studies.versions(replayed) == studies.versions(rich)
    assert len(painter.requests) == 8


@pytest.fixture
def secret(table, servers, colour_folder, monkeypatch):
    """The study as a project, with a key for each server in the environment."""
    monkeypatch.setenv("CANARY_KEY", KEY)
    for section in ("captioner", "text_to_image"):
        table[section]["api_key_env"] = "CANARY_KEY"
    table["summariser"] = {**table["captioner"], "kind": "chat"}
    table["models"][0]["layers"] = [{"path": "colours", "neurons": [0]}]
    (colour_folder / "study.toml").write_text(toml(table), encoding="utf-8")
    return colour_folder


def _talk(body):
    """One server for captions and summaries; both send the key back."""
    if "response_format" not in body:
        return completion(f"a {colour(picture_of(body))} square {KEY}")
    listed = json.loads(body["messages"][-1]["content"].rpartition("\n")[2])
    if body["response_format"]["json_schema"]["name"] == "concepts":
        return completion(json.dumps({"concepts": ["red square" for _ in listed]}))
    return completion(json.dumps({"concept": "red square"}))


def _is_nowhere(folder, *texts):
    """Whether the key is in no file of the state folder (Dagster's included), and in no text."""
    files = [path for path in (folder / "state").rglob("*") if path.is_file()]
    assert any(path.suffix == ".duckdb" for path in files)
    assert any("dagster" in path.parts for path in files), "events are among them"
    found = [path for path in files if KEY.encode() in path.read_bytes()]
    assert not found, found
    assert not any(KEY in text for text in texts)


@pytest.mark.parametrize("way", ["success", "HTTP 401", "crash"])
def test_the_key_is_nowhere_after_a_run(secret, servers, way, caplog, capfd, monkeypatch):
    vision, painter = servers
    caplog.set_level(logging.DEBUG)
    vision.rule = _talk
    if way == "HTTP 401":
        vision.rule = lambda _: Response(f"bad {KEY}", 401, headers={"X-Echo": KEY})
    if way == "crash":

        def full(self, call):
            raise OSError("no space left on device")

        monkeypatch.setattr(LineageLedger, "replace", full)

    result = dnd(secret, "run", "net/colours/0")

    output = capfd.readouterr()
    assert vision.requests, "the key was used"
    assert (result.exit_code == 0) == (way == "success")
    assert any(record.name.startswith("httpcore2") for record in caplog.records)
    logged = json.dumps([record.__dict__ for record in caplog.records], default=repr)
    _is_nowhere(secret, result.output, repr(result.exception), output.out, output.err, logged)
    if way == "success":
        assert painter.requests
        shown = dnd(secret, "trace", "net/colours/0")
        assert "red square" in shown.output
        assert KEY not in shown.output
    if way == "crash":
        assert "no space left" in result.output + repr(result.exception)
