"""A chat request in the words of OpenAI's responses API.

That API takes no seed and is asked to keep nothing at the server (`store`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from resources.servers.messages import Body, JsonObject


def as_response(chat: JsonObject) -> Body:
    """The request of `/responses` that asks for what a request of `/chat/completions` asks for."""
    renamed = {"max_tokens": "max_output_tokens", "max_completion_tokens": "max_output_tokens"}
    reworded = {"messages", "response_format", "reasoning_effort", "seed", "random_seed"}
    request: Body = {
        renamed.get(name, name): value for name, value in chat.items() if name not in reworded
    }
    request["input"] = [
        {"role": message["role"], "content": _content(message["content"])}
        for message in chat["messages"]
    ]
    answer_format = chat.get("response_format")
    if isinstance(answer_format, Mapping):
        request["text"] = {
            "format": {"type": answer_format["type"], **answer_format.get("json_schema", {})}
        }
    if "reasoning_effort" in chat:
        request["reasoning"] = {"effort": chat["reasoning_effort"]}
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
