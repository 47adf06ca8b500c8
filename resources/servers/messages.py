"""What a server's answer says, whichever of the two APIs it speaks and however it words it.

Chat completions and OpenAI's responses are read alike: text, reasoning, refusal, how it ended, and
the tokens counted. `content` may be a text, a list of parts, or missing; reasoning may stand in
`reasoning_content` (DeepSeek, llama.cpp, vLLM) or `reasoning` (Ollama, vLLM, OpenRouter); `usage`
may be null.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

End = Literal["stop", "cut", "filtered", "tools", "interrupted"]
"""How an answer ended: by itself, at the token limit, by a filter, in a call of a tool, or in a
failure of the server's."""

_ENDS: Final[Mapping[str, End]] = {
    **dict.fromkeys(("length", "max_tokens", "max_output_tokens", "model_length"), "cut"),
    **dict.fromkeys(
        ("content_filter", "safety", "recitation", "prohibited_content", "blocklist", "spii"),
        "filtered",
    ),
    **dict.fromkeys(("tool_calls", "function_call"), "tools"),
    **dict.fromkeys(
        ("insufficient_system_resource", "error", "abort", "failed", "cancelled"), "interrupted"
    ),
}
_REASONING: Final = frozenset({"thinking", "reasoning", "reasoning_text", "summary_text"})
"""Kinds of the parts of an answer that are reasoning."""


JsonObject = Mapping[str, Any]
"""What a request asks or a server answers, as JSON. Servers differ in what they answer: whoever
reads an answer looks at each value before relying on it."""

Json = Any
"""A value of such an object."""

Body = dict[str, Any]
"""A request that is being written."""


@dataclass(frozen=True)
class Message:
    """What a model wrote.

    Attributes:
        text: the answer; empty when there is none.
        reasoning: what the server told apart as reasoning.
        refusal: what the model says in declining, where the server tells that apart.
        end: how it ended.
        prompt_tokens: tokens read, as the server counted them; 0 when it does not count.
        completion_tokens: tokens written, reasoning included; likewise.
    """

    text: str
    reasoning: str = ""
    refusal: str = ""
    end: End = "stop"
    prompt_tokens: int = 0
    completion_tokens: int = 0


def message_of(response: object) -> Message:
    """What an answer says.

    Raises:
        ValueError: when it is neither a chat completion nor a response.
    """
    if not isinstance(response, Mapping):
        raise ValueError("no JSON object")
    if isinstance(response.get("output"), list):
        return _of_response(response)
    choices = response.get("choices")
    if not isinstance(choices, list) or not choices:
        raise ValueError("no choices")
    choice = choices[0]
    message = choice.get("message") if isinstance(choice, Mapping) else None
    if not isinstance(message, Mapping):
        raise ValueError("no message")
    text, reasoning, refusal = _parts(message.get("content"))
    separate = message.get("reasoning_content") or message.get("reasoning")
    return Message(
        text,
        reasoning or (separate if isinstance(separate, str) else ""),
        refusal or str(message.get("refusal") or ""),
        _end(choice.get("finish_reason")),
        *_token_counts(response, "prompt_tokens", "completion_tokens"),
    )


def _of_response(response: JsonObject) -> Message:
    """An answer of OpenAI's responses API."""
    texts, reasonings, refusals = [], [], []
    for item in _mappings(response["output"]):
        text, reasoning, refusal = _parts(item.get("content"))
        if item.get("type") == "message":
            texts.append(text)
        elif item.get("type") == "reasoning":
            reasonings.append(text + reasoning)
        refusals.append(refusal)
    details = response.get("incomplete_details")
    reason = details.get("reason") if isinstance(details, Mapping) else None
    return Message(
        "".join(texts),
        "".join(reasonings),
        "".join(refusals),
        _end(reason or response.get("status")),
        *_token_counts(response, "input_tokens", "output_tokens"),
    )


def _parts(content: object) -> tuple[str, str, str]:
    """Text, reasoning and refusal of a content.

    Raises:
        ValueError: when it is neither a text nor a list nor nothing.
    """
    if content is None or isinstance(content, str):
        return content or "", "", ""
    if not isinstance(content, list):
        raise ValueError("content that is no text")
    texts, reasonings, refusals = [], [], []
    for part in content:
        if isinstance(part, str):
            texts.append(part)
        elif isinstance(part, Mapping) and part.get("type") in _REASONING:
            reasonings.append(_part_text(part))
        elif isinstance(part, Mapping):
            texts.append(_part_text(part))
            refusals.append(str(part.get("refusal") or ""))
    return "".join(texts), "".join(reasonings), "".join(refusals)


def _part_text(part: JsonObject) -> str:
    """The text of a part, which may hold parts itself (Mistral's `thinking`)."""
    text = part.get("text")
    if isinstance(text, str):
        return text
    parts = part.get("thinking")
    return (
        "".join(_part_text(child) for child in _mappings(parts)) if isinstance(parts, list) else ""
    )


def _mappings(items: Iterable[object]) -> list[JsonObject]:
    return [item for item in items if isinstance(item, Mapping)]


def _end(reason: object) -> End:
    return _ENDS.get(str(reason).lower(), "stop")


def _token_counts(response: JsonObject, *names: str) -> list[int]:
    usage = response.get("usage")
    if not isinstance(usage, Mapping):
        return [0 for _ in names]
    values = [usage.get(name) for name in names]
    return [value if isinstance(value, int) and value > 0 else 0 for value in values]
