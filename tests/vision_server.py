"""A vision model behind HTTP: says which colour a picture has, and counts who asks at once."""

from __future__ import annotations

import base64
import io
import json
from typing import Any

import numpy as np
from PIL import Image
from werkzeug import Response

from tests.counting_server import CountingServer

PATH = "/v1/chat/completions"
NAMES = ("red", "green", "blue")


def picture_of(body: dict[str, Any]) -> Image.Image:
    """The picture in a request."""
    (part,) = [p for p in body["messages"][-1]["content"] if p["type"] == "image_url"]
    kind, _, data = part["image_url"]["url"].partition(",")
    assert kind == "data:image/png;base64"
    return Image.open(io.BytesIO(base64.b64decode(data)))


def colour(image: Image.Image) -> str:
    """The channel that exceeds the others most, somewhere in the picture."""
    pixels = np.asarray(image.convert("RGB"), dtype=float)
    spread = pixels - pixels.mean(axis=-1, keepdims=True)
    return NAMES[int(spread.max(axis=(0, 1)).argmax())]


def completion(text: str | None, prompt: int = 300, written: int = 8) -> Response:
    """A chat completion that counts its tokens."""
    choice = {"index": 0, "message": {"role": "assistant", "content": text}}
    usage = {"prompt_tokens": prompt, "completion_tokens": written}
    return Response(json.dumps({"choices": [choice], "usage": usage}))


class Vision(CountingServer):
    """Answers with a sentence on the picture's colour, unless `rule` answers for it."""

    path = PATH

    def usual(self, body: dict[str, Any], number: int) -> Response:
        """What colour the picture has."""
        return completion(f"a {colour(picture_of(body))} square\n on grey ground")
