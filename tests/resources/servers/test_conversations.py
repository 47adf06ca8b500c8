"""The ledger, the server and the driver of dialogues, against a real HTTP server on loopback."""

from __future__ import annotations

import json
import logging
import socket
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest
from pytest_httpserver import HTTPServer
from werkzeug import Request, Response

from dnd_assets.errors import StudyError
from resources.lineage_db.database import Lineage
from resources.servers.budget import Budget
from resources.servers.calls import MemoryLedger, StoredCall, request_hash
from resources.servers.chat_server import LARGEST_RESPONSE, ChatServer
from resources.servers.conversations import Dialogue, converse
from resources.servers.keys import check_base_url, read_key, without_key

KEY = "sk-canary-0123456789abcdef"
PATH = "/v1/chat/completions"


@pytest.fixture
def web(running: HTTPServer, monkeypatch: pytest.MonkeyPatch) -> HTTPServer:
    running.clear()
    monkeypatch.setenv("CANARY_KEY", KEY)
    return running


def completion(text: str | None, tokens: int = 5) -> Response:
    body = {
        "choices": [{"index": 0, "message": {"role": "assistant", "content": text}}],
        "usage": {"prompt_tokens": 2 * tokens, "completion_tokens": tokens},
    }
    return Response(json.dumps(body), content_type="application/json")


def body(web: HTTPServer, text: str = "hello", limit: int = 10) -> dict[str, object]:
    messages = [{"role": "user", "content": text}]
    return {
        "base_url": web.url_for("/v1"), "model": "m", "messages": messages, "temperature": 0.3,
        "seed": 0, "max_tokens": limit,
    }  # fmt: skip


@pytest.fixture
def connect(web: HTTPServer) -> Iterator[Callable[..., ChatServer]]:
    made = []

    def connect(timeout_s: float = 5.0, retries: int = 0, base_url: str = "") -> ChatServer:
        made.append(ChatServer(base_url or web.url_for("/v1"), "CANARY_KEY", timeout_s, retries))
        made[-1].open()
        return made[-1]

    yield connect
    for server in made:
        server.close()


def answer_with(web: HTTPServer, *responses: Response) -> list[Request]:
    """Serve `responses` in turn, the last one for ever; returns the list of requests seen."""
    seen: list[Request] = []

    def handler(request: Request) -> Response:
        seen.append(request)
        return responses[min(len(seen), len(responses)) - 1]

    web.expect_request(PATH).respond_with_handler(handler)
    return seen


def test_a_call_keeps_request_and_response_verbatim(web, connect):
    seen = answer_with(web, completion("a red thing"))
    call = connect().send(body(web))
    assert call.status == "ok"
    assert call.content == "a red thing"
    assert (call.prompt_tokens, call.completion_tokens) == (10, 5)
    assert call.request == request_hash(body(web))
    assert call.body == body(web)
    assert seen[0].headers["Authorization"] == f"Bearer {KEY}"
    sent = seen[0].get_json()
    assert sent == {name: value for name, value in body(web).items() if name != "base_url"}


def test_every_part_of_a_request_changes_its_hash(web):
    first = body(web)
    changes = [{"base_url": "x"}, {"model": "n"}, {"messages": []}, {"temperature": 0.4},
               {"seed": 1}, {"response_format": {}}]  # fmt: skip
    hashes = {request_hash(first), *(request_hash({**first, **change}) for change in changes)}
    assert len(hashes) == len(changes) + 1
    assert request_hash(dict(reversed(first.items()))) == request_hash(first)


def test_http_500_that_passes_is_tried_again(web, connect):
    seen = answer_with(web, Response("oops", 500), completion("fine"))
    assert connect(retries=1).send(body(web)).content == "fine"
    assert len(seen) == 2


def test_http_500_for_ever_ends_after_the_retries(web, connect):
    seen = answer_with(web, Response("oops", 500))
    call = connect(retries=1).send(body(web))
    assert call.status == "service_error"
    assert "HTTP 500" in call.error
    assert len(seen) == 2


def test_http_401_ends_at_once_and_names_the_variable(web, connect):
    seen = answer_with(web, Response(json.dumps({"error": {"message": f"bad {KEY}"}}), 401))
    call = connect(retries=2).send(body(web))
    assert call.status == "service_error"
    assert "HTTP 401" in call.error
    assert "CANARY_KEY" in call.error
    assert KEY not in json.dumps(call.row())
    assert "<key>" in call.response["server_said"]
    assert len(seen) == 1


