"""Summariser, captioner and painter against servers that refuse what the real ones refuse."""

from __future__ import annotations

import json

import pytest
from PIL import Image
from werkzeug import Response

from dnd_assets.errors import StudyError
from resources.captioners.chat import ChatCaptioner
from resources.model import Failure
from resources.servers.calls import MemoryLedger, StoredCall
from resources.summarisers.base import ChatSummariser
from resources.text_to_image.base import Painting, PaintRequest
from resources.text_to_image.image_server import ServedTextToImage
from tests.painting_server import Painter, refusal
from tests.servers.behaviours import BEHAVIOURS, Behaviour, FakeServer, azure_filter, plain

RED = ["a red car on a road", "a red ball in the grass"]
DRESS = ["a woman in a forbidden gown"]
COLOURS = {"red": (220, 30, 30), "green": (30, 200, 40), "blue": (30, 40, 220)}


@pytest.fixture
def served(running):
    """Makes a server of a kind and the settings that name it."""
    running.clear()

    def served(behaviour=Behaviour(), **changes):  # noqa: B008 (immutable)
        settings = {"base_url": running.url_for("/v1"), "model": "m", "api_key_env": ""}
        settings |= {"max_retries": 0, "max_concurrency": 1, "timeout_s": 5.0}
        return FakeServer(running, behaviour), {**settings, **behaviour.settings, **changes}

    return served


@pytest.fixture(scope="module")
def pictures():
    """A picture of each colour by name."""
    return {name: Image.new("RGB", (16, 16), value) for name, value in COLOURS.items()}


def caption(settings, pictures, ledger=None):
    found = {}
    ledger = MemoryLedger() if ledger is None else ledger
    read = lambda names: [pictures[name] for name in names]  # noqa: E731
    ChatCaptioner(**settings).caption_named(list(pictures), read, 4, found.update, ledger)
    return found


def kept(ledger):
    """The calls of a ledger, as they come back from a database."""
    copied = MemoryLedger()
    for call in ledger.calls.values():
        copied.put(StoredCall.from_row(call.row()))
    return copied


@pytest.mark.parametrize("kind", BEHAVIOURS)
def test_labels_come_from_every_server_and_are_replayed_without_one(served, running, kind):
    behaviour = BEHAVIOURS[kind]
    server, settings = served(behaviour)
    ledger = MemoryLedger()
    summary = ChatSummariser(**settings).summarise(RED, 2, 0, ledger=ledger)
    assert (summary.status, summary.candidates) == ("ok", ("red things",))
    assert len(server.refused) == behaviour.refusals, "each refusal is found out once"
    assert len(server.taken) == 3
    running.clear()
    again = ChatSummariser(**settings).summarise(RED, 2, 0, ledger=kept(ledger))
    assert again == summary
    changed = [call for call in kept(ledger).calls.values() if call.sent]
    assert len(changed) == (3 if behaviour.refusals else 0), "what was sent otherwise is kept"


@pytest.mark.parametrize("kind", BEHAVIOURS)
def test_captions_come_from_every_server(served, pictures, kind):
    behaviour = BEHAVIOURS[kind]
    server, settings = served(behaviour)
    found = caption(settings, pictures)
    assert found == {name: f"a {name} square on grey ground" for name in COLOURS}
    formats = kind.startswith(("deepseek", "text"))
    assert len(server.refused) == (0 if formats else behaviour.refusals)


def test_the_options_that_are_left_out_are_not_sent(served, pictures):
    server, settings = served()
    extra = {"chat_template_kwargs": {"enable_thinking": False}}
    left = {"temperature": None, "send_seed": False, "send_limit": False, "extra": extra}
    ChatSummariser(**settings, **left, response_format="text").summarise(RED, 1, 0)
    assert {frozenset(body) for body in server.taken} == {
        frozenset({"model", "messages", "chat_template_kwargs"})
    }
    server.taken.clear()
    caption({**settings, **left}, pictures)
    assert {*server.taken[0]} == {"model", "messages", "chat_template_kwargs"}
    with pytest.raises(StudyError, match=r"summariser\.extra holds 'stream'"):
        ChatSummariser(**settings, extra={"stream": True}).check()


def test_a_limit_that_is_too_large_is_an_error_and_no_refused_option(served):
    words = "'max_tokens' is too large: 5000. This model's maximum context length is 2048 tokens"
    error = {"message": words, "type": "BadRequestError", "param": None, "code": 400}
    server, settings = served(Behaviour(lambda _: (400, {"error": error})))
    summary = ChatSummariser(**settings).summarise(RED, 1, 0)
    assert summary.status == "service_error"
    assert "too large" in summary.reason
    assert len(server.refused) == 1


# --- Refusals of one thing ----------------------------------------------------------------------


