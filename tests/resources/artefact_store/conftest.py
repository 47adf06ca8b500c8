"""The two places where a store may lie."""

import pytest

from resources.artefact_store import ArtefactStore
from tests.object_storage import BUCKET, serving


@pytest.fixture
def storage(monkeypatch, tmp_path):
    """Address of an empty S3-compatible storage; copies lie in a folder of the test's own."""
    monkeypatch.setenv("DND_CACHE", str(tmp_path / "cache"))
    with serving(monkeypatch) as address:
        yield address


@pytest.fixture(params=["folder", "s3"])
def place(request, tmp_path):
    """Where a store lies: what its `root` says."""
    if request.param == "folder":
        return str(tmp_path / "store")
    request.getfixturevalue("storage")
    return f"s3://{BUCKET}/some/prefix"


@pytest.fixture
def store(place):
    return ArtefactStore(root=place)
