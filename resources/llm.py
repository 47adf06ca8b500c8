"""Calls to a language model: the ledger of answers, the server, and many dialogues at once.

A dialogue is a generator that yields requests and is sent the answers. One thread drives all the
dialogues, and it alone touches the ledger and the budget; other threads only wait for the
server. Every answer is stored before a dialogue sees it, and a request that is stored already is
answered from there, with no network and no key: a paid answer is never paid for twice.
"""

from __future__ import annotations

import logging
import os
import re
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Generic, Protocol, TypeVar, cast

import httpx2
from pydantic import BaseModel, Field, ValidationError
from pydantic_core import from_json

from dnd_assets.addresses import is_loopback
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
_WITHOUT_SERVER = {
    "summariser": "summariser.kind = 'consensus'",
    "captioner": "captioner.kind = 'blip'",
    "text_to_image": "text_to_image.kind = 'diffusers'",
}
"""By section of the study, a choice that calls no one."""
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
        status: `ok` when the server answered with what was asked for, whatever it says.
        cost: of the call, by the study's prices; None where it names none.
    """

    request: str
    body: Mapping[str, Json]
    response: Json
    prompt_tokens: int = 0
    completion_tokens: int = 0
    seconds: float = 0.0
    status: Status = "ok"
    cost: float | None = None

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
        """The row of table `llm_calls`."""
        return {
            "request_hash": self.request,
            "request": canonical(self.body),
            "response": canonical(self.response),
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": self.completion_tokens,
            "cost": self.cost,
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
            row["cost"],
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


class Spending(Protocol):
    """What calls may use. Asked from one thread at a time, before and after each call."""

    def fits(self, body: Mapping[str, Json]) -> bool:
        """Whether a call can be made, even if all those under way use their whole share."""
        ...

    def reserve(self, body: Mapping[str, Json]) -> None:
        """Put aside what a call may use at most."""
        ...

    def cost(self, call: StoredCall) -> float | None:
        """What a call that has ended cost; None when no price is known."""
        ...

    def settle(self, body: Mapping[str, Json], call: StoredCall) -> None:
        """Count a call that has ended in place of what was put aside for it."""
        ...

    def refusal(self, body: Mapping[str, Json]) -> str:
        """Why a call does not fit, and which setting to raise."""
        ...

    def close(self) -> None:
        """Count calls that were under way when the work was left."""
        ...


@dataclass
class Budget:
    """Tokens and money that may be used, prompt and completion together.

    A call's size is estimated before it is made: a token for every three bytes of the request,
    `picture_tokens` for each picture in it, and its token limit for the answer. Once it has ended
    the server's count replaces the estimate.

    Attributes:
        limit: tokens that may be used; None for no limit.
        used: tokens of the calls that have ended.
        reserved: estimates of the calls under way.
        max_cost: money that may be used, in the currency of the prices; None for no limit.
        price_prompt: price of a million tokens read by the model; None when it is not known.
        price_completion: price of a million tokens written by the model; None likewise.
        picture_tokens: tokens of a picture in a request, by estimate.
        section: the section of the study whose settings these are.
        spent: money for the calls that have ended.
        pledged: money for the calls under way, by estimate.
    """

    limit: int | None = None
    used: int = 0
    reserved: int = 0
    max_cost: float | None = None
    price_prompt: float | None = None
    price_completion: float | None = None
    picture_tokens: int = 0
    section: str = "summariser"
    spent: float = 0.0
    pledged: float = 0.0

    def estimate(self, body: Mapping[str, Json]) -> int:
        """Tokens that a request may use at most, by estimate."""
        return sum(self._sizes(body))

    def fits(self, body: Mapping[str, Json]) -> bool:
        """Whether a call can be made, even if all those under way use their whole share."""
        tokens, money = self.used + self.reserved + self.estimate(body), self._most(body)
        return (self.limit is None or tokens <= self.limit) and (
            self.max_cost is None or self.spent + self.pledged + money <= self.max_cost
        )

    def reserve(self, body: Mapping[str, Json]) -> None:
        """Put aside what a call may use at most."""
        self.reserved += self.estimate(body)
        self.pledged += self._most(body)

    def cost(self, call: StoredCall) -> float | None:
        """Price of the tokens of a call that has ended; None without prices."""
        if self.price_prompt is None or self.price_completion is None:
            return None
        if call.status != "ok":
            return None  # servers differ in what they charge for failures
        if not call.prompt_tokens + call.completion_tokens:  # a server that does not count
            return self._most(call.body)
        return self._price(call.prompt_tokens, call.completion_tokens)

    def settle(self, body: Mapping[str, Json], call: StoredCall) -> None:
        """Count a call that has ended; a server that does not count is taken at the estimate."""
        estimated = self.estimate(body)
        counted = call.prompt_tokens + call.completion_tokens
        self.reserved -= estimated
        self.used += counted or (estimated if call.status == "ok" else 0)
        self.pledged -= self._most(body)
        self.spent += self.cost(call) or 0.0

    def refusal(self, body: Mapping[str, Json]) -> str:
        """Why a call does not fit, and which setting to raise."""
        tokens = self.estimate(body)
        if self.limit is not None and self.used + tokens > self.limit:
            name, what = (
                "max_tokens",
                f"take {tokens:,} tokens, and {self.used:,} of {self.limit:,}",
            )
        else:
            name, most = "max_cost", self.max_cost or 0.0
            what = f"cost {self._most(body):.6f}, and {self.spent:.6f} of {most:.6f}"
        return (
            f"the next call may {what} are used. Raise {self.section}.{name} and run again; "
            "answers so far are kept."
        )

    def close(self) -> None:
        """Count calls that were under way when the work was left at their estimates."""
        self.used, self.reserved = self.used + self.reserved, 0
        self.spent, self.pledged = self.spent + self.pledged, 0.0

    def _sizes(self, body: Mapping[str, Json]) -> tuple[int, int]:
        """Tokens read and written at most, by estimate."""
        text = -(-len(canonical(dict(body)).encode()) // 3)
        return text + self.picture_tokens * _pictures_in(body), int(body["max_tokens"])

    def _most(self, body: Mapping[str, Json]) -> float:
        return self._price(*self._sizes(body))

    def _price(self, prompt: int, completion: int) -> float:
        return (
            prompt * (self.price_prompt or 0.0) + completion * (self.price_completion or 0.0)
        ) / 1e6


def _pictures_in(body: Mapping[str, Json]) -> int:
    """Pictures that a request shows to the model."""
    turns = [turn for turn in body.get("messages", ()) if isinstance(turn, Mapping)]
    lists = [turn["content"] for turn in turns if isinstance(turn["content"], list)]
    return sum(part["type"] == "image_url" for parts in lists for part in parts)


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
        section: the section of the study that names the server.
        wire: makes what is sent of what is kept, where the two differ.
    """

    asked: ClassVar[str] = "chat completion"
    largest: ClassVar[int] = LARGEST_RESPONSE

    def __init__(
        self,
        base_url: str,
        api_key_env: str,
        timeout_s: float,
        max_retries: int,
        section: str = "summariser",
        wire: Callable[[Mapping[str, Json]], Mapping[str, Json]] = dict,
    ) -> None:
        self._base_url = base_url
        self._section = section
        self._wire = wire
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

        read_key(self._api_key_env, self._section)
        self._filter = _KeyFilter(self._api_key_env)
        for name in _LOGGERS:
            logging.getLogger(name).addFilter(self._filter)
        self._client = OpenAI(
            api_key=read_key(self._api_key_env, self._section) or "none",
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
        return StoredCall(
            request_hash(body), dict(body), response, *self._tokens(response), seconds
        )

    def _post(self, arguments: dict[str, Any]) -> bytes:
        """Make one call, and return the body of the answer."""
        create = self._client.chat.completions.with_raw_response.create
        data: bytes = create(**arguments).http_response.content
        return data

    def _tokens(self, response: Json) -> tuple[int, int]:
        """Tokens read and written, as the server counted them.

        Raises:
            ValidationError: when the answer is not what was asked for.
        """
        usage = _Completion.model_validate(response).usage or _Usage()  # type: ignore[call-arg]
        return usage.prompt_tokens, usage.completion_tokens

    def _exchange(self, body: Mapping[str, Json]) -> tuple[Status, Json]:
        import openai

        arguments = {name: value for name, value in self._wire(body).items() if name != "base_url"}
        try:
            data = self._post(arguments)
        except openai.APIStatusError as error:
            return self._failure(error), self._http_error(error)
        except openai.APITimeoutError:
            return "service_error", self._error(f"no answer within {self._timeout_s:g} s")
        except openai.APIConnectionError as error:
            return "service_error", self._error(f"no connection: {error.__cause__ or error}")
        except _ResponseRefusedError as error:
            return "invalid_response", self._error(str(error))
        return self._read(data)

    def _read(self, data: bytes) -> tuple[Status, Json]:
        text = data.decode(errors="replace")
        try:
            response = from_json(self._without_key(text), allow_inf_nan=False)
            self._tokens(response)
        except (ValueError, ValidationError):
            what = " ".join(text[:200].split()) or "nothing"
            return "service_error", self._error(f"the answer is no {self.asked}: {what}")
        return "ok", response

    def _failure(self, error: Any) -> Status:
        """What an answer with an HTTP status of failure means."""
        return "service_error"

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
        response.stream = _BoundedStream(stream, self._timeout_s, self.largest)


class _ResponseRefusedError(Exception):
    """A response that is not read to its end; not tried again."""


class _BoundedStream(httpx2.SyncByteStream):
    """A body that ends in an error when it is too large, or too slow as a whole."""

    def __init__(self, stream: httpx2.SyncByteStream, timeout_s: float, largest: int) -> None:
        self._stream = stream
        self._largest = largest
        self._deadline = time.monotonic() + timeout_s

    def __iter__(self) -> Iterator[bytes]:
        size = 0
        for chunk in self._stream:
            size += len(chunk)
            if size > self._largest:
                raise _ResponseRefusedError(f"the answer is larger than {self._largest:,} bytes")
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


def read_key(api_key_env: str, section: str = "summariser") -> str:
    """The key in the environment variable `api_key_env`; empty when no variable is named.

    Raises:
        StudyError: when the variable is unset, empty or holds what no key can; without its value.
    """
    if not api_key_env:
        return ""
    # Frames that raise hold no key, as some error reports print local variables.
    if not os.environ.get(api_key_env, "").strip():
        raise StudyError(
            f"the study's {section} reads its key from the environment variable {api_key_env}, "
            f"which is not set. Set it (export {api_key_env}=…), name another variable in "
            f"`{section}.api_key_env`, write api_key_env = '' for a server that needs no key, or "
            f"choose {_WITHOUT_SERVER[section]}, which needs no server."
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


def check_base_url(base_url: str, allow_insecure_http: bool, section: str = "summariser") -> None:
    """Refuse an address that a key must not be sent to.

    Raises:
        StudyError: when it is no address, carries credentials or a query, or is plain http to
            another machine without `allow_insecure_http`.
    """
    problem = ""
    try:
        url = httpx2.URL(base_url)
    except (httpx2.InvalidURL, ValueError):
        what = _url_advice(section, "the address given", "cannot be read")
        raise StudyError(what) from None
    if url.userinfo or url.query or url.fragment:
        problem = "carries a user name, a query or a fragment"
        raise StudyError(_url_advice(section, url.host, problem))
    if url.scheme not in ("http", "https") or not url.host:
        problem = "is no http(s) address"
    elif url.scheme == "http" and not (allow_insecure_http or is_loopback(url.host)):
        problem = (
            "would send the key and all that is asked in the clear; use https, or write "
            "allow_insecure_http = true if the network between is yours"
        )
    if problem:
        raise StudyError(_url_advice(section, base_url, problem))


def _url_advice(section: str, what: str, problem: str) -> str:
    return (
        f"{section}.base_url: {what!r} {problem}. It should read like https://api.openai.com/v1 "
        "or http://127.0.0.1:11434/v1; the key goes into the variable named by `api_key_env`."
    )


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
    budget: Spending,
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
        budget: counts what calls use; used from the calling thread alone.
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
    budget: Spending
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
                        self.ledger.put(self._priced(future.result()))
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
        elif self.budget.fits(body):
            self._submit(index, name, body)
        elif self.flying:
            self.postponed.append((index, body))
        else:
            self.ready.append((index, _not_made(body, "over_budget", self.budget.refusal(body))))

    def _submit(self, index: int, name: str, body: dict[str, Json]) -> None:
        self.server.open()
        self.budget.reserve(body)
        self.flying[self.pool.submit(self.server.send, body)] = name
        self.listeners[name] = [index]

    def _collect(self) -> None:
        """Wait for an answer, store it, and hand it to those who asked."""
        done, _ = wait(self.flying, return_when=FIRST_COMPLETED)
        for future in done:
            call = self._priced(future.result())
            self.ledger.put(call)
            self.budget.settle(call.body, call)
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

    def _priced(self, call: StoredCall) -> StoredCall:
        return replace(call, cost=self.budget.cost(call))
