"""A server that speaks the OpenAI chat API: one call at a time, and what its failures mean.

The client library makes the requests, their retries and pauses (`Retry-After` included). Answers
are read here, not by its `parse`: they are kept as they came, and servers differ too much.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any, ClassVar, cast

import httpx2
from pydantic_core import from_json

from dnd_assets.errors import nearest
from dnd_assets.lineage.records import Status
from resources.servers.calls import StoredCall, failed, request_hash
from resources.servers.keys import LOGGERS, KeyFilter, read_key, without_key
from resources.servers.messages import Body, JsonObject, message_of
from resources.servers.options import KEPT_ONLY, MOST_CHANGES, Accepted, Memory, changes
from resources.servers.responses import as_response
from resources.servers.server_errors import hint_for, is_filter, said_by, shown

LARGEST_RESPONSE = 10_000_000
"""Bytes of a response that are read; a larger one is refused while it is being read."""

_LIST_S = 10.0
_REFUSING = frozenset({400, 422, 501})
"""HTTP statuses of a request that holds what the server does not take."""


class ChatServer:
    """A server that speaks the OpenAI chat API, or the responses API where a request says so.

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
        memory: what is known of servers; what this one refuses is put there.
    """

    asked: ClassVar[str] = "chat completion"
    path: ClassVar[str] = "/chat/completions"
    refused: ClassVar[Status] = "refused"
    largest: ClassVar[int] = LARGEST_RESPONSE

    def __init__(
        self,
        base_url: str,
        api_key_env: str,
        timeout_s: float,
        max_retries: int,
        section: str = "summariser",
        wire: Callable[[JsonObject], JsonObject] = dict,
        memory: Memory | None = None,
    ) -> None:
        self._base_url = base_url
        self._section = section
        self._wire = wire
        self._api_key_env = api_key_env
        self._timeout_s = timeout_s
        self._max_retries = max_retries
        self._memory = Memory() if memory is None else memory
        self._names: list[str] | None = None
        self._models_lock = threading.Lock()
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
        self._filter = KeyFilter(self._api_key_env)
        for name in LOGGERS:
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
                event_hooks={"response": [self._limit_body]},
            ),
        )

    def close(self) -> None:
        """Give the connections back; the server may be opened again."""
        if self._client is not None:
            self._client.close()
            self._client = None
        if self._filter is not None:
            for name in LOGGERS:
                logging.getLogger(name).removeFilter(self._filter)

    def send(self, body: JsonObject) -> StoredCall:
        """Make one call and say how it ended; failures of the server are no exceptions.

        A call is made again without the options that the server says it does not take.
        """
        started = time.monotonic()
        status, response, sent = self._exchange(body)
        seconds = round(time.monotonic() - started, 3)
        if status != "ok":
            return failed(body, status, response, seconds, sent)
        name = request_hash(body)
        return StoredCall(name, dict(body), response, *self._tokens(response), seconds, sent=sent)

    def _post(self, body: JsonObject, arguments: Body) -> bytes:
        """Make one call, and return the body of the answer."""
        path = self.path
        if body.get("api") == "responses":
            path, arguments = "/responses", as_response(arguments)
        data: bytes = self._client.post(path, cast_to=httpx2.Response, body=arguments).content
        return data

    def _tokens(self, response: JsonObject) -> tuple[int, int]:
        """Tokens read and written, as the server counted them.

        Raises:
            ValueError: when the answer is not what was asked for.
        """
        message = message_of(response)
        if message.end == "interrupted":
            raise ValueError("the server broke the answer off")
        return message.prompt_tokens, message.completion_tokens

    def _exchange(self, body: JsonObject) -> tuple[Status, JsonObject, Body]:
        """How a call ended, what came back, and what was changed of the request for it."""
        import openai

        options = {name: value for name, value in self._wire(body).items() if name not in KEPT_ONLY}
        options |= body.get("extra", {})
        for _ in range(MOST_CHANGES):
            accepted = self._memory.accepted(body)
            arguments = accepted.applied(options)
            sent = changes(options, arguments)
            try:
                data = self._post(body, arguments)
            except openai.APIStatusError as error:
                if _is_refused(error, self._memory, body, accepted, options):
                    continue
                return *self._http_failure(body, error), sent
            except openai.APITimeoutError:
                return "service_error", self._error(f"no answer within {self._timeout_s:g} s"), sent
            except openai.APIConnectionError as error:
                problem = f"no connection: {error.__cause__ or error}"
                return "service_error", self._error(problem), sent
            except _ResponseRefusedError as error:
                return "invalid_response", self._error(str(error)), sent
            return *self._read_answer(data), sent
        problem = f"the server refuses the request however it is asked ({MOST_CHANGES} ways)"
        return "service_error", self._error(problem), {}

    def _read_answer(self, data: bytes) -> tuple[Status, JsonObject]:
        text = data.decode(errors="replace")
        try:
            response = from_json(self._without_key(text), allow_inf_nan=False)
        except ValueError:
            return "service_error", self._error(f"the answer is no {self.asked}: {shown(text)}")
        try:
            self._tokens(response)
        except ValueError:
            if isinstance(response, dict) and response.get("error"):
                return self._error_answer(response["error"])
            return "service_error", self._error(f"the answer is no {self.asked}: {shown(text)}")
        return "ok", response

    def _error_answer(self, error: Any) -> tuple[Status, JsonObject]:
        """An error in an answer with HTTP status 200, as proxies send."""
        text = error if isinstance(error, str) else str(error.get("message", error))
        status: Status = self.refused if is_filter(error) else "service_error"
        problem = f"the answer is no {self.asked} but an error: {shown(text)}"
        return status, self._error(problem, shown(text))

    def _http_failure(self, body: JsonObject, error: Any) -> tuple[Status, JsonObject]:
        """What an answer with an HTTP status of failure means."""
        code, message = int(error.status_code), shown(said_by(error))
        if code < 500 and code not in (401, 404, 429) and is_filter(error.body):
            problem = (
                f"HTTP {code}: a content filter of the server's refuses the request: {message}"
            )
            return self.refused, {**self._error(problem, message), "http_status": code}
        hint = hint_for(code, self._api_key_env) or message
        if code == 404:
            hint = self._missing_advice(str(body["model"]), message)
        response = {**self._error(f"HTTP {code}: {hint}", message), "http_status": code}
        if getattr(error, "code", None) == "insufficient_quota":
            response["lasting"] = True
        return "service_error", response

    def _missing_advice(self, model: str, message: str) -> str:
        """What to do about a model or an address that the server does not know."""
        names = self._models()
        if names and model not in names:
            close = ", ".join(nearest(model, names))
            return f"the server has no model {model!r}; nearest: {close}. Set {self._section}.model"
        if names:
            problem = f"the server has the model {model!r}, but not the address {self.path}"
            return f"{problem}; check `base_url`, which should end in the version (…/v1)"
        return f"no such address or model; check `base_url` and `model`. The server said: {message}"

    def _models(self) -> list[str]:
        """Names of the models that the server lists; empty when it lists none."""
        with self._models_lock:
            if self._names is None:
                self._names = []
                with suppress(Exception):  # a help for the message, no part of the work
                    client = self._client.with_options(max_retries=0, timeout=_LIST_S)
                    models = client.get("/models", cast_to=httpx2.Response).json()["data"]
                    self._names = sorted(str(model["id"]) for model in models)
        return self._names

    def _error(self, problem: str, message: str = "") -> Body:
        response = {"error": self._without_key(f"{self._base_url}: {problem}")}
        return response | ({"server_said": self._without_key(message)} if message else {})

    def _without_key(self, text: str) -> str:
        return without_key(text, self._api_key_env)

    def _limit_body(self, response: httpx2.Response) -> None:
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


def _is_refused(
    error: Any, memory: Memory, body: JsonObject, accepted: Accepted, options: JsonObject
) -> bool:
    """Whether an error says that an option is not taken, and is to be sent without it."""
    if int(error.status_code) not in _REFUSING or is_filter(error.body):
        return False
    return memory.learn(body, accepted, error, options)
