"""Tiny checkpoints, built once a session."""

import pytest

from resources.compute import Compute
from tests.resources import tiny


@pytest.fixture(scope="session")
def one_thread():
    """Small models gain nothing from threads; other tests may want the cores."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def cpu(one_thread):
    return Compute(device="cpu")


@pytest.fixture(scope="session")
def blip_folder(tmp_path_factory):
    return tiny.blip(tmp_path_factory.mktemp("tiny") / "blip")


@pytest.fixture(scope="session")
def clip_folder(tmp_path_factory):
    return tiny.clip(tmp_path_factory.mktemp("tiny") / "clip")


@pytest.fixture(scope="session")
def diffusion_folder(tmp_path_factory):
    return tiny.stable_diffusion(tmp_path_factory.mktemp("tiny") / "painter")


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
