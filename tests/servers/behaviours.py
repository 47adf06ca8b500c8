"""What servers of today refuse and how they word their answers, behind HTTP on loopback.

Bodies of errors are those of the servers' documentation, sources and public reports. Of llama.cpp
and Ollama only the fields of an answer and the error of an unknown model are modelled: they ignore
options that they do not know.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from pytest_httpserver import HTTPServer
from werkzeug import Request, Response

from tests.vision_server import colour, picture_of

Body = dict[str, Any]
Refusal = tuple[int, Any]
THOUGHT = 'Okay, the user wants me to answer. Maybe {"concept": "thought"}? No.'


def unsupported(name: str, advice: str = "") -> Refusal:
    """OpenAI of an option that a model does not take."""
    words = f"Unsupported parameter: '{name}' is not supported with this model.{advice}"
    error = {"message": words, "type": "invalid_request_error", "param": name}
    return 400, {"error": {**error, "code": "unsupported_parameter"}}


def reasoning_model(body: Body) -> Refusal | None:
    """OpenAI's o-series and gpt-5."""
    if "max_tokens" in body:
        return unsupported("max_tokens", " Use 'max_completion_tokens' instead.")
    if body.get("temperature", 1) != 1:
        words = (
            f"Unsupported value: 'temperature' does not support {body['temperature']} with this "
            "model. Only the default (1) value is supported."
        )
        error = {"message": words, "type": "invalid_request_error", "param": "temperature"}
        return 400, {"error": {**error, "code": "unsupported_value"}}
    return None


def strict_responses(body: Body) -> Refusal | None:
    """OpenAI's responses API, which knows neither a seed nor the names of the chat API."""
    for name in ("seed", "max_tokens", "messages", "response_format", "max_completion_tokens"):
        if name in body:
            words = f"Unknown parameter: '{name}'."
            error = {"message": words, "type": "invalid_request_error", "param": name}
            return 400, {"error": {**error, "code": "unknown_parameter"}}
    return reasoning_model(body)


def mistral(body: Body) -> Refusal | None:
    """Mistral, which checks for names that it does not know."""
    for name in ("seed", "max_completion_tokens", "store", "reasoning_effort"):
        if name in body:
            told = {"type": "extra_forbidden", "loc": ["body", name]}
            told |= {"msg": "Extra inputs are not permitted", "input": body[name]}
            return 422, {"detail": [told]}
    return None


def mistral_anew(body: Body) -> Refusal | None:
    """Mistral's other wording, with the details twice."""
    refused = mistral(body)
    if refused is None:
        return None
    details = refused[1]["detail"]
    return 422, {
        "object": "Error", "detail": details, "message": details,
        "type": "invalid_request_error", "code": 3001,
    }  # fmt: skip


def no_schema(body: Body) -> Refusal | None:
    """DeepSeek."""
    if body.get("response_format", {}).get("type") != "json_schema":
        return None
    error = {"message": "This response_format type is unavailable now", "param": None}
    return 400, {
        "error": {**error, "type": "invalid_request_error", "code": "invalid_request_error"}
    }


def no_schema_anew(body: Body) -> Refusal | None:
    """DeepSeek's other wording."""
    if body.get("response_format", {}).get("type") != "json_schema":
        return None
    words = (
        "Failed to deserialize the JSON body into the target type: response_format: "
        "response_format.type `json_schema` is unavailable now at line 1 column 12440"
    )
    return 422, {"error": {"message": words, "type": "invalid_request_error"}}


def only_text(body: Body) -> Refusal | None:
    """A server that takes no response format at all."""
    if "response_format" not in body:
        return None
    words = "response_format is not supported by this model"
    return 400, {"object": "error", "message": words, "type": "BadRequestError", "code": 400}


def azure_filter(body: Body) -> Refusal | None:
    """Azure's filter, which refuses what shows or names something red."""
    shown = json.dumps(body["messages"])
    red = "forbidden gown" in shown
    if isinstance(body["messages"][-1]["content"], list):
        red = colour(picture_of(body)) == "red"
    if not red:
        return None
    words = (
        "The response was filtered due to the prompt triggering Azure OpenAI's content management "
        "policy. Please modify your prompt and retry."
    )
    inner = {"code": "ResponsibleAIPolicyViolation"}
    inner["content_filter_result"] = {"violence": {"filtered": True, "severity": "medium"}}
    return 400, {
        "error": {
            "message": words, "type": None, "param": "prompt", "code": "content_filter",
            "status": 400, "innererror": inner,
        }
    }  # fmt: skip


def plain(text: str) -> Body:
    """The usual answer."""
    return {"role": "assistant", "content": text, "refusal": None}


def thinking_aside(name: str) -> Callable[[str], Body]:
    """An answer whose reasoning stands in a field of its own."""
    return lambda text: {"role": "assistant", "content": text, name: THOUGHT}


