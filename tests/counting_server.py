"""An HTTP server of tests that keeps what it is asked and counts who asks at once."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

from pytest_httpserver import HTTPServer
from werkzeug import Request, Response


class CountingServer:
    """Answers by `usual`, unless `rule` answers for it.

    Attributes:
        rule: answers a request, or returns None to leave it to `usual`.
        requests: what was asked, in order.
        seconds: that each answer takes.
        most: requests under way at a time, at most.
    """

    path: str

    def __init__(self, web: HTTPServer) -> None:
        self.rule: Callable[[dict[str, Any]], Response | None] = lambda _: None
        self.requests: list[dict[str, Any]] = []
        self.seconds = 0.0
        self.at_once = self.most = 0
        self._lock = threading.Lock()
        web.expect_request(self.path).respond_with_handler(self._answer)

    def usual(self, body: dict[str, Any], number: int) -> Response:
        """The answer to a request that is the `number`-th, from 1."""
        raise NotImplementedError

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
        return found or self.usual(body, number)
