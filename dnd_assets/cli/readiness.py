"""When the web interface answers, and whether it could load the study."""

from __future__ import annotations

import json
import time
import urllib.request
from collections.abc import Callable
from threading import Event, Thread

_ASKED = """{ workspaceOrError { ... on Workspace { locationEntries { locationOrLoadError {
  __typename ... on PythonError { message } } } } } }"""
_EVERY_S = 1.0


def tell_when_ready(port: int, log: Callable[[str], None]) -> Event:
    """Say, from a thread, that the web interface is ready, or why it has no study to show.

    Args:
        port: of the web server, on loopback.
        log: told of it, once.

    Returns:
        What ends the thread when it is set: the servers have ended.
    """
    ended, started = Event(), time.monotonic()

    def watch() -> None:
        while not ended.wait(_EVERY_S):
            problem = _loading_problem(port)
            if problem is None:
                continue
            elapsed = f"after {time.monotonic() - started:.0f} s"
            if problem:
                log(
                    f"the web interface answers {elapsed}, but the study could not be loaded: "
                    f"{problem}\nMend it, and reload the code location under Deployment."
                )
            else:
                log(f"ready {elapsed}: http://127.0.0.1:{port}")
            return

    Thread(target=watch, daemon=True).start()
    return ended


def _loading_problem(port: int) -> str | None:
    """Why the study could not be loaded; empty when it is there; None while nothing answers."""
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/graphql",
        json.dumps({"query": _ASKED}).encode(),
        {"Content-Type": "application/json"},
    )
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310
            entries = json.load(answer)["data"]["workspaceOrError"]["locationEntries"]
    except (OSError, KeyError, TypeError, ValueError):
        return None
    locations = [entry["locationOrLoadError"] for entry in entries]
    if not locations or None in locations:
        return None
    errors = [
        str(location["message"])
        for location in locations
        if location["__typename"] == "PythonError"
    ]
    return _last_line(errors[0]) if errors else ""


def _last_line(message: str) -> str:
    """What the innermost error says: Dagster wraps it in its own."""
    lines = [line.strip() for line in message.splitlines() if line.strip()]
    return lines[-1] if lines else message
