"""An image server behind HTTP: paints noise that differs at every call, as without a seed."""

from __future__ import annotations

import base64
import io
import json
import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from PIL import Image
from pytest_httpserver import HTTPServer
from werkzeug import Request, Response

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


class Painter:
    """Paints one picture a call, unless `rule` answers for it."""

    def __init__(self, web: HTTPServer) -> None:
        self.rule: Callable[[dict[str, Any]], Response | None] = lambda _: None
        self.requests: list[dict[str, Any]] = []
        self.seconds = 0.0
        self.at_once = self.most = 0
        self._lock = threading.Lock()
        web.expect_request(PATH).respond_with_handler(self._answer)

    def _answer(self, request: Request) -> Response:
        body = request.get_json()
        with self._lock:
            self.requests.append(body)
            number = len(self.requests)
            self.at_once += 1
            self.most = max(self.most, self.at_once)
        time.sleep(self.seconds)
        found = self.rule(body)
        with self._lock:
            self.at_once -= 1
        return found or answer(png(number))
