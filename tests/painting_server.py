"""An image server behind HTTP: paints noise that differs at every call, as without a seed."""

from __future__ import annotations

import base64
import io
import json
from typing import Any

import numpy as np
from PIL import Image
from werkzeug import Response

from tests.counting_server import CountingServer

PATH = "/v1/images/generations"


def answer(data: bytes) -> Response:
    """An answer with a picture, as the API words it."""
    picture = {"b64_json": base64.b64encode(data).decode(), "revised_prompt": "x"}
    usage = {"input_tokens": 20, "output_tokens": 200, "total_tokens": 220}
    return Response(json.dumps({"created": 0, "data": [picture], "usage": usage}))


def png(seed: int, side: int = 16) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (side, side, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def refusal(code: str = "moderation_blocked") -> Response:
    """What a safety system answers."""
    error = {"message": "Your request was rejected by the safety system.", "code": code}
    return Response(json.dumps({"error": error}), 400, content_type="application/json")


class Painter(CountingServer):
    """Paints one picture a call, unless `rule` answers for it."""

    path = PATH

    def usual(self, body: dict[str, Any], number: int) -> Response:
        """Noise of the request's number."""
        return answer(png(number))
