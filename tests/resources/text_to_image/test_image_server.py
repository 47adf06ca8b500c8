"""Pictures from an image server, against a real HTTP server on loopback."""

import json
import logging

import numpy as np
import pytest
from werkzeug import Response

from dnd_assets.engine.cache.paid_images import PictureLedger
from dnd_assets.engine.cache.stored_pictures import Pictures
from dnd_assets.errors import StudyError
from resources.artefact_store import ArtefactStore
from resources.lineage_db.database import Lineage
from resources.model import Failure
from resources.servers.calls import MemoryLedger
from resources.servers.lineage_ledger import LineageLedger
from resources.text_to_image.base import Painting, PaintRequest
from resources.text_to_image.image_server import ServedTextToImage
from tests.painting_server import Painter, answer, png, refusal

KEY = "sk-canary-0123456789abcdef"
REQUESTS = [PaintRequest(text, 7 * n + 2**40, n) for text in ("red", "a dog") for n in range(4)]


@pytest.fixture
def painter(running, monkeypatch):
    running.clear()
    monkeypatch.setenv("CANARY_KEY", KEY)
    return Painter(running)


@pytest.fixture
def served(running):
    def served(**changes):
        settings = {
            "base_url": running.url_for("/v1"), "model": "m", "api_key_env": "CANARY_KEY",
            "timeout_s": 5.0, "max_retries": 0,
        }  # fmt: skip
        return ServedTextToImage(**{**settings, **changes})

    return served


@pytest.fixture
def ledger(tmp_path):
    """The ledger of a real state folder."""
    lineage = Lineage(root=str(tmp_path))
    pictures = Pictures(lineage, ArtefactStore(root=str(tmp_path / "store")), 10**6)
    return PictureLedger(LineageLedger(lineage), pictures)


def paint(own, ledger=None, requests=REQUESTS):
    found = {}
    own.paint_each(requests, 4, found.update, MemoryLedger() if ledger is None else ledger)
    return found


def pixels(found):
    return {
        request: np.asarray(one.image).tobytes()
        for request, one in found.items()
        if isinstance(one, Painting)
    }


def test_each_picture_is_asked_for_as_the_api_wants_it(painter, served):
    found = paint(served(size="512x512", quality="low"))
    assert all(isinstance(one, Painting) and not one.rejected for one in found.values())
    assert len(set(pixels(found).values())) == len(REQUESTS)
    sent = painter.requests[0]
    assert sent == {
        "model": "m", "prompt": "One realistic image of red", "n": 1, "size": "512x512",
        "quality": "low", "response_format": "b64_json",
    }  # fmt: skip
    paint(served(response_format=""))
    assert painter.requests[-1].keys() == {"model", "prompt", "n"}


def test_a_seed_goes_to_servers_that_take_one(painter, served):
    own = served(send_seed=True)
    paint(own)
    assert sorted(body["seed"] for body in painter.requests) == sorted(
        request.seed % 2**31 for request in REQUESTS
    )
    assert own.fingerprint() != served().fingerprint()


def test_a_paid_picture_is_replayed_from_the_store_with_no_server_and_no_key(
    painter, served, ledger, running, monkeypatch
):
    first = paint(served(), ledger)
    assert served().calls_to_make(REQUESTS, ledger) == set()
    running.clear()
    monkeypatch.delenv("CANARY_KEY")
    assert pixels(paint(served(), ledger)) == pixels(first)
    rows = ledger.calls.lineage.query("SELECT * FROM llm_calls")
    assert len(rows) == len(REQUESTS)
    for row in rows:
        kept = json.loads(row["response"])["data"][0]["b64_json"]
        assert kept.startswith("sha256:")
        assert len(row["response"]) < 500, "the picture lies in the store"
        assert (row["prompt_tokens"], row["completion_tokens"]) == (20, 200)


def test_a_picture_that_was_removed_is_paid_for_again(painter, served, ledger):
    first = paint(served(), ledger, REQUESTS[:2])
    for file in (ledger.pictures.store.path("x").parent.parent).rglob("*.safetensors"):
        file.unlink()
    ledger.pictures.store._verified.clear()
    again = paint(served(), ledger, REQUESTS[:2])
    assert len(painter.requests) == 4
    assert set(pixels(again).values()).isdisjoint(pixels(first).values())
    assert pixels(paint(served(), ledger, REQUESTS[:2])) == pixels(again)


def test_calls_under_way_are_bounded(painter, served):
    painter.seconds = 0.05
    paint(served(max_concurrency=3))
    assert painter.most == 3


@pytest.mark.parametrize("code", ["moderation_blocked", "content_policy_violation"])
def test_what_the_safety_system_refuses_is_rejected_and_no_failure(painter, served, code):
    painter.rule = lambda body: refusal(code) if "red" in body["prompt"] else None
    found = paint(served(max_concurrency=1))
    for request, one in found.items():
        assert isinstance(one, Painting)
        assert one.rejected == (request.concept == "red")
    assert np.asarray(found[REQUESTS[0]].image).max() == 0