def test_http_429_waits_as_long_as_the_server_says(web, connect):
    slow_down = Response("slow down", 429, headers={"Retry-After": "1.2"})
    seen = answer_with(web, slow_down, completion("fine"))
    started = time.monotonic()
    assert connect(retries=1).send(body(web)).content == "fine"
    assert time.monotonic() - started >= 1.2  # the client's own pause would be 0.5 s at most
    assert len(seen) == 2


def test_a_server_that_does_not_answer_in_time_is_left(web, connect):
    release = threading.Event()

    def handler(_request: Request) -> Response:
        release.wait(5)
        return completion("late")

    web.expect_request(PATH).respond_with_handler(handler)
    started = time.monotonic()
    call = connect(timeout_s=0.3).send(body(web))
    took = time.monotonic() - started
    release.set()
    assert call.status == "service_error"
    assert "within 0.3 s" in call.error
    assert took < 3


def test_a_body_that_drips_is_left(web, connect):
    def drops() -> Iterator[bytes]:
        for _ in range(40):
            time.sleep(0.1)
            yield b" "

    web.expect_request(PATH).respond_with_handler(lambda _: Response(drops()))
    started = time.monotonic()
    assert connect(timeout_s=0.5).send(body(web)).status == "service_error"
    assert time.monotonic() - started < 3  # the whole body takes 4 s


def test_a_refused_connection_is_a_service_error(web, connect):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    call = connect(base_url=f"http://127.0.0.1:{port}/v1").send(body(web))
    assert call.status == "service_error"
    assert "no connection" in call.error
    assert str(port) in call.error


def test_a_response_above_10_mb_is_refused_while_it_is_read(web, connect):
    sent = []

    def flood() -> Iterator[bytes]:
        for _ in range(60):
            sent.append(1)
            yield b" " * 1_000_000

    web.expect_request(PATH).respond_with_handler(lambda _: Response(flood()))
    call = connect(retries=2).send(body(web))
    assert call.status == "invalid_response"
    assert f"{LARGEST_RESPONSE:,} bytes" in call.error
    assert len(sent) < 60
    assert len(json.dumps(call.row())) < 2_000


def test_a_response_of_just_10_mb_is_read(web, connect):
    text = "x" * (LARGEST_RESPONSE - 200)
    answer_with(web, completion(text))
    assert connect().send(body(web)).content == text


def test_a_compressed_response_is_refused(web, connect):
    answer_with(web, Response(b"\x1f\x8b", headers={"Content-Encoding": "gzip"}))
    call = connect().send(body(web))
    assert call.status == "invalid_response"
    assert "compressed" in call.error


@pytest.mark.parametrize(
    "text",
    [
        "", "<html>welcome</html>", '{"choices": [', '{"choices": []}', "[" * 50_000, "null",
        '{"error": {"message": "no such model"}}', '{"choices": [{"message": {"content": NaN}}]}',
        '{"choices": [{"message": {"content": "\\ud800"}}]}', '{"choices": [{"message": "x"}]}',
    ],
)  # fmt: skip
def test_a_response_that_is_no_chat_completion_is_a_service_error(web, connect, text):
    answer_with(web, Response(text, content_type="application/json"))
    call = connect().send(body(web))
    assert call.status == "service_error"
    assert "no chat completion" in call.error
    assert call.content == ""


def test_a_refusal_has_empty_content(web, connect):
    answer_with(web, completion(None))
    call = connect().send(body(web))
    assert (call.status, call.content) == ("ok", "")


def test_the_key_does_not_follow_a_redirect(web, connect):
    elsewhere = HTTPServer(host="127.0.0.1", threaded=True)
    elsewhere.start()
    try:
        elsewhere.expect_request("/catch").respond_with_data("caught")
        to = elsewhere.url_for("/catch")
        answer_with(web, Response("", 307, headers={"Location": to}))
        call = connect(retries=1).send(body(web))
        assert call.status == "service_error"
        assert "redirects are not followed" in call.error
        assert elsewhere.log == []
    finally:
        elsewhere.stop()