def test_azures_filter_refuses_a_picture_and_no_run(served, pictures):
    server, settings = served(Behaviour(azure_filter))
    ledger = MemoryLedger()
    found = caption(settings, pictures, ledger)
    assert isinstance(found["red"], Failure)
    assert found["red"].status == "refused"
    assert "content management policy" in found["red"].reason
    assert found["green"] == "a green square on grey ground"
    asked = len(server.refused) + len(server.taken)
    assert caption(settings, pictures, kept(ledger)) == found
    assert len(server.refused) + len(server.taken) == asked, "an answer is an answer"


def test_azures_filter_refuses_a_unit_and_no_run(served):
    _, settings = served(Behaviour(azure_filter))
    units = [DRESS, ["a blue sky", "a blue car"]] * 8
    found = ChatSummariser(**settings).summarise_many(units, 1, 0)
    assert [one.status for one in found] == ["refused", "ok"] * 8


@pytest.mark.parametrize("code", ["content_policy_violation", "moderation_blocked"])
def test_a_refused_painting_is_rejected_and_refused_options_are_left_out(running, code):
    running.clear()
    painter = Painter(running)

    def rule(body):
        if "response_format" in body:
            words = "Unknown parameter: 'response_format'."
            error = {"message": words, "param": "response_format", "code": "unknown_parameter"}
            return Response(json.dumps({"error": error}), 400, content_type="application/json")
        return refusal(code) if "red" in body["prompt"] else None

    painter.rule = rule
    settings = {"base_url": running.url_for("/v1"), "api_key_env": "", "max_concurrency": 1}
    own = ServedTextToImage(**settings, model="m", max_retries=0, response_format="b64_json")
    requests = [PaintRequest(name, n, 0) for n, name in enumerate(("blue", "red", "green"))]
    found = {}
    own.paint_each(requests, 4, found.update, MemoryLedger())
    assert [isinstance(one, Painting) and one.rejected for one in found.values()] == [
        False, True, False,
    ]  # fmt: skip
    assert sum("response_format" in body for body in painter.requests) == 1


# --- Text that is no answer ---------------------------------------------------------------------


def choice(text, finish="stop", **fields):
    return {"finish_reason": finish, "message": {**plain(text), **fields}}


NO_ANSWERS = [
    (choice("a red square on grey gr", "length"), "cut_off", 2),
    (choice(None, "length", reasoning_content="Okay, the user"), "cut_off", 2),
    (choice("<think> Okay, the user wants me to"), "cut_off", 2),
    (choice("<|channel|>analysis<|message|>We need to"), "cut_off", 2),
    (choice("", reasoning="Okay."), "no_answer", 2),
    (choice(None), "no_answer", 2),
    (choice("   \n"), "no_answer", 2),
    (choice("<|im_end|>"), "no_answer", 2),
    (choice("..."), "no_answer", 2),
    (choice("Okay, the user wants me to describe"), "no_answer", 2),
    (choice("", "content_filter"), "refused", 1),
    (choice("half an answ", "content_filter"), "refused", 1),
    (choice(None, refusal="I can't help with that."), "refused", 1),
    (choice("I'm sorry, but I can't help with that."), "refused", 1),
    (choice("I\u2019m unable to identify people."), "refused", 1),
    (choice("抱歉\uff0c我无法描述这张图片。"), "refused", 1),
    (choice(None, "tool_calls"), "invalid_response", 1),
]  # fmt: skip


@pytest.mark.parametrize(("said", "status", "calls"), NO_ANSWERS)
def test_what_is_no_caption_is_a_typed_failure(served, pictures, said, status, calls):
    server, settings = served()
    server.says = lambda _: said
    found = caption(settings, {"red": pictures["red"]})["red"]
    assert isinstance(found, Failure)
    assert found.status == status
    assert len(server.taken) == calls, "asked again where that may help, and once"
    limits = [body["max_tokens"] for body in server.taken]
    assert limits == sorted(limits)
    assert len(set(limits)) == calls


@pytest.mark.parametrize(("said", "status", "calls"), NO_ANSWERS)
def test_what_is_no_label_never_becomes_one(served, said, status, calls):
    del calls
    server, settings = served()
    server.says = lambda body: said if "State" in body["messages"][0]["content"] else None
    found = ChatSummariser(**settings).summarise(RED, 1, 0)
    assert found.candidates == ()
    told = {status} if status in ("refused", "cut_off") else {status, "invalid_response"}
    assert found.status in told


def test_more_room_mends_what_reasoning_ate(served, pictures):
    server, settings = served()
    eaten = choice(None, "length", reasoning_content="Okay, the user")
    server.says = lambda body: eaten if body["max_tokens"] < 1_000 else None
    assert caption(settings, {"red": pictures["red"]})["red"].startswith("a red")
    assert ChatSummariser(**settings).summarise(RED, 1, 0).candidates == ("red things",)


@pytest.mark.parametrize(
    "label",
    ["I'm sorry, I cannot", "<|im_end|>", "the user wants me", "N/A", "none", "...", "\u200b",
     "red、blue", "一只棕色的狗在海滩上奔跑而且旁边还有另外一只白色的狗在玩耍"],
)  # fmt: skip
def test_json_that_holds_no_concept_is_no_concept(served, label):
    server, settings = served()
    said = choice(json.dumps({"concept": label}))
    server.says = lambda body: said if "State" in body["messages"][0]["content"] else None
    found = ChatSummariser(**settings).summarise(RED, 1, 0)
    assert found.candidates == ()
    assert found.status in ("invalid_response", "refused")


