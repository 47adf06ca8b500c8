"""Headless Chromium, for tests of what a report does when it is opened."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


def found() -> str | None:
    """Path of an installed Chromium; None where there is none."""
    names = ("chromium", "chromium-browser", "google-chrome")
    return next((path for name in names if (path := shutil.which(name))), None)


@contextmanager
def chromium() -> Iterator[Any]:
    """A browser; needs `playwright` and an installed Chromium."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as engine:
        opened = engine.chromium.launch(executable_path=found(), args=["--no-sandbox"])
        try:
            yield opened
        finally:
            opened.close()
