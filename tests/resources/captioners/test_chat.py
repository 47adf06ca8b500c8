"""Captions by a vision model behind a real HTTP server on loopback."""

import json
import logging

import numpy as np
import pytest
from PIL import Image
from werkzeug import Response

from dnd_assets.errors import StudyError
from resources.captioners.base import PROMPT
from resources.captioners.chat import ChatCaptioner
from resources.model import Failure
from resources.servers.calls import MemoryLedger
from tests.vision_server import Vision, colour, completion, picture_of

KEY = "sk-canary-0123456789abcdef"
COLOURS = [(220, 30, 30), (30, 200, 40), (30, 40, 220)]


@pytest.fixture
def vision(running, monkeypatch):
    running.clear()
    monkeypatch.setenv("CANARY_KEY", KEY)
    return Vision(running)


@pytest.fixture
def chat(running):
    def chat(**changes):
        settings = {
            "base_url": running.url_for("/v1"), "model": "m", "api_key_env": "CANARY_KEY",
            "timeout_s": 5.0, "max_retries": 0,
        }  # fmt: skip
        return ChatCaptioner(**{**settings, **changes})

    return chat


@pytest.fixture(scope="module")
def pictures():
    """Twelve pictures of three colours, by name."""
    made = {}
    for index in range(12):
        pixels = np.full((24, 30, 3), 120, np.uint8)
        pixels[4:12, index : index + 8] = COLOURS[index % 3]
        made[f"{index:064x}"] = Image.fromarray(pixels)
    return made


def ask(captioner, pictures, ledger=None, names=None):
    """Captions or failures by name, and the names of the pictures that were read."""
    found, read = {}, []

    def load(wanted):
        read.extend(wanted)
        return [pictures[name] for name in wanted]

    ledger = MemoryLedger() if ledger is None else ledger
    captioner.caption_named(list(names or pictures), load, 4, found.update, ledger)
    return found, read


def expected(pictures):
    return {n: f"a {colour(image)} square on grey ground" for n, image in pictures.items()}


def test_each_picture_is_shown_and_its_caption_is_one_line(vision, chat, pictures):
    assert ask(chat(), pictures)[0] == expected(pictures)
    sent = vision.requests[0]
    assert sent.keys() == {"model", "messages", "temperature", "seed", "max_tokens"}
    assert sent["messages"][0]["content"][0] == {"type": "text", "text": PROMPT}
    assert (sent["temperature"], sent["max_tokens"]) == (0.0, 32)
    seen = {picture_of(body).tobytes() for body in vision.requests}
    assert seen == {image.tobytes() for image in pictures.values()}


def test_pictures_without_names_are_captioned_alike(vision, chat, pictures):
    images = [*pictures.values(), next(iter(pictures.values()))]
    assert chat().caption(images[:3], 2) == list(expected(pictures).values())[:3]
    asked = len(vision.requests)
    assert chat().caption([images[0], images[-1]], 2)[0].startswith("a red")
    assert len(vision.requests) == asked + 1, "equal pictures are one call"


def test_the_ledger_names_the_picture_and_does_not_hold_it(vision, chat, pictures):
    ledger = MemoryLedger()
    ask(chat(detail="low"), pictures, ledger)
    for name, call in zip(sorted(pictures), sorted(ledger.calls.values(), key=_shown), strict=True):
        assert _shown(call) == f"sha256:{name}"
        row = call.row()
        assert "base64" not in row["request"]
        assert len(row["request"]) < 1_000
    assert vision.requests[0]["messages"][0]["content"][1]["image_url"]["detail"] == "low"


def _shown(call):
    return call.body["messages"][0]["content"][1]["image_url"]["url"]


def test_a_stored_caption_needs_no_server_no_key_and_no_picture(
    vision, chat, pictures, running, monkeypatch
):
    ledger = MemoryLedger()
    first, read = ask(chat(), pictures, ledger)
    assert sorted(read) == sorted(pictures)
    running.clear()
    monkeypatch.delenv("CANARY_KEY")
    assert ask(chat(), {}, ledger, names=pictures) == (first, [])
    assert chat().calls_to_make(list(pictures), ledger) == {}


def test_large_pictures_are_sent_small(vision, chat):
    large = {"a" * 64: Image.new("RGBA", (2_000, 500), (200, 20, 20, 255))}
    ask(chat(max_side=100), large)
    assert picture_of(vision.requests[0]).size == (100, 25)
    assert picture_of(vision.requests[0]).mode == "RGB"


def test_calls_under_way_are_bounded_and_do_not_matter(vision, chat, pictures):
    vision.seconds = 0.05
    assert ask(chat(max_concurrency=3), pictures)[0] == expected(pictures)
    assert vision.most == 3


