"""Artefacts on S3-compatible storage: what differs from a folder."""

import os
from pathlib import Path

import pytest

from dnd_assets.engine import gc, verify
from dnd_assets.engine.context_builder import build_context
from dnd_assets.errors import MissingError, StoreError, StudyError
from dnd_assets.files.atomic import sha256
from dnd_assets.methods import lazy
from dnd_assets.study.study import parse_study
from resources.artefact_store import ArtefactStore
from resources.artefact_store.object_files import ObjectFiles, parsed
from resources.lineage_db.database import Lineage
from tests import studies
from tests.object_storage import BUCKET

DATA = b"some content" * 100
PLACE = f"s3://{BUCKET}/some/prefix"


@pytest.fixture
def store(storage):
    return ArtefactStore(root=PLACE)


def counted(store, monkeypatch):
    """Requests of a store from now on, by method."""
    asked = []
    bucket = store._files._bucket

    class Watched:
        def __getattr__(self, name):
            asked.append(name)
            return getattr(bucket, name)

    monkeypatch.setitem(store._files.__dict__, "_bucket", Watched())
    return asked


def test_a_put_never_replaces_what_another_one_put(store, monkeypatch):
    """Both find nothing, and the second one's put is refused by the storage."""
    name = ArtefactStore(root=PLACE).put(DATA, "json")
    asked = counted(store, monkeypatch)
    assert store.put(DATA, "json") == name
    assert asked == ["put", "get"]  # what is there was read back and is the same


def test_what_was_read_or_written_here_is_not_fetched_again(store, monkeypatch):
    name = store.put(DATA, "json")
    asked = counted(store, monkeypatch)
    for _ in range(3):
        assert store.get(name) == DATA
    assert asked == []
    fresh = ArtefactStore(root=PLACE)
    assert counted(fresh, monkeypatch) == []
    assert fresh.get(name) == DATA


def test_a_copy_that_was_damaged_is_fetched_anew(store, tmp_path):
    name = store.put(DATA, "json")
    (copy,) = (tmp_path / "cache").rglob(name)
    copy.write_bytes(b"x")
    assert store.get(name) == DATA
    assert copy.read_bytes() == DATA


def test_thousands_of_files_are_asked_for_by_one_listing(store, monkeypatch):
    names = [store.put(str(number).encode(), "json") for number in range(40)]
    fresh = ArtefactStore(root=PLACE)
    asked = counted(fresh, monkeypatch)
    assert all(fresh.has(name) for name in names)
    assert asked.count("list") == 1
    assert len(asked) <= 10


def test_a_tool_may_copy_a_store_from_a_folder_to_a_bucket(store, tmp_path):
    folder = ArtefactStore(root=str(tmp_path / "store"))
    name = folder.put(DATA, "json")
    path = folder.path(name)
    store._files._bucket.put(str(path.relative_to(tmp_path / "store")), path.read_bytes())
    assert store.get(name) == DATA


@pytest.mark.parametrize(
    "address",
    ["s3://key:secret@bucket/prefix", "s3://", "s3:///prefix", "gs://bucket", "s3://b?x=1"],
)
def test_an_address_that_is_none_or_holds_a_key_is_refused(address, colours, tmp_path):
    with pytest.raises(StoreError) as caught:
        parsed(address)
    assert "secret" not in str(caught.value)
    with pytest.raises(StudyError) as refused:
        parse_study({**colours, "store": address}, tmp_path)
    assert "store" in str(refused.value)


@pytest.mark.usefixtures("storage")
def test_a_bucket_that_is_not_there_is_said_with_what_to_look_at():
    with pytest.raises(
        StoreError, match=r"s3://nowhere/x does not answer as it should.*AWS_REGION"
    ):
        ArtefactStore(root="s3://nowhere/x").put(DATA, "json")


@pytest.mark.usefixtures("storage")
def test_a_storage_that_does_not_answer_is_an_error_and_not_an_empty_store(monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setattr(ObjectFiles, "retries", 0)
    silent = ArtefactStore(root=PLACE)
    for ask in (silent.has, silent.get, silent.size):
        with pytest.raises(StoreError, match="does not answer as it should"):
            ask(f"{sha256(DATA)}.json")
    with pytest.raises(StoreError, match="does not answer as it should"):
        silent.names()


def test_without_the_extra_it_is_said_what_to_install(monkeypatch):
    def missing(name):
        raise ImportError(name)

    monkeypatch.setattr(lazy, "import_module", missing)
    with pytest.raises(MissingError, match=r"dnd-assets\[s3\]"):
        ArtefactStore(root=PLACE).put(DATA, "json")


@pytest.mark.usefixtures("storage")
def test_a_study_on_object_storage_comes_to_the_same_products(labelled, colours, tmp_path):
    """With gc, verify and damage, and no file of a store in the state folder."""
    folder, _ = labelled
    images = {"probing_set__folders": [str(folder / "images")]}
    here = studies.changed(colours, **images)
    there = studies.changed(here, store=PLACE)
    units = ("net/colours/0-1",)
    expected = studies.versions(studies.label(here, tmp_path / "here", units))
    found = studies.label(there, tmp_path / "there", units)
    assert studies.versions(found) == expected
    assert not (tmp_path / "there" / "state" / "store").exists()
    context = build_context(parse_study(there, tmp_path), tmp_path / "there" / "state")
    local = build_context(parse_study(here, tmp_path), tmp_path / "here" / "state")
    assert context.store.names() == local.store.names()
    assert verify.verify(context).clean
    again = studies.label(there, tmp_path / "there", units, run="again")
    assert studies.computed(again) == set()

    context.store.put(b"nobody names it", "json")
    garbage = gc.find_garbage(context)
    assert f"{sha256(b'nobody names it')}.json" in garbage.files
    gc.collect(context, garbage)
    assert verify.verify(context).clean

    name = min(context.store.names())
    context.store._files._bucket.put(f"{name[:2]}/{name}", b"damaged")
    report = verify.verify(context)
    assert report.changed == [name]
    verify.set_aside(context, report)
    assert name not in context.store.names()


def test_journal_on_a_shared_folder_store_on_s3_index_here(
    storage, labelled, colours, tmp_path, monkeypatch
):
    """A second machine finds what the first one made, and has an index of its own."""
    folder, _ = labelled
    monkeypatch.setenv("DND_STORE", PLACE)
    table = studies.changed(colours, probing_set__folders=[str(folder / "images")])
    units = ("net/colours/0",)
    for machine in ("one", "two"):
        monkeypatch.setenv("DND_INDEX", str(tmp_path / machine))
        monkeypatch.setenv("DND_CACHE", str(tmp_path / f"cache of {machine}"))
        found = studies.label(table, tmp_path / "shared", units, run=machine)
        assert bool(studies.computed(found)) == (machine == "one")
    endings = {path.suffix for path in (tmp_path / "shared").rglob("*") if path.is_file()}
    assert not {".safetensors", ".duckdb"} & endings
    assert Path(os.environ["DND_INDEX"]).is_dir()
    assert Lineage(root=str(tmp_path / "shared" / "state")).changed_segments() == []