@dataclass(frozen=True)
class Behaviour:
    """A server of a kind.

    Attributes:
        refuses: the error for a request that it does not take.
        message: how it words an answer.
        refusals: requests that it refuses before it has taken one, if each refusal is heeded.
        usage: what it says of tokens.
        settings: settings of the study that it needs.
    """

    refuses: Callable[[Body], Refusal | None] = lambda _: None
    message: Callable[[str], Body] = plain
    refusals: int = 0
    usage: Body | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)


BEHAVIOURS = {
    "openai": Behaviour(usage={"prompt_tokens": 9, "completion_tokens": 2}),
    "openai, reasoning": Behaviour(reasoning_model, refusals=2),
    "openai, responses": Behaviour(
        strict_responses, refusals=1, settings={"api": "responses", "reasoning_effort": "low"}
    ),
    "vllm, thinking in the text": Behaviour(
        message=lambda text: plain(f"<think>\n{THOUGHT}\n</think>\n\n{text}")
    ),
    "vllm, template opens the thinking": Behaviour(
        message=lambda text: plain(f"{THOUGHT}</think>{text}<|im_end|>")
    ),
    "vllm, gpt-oss": Behaviour(
        message=lambda text: plain(
            f"<|channel|>analysis<|message|>{THOUGHT}<|end|><|start|>assistant"
            f"<|channel|>final<|message|>{text}<|return|>"
        )
    ),
    "ollama": Behaviour(message=thinking_aside("reasoning")),
    "llama.cpp": Behaviour(message=thinking_aside("reasoning_content")),
    "fences": Behaviour(
        message=lambda text: plain(f"Sure!\n```json\n{text}\n```" if text[0] == "{" else text)
    ),
    "mistral": Behaviour(
        mistral,
        lambda text: {
            "role": "assistant",
            "content": [
                {"type": "thinking", "thinking": [{"type": "text", "text": THOUGHT}]},
                {"type": "text", "text": text},
            ],
        },
        refusals=1,
    ),
    "mistral, other wording": Behaviour(mistral_anew, refusals=1),
    "deepseek": Behaviour(no_schema, thinking_aside("reasoning_content"), refusals=1),
    "deepseek, other wording": Behaviour(no_schema_anew, refusals=1),
    "text alone": Behaviour(only_text, refusals=2),
}


class FakeServer:
    """A server of a kind, with a model that shortens captions, labels, and tells colours.

    Attributes:
        behaviour: its kind.
        taken: requests that it answered.
        refused: requests that it refused.
        says: answers in place of the model, where it returns a choice.
        models: names that it lists.
    """

    def __init__(self, web: HTTPServer, behaviour: Behaviour) -> None:
        self.behaviour = behaviour
        self.taken: list[Body] = []
        self.refused: list[Body] = []
        self.says: Callable[[Body], Body | Response | None] = lambda _: None
        self.models = ["m"]
        for path in ("/v1/chat/completions", "/v1/responses"):
            web.expect_request(path).respond_with_handler(self._answer)
        web.expect_request("/v1/models").respond_with_handler(
            lambda _: Response(json.dumps({"data": [{"id": name} for name in self.models]}))
        )

    def _answer(self, request: Request) -> Response:
        body = request.get_json()
        refused = self.behaviour.refuses(body)
        if refused is not None:
            self.refused.append(body)
            return Response(json.dumps(refused[1]), refused[0], content_type="application/json")
        self.taken.append(body)
        said = self.says(body)
        if isinstance(said, Response):
            return said
        message = self.behaviour.message(thought_of(body))
        choice = said or {"index": 0, "finish_reason": "stop", "message": message}
        if request.path.endswith("responses"):
            return Response(json.dumps(as_response(choice["message"]["content"])))
        usage = self.behaviour.usage
        return Response(json.dumps({"choices": [choice], "usage": usage}))


def as_response(text: str) -> Body:
    """An answer of the responses API."""
    part = {"type": "output_text", "text": text, "annotations": []}
    return {
        "object": "response", "status": "completed", "error": None, "incomplete_details": None,
        "output": [
            {"type": "reasoning", "summary": []},
            {"type": "message", "role": "assistant", "content": [part]},
        ],
        "usage": {"input_tokens": 9, "output_tokens": 2},
    }  # fmt: skip


def thought_of(body: Body) -> str:
    """What the model answers: a colour to a picture, concepts and labels as JSON."""
    turns = body.get("messages") or body["input"]
    last = turns[-1]["content"]
    if not isinstance(last, str):
        return f"a {colour(_shown(last))} square on grey ground"
    tasks = [turn["content"] for turn in turns if str(turn["content"]).startswith(("Sh", "St"))]
    given = json.loads(tasks[-1].splitlines()[-1])
    if tasks[-1].startswith("Shorten"):
        return json.dumps({"concepts": [caption.split()[1] for caption in given]})
    return json.dumps({"concept": f"{given[0]} things"})


def _shown(parts: list[Body]) -> Any:
    (picture,) = [part for part in parts if "image_url" in part]
    url = picture["image_url"]
    url = url if isinstance(url, str) else url["url"]
    part = {"type": "image_url", "image_url": {"url": url}}
    return picture_of({"messages": [{"content": [part]}]})