def test_the_key_is_in_no_log_at_any_level(web, connect, caplog):
    caplog.set_level(logging.DEBUG)
    echo = completion(f"your key is {KEY}")
    echo.headers["X-Echo"] = KEY
    seen = answer_with(web, Response(KEY, 500, headers={"X-Echo": KEY}), echo)
    call = connect(retries=1).send(body(web))
    assert len(seen) == 2
    assert call.content == "your key is <key>"
    assert any("x-echo" in text.lower() for text in caplog.messages)  # the echo was logged, …
    assert KEY not in caplog.text  # … without the key
    assert KEY not in repr([record.__dict__ for record in caplog.records])


def test_short_placeholder_keys_are_not_cut_out_of_words(monkeypatch):
    monkeypatch.setenv("CANARY_KEY", "none")
    assert without_key("none of them", "CANARY_KEY") == "none of them"


@pytest.mark.parametrize("value", [None, "", "  "])
def test_a_missing_key_is_named(monkeypatch, value):
    monkeypatch.delenv("CANARY_KEY", raising=False)
    if value is not None:
        monkeypatch.setenv("CANARY_KEY", value)
    with pytest.raises(StudyError, match=r"variable CANARY_KEY.*not set"):
        read_key("CANARY_KEY")
    assert read_key("") == ""


@pytest.mark.parametrize("value", ["sk-secret\nvalue-0123", "sk-secret\u20acvalue-0123"])
def test_a_broken_key_is_refused_without_showing_it(monkeypatch, value):
    monkeypatch.setenv("CANARY_KEY", value)
    with pytest.raises(StudyError) as caught:
        read_key("CANARY_KEY")
    shown = "".join(traceback.TracebackException.from_exception(
        caught.value, capture_locals=True).format())  # fmt: skip
    ours = shown.rpartition("in read_key")[2]
    assert ours
    assert "sk-secret" not in ours


@pytest.mark.parametrize(
    ("url", "allow", "said"),
    [
        ("http://example.org/v1", False, "in the clear"),
        ("http://127.0.0.1.example.org/v1", False, "in the clear"),
        ("http://10.0.0.7:8000/v1", False, "in the clear"),
        ("ftp://example.org/v1", True, "no http"),
        ("example.org/v1", True, "no http"),
        ("https:///v1", True, "no http"),
        ("https://me:secret@example.org/v1", True, "user name"),
        ("https://example.org/v1?key=secret", True, "query"),
        ("https://exa mple.org:port/", True, "cannot be read"),
    ],
)
def test_addresses_that_a_key_must_not_go_to_are_refused(url, allow, said):
    with pytest.raises(StudyError, match=said) as caught:
        check_base_url(url, allow)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "allow"),
    [
        ("https://api.openai.com/v1", False),
        ("http://localhost:11434/v1", False),
        ("http://127.0.0.1:1/v1", False),
        ("http://[::1]:8000/v1", False),
        ("http://10.0.0.7:8000/v1", True),
    ],
)
def test_other_addresses_pass(url, allow):
    check_base_url(url, allow)


def test_calls_survive_the_lineage_database(web, connect, tmp_path):
    answer_with(web, completion("ä red “thing”"))
    call = connect().send(body(web))
    lineage = Lineage(root=str(tmp_path))
    lineage.commit({"llm_calls": [call.row()]})
    rows = lineage.query("SELECT * FROM llm_calls")
    assert [StoredCall.from_row(row) for row in rows] == [call]
    said = lineage.query(
        "SELECT response ->> '$.choices[0].message.content' AS said FROM llm_calls"
    )
    assert said == [{"said": "ä red “thing”"}]


class Scripted:
    """A server whose answers are computed here; counts what it is asked."""

    def __init__(
        self, seconds: float = 0.0, tokens: int = 4, failing: str = "", slow: str = ""
    ) -> None:
        self.seconds, self.tokens, self.failing, self.slow = seconds, tokens, failing, slow
        self.asked: Counter[str] = Counter()
        self.at_once = self.most = 0
        self._lock = threading.Lock()

    def open(self) -> None:
        pass

    def send(self, request) -> StoredCall:
        text = request["messages"]
        with self._lock:
            self.asked[text] += 1
            self.at_once += 1
            self.most = max(self.most, self.at_once)
        time.sleep(0.5 if self.slow and text.startswith(self.slow) else self.seconds)
        with self._lock:
            self.at_once -= 1
        if self.failing and text.startswith(self.failing):
            error = {"error": "down", "http_status": 503}
            return StoredCall(f"{request_hash(request)}:x", request, error, status="service_error")
        response = {"choices": [{"message": {"content": text.upper()}}]}
        return StoredCall(request_hash(request), request, response, 4, 4, 0.0)


