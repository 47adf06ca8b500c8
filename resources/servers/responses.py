"""A chat request in the words of OpenAI's responses API.

That API takes no seed and is asked to keep nothing at the server (`store`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from resources.servers.messages import Body, JsonObject


def as_response(sent: JsonObject) -> Body:
    """The request of `/responses` that asks for what a request of `/chat/completions` asks for."""
    renamed = {"max_tokens": "max_output_tokens", "max_completion_tokens": "max_output_tokens"}
    apart = {"messages", "response_format", "reasoning_effort", "seed", "random_seed"}
    request: Body = {
        renamed.get(name, name): value for name, value in sent.items() if name not in apart
    }
    request["input"] = [
        {"role": turn["role"], "content": _content(turn["content"])} for turn in sent["messages"]
    ]
    asked = sent.get("response_format")
    if isinstance(asked, Mapping):
        request["text"] = {"format": {"type": asked["type"], **asked.get("json_schema", {})}}
    if "reasoning_effort" in sent:
        request["reasoning"] = {"effort": sent["reasoning_effort"]}
    return {"store": False, **request}


def _content(content: Any) -> Any:
    """Words and pictures of a turn."""
    return content if isinstance(content, str) else [_part(part) for part in content]


def _part(part: JsonObject) -> Body:
    if part["type"] == "image_url":
        return {
            "type": "input_image",
            "image_url": part["image_url"]["url"],
            "detail": part["image_url"].get("detail", "auto"),
        }
    return {"type": "input_text", "text": part["text"]}
