"""Calls to a language model: the ledger of answers, the server, and many dialogues at once.

A dialogue is a generator that yields requests and is sent the answers. One thread drives all the
dialogues, and it alone touches the ledger and the token budget; other threads only wait for the
server. Every answer is stored before a dialogue sees it, and a request that is stored already is
answered from there, with no network and no key: a paid answer is never paid for twice.
"""

from __future__ import annotations

import ipaddress
import logging
import os
import re
import time
from collections import deque
from collections.abc import Generator, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar, cast

import httpx2
from pydantic import BaseModel, Field, ValidationError
from pydantic_core import from_json

from dnd_assets.errors import StudyError
from dnd_assets.lineage.fingerprint import Json, canonical, digest
from dnd_assets.lineage.records import Status

T = TypeVar("T")

LARGEST_RESPONSE = 10_000_000
"""Bytes of a response that are read; a larger one is refused while it is being read."""

_GRACE_S = 3.0
_LASTING = frozenset({401, 403, 404})
"""HTTP statuses that every further call would meet too."""
_PATIENCE = 12
"""Failures of the server in a row after which it is not asked again."""
_LOGGERS = (
    "openai._base_client", "httpx2", "httpcore2.connection", "httpcore2.http11", "httpcore2.http2",
    "httpcore2.proxy",
)  # fmt: skip


@dataclass(frozen=True)
class StoredCall:
    """One request to a language model and what came back; a row of table `llm_calls`.

    Attributes:
        request: the request's hash (`request_hash`). A failed call carries the hash of its failure
            behind a colon, so that it is kept for audit, but never found as the answer. Empty for
            a call that was not made.
        body: the request: server, model, messages, temperature, seed, response format; no key.
        response: the server's JSON verbatim (its text where it is no JSON), or
            `{"error": …, "http_status": …}`.
        prompt_tokens: tokens read by the model, as the server counted them.
        completion_tokens: tokens written by the model, as the server counted them.
        seconds: wall time of the call with its retries.
        status: `ok` when the server answered with a chat completion, whatever it says.
    """

    request: str
    body: Mapping[str, Json]
    response: Json
    prompt_tokens: int = 0
    completion_tokens: int = 0
    seconds: float = 0.0
    status: Status = "ok"

    @property
    def content(self) -> str:
        """What the model wrote; empty when it refused or the call failed."""
        if self.status != "ok":
            return ""
        return _Completion.model_validate(self.response).choices[0].message.content or ""

    @property
    def error(self) -> str:
        """Why the call failed; empty when it did not."""
        return "" if self.status == "ok" else str(self.response["error"])

    def row(self) -> dict[str, Any]:
        """The row of table `llm_calls`. The cost is unknown here, as prices are not fixed."""
        return {
            "request_hash": self.request,
            "request": canonical(self.body),
            "response": canonical(self.response),
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": self.completion_tokens,
            "cost": None,
            "seconds": self.seconds,
            "status": self.status,
        }

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> StoredCall:
        """The call that `row` of table `llm_calls` tells of."""
        return cls(
            row["request_hash"],
            from_json(row["request"]),
            from_json(row["response"]),
            row["prompt_tokens"],
            row["completion_tokens"],
            row["seconds"],
            row["status"],
        )


class CallLedger(Protocol):
    """Where calls are kept.

    Called from one thread at a time, the one that called the summariser: it needs no lock.
    """

    def get(self, request_hash: str) -> StoredCall | None:
        """The stored call of a request, if there is one."""
        ...

    def put(self, call: StoredCall) -> None:
        """Keep a call for good before returning; a call that is stored already is left as it is."""
        ...


class MemoryLedger:
    """A ledger that lives as long as the process.

    Attributes:
        calls: the stored calls by request hash, in the order in which they ended.
    """

    def __init__(self) -> None:
        self.calls: dict[str, StoredCall] = {}

    def get(self, request_hash: str) -> StoredCall | None:
        """The stored call of a request, if there is one."""
        return self.calls.get(request_hash)

    def put(self, call: StoredCall) -> None:
        """Keep a call; one that is stored already is left as it is."""
        self.calls.setdefault(call.request, call)


