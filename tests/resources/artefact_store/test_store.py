"""The artefact store: content by its hash, and no byte that was not verified."""

import os

import numpy as np
import pytest

from dnd_assets.errors import StoreError
from dnd_assets.files.atomic import sha256
from resources.artefact_store import ArtefactStore
from tests.processes import CONTEXT, started

DATA = b"some content" * 100


@pytest.fixture
def store(tmp_path):
    return ArtefactStore(root=str(tmp_path))


def files(store):
    return sorted(p.name for p in store.path("xx").parent.parent.rglob("*") if p.is_file())


def truncate(path):
    path.write_bytes(path.read_bytes()[:-5])


def change(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def empty(path):
    path.write_bytes(b"")


def extend(path):
    path.write_bytes(path.read_bytes() + b"\0")


HARM = [truncate, change, empty, extend]


def test_content_is_named_by_its_hash(store):
    name = store.put(DATA, "json")

    assert name == f"{sha256(DATA)}.json"
    assert store.get(name) == DATA
    assert store.path(name).parent.name == name[:2]
    assert store.path(name).read_bytes() == DATA
    assert store.has(name)


def test_nothing_at_all_can_be_stored(store):
    assert store.get(store.put(b"", "json")) == b""


def test_equal_content_is_written_once(store):
    name = store.put(DATA, "json")
    before = store.path(name).stat()

    assert store.put(DATA, "json") == name
    after = store.path(name).stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert files(store) == [name]


def test_a_missing_file_is_told(store):
    name = f"{sha256(b'never')}.json"

    assert not store.has(name)
    with pytest.raises(StoreError) as caught:
        store.get(name)
    assert name in str(caught.value)
    assert "No such file" in str(caught.value)
    assert "computed anew" in str(caught.value)


@pytest.mark.parametrize("harm", HARM)
def test_damage_is_found_on_reading_and_set_aside(store, harm):
    name = store.put(DATA, "json")
    harm(store.path(name))
    damaged = store.path(name).read_bytes()

    with pytest.raises(StoreError, match="has changed since it was written"):
        store.get(name)
    assert not store.has(name)
    assert files(store) == [f"{sha256(DATA)}.damaged"]
    assert store.path(name).with_suffix(".damaged").read_bytes() == damaged
    with pytest.raises(StoreError, match="cannot be read"):
        store.get(name)


@pytest.mark.parametrize("harm", HARM)
@pytest.mark.parametrize("noticed", [True, False])
def test_putting_it_again_heals_it(store, harm, noticed):
    name = store.put(DATA, "json")
    harm(store.path(name))
    if noticed:
        with pytest.raises(StoreError):
            store.get(name)

    assert store.put(DATA, "json") == name
    assert store.get(name) == DATA


def test_an_emptied_file_counts_as_missing(store):
    name = store.put(DATA, "json")
    empty(store.path(name))

    assert not store.has(name)


def test_damage_that_cannot_be_set_aside_is_told_all_the_same(store):
    name = store.put(DATA, "json")
    change(store.path(name))
    (store.path(name).with_suffix(".damaged") / "in the way").mkdir(parents=True)

    with pytest.raises(StoreError, match="has changed since it was written"):
        store.get(name)


def test_arrays_come_back_bit_for_bit(store):
    arrays = {
        "values": np.array([[1.5, np.nan], [-0.0, np.inf]], np.float32),
        "ids": np.arange(12, dtype=np.uint8).reshape(3, 4)[:, ::2],  # not contiguous
        "none": np.zeros((0, 3), np.int64),
        "half": np.array(0.1, np.float16),
    }
    name = store.put_arrays(arrays)
    found = ArtefactStore(root=store.root).arrays(name)

    assert name.endswith(".safetensors")
    assert set(found) == set(arrays)
    for key, array in arrays.items():
        assert found[key].dtype == array.dtype
        assert found[key].shape == array.shape
        assert found[key].tobytes() == array.tobytes()


def test_the_order_of_arrays_does_not_matter(store):
    arrays = {f"a{n}": np.full(3, n) for n in range(5)}

    assert store.put_arrays(arrays) == store.put_arrays(dict(reversed(arrays.items())))


def test_more_files_than_stay_in_memory(store):
    names = [store.put_arrays({"a": np.full(3, n)}) for n in range(20)]

    for _ in range(2):
        assert [int(store.arrays(name)["a"][0]) for name in names] == list(range(20))


@pytest.mark.parametrize("harm", HARM)
def test_damaged_arrays_are_never_handed_out(store, harm):
    name = store.put_arrays({"a": np.arange(100)})
    harm(store.path(name))
    fresh = ArtefactStore(root=store.root)

    with pytest.raises(StoreError):
        fresh.arrays(name)
    fresh.put_arrays({"a": np.arange(100)})
    assert fresh.arrays(name)["a"].tolist() == list(range(100))


def test_a_pack_holds_many_blobs_in_one_file(store):
    blobs = [os.urandom(size) for size in (1, 10, 5_000)] + [b"", b"twice", b"twice"]
    pack, hashes = store.put_pack(blobs)
    fresh = ArtefactStore(root=store.root)

    assert hashes == [sha256(blob) for blob in blobs]
    assert [fresh.blob(pack, name) for name in hashes] == blobs
    assert files(store) == [pack]
    assert store.put_pack(blobs[::-1]) == (pack, hashes[::-1])


def test_a_pack_of_nothing(store):
    pack, hashes = store.put_pack([])

    assert hashes == []
    assert store.arrays(pack) == {}


def test_a_blob_that_the_pack_does_not_hold(store):
    pack, _ = store.put_pack([b"a"])

    with pytest.raises(StoreError, match=f"{pack} does not hold {sha256(b'b')[:12]}"):
        store.blob(pack, sha256(b"b"))


def test_a_blob_under_a_wrong_name_is_refused(store):
    pack = store.put_arrays({sha256(b"a"): np.frombuffer(b"b", np.uint8)})

    with pytest.raises(StoreError, match="with other content"):
        store.blob(pack, sha256(b"a"))


def put_all(root, barrier):
    store = ArtefactStore(root=root)
    barrier.wait(60)
    for n in range(30):
        store.get(store.put(bytes([n]) * 50_000, "bin"))


def test_two_processes_store_the_same_content_at_once(store):
    barrier = CONTEXT.Barrier(2)
    workers = [started(put_all, store.root, barrier) for _ in range(2)]
    for worker in workers:
        worker.join(100)

    assert [worker.exitcode for worker in workers] == [0, 0]
    assert files(store) == sorted(f"{sha256(bytes([n]) * 50_000)}.bin" for n in range(30))
