"""What a store promises, wherever its files lie."""

import re
from pathlib import Path

import numpy as np
import pytest

from dnd_assets.errors import StoreError
from dnd_assets.files.atomic import sha256
from resources.artefact_store import ArtefactStore, store_of
from tests.object_storage import BUCKET

DATA = b"some content" * 100
NEVER = f"{sha256(b'never')}.json"


def damage(store, name, data=b"other" * 240):
    """Other bytes under a name, as a disk or a careless tool may leave them."""
    files = store._files
    if hasattr(files, "path"):
        files.path(name).write_bytes(data)
    else:
        files._bucket.put(f"{name[:2]}/{name}", data)
        files.copies.forget(name)
    return ArtefactStore(root=store.root)


def test_what_is_put_is_there_by_its_hash(store):
    name = store.put(DATA, "json")
    assert name == f"{sha256(DATA)}.json"
    assert store.put(DATA, "json") == name
    for one in (
        store,
        ArtefactStore(root=store.root),
        ArtefactStore(root=store.root, reading=True),
    ):
        assert one.get(name) == DATA
        assert one.has(name)
        assert one.size(name) == len(DATA)
        assert one.names() == {name: len(DATA)}
        assert one.intact(name)


def test_what_is_not_there_is_told(store):
    assert not store.has(NEVER)
    assert not store.intact(NEVER)
    assert store.names() == {}
    for ask in (store.get, store.size):
        with pytest.raises(StoreError, match=r"artefact .* not there|cannot be read.*") as caught:
            ask(NEVER)
        assert NEVER in str(caught.value)
    store.remove(NEVER)
    store.set_aside(NEVER)


def test_an_empty_file_is_content_but_counts_as_missing(store):
    name = store.put(b"", "json")
    assert store.get(name) == b""
    assert not store.has(name)


def test_damage_is_found_on_reading_and_set_aside(store):
    name = store.put(DATA, "json")
    fresh = damage(store, name)
    assert not fresh.intact(name)
    with pytest.raises(StoreError, match="has changed since it was written"):
        fresh.get(name)
    assert list(fresh.names()) == [name.replace(".json", ".damaged")]
    assert fresh.put(DATA, "json") == name
    assert ArtefactStore(root=store.root).get(name) == DATA


def test_who_only_reads_leaves_damage_where_it_is(store):
    name = store.put(DATA, "json")
    damage(store, name)
    reading = ArtefactStore(root=store.root, reading=True)
    with pytest.raises(StoreError, match="has changed since it was written"):
        reading.get(name)
    assert list(reading.names()) == [name]


@pytest.mark.parametrize("other", [b"other" * 240, b"short", b""])
def test_putting_it_again_heals_it(store, other):
    name = store.put(DATA, "json")
    fresh = damage(store, name, other)
    assert fresh.put(DATA, "json") == name
    assert ArtefactStore(root=store.root).get(name) == DATA


def test_removed_is_gone_for_all(store):
    name, kept = store.put(DATA, "json"), store.put(b"kept", "json")
    store.remove(name)
    for one in (store, ArtefactStore(root=store.root)):
        assert not one.has(name)
        assert list(one.names()) == [kept]
        with pytest.raises(StoreError):
            one.get(name)


def test_arrays_and_packs_come_back(store):
    name = store.put_arrays({"values": np.arange(6.0).reshape(2, 3)})
    pack, hashes = store.put_pack([b"one", b"two"])
    fresh = ArtefactStore(root=store.root)
    assert (fresh.arrays(name)["values"] == np.arange(6.0).reshape(2, 3)).all()
    assert [fresh.blob(pack, one) for one in hashes] == [b"one", b"two"]


def test_the_study_names_the_place_or_the_environment_or_it_is_the_state_folder(
    tmp_path, monkeypatch
):
    monkeypatch.delenv("DND_STORE", raising=False)
    assert store_of(tmp_path).root == str(tmp_path / "store")
    monkeypatch.setenv("DND_STORE", f"s3://{BUCKET}/of-the-environment")
    assert store_of(tmp_path).root == f"s3://{BUCKET}/of-the-environment"
    assert store_of(tmp_path, "s3://other/of-the-study").root == "s3://other/of-the-study"


ROOT = Path(__file__).resolve().parents[3]
BYPASS = re.compile(
    r"""store\.(path|root)\b          # a path of the store's
      | ArtefactStore\(root=          # a store at a place that the study may not have named
      | /\s*["']store["']             # the folder in the state folder
    """,
    re.VERBOSE,
)
MAY = {
    "dnd_assets/engine/merge.py": 3,  # the store in another state folder, and whether it is our own
    "dnd_assets/engine/verify.py": 1,  # a state folder of its own, to compute again in
    "resources/artefact_store/store.py": 2,
}


def test_everything_goes_through_the_interface_of_the_store():
    found = {}
    for room in ("dnd_assets", "resources"):
        for path in sorted((ROOT / room).rglob("*.py")):
            lines = path.read_text(encoding="utf-8").splitlines()
            hits = [line for line in lines if BYPASS.search(line)]
            if hits:
                found[str(path.relative_to(ROOT))] = len(hits)
    assert found == MAY