def request_hash(body: Mapping[str, Json]) -> str:
    """SHA-256 of a request's canonical JSON.

    It covers everything the answer depends on: `base_url` (two servers may give one name to
    different weights), model, messages, temperature, seed, response format and token limit. Key,
    timeout, retries and budget are not part of a request.
    """
    return digest(dict(body))


class _Message(BaseModel):
    content: str | None = None


class _Choice(BaseModel):
    message: _Message


class _Usage(BaseModel):
    prompt_tokens: int = Field(0, ge=0)
    completion_tokens: int = Field(0, ge=0)


class _Completion(BaseModel):
    """The parts of a chat completion that are used; servers differ in the rest."""

    choices: list[_Choice] = Field(min_length=1)
    usage: _Usage | None = None


@dataclass
class Budget:
    """Tokens that may be used, prompt and completion together.

    A call's size is estimated before it is made: a token for every three bytes of the request,
    and its token limit for the answer. Once it has ended the server's count replaces the estimate.

    Attributes:
        limit: tokens that may be used; None for no limit.
        used: tokens of the calls that have ended.
        reserved: estimates of the calls under way.
    """

    limit: int | None = None
    used: int = 0
    reserved: int = 0

    @staticmethod
    def estimate(body: Mapping[str, Json]) -> int:
        """Tokens that a request may use at most, by estimate."""
        return -(-len(canonical(dict(body)).encode()) // 3) + int(body["max_tokens"])

    def fits(self, tokens: int) -> bool:
        """Whether a call of this size can be made, even if all those under way use their share."""
        return self.limit is None or self.used + self.reserved + tokens <= self.limit

    def settle(self, estimated: int, call: StoredCall) -> None:
        """Count a call that has ended; a server that does not count is taken at the estimate."""
        counted = call.prompt_tokens + call.completion_tokens
        self.reserved -= estimated
        self.used += counted or (estimated if call.status == "ok" else 0)


class Server(Protocol):
    """What `converse` needs of a server."""

    def open(self) -> None:
        """Get ready for calls; called from the driving thread before the first one."""
        ...

    def send(self, body: Mapping[str, Json]) -> StoredCall:
        """Make one call; called from any thread."""
        ...


class ChatServer:
    """A server that speaks the OpenAI chat API.

    The key is read from the environment when the first call is made. It goes to that server alone
    (redirects are not followed) and is struck out of everything that comes back, and of the log.

    Args:
        base_url: address of the API, ending in the version (`…/v1`).
        api_key_env: environment variable that holds the key; empty for a server that needs none.
        timeout_s: seconds to wait for the connection, for the next bytes, and for a whole body.
        max_retries: further attempts after a timeout, a lost connection, HTTP 408, 409, 429 or
            5xx, with growing pauses or those the server asks for.
    """

    def __init__(self, base_url: str, api_key_env: str, timeout_s: float, max_retries: int) -> None:
        self._base_url = base_url
        self._api_key_env = api_key_env
        self._timeout_s = timeout_s
        self._max_retries = max_retries
        self._client: Any = None
        self._filter: logging.Filter | None = None

    def open(self) -> None:
        """Make the client.

        Raises:
            StudyError: when the environment variable holds no key.
        """
        if self._client is not None:
            return
        from openai import DefaultHttpxClient, OpenAI

        read_key(self._api_key_env)
        self._filter = _KeyFilter(self._api_key_env)
        for name in _LOGGERS:
            logging.getLogger(name).addFilter(self._filter)
        self._client = OpenAI(
            api_key=read_key(self._api_key_env) or "none",
            base_url=self._base_url,
            timeout=self._timeout_s,
            max_retries=self._max_retries,
            # Compressed bodies could grow past any limit when they are unpacked.
            default_headers={"Accept-Encoding": "identity"},
            http_client=DefaultHttpxClient(
                follow_redirects=False,
                timeout=self._timeout_s,
                event_hooks={"response": [self._bound]},
            ),
        )

    def close(self) -> None:
        """Give the connections back; the server may be opened again."""
        if self._client is not None:
            self._client.close()
            self._client = None
        if self._filter is not None:
            for name in _LOGGERS:
                logging.getLogger(name).removeFilter(self._filter)

    def send(self, body: Mapping[str, Json]) -> StoredCall:
        """Make one call and say how it ended; failures of the server are no exceptions."""
        started = time.monotonic()
        status, response = self._exchange(body)
        seconds = round(time.monotonic() - started, 3)
        if status != "ok":
            return _failed(body, status, response, seconds)
        usage = _Completion.model_validate(response).usage or _Usage()  # type: ignore[call-arg]
        return StoredCall(
            request_hash(body),
            dict(body),
            response,
            usage.prompt_tokens,
            usage.completion_tokens,
            seconds,
        )

    def _exchange(self, body: Mapping[str, Json]) -> tuple[Status, Json]:
        import openai

        arguments = {name: value for name, value in body.items() if name != "base_url"}
        create = self._client.chat.completions.with_raw_response.create
        try:
            data = create(**arguments).http_response.content
        except openai.APIStatusError as error:
            return "service_error", self._http_error(error)
        except openai.APITimeoutError:
            return "service_error", self._error(f"no answer within {self._timeout_s:g} s")
        except openai.APIConnectionError as error:
            return "service_error", self._error(f"no connection: {error.__cause__ or error}")
        except _ResponseRefusedError as error:
            return "invalid_response", self._error(str(error))
        return self._completion(data)

    def _completion(self, data: bytes) -> tuple[Status, Json]:
        text = data.decode(errors="replace")
        try:
            response = from_json(self._without_key(text), allow_inf_nan=False)
            _Completion.model_validate(response)
        except (ValueError, ValidationError):
            what = " ".join(text[:200].split()) or "nothing"
            return "service_error", self._error(f"the answer is no chat completion: {what}")
        return "ok", response

    def _http_error(self, error: Any) -> dict[str, Json]:
        code = int(error.status_code)
        hints = {
            401: f"the key in {self._api_key_env or 'api_key_env'} is not accepted",
            403: f"the key in {self._api_key_env or 'api_key_env'} may not use this model",
            404: "no such address or model; check `base_url` and `model`",
            429: "too many requests, or the account has no credit",
        }
        hint = "redirects are not followed" if 300 <= code < 400 else hints.get(code, "")
        said = " ".join(str(error.message)[:300].split())
        return {**self._error(f"HTTP {code}: {hint or said}", said), "http_status": code}

    def _error(self, what: str, said: str = "") -> dict[str, Json]:
        found = {"error": self._without_key(f"{self._base_url}: {what}")}
        return found | ({"server_said": self._without_key(said)} if said else {})

    def _without_key(self, text: str) -> str:
        return without_key(text, self._api_key_env)

    def _bound(self, response: httpx2.Response) -> None:
        coding = response.headers.get("content-encoding", "identity")
        if coding != "identity":
            raise _ResponseRefusedError(f"the answer is compressed ({coding}), which was not asked")
        stream = cast("httpx2.SyncByteStream", response.stream)
        response.stream = _BoundedStream(stream, self._timeout_s)


class _ResponseRefusedError(Exception):
    """A response that is not read to its end; not tried again."""


class _BoundedStream(httpx2.SyncByteStream):
    """A body that ends in an error when it is too large, or too slow as a whole."""

    def __init__(self, stream: httpx2.SyncByteStream, timeout_s: float) -> None:
        self._stream = stream
        self._deadline = time.monotonic() + timeout_s

    def __iter__(self) -> Iterator[bytes]:
        size = 0
        for chunk in self._stream:
            size += len(chunk)
            if size > LARGEST_RESPONSE:
                raise _ResponseRefusedError(f"the answer is larger than {LARGEST_RESPONSE:,} bytes")
            if time.monotonic() > self._deadline:
                raise httpx2.ReadTimeout("the body takes too long")
            yield chunk

    def close(self) -> None:
        self._stream.close()


class _KeyFilter(logging.Filter):
    """Strikes the key out of log records, should a server send it back."""

    def __init__(self, api_key_env: str) -> None:
        super().__init__()
        self._api_key_env = api_key_env

    def filter(self, record: logging.LogRecord) -> bool:
        text = record.getMessage()
        clean = without_key(text, self._api_key_env)
        if clean != text:
            record.msg, record.args = clean, None
        return True


def read_key(api_key_env: str) -> str:
    """The key in the environment variable `api_key_env`; empty when no variable is named.

    Raises:
        StudyError: when the variable is unset, empty or holds what no key can; without its value.
    """
    if not api_key_env:
        return ""
    # Frames that raise hold no key, as some error reports print local variables.
    if not os.environ.get(api_key_env, "").strip():
        raise StudyError(
            f"the chat summariser reads its key from the environment variable {api_key_env}, "
            f"which is not set. Set it (export {api_key_env}=…), name another variable in "
            "`summariser.api_key_env`, write api_key_env = '' for a server that needs no key, or "
            "choose summariser.kind = 'consensus', which needs no server."
        )
    if re.fullmatch(r"[\x21-\x7e]+", os.environ[api_key_env].strip()) is None:
        raise StudyError(
            f"the environment variable {api_key_env} holds blanks or letters that no key has. "
            "Set it to the key alone."
        )
    return os.environ[api_key_env].strip()


def without_key(text: str, api_key_env: str) -> str:
    """`text` with the key struck out.

    Keys of fewer than 8 characters ("none", "EMPTY") are placeholders of local servers and stay:
    they are no secret and would be found inside words.
    """
    key = os.environ.get(api_key_env, "").strip() if api_key_env else ""
    return text.replace(key, "<key>") if len(key) >= 8 else text


def check_base_url(base_url: str, allow_insecure_http: bool) -> None:
    """Refuse an address that a key must not be sent to.

    Raises:
        StudyError: when it is no address, carries credentials or a query, or is plain http to
            another machine without `allow_insecure_http`.
    """
    problem = ""
    try:
        url = httpx2.URL(base_url)
    except (httpx2.InvalidURL, ValueError):
        raise StudyError(_url_advice("the address given", "cannot be read")) from None
    if url.userinfo or url.query or url.fragment:
        raise StudyError(_url_advice(url.host, "carries a user name, a query or a fragment"))
    if url.scheme not in ("http", "https") or not url.host:
        problem = "is no http(s) address"
    elif url.scheme == "http" and not (allow_insecure_http or _is_loopback(url.host)):
        problem = (
            "would send the key and the captions in the clear; use https, or write "
            "allow_insecure_http = true if the network between is yours"
        )
    if problem:
        raise StudyError(_url_advice(base_url, problem))


def _url_advice(what: str, problem: str) -> str:
    return (
        f"summariser.base_url: {what!r} {problem}. It should read like https://api.openai.com/v1 "
        "or http://127.0.0.1:11434/v1; the key goes into the variable named by `api_key_env`."
    )


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _failed(
    body: Mapping[str, Json], status: Status, response: Json, seconds: float = 0.0
) -> StoredCall:
    """A failed call, under a hash of its own."""
    request = f"{request_hash(body)}:{digest(response)[:12]}"
    return StoredCall(request, dict(body), response, seconds=seconds, status=status)


def _not_made(body: Mapping[str, Json], status: Status, error: str) -> StoredCall:
    return StoredCall("", dict(body), {"error": error}, status=status)


Dialogue = Generator[dict[str, Json], StoredCall, T]
"""Yields requests, is sent the calls, and returns its result."""


def converse(
    dialogues: Sequence[Dialogue[T]],
    server: Server,
    ledger: CallLedger,
    budget: Budget,
    at_once: int,
) -> Generator[tuple[int, T], None, None]:
    """Hold dialogues with a server, a few at a time.

    Equal requests of different dialogues are one call. A call that does not fit the budget waits
    for those under way to be counted, and is refused (`over_budget`) when it still does not fit.
    After HTTP 401, 403 or 404, or twelve failures in a row, no further call is made. When the
    caller stops early, calls under way get three seconds to end, and are stored.

    Args:
        dialogues: the dialogues; each sees only its own answers, so none depends on the others.
        server: makes the calls, from up to `at_once` threads.
        ledger: keeps the calls; used from the calling thread alone.
        budget: counts the tokens; used from the calling thread alone.
        at_once: dialogues, and so calls, under way at a time.

    Yields:
        Position and result of each dialogue, as they end.
    """
    desk = _Desk(dialogues, server, ledger, budget, at_once)
    try:
        yield from desk.results()
    finally:
        desk.leave()


@dataclass
class _Desk(Generic[T]):
    """The state of `converse`."""

    dialogues: Sequence[Dialogue[T]]
    server: Server
    ledger: CallLedger
    budget: Budget
    at_once: int
    pool: ThreadPoolExecutor = field(init=False)
    ready: deque[tuple[int, StoredCall | None]] = field(default_factory=deque)
    postponed: list[tuple[int, dict[str, Json]]] = field(default_factory=list)
    flying: dict[Future[StoredCall], str] = field(default_factory=dict)
    listeners: dict[str, list[int]] = field(default_factory=dict)
    failures: int = 0
    given_up: str = ""

    def __post_init__(self) -> None:
        self.pool = ThreadPoolExecutor(self.at_once, thread_name_prefix="llm")

    def results(self) -> Iterator[tuple[int, T]]:
        waiting = deque(range(len(self.dialogues)))
        open_dialogues = 0
        while waiting or open_dialogues:
            while waiting and open_dialogues < self.at_once:
                self.ready.append((waiting.popleft(), None))
                open_dialogues += 1
            for result in self._advance():
                open_dialogues -= 1
                yield result
            if self.flying:
                self._collect()

    def leave(self) -> None:
        """Store what still comes in within a moment, and end the threads."""
        if self.flying:
            done, _ = wait(self.flying, timeout=_GRACE_S)
            for future in done:
                if future.exception() is None:
                    with suppress(Exception):  # something failed already, which is what is told
                        self.ledger.put(future.result())
        self.pool.shutdown(wait=False, cancel_futures=True)

    def _advance(self) -> Iterator[tuple[int, T]]:
        """Carry every dialogue that has its answer on to its next request."""
        while self.ready:
            index, call = self.ready.popleft()
            try:
                # The first step of a generator takes None.
                request = self.dialogues[index].send(cast("StoredCall", call))
            except StopIteration as end:
                yield index, end.value
            else:
                self._place(index, request)

    def _place(self, index: int, body: dict[str, Json]) -> None:
        name = request_hash(body)
        if name in self.listeners:
            self.listeners[name].append(index)
            return
        stored = self.ledger.get(name)
        if stored is not None and stored.status == "ok":
            self.ready.append((index, stored))
        elif self.given_up:
            self.ready.append((index, _not_made(body, "service_error", self.given_up)))
        elif self.budget.fits(self.budget.estimate(body)):
            self._submit(index, name, body)
        elif self.flying:
            self.postponed.append((index, body))
        else:
            self.ready.append((index, _not_made(body, "over_budget", self._over_budget(body))))

    def _submit(self, index: int, name: str, body: dict[str, Json]) -> None:
        self.server.open()
        self.budget.reserved += self.budget.estimate(body)
        self.flying[self.pool.submit(self.server.send, body)] = name
        self.listeners[name] = [index]

    def _collect(self) -> None:
        """Wait for an answer, store it, and hand it to those who asked."""
        done, _ = wait(self.flying, return_when=FIRST_COMPLETED)
        for future in done:
            call = future.result()
            self.ledger.put(call)
            self.budget.settle(self.budget.estimate(call.body), call)
            self._judge(call)
            for index in self.listeners.pop(self.flying.pop(future)):
                self.ready.append((index, call))
        again, self.postponed = self.postponed, []
        for index, body in again:
            self._place(index, body)

    def _judge(self, call: StoredCall) -> None:
        """Give up on a server that cannot be expected to answer."""
        self.failures = self.failures + 1 if call.status == "service_error" else 0
        if self.failures >= _PATIENCE:
            self.given_up = f"given up after {self.failures} failures in a row; last: {call.error}"
        elif call.status == "service_error" and call.response.get("http_status") in _LASTING:
            self.given_up = call.error

    def _over_budget(self, body: dict[str, Json]) -> str:
        return (
            f"the next call may take {self.budget.estimate(body):,} tokens, and "
            f"{self.budget.used:,} of {self.budget.limit or 0:,} are used. Raise "
            "summariser.max_tokens and run again; answers so far are kept."
        )