def chat(*texts: str) -> Dialogue[list[str]]:
    said = []
    for text in texts:
        call = yield {"messages": text, "max_tokens": 10}
        said.append(call.content if call.status == "ok" else call.status)
    return said


def held(dialogues, server, ledger=None, limit=None, at_once=3):
    budget = Budget(limit)
    found = list(converse(dialogues, server, ledger or MemoryLedger(), budget, at_once))
    return [result for _, result in sorted(found)], budget


def test_no_more_calls_than_allowed_are_under_way_and_that_many_are():
    server = Scripted(seconds=0.05)
    results, _ = held([chat(f"a{i}", f"b{i}") for i in range(10)], server, at_once=3)
    assert results == [[f"A{i}", f"B{i}"] for i in range(10)]
    assert server.most == 3


def test_equal_requests_are_one_call_even_at_the_same_time():
    server = Scripted(seconds=0.05)
    results, budget = held([chat("same", "same", f"own {i}") for i in range(6)], server)
    assert all(result[:2] == ["SAME", "SAME"] for result in results)
    assert server.asked["same"] == 1
    assert server.asked.total() == 7
    assert budget.used == 7 * 8


def test_stored_calls_are_replayed_and_cost_nothing():
    ledger = MemoryLedger()
    first, _ = held([chat("a", "b")], Scripted(), ledger)
    server = Scripted()
    again, budget = held([chat("a", "b")], server, ledger, limit=1)
    assert again == first
    assert server.asked.total() == 0
    assert budget.used == 0


def test_failures_are_stored_but_not_replayed():
    ledger = MemoryLedger()
    assert held([chat("a")], Scripted(failing="a"), ledger)[0] == [["service_error"]]
    assert [call.status for call in ledger.calls.values()] == ["service_error"]
    assert held([chat("a")], Scripted(), ledger)[0] == [["A"]]
    assert [call.status for call in ledger.calls.values()] == ["service_error", "ok"]


def test_an_answer_is_stored_before_it_is_used():
    ledger = MemoryLedger()

    def careful() -> Dialogue[bool]:
        call = yield {"messages": "a", "max_tokens": 10}
        return ledger.get(call.request) is call

    assert held([careful()], Scripted(), ledger)[0] == [True]


def test_the_ledger_is_used_from_the_calling_thread_alone():
    threads = set()

    class Watched(MemoryLedger):
        def get(self, request_hash: str) -> StoredCall | None:
            threads.add(threading.get_ident())
            return super().get(request_hash)

        def put(self, call: StoredCall) -> None:
            threads.add(threading.get_ident())
            super().put(call)

    held([chat(str(i), "x") for i in range(5)], Scripted(), Watched())
    assert threads == {threading.get_ident()}


def test_an_estimate_is_a_third_of_the_bytes_and_the_answers_limit():
    request = {"max_tokens": 100}  # {"max_tokens":100} has 18 bytes
    assert Budget().estimate(request) == 18 // 3 + 100


@pytest.mark.parametrize(
    ("tokens", "status", "used"),
    [((30, 12), "ok", 42), ((0, 0), "ok", 100), ((0, 0), "service_error", 0)],
)
def test_a_call_counts_as_the_server_says_or_else_as_estimated(tokens, status, used):
    request = {"max_tokens": 94}  # 17 bytes and the answer: 100 tokens by estimate
    budget = Budget(1_000)
    budget.reserve(request)
    assert budget.reserved == 100
    budget.settle(request, StoredCall("hash", request, {}, *tokens, status=status))
    assert (budget.used, budget.reserved) == (used, 0)