def test_other_refusals_are_failures(painter, served):
    painter.rule = lambda body: refusal("invalid_size") if "red" in body["prompt"] else None
    found = paint(served())
    bad = [one for one in found.values() if isinstance(one, Failure)]
    assert {one.status for one in bad} == {"service_error"}
    assert len(bad) == 4
    assert "HTTP 400" in bad[0].reason
    with pytest.raises(StudyError, match=r"not painted \(service_error\)"):
        served().paint(REQUESTS, 4)


def test_many_refusals_do_not_end_the_work(painter, served):
    painter.rule = lambda _: refusal()
    many = [PaintRequest("red", n, n) for n in range(20)]
    found = paint(served(max_concurrency=1), requests=many)
    assert len(painter.requests) == 20
    assert all(one.rejected for one in found.values())


@pytest.mark.parametrize(
    "response",
    [
        lambda: Response(json.dumps({"data": [{"url": "https://example.org/a.png"}]})),
        lambda: Response(json.dumps({"data": []})),
        lambda: answer(b"no picture"),
        lambda: answer(png(1)[:60]),
        lambda: Response(json.dumps({"data": [{"b64_json": "%%%"}]})),
        lambda: Response("<html>"),
    ],
)
def test_what_is_no_picture_is_a_failure_that_is_asked_again(painter, served, ledger, response):
    painter.rule = lambda _: response()
    found = paint(served(), ledger, REQUESTS[:1])
    assert found[REQUESTS[0]].status == "service_error"
    assert "no picture in base64" in found[REQUESTS[0]].reason
    painter.rule = lambda _: None
    assert isinstance(paint(served(), ledger, REQUESTS[:1])[REQUESTS[0]], Painting)


def test_http_401_ends_all_after_one_call(painter, served):
    painter.rule = lambda _: Response("no", 401)
    found = paint(served(max_concurrency=1))
    assert {one.status for one in found.values()} == {"service_error"}
    assert len(painter.requests) == 1


@pytest.mark.parametrize("at_once", [1, 4])
@pytest.mark.parametrize(
    ("limit", "name"),
    [
        ({"max_pictures": 3}, "max_pictures"),
        ({"max_cost": 0.12, "price_per_picture": 0.04}, "max_cost"),
        ({"max_cost": 0.15, "price_per_picture": 0.04}, "max_cost"),
    ],
)
def test_the_budget_stops_before_the_picture_that_would_exceed_it(
    painter, served, ledger, limit, name, at_once
):
    own = served(max_concurrency=at_once, **limit)
    found = paint(own, ledger)
    assert len(painter.requests) == 3, "no other request left"
    refused = [one for one in found.values() if isinstance(one, Failure)]
    assert {one.status for one in refused} == {"over_budget"}
    assert len(refused) == 5
    assert f"text_to_image.{name}" in refused[0].reason
    assert isinstance(next(iter(paint(own, ledger).values())), Painting), "replays cost nothing"
    assert len(painter.requests) == 3, "the budget is the resource's, not the call's"
    cost = ledger.calls.lineage.query("SELECT sum(cost) AS total FROM llm_calls")[0]["total"]
    assert cost == (pytest.approx(0.12) if name == "max_cost" else None)


def test_the_fingerprint_has_what_changes_a_picture_and_no_more(served):
    plain = served().fingerprint()
    other = [
        {"model": "n"}, {"base_url": "https://example.org/v1"}, {"prompt": "a {concept}"},
        {"size": "1x1"}, {"quality": "hd"}, {"send_seed": True},
    ]  # fmt: skip
    assert all(served(**change).fingerprint() != plain for change in other)
    same = served(
        api_key_env="X", timeout_s=1.0, max_retries=1, max_concurrency=1, max_pictures=5,
        max_cost=1.0, price_per_picture=1.0, response_format="",
    )  # fmt: skip
    assert same.fingerprint() == plain


def test_settings_are_checked_and_named_by_their_section(served, monkeypatch):
    monkeypatch.delenv("CANARY_KEY", raising=False)
    with pytest.raises(StudyError, match=r"text_to_image reads its key.*text_to_image\.api_key"):
        served().check()
    with pytest.raises(StudyError, match=r"text_to_image\.base_url.*in the clear"):
        served(base_url="http://192.0.2.1/v1").check()


@pytest.mark.parametrize("code", [200, 400, 401, 500])
def test_the_key_appears_nowhere(painter, served, ledger, caplog, tmp_path, code):
    caplog.set_level(logging.DEBUG)
    painter.rule = lambda _: Response(KEY, code, headers={"X-Echo": KEY})
    own = served(max_retries=1)
    found = paint(own, ledger, REQUESTS[:2])
    seen = repr([found, own, own.fingerprint(), caplog.text])
    assert KEY not in seen
    assert KEY not in json.dumps([record.__dict__ for record in caplog.records], default=repr)
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert files
    assert not any(KEY.encode() in path.read_bytes() for path in files)
