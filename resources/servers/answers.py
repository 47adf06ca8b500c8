"""What came of a call: an answer, or a typed reason why there is none."""

from __future__ import annotations

import json
from collections.abc import Generator
from dataclasses import dataclass
from typing import Final

from dnd_assets.lineage.records import Status
from dnd_assets.methods.text.answer_text import answer_in
from resources.servers.calls import StoredCall
from resources.servers.messages import Body, JsonObject, Message, message_of

_SHOWN: Final = 120
_MENDABLE: Final[frozenset[Status]] = frozenset({"cut_off", "no_answer"})
"""Statuses of an answer that a second try with a higher token limit may mend."""
_MORE: Final = 8
_LEAST: Final = 1_024
_REASONING: Final = 8_192
"""Tokens of a second try: eight times as many, or so many at least."""


@dataclass(frozen=True)
class MessageAnswer:
    """The answer in a call.

    Attributes:
        status: `ok`; `refused` by the model or a filter; `cut_off` at the token limit;
            `no_answer`, when nothing or only reasoning was written; `invalid_response`; or the
            call's own failure.
        text: the answer without reasoning and special tokens; empty unless `ok`.
        reason: why the status is not `ok`, for people.
        reasoned: whether the model wrote reasoning.
    """

    status: Status
    text: str = ""
    reason: str = ""
    reasoned: bool = False


def said_in(call: StoredCall, as_json: bool = False) -> MessageAnswer:
    """The answer in a call, or why there is none.

    Args:
        call: the call.
        as_json: whether JSON was asked for. It is then taken from the reasoning, if that is JSON
            as a whole and there is no other answer: servers that tell reasoning apart put all there
            when a model answers at once.
    """
    if call.status != "ok":
        return MessageAnswer(call.status, reason=call.error)
    message = message_of(call.response)
    answer = answer_in(message.text)
    reasoned = answer.reasoned or bool(message.reasoning)
    if message.refusal:
        return MessageAnswer("refused", reason=f"the model declines: {_short(message.refusal)}")
    if message.end == "filtered":
        return MessageAnswer(
            "refused", reason="a content filter of the server's stopped the answer"
        )
    if message.end == "cut" or answer.unfinished:
        return MessageAnswer("cut_off", reason=_cut_reason(call, message), reasoned=reasoned)
    if message.end == "tools":
        return MessageAnswer(
            "invalid_response", reason="the model called a tool in place of an answer"
        )
    if answer.text:
        return MessageAnswer("ok", answer.text, reasoned=reasoned)
    if as_json and _is_object(message.reasoning):
        return MessageAnswer("ok", message.reasoning.strip(), reasoned=False)
    written = "nothing but reasoning" if reasoned else "nothing"
    return MessageAnswer("no_answer", reason=f"the model wrote {written}", reasoned=reasoned)


def asked_again(
    body: JsonObject, answer: MessageAnswer
) -> Generator[Body, StoredCall, StoredCall | None]:
    """Ask once more with more room, where that may help.

    Returns:
        The second call; None where it would not help.
    """
    if answer.status not in _MENDABLE:
        return None
    request: Body = {**body, "attempt": 2}
    if "max_tokens" in body:
        least = _REASONING if answer.reasoned else _LEAST
        request["max_tokens"] = max(_MORE * int(body["max_tokens"]), least)
    call = yield request
    return call


def _cut_reason(call: StoredCall, message: Message) -> str:
    limit = call.body.get("max_tokens")
    place = f"after {limit:,} tokens" if limit else "by the server's token limit"
    text = _short(message.text) or f"only reasoning: {_short(message.reasoning)}"
    return f"the answer is cut off {place}: {text}"


def _short(text: str) -> str:
    return " ".join(text.split())[:_SHOWN]


def _is_object(text: str) -> bool:
    try:
        return isinstance(json.loads(text), dict)
    except (ValueError, RecursionError):
        return False