@pytest.mark.parametrize("at_once", [1, 4])
def test_the_budget_stops_before_the_call_that_would_exceed_it(at_once):
    one = Budget().estimate({"messages": "a0", "max_tokens": 10})
    server = Scripted(seconds=0.01)  # a call uses 8 tokens, fewer than estimated
    # Before call k, 8(k-1) tokens are used, so calls go on while 8(k-1) + one <= limit.
    limit = 16 + one
    results, budget = held([chat(f"a{i}") for i in range(8)], server, limit=limit, at_once=at_once)
    assert server.asked.total() == 3
    assert results == [["A0"], ["A1"], ["A2"], *[["over_budget"]] * 5]  # in turn, however many
    assert budget.used == 24 <= limit
    assert budget.reserved == 0


@pytest.mark.parametrize("at_once", [1, 4])
def test_money_stops_before_the_call_that_would_exceed_it(at_once):
    """Prices per million tokens: 2 for what is read, 8 for what is written."""
    prices = {"price_prompt": 2.0, "price_completion": 8.0}
    one = Budget().estimate({"messages": "a0", "max_tokens": 10}) - 10
    most = (one * 2 + 10 * 8) / 1e6
    each = (4 * 2 + 4 * 8) / 1e6  # a scripted call reads 4 tokens and writes 4
    ledger, server = MemoryLedger(), Scripted(seconds=0.01)
    budget = Budget(max_cost=2 * each + most * 1.000001, **prices)

    dialogues = [chat(f"a{i}") for i in range(8)]
    results = sorted(converse(dialogues, server, ledger, budget, at_once))

    assert [said for _, (said,) in results] == ["A0", "A1", "A2", *["over_budget"] * 5]
    assert server.asked.total() == 3, "no other request left"
    assert budget.spent == pytest.approx(3 * each)
    assert budget.pledged == pytest.approx(0.0, abs=1e-12)
    assert [call.cost for call in ledger.calls.values()] == pytest.approx([each] * 3)
    assert "summariser.max_cost" in budget.refusal({"messages": "a9", "max_tokens": 10})


def test_what_a_call_cost_is_unknown_without_prices_and_after_a_failure():
    sound = StoredCall("hash", {"max_tokens": 94}, {}, 1_000, 500)
    priced = Budget(price_prompt=2.0, price_completion=8.0)
    assert Budget().cost(sound) is None
    assert priced.cost(sound) == pytest.approx(0.006)
    assert priced.cost(replace(sound, status="service_error")) is None
    uncounted = replace(sound, prompt_tokens=0, completion_tokens=0)
    assert priced.cost(uncounted) == pytest.approx((6 * 2 + 94 * 8) / 1e6)


def test_each_picture_counts_in_the_estimate():
    picture = {"type": "image_url", "image_url": {"url": "x"}}
    words = {"type": "text", "text": "hello"}
    shown = {"messages": [{"role": "user", "content": [words, picture, picture]}], "max_tokens": 10}
    plain = Budget().estimate(shown)
    assert Budget(picture_tokens=700).estimate(shown) == plain + 1_400


def test_a_call_that_was_not_made_is_not_stored():
    ledger = MemoryLedger()
    assert held([chat("a")], Scripted(), ledger, limit=1)[0] == [["over_budget"]]
    assert ledger.calls == {}


def test_a_dead_server_is_given_up_on():
    server = Scripted(failing="a")
    results, _ = held([chat(f"a{i}") for i in range(100)], server, at_once=2)
    assert results == [["service_error"]] * 100
    assert 12 <= server.asked.total() <= 13


def test_failures_of_some_units_leave_the_others_alone():
    server = Scripted(failing="bad")
    texts = [f"bad {i}" if i % 2 else f"good {i}" for i in range(40)]
    results, _ = held([chat(text) for text in texts], server, at_once=1)
    assert results == [["service_error"] if i % 2 else [f"GOOD {i}"] for i in range(40)]


def test_what_was_paid_for_is_stored_when_the_work_stops():
    ledger, server = MemoryLedger(), Scripted(slow="b")
    running = converse([chat("a"), chat("b")], server, ledger, Budget(), 2)
    assert next(running) == (0, ["A"])
    assert len(ledger.calls) == 1  # "b" is under way
    running.close()
    assert [call.content for call in ledger.calls.values()] == ["A", "B"]


def test_a_ledger_that_fails_ends_the_work_with_its_error():
    class Full(MemoryLedger):
        def put(self, call: StoredCall) -> None:
            raise OSError("no space left")

    with pytest.raises(OSError, match="no space left"):
        held([chat("a"), chat("b")], Scripted(), Full())
