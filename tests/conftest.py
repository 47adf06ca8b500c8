"""Fixtures and settings for all tests."""

import os
from pathlib import Path

import pytest
from hypothesis import settings
from pytest_httpserver import HTTPServer

# Workers share the cores; torch reads this when it is imported, as do the processes they start.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")

# Many tests start commands of their own; without bytecode each would compile the project again.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

from tests import quick, studies  # in this order
from tests.resources import tiny

# Derandomised, so that a test passes or fails alike on every machine.
settings.register_profile("project", derandomize=True, deadline=None, max_examples=60)
settings.load_profile("project")


LONG = (
    "test_docs.py",
    "benchmarks/test_reliability.py",
    "workflow/test_definitions.py",
    "analysis/test_compare.py",
    "integration/test_crash.py",
    "engine/workers/test_slurm.py",
    "integration/test_models_through_pipeline.py",
    "integration/test_command_line.py",
    "integration/test_services.py",
    "integration/test_real_network.py",
    "integration/test_whole_products.py",
    "assets/test_label_metrics.py",
    "cli/test_console.py",
    "cli/test_imports.py",
    "known_answers/test_planted_dictionary.py",
    "engine/workers/test_handing_out.py",
    "workflow/test_stopping.py",
    "integration/test_additions.py",
    "benchmarks/test_gpu.py",
)
"""Files that take longest. A worker takes whole files, so that what a file sets up is set up once;
these start first, so that none of them is left to one worker at the end."""


def pytest_collection_modifyitems(items):
    """Put the files that take longest first; the others keep their order."""
    tests = Path(__file__).parent
    place = {tests / name: rank for rank, name in enumerate(LONG)}
    items.sort(key=lambda item: place.get(item.path, len(place)))


def pytest_sessionfinish(session, exitstatus):
    """What failed can be looked at until tests run again."""
    if exitstatus in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED):
        quick.forget()


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory):
    """What readers keep for themselves stays out of the home folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DND_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def shared_dir() -> Path:
    """The folder of reference cases: `DND_SHARED`, or `shared` beside the repository."""
    beside = Path(__file__).resolve().parents[2] / "shared"
    folder = Path(os.environ.get("DND_SHARED", beside))
    if not folder.is_dir():
        pytest.skip(f"no reference cases: {folder} is no folder; set DND_SHARED to it")
    return folder


@pytest.fixture(scope="session")
def mpnet_folder() -> Path:
    """The genuine all-mpnet-base-v2, at `DND_MPNET`."""
    named = os.environ.get("DND_MPNET", "")
    if not (Path(named) / "model.safetensors").is_file() or not named:
        pytest.skip(f"no all-mpnet-base-v2 at {named or 'DND_MPNET, which is not set'}")
    return Path(named)


@pytest.fixture(scope="session")
def sentences_folder(tmp_path_factory):
    return tiny.sentences(tmp_path_factory.mktemp("tiny") / "sentences")


@pytest.fixture(scope="session")
def one_thread():
    """Small models gain nothing from threads; other tests may want the cores."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def running():
    """A server on loopback that answers as its tests tell it."""
    server = HTTPServer(threaded=True)
    server.start()
    yield server
    server.stop()


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
def colours(tmp_path_factory, clip_folder, diffusion_folder, one_thread):
    """The table of the small study."""
    talkative = tiny.blip(tmp_path_factory.mktemp("tiny") / "talkative", seed=22)
    return studies.table(talkative, clip_folder, diffusion_folder)


@pytest.fixture
def colour_folder(tmp_path):
    """A folder with the small study's images; the study's paths start here."""
    studies.write_images(tmp_path / "images")
    return tmp_path


@pytest.fixture(scope="session")
def labelled(colours, tmp_path_factory):
    """The small study, labelled once: its folder, and the announcements of its first run."""
    folder = tmp_path_factory.mktemp("labelled")
    studies.write_images(folder / "images")
    return folder, studies.label(colours, folder)
