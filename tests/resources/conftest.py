"""Tiny checkpoints, built once for all tests."""

import pytest

from resources.runtime.compute import Compute
from tests.resources import tiny


@pytest.fixture(scope="session")
def cpu(one_thread):
    return Compute(device="cpu")


@pytest.fixture(scope="session")
def vit_folder(tmp_path_factory):
    return tiny.vit(tmp_path_factory.mktemp("tiny") / "vit")


@pytest.fixture(scope="session")
def photos():
    """Noise of different sizes and modes, as pictures come."""
    pictures = tiny.pictures(7)
    pictures[1] = pictures[1].convert("L")
    pictures[2] = pictures[2].resize((61, 33))
    pictures[3] = pictures[3].convert("RGBA")
    return pictures