def test_a_failed_picture_is_a_failure_and_the_others_are_captioned(vision, chat, pictures):
    def rule(body):
        return Response("down", 500) if colour(picture_of(body)) == "red" else None

    vision.rule = rule
    ledger = MemoryLedger()
    found, _ = ask(chat(), pictures, ledger)
    red = {name for name, text in expected(pictures).items() if "red" in text}
    assert {name for name, one in found.items() if isinstance(one, Failure)} == red
    assert {found[name].status for name in red} == {"service_error"}
    assert "HTTP 500" in found[min(red)].reason
    vision.rule = lambda _: None
    asked = len(vision.requests)
    assert ask(chat(), pictures, ledger)[0] == expected(pictures)
    assert len(vision.requests) == asked + len(red), "only what failed is asked again"
    vision.rule = rule
    with pytest.raises(StudyError, match=r"not captioned \(service_error\)"):
        chat().caption(list(pictures.values()), 4)


def test_silence_and_an_essay_are_no_captions(vision, chat, pictures):
    names = list(pictures)[:1]
    vision.rule = lambda _: completion(None)
    found = ask(chat(), pictures, names=names)[0][names[0]]
    assert found.status == "no_answer"
    assert [body["max_tokens"] for body in vision.requests] == [32, 1_024]
    vision.rule = lambda _: completion("word " * 1_000)
    found = ask(chat(), pictures, names=names)[0][names[0]]
    assert found.status == "invalid_response"
    assert "4,999 characters" in found.reason


def test_http_401_ends_all_after_one_call(vision, chat, pictures):
    vision.rule = lambda _: Response("no", 401)
    found, _ = ask(chat(max_concurrency=1), pictures)
    assert {one.status for one in found.values()} == {"service_error"}
    assert len(vision.requests) == 1


@pytest.mark.parametrize(
    ("limit", "setting"),
    [
        ({"max_tokens": 2_700}, "captioner.max_tokens"),
        (
            {"max_cost": 0.0027, "price_prompt": 1.0, "price_completion": 1.0},
            "captioner.max_cost",
        ),
    ],
)
def test_the_budget_counts_pictures_and_stops_before_the_call(
    vision, chat, pictures, limit, setting
):
    """A picture counts for 1,500 tokens before a call and, by the server's count, 308 after it."""
    captioner = chat(max_concurrency=1, **limit)
    plan = captioner.calls_to_make(list(pictures), MemoryLedger())
    (each,) = set(plan.values())
    assert each > 1_500
    fit = (2_700 - each) // 308 + 1
    found, _ = ask(captioner, pictures)
    assert len(vision.requests) == fit < len(pictures)
    refused = [one for one in found.values() if isinstance(one, Failure)]
    assert {one.status for one in refused} == {"over_budget"}
    assert len(refused) == len(pictures) - fit
    assert setting in refused[0].reason
    asked = len(vision.requests)
    again, _ = ask(captioner, pictures)
    assert len(vision.requests) == asked, "the budget is the resource's, not the call's"
    assert {one.status for one in again.values()} == {"over_budget"}


def test_the_fingerprint_has_what_changes_a_caption_and_no_more(chat):
    plain = chat().fingerprint()
    other = [
        {"model": "n"}, {"base_url": "https://example.org/v1"}, {"prompt": "what?"},
        {"temperature": 1.0}, {"max_new_tokens": 9}, {"detail": "low"}, {"max_side": 100},
    ]  # fmt: skip
    prints = [chat(**change).fingerprint() for change in other]
    assert all(one != plain for one in prints)
    same = chat(
        api_key_env="X", timeout_s=1.0, max_retries=1, max_concurrency=1, max_tokens=5,
        max_cost=1.0, price_prompt=1.0, price_completion=1.0, picture_tokens=5,
    )  # fmt: skip
    assert same.fingerprint() == plain


def test_settings_are_checked_and_named_by_their_section(chat, monkeypatch):
    monkeypatch.delenv("CANARY_KEY", raising=False)
    with pytest.raises(StudyError, match=r"captioner reads its key.*captioner\.api_key_env"):
        chat().check()
    with pytest.raises(StudyError, match=r"captioner\.base_url.*in the clear"):
        chat(base_url="http://192.0.2.1/v1").check()
    chat(api_key_env="").check()


@pytest.mark.parametrize("code", [200, 401, 500])
def test_the_key_appears_nowhere(vision, chat, pictures, caplog, code):
    caplog.set_level(logging.DEBUG)
    vision.rule = lambda _: completion(f"the key {KEY}") if code == 200 else Response(KEY, code)
    ledger, captioner = MemoryLedger(), chat(max_retries=1)
    found, _ = ask(captioner, pictures, ledger, names=list(pictures)[:2])
    rows = [call.row() for call in ledger.calls.values()]
    assert rows
    seen = repr([found, rows, captioner, captioner.fingerprint(), caplog.text])
    assert KEY not in seen
    assert KEY not in json.dumps([record.__dict__ for record in caplog.records], default=repr)
