"""Calls to a language model as they are kept, and the ledgers that keep them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Protocol

from pydantic_core import from_json

from dnd_assets.lineage.fingerprint import canonical, digest
from dnd_assets.lineage.records import Status
from resources.servers.messages import Body, Json, JsonObject, message_of

_SENT: Final = "_sent"
"""Where a row says, beside the server's answer, what was sent otherwise than it was asked."""
ANSWERED: Final[frozenset[Status]] = frozenset({"ok", "refused"})
"""How calls end that a server has answered for good: found again, and not made again."""


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
        status: `ok` when the server answered with what was asked for, whatever it says; `refused`
            when a filter of the server's refused to let the model answer.
        cost: of the call, by the study's prices; None where it names none.
        sent: what was sent otherwise than asked, since the server does not take it: by option,
            None for what was left out.
    """

    request: str
    body: Mapping[str, Json]
    response: Json
    prompt_tokens: int = 0
    completion_tokens: int = 0
    seconds: float = 0.0
    status: Status = "ok"
    cost: float | None = None
    sent: Mapping[str, Json] = field(default_factory=dict)

    @property
    def content(self) -> str:
        """What the model wrote; empty when it refused or the call failed."""
        if self.status != "ok":
            return ""
        return message_of(self.response).text

    @property
    def error(self) -> str:
        """Why the call failed; empty when it did not."""
        return "" if self.status == "ok" else str(self.response["error"])

    def row(self) -> Body:
        """The row of table `llm_calls`."""
        return {
            "request_hash": self.request,
            "request": canonical(self.body),
            "response": canonical(self.response | ({_SENT: dict(self.sent)} if self.sent else {})),
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": self.completion_tokens,
            "cost": self.cost,
            "seconds": self.seconds,
            "status": self.status,
        }

    @classmethod
    def from_row(cls, row: JsonObject) -> StoredCall:
        """The call that `row` of table `llm_calls` tells of."""
        response = from_json(row["response"])
        sent = response.pop(_SENT, {}) if isinstance(response, dict) else {}
        return cls(
            row["request_hash"],
            from_json(row["request"]),
            response,
            row["prompt_tokens"],
            row["completion_tokens"],
            row["seconds"],
            row["status"],
            row["cost"],
            sent,
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


def request_hash(body: JsonObject) -> str:
    """SHA-256 of a request's canonical JSON.

    It covers everything the answer depends on: `base_url` (two servers may give one name to
    different weights), model, messages, temperature, seed, response format and token limit. Key,
    timeout, retries and budget are not part of a request.
    """
    return digest(dict(body))


def failed(
    body: JsonObject,
    status: Status,
    response: JsonObject,
    seconds: float = 0.0,
    sent: JsonObject | None = None,
) -> StoredCall:
    """A failed call: under a hash of its own, unless the failure is the server's answer."""
    request = request_hash(body)
    if status not in ANSWERED:
        request = f"{request}:{digest(response)[:12]}"
    return StoredCall(
        request, dict(body), response, seconds=seconds, status=status, sent=dict(sent or {})
    )


def not_made(body: JsonObject, status: Status, error: str) -> StoredCall:
    """A call that was not made, and why."""
    return StoredCall("", dict(body), {"error": error}, status=status)