def test_json_in_the_reasoning_counts_as_a_whole_alone(served):
    server, settings = served()
    server.says = lambda body: (
        None if "Shorten" in body["messages"][0]["content"]
        else choice(None, reasoning_content='{"concept": "red things"}')
    )  # fmt: skip
    assert ChatSummariser(**settings).summarise(RED, 1, 0).candidates == ("red things",)
    server.says = lambda _: choice(None, reasoning_content='Perhaps {"concept": "thought"}?')
    assert ChatSummariser(**settings).summarise(RED, 1, 0).status == "no_answer"


def test_two_different_answers_are_none(served):
    server, settings = served()
    both = '{"concept": "red"} or {"concept": "blue"}'
    server.says = lambda body: choice(both) if "State" in body["messages"][0]["content"] else None
    found = ChatSummariser(**settings).summarise(RED, 1, 0)
    assert (found.status, found.candidates) == ("invalid_response", ())
    assert "different answers" in found.reason


# --- Servers that fail --------------------------------------------------------------------------


def test_an_unknown_model_is_named_with_the_nearest(served):
    error = {"message": "The model `m` does not exist.", "type": "NotFoundError", "code": 404}
    server, settings = served(Behaviour(lambda _: (404, {"error": error})))
    server.models = ["gpt-5.4-nano", "mm", "other"]
    found = ChatSummariser(**settings).summarise_many([RED, RED[:1]], 1, 0)
    assert {one.status for one in found} == {"service_error"}
    assert "no model 'm'; nearest: mm" in found[0].reason
    assert "summariser.model" in found[0].reason
    assert len(server.refused) == 1, "nobody else is asked"
    server.models = ["m"]
    assert "base_url" in ChatSummariser(**settings).summarise(RED, 1, 0).reason


def test_no_credit_ends_all_after_one_call(served):
    error = {"message": "You exceeded your current quota.", "code": "insufficient_quota"}
    server, settings = served(Behaviour(lambda _: (429, {"error": error})))
    found = ChatSummariser(**settings).summarise_many([RED, RED[:1]], 1, 0)
    assert {one.status for one in found} == {"service_error"}
    assert len(server.refused) == 1


@pytest.mark.parametrize("code", [200, 502])
def test_a_page_of_a_proxy_is_told_by_its_title(served, code):
    page = "<html><head><title>502 Bad Gateway</title></head><body><b>nginx</b></body></html>"
    server, settings = served()
    server.says = lambda _: Response(page, code, content_type="text/html")
    reason = ChatSummariser(**settings).summarise(RED, 1, 0).reason
    assert "502 Bad Gateway" in reason
    assert "<" not in reason


@pytest.mark.parametrize("usage", [None, {}, {"prompt_tokens": None}, "many"])
def test_tokens_that_are_not_counted_are_no_failure(served, usage):
    _, settings = served(Behaviour(usage=usage))
    assert ChatSummariser(**settings).summarise(RED, 1, 0).status == "ok"


def test_an_error_in_a_sound_answer_is_told(served):
    error = {"error": {"message": "Provider returned error", "code": 502}}
    server, settings = served()
    server.says = lambda _: Response(json.dumps(error))
    found = ChatSummariser(**settings).summarise(RED, 1, 0)
    assert found.status == "service_error"
    assert "Provider returned error" in found.reason


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"model": "dall-e-3"}, "retired"),
        ({"size": "512x512"}, "1024x1024"),
        ({"quality": "hd"}, "high"),
        ({"response_format": "b64_json"}, "response_format"),
        ({"model": "gpt-image-2.5-flare", "size": "1000x1000"}, "16 divides"),
    ],
)
def test_settings_that_openai_refuses_for_every_picture_are_refused(changes, said):
    with pytest.raises(StudyError, match=said):
        ServedTextToImage(api_key_env="", **changes).check()


def test_the_defaults_name_models_of_the_client_library_and_fit_one_another():
    from openai.types import image_model
    from openai.types.shared import chat_model

    for kind in (ChatSummariser, ChatCaptioner):
        name = kind().model
        assert f'"{name}"' in _listed(chat_model)
        assert f'"{name}"' not in _deprecated(chat_model)
    assert f'"{ServedTextToImage().model}"' in _listed(image_model)
    assert f'"{ServedTextToImage().model}"' not in _deprecated(image_model)
    own = ServedTextToImage(api_key_env="")
    own.check()
    assert own._body(PaintRequest("red", 0, 0)).keys() & {"response_format", "size"} == set()


def _listed(module):
    return _source(module).partition("Deprecated values")[0]


def _deprecated(module):
    return _source(module).partition("Deprecated values")[2]


def _source(module):
    import inspect

    return inspect.getsource(module)
