"""Fixtures and settings for all tests."""

import os
from pathlib import Path

import pytest
from hypothesis import settings

# Derandomised, so that a test passes or fails alike on every machine.
settings.register_profile("project", derandomize=True, deadline=None, max_examples=60)
settings.load_profile("project")


@pytest.fixture(scope="session")
def shared_dir() -> Path:
    """The folder of reference cases: `DND_SHARED`, or `shared` beside the repository."""
    beside = Path(__file__).resolve().parents[2] / "shared"
    folder = Path(os.environ.get("DND_SHARED", beside))
    if not folder.is_dir():
        pytest.skip(f"no reference cases: {folder} is no folder; set DND_SHARED to it")
    return folder
