"""Pictures in S3, on a server that the test starts."""

import os
from pathlib import Path

import pytest

from dnd_assets.files.atomic import sha256
from dnd_assets.files.containers import bucket
from dnd_assets.files.containers.bucket import BucketError, as_url, in_bucket
from dnd_assets.files.containers.bucket_listing import bucket_listing
from dnd_assets.files.containers.container_places import exists, read_bytes, truths_of
from dnd_assets.study.probing_images import image_files, scan_listing
from dnd_assets.study.study import parse_study
from tests.files.containers import parquet, png, samples, saved, shard

pytest.importorskip("obstore", reason="needs obstore, of the extra s3")
server = pytest.importorskip("moto.server", reason="needs moto's server")

LIMIT = 10_000_000
PLACE = Path("s3://photos/sets")


@pytest.fixture(scope="module")
def address():
    started = server.ThreadedMotoServer(port=0, verbose=False)
    started.start()
    host, port = started.get_host_and_port()
    yield f"http://{host}:{port}"
    started.stop()


@pytest.fixture
def put(address, monkeypatch):
    """Puts an object into a new bucket `photos`."""
    import httpx2 as httpx

    for name in [one for one in os.environ if one.startswith("AWS_")]:
        monkeypatch.delenv(name)
    for name, value in {
        "AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": address,
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    bucket._store.cache_clear()
    httpx.post(f"{address}/moto-api/reset")
    httpx.put(f"{address}/photos")

    def put(key, data):
        import obstore

        obstore.put(bucket._store("photos"), key, data)

    yield put
    bucket._store.cache_clear()


def test_pictures_of_a_folder_in_a_bucket(put):
    for n in range(3):
        put(f"sets/cats/{n}.png", png(n))
    put("sets/notes.txt", b"x")
    put("sets/.hidden.png", png(8))
    put("settled/other.png", png(9))
    found = scan_listing(bucket_listing(PLACE), LIMIT)

    assert [one.path for one in found.files] == [f"s3://photos/sets/cats/{n}.png" for n in range(3)]
    assert found.images == tuple(sorted(sha256(png(n)) for n in range(3)))
    assert sorted(one.kind for one in found.skipped) == [".txt", "hidden"]
    assert all(sha256(read_bytes(one.path)) == one.hash for one in found.files)


def test_shards_and_tables_in_a_bucket_are_read_by_range(put, tmp_path):
    put("sets/0.tar", shard(tmp_path / "0.tar", samples(range(4))).read_bytes())
    put("sets/1.parquet", parquet(tmp_path / "1.parquet", range(4, 9)).read_bytes())
    arrow = saved(tmp_path / "d", range(2)) / "data-00000-of-00001.arrow"
    put("sets/d/data.arrow", arrow.read_bytes())
    found = scan_listing(bucket_listing(PLACE), LIMIT)

    assert found.images == tuple(sorted(sha256(png(n)) for n in range(9)))
    (aside,) = found.quarantined
    assert "Arrow is read from disk alone" in aside.quarantined
    assert "s3://photos/sets/0.tar/000002.png" in [one.path for one in found.files]
    truths = truths_of(Path("s3://photos/sets/0.tar"))
    assert {one.label for one in truths.values()} == {"0", "1", "2"}


def test_what_has_not_changed_is_not_read_again(put, tmp_path, monkeypatch):
    put("sets/a.png", png(1))
    put("sets/0.tar", shard(tmp_path / "0.tar", samples(range(2, 4))).read_bytes())
    cache = tmp_path / "cache.json"
    scan_listing(bucket_listing(PLACE), LIMIT, cache)
    read = []
    monkeypatch.setattr(
        "dnd_assets.study.probing_images.read_bytes",
        lambda path: read.append(as_url(path)) or read_bytes(path),
    )
    scan_listing(bucket_listing(PLACE), LIMIT, cache)
    assert read == []
    put("sets/b.png", png(4))
    put("sets/a.png", png(5))
    found = scan_listing(bucket_listing(PLACE), LIMIT, cache)
    assert sorted(read) == ["s3://photos/sets/a.png", "s3://photos/sets/b.png"]
    assert found.images == tuple(sorted(sha256(png(n)) for n in (2, 3, 4, 5)))


def test_a_study_names_a_bucket(put, tmp_path):
    put("sets/a.png", png(1))
    models = [{"name": "n", "source": "timm:x", "layers": [{"path": "fc"}]}]
    table = {"name": "m", "models": models, "probing_set": {"folders": ["s3://photos/sets"]}}
    found = image_files(parse_study(table, tmp_path), tmp_path / "home")

    assert [as_url(path) for path in found.files] == ["s3://photos/sets/a.png"]


def test_what_is_not_there_and_who_does_not_answer(put, monkeypatch):
    put("sets/a.png", png(1))
    assert in_bucket(Path("s3://photos/sets"))
    assert not in_bucket(Path("/photos/sets"))
    assert exists("s3://photos/sets/a.png")
    assert not exists("s3://photos/sets/b.png")
    with pytest.raises(FileNotFoundError, match="no such object"):
        read_bytes("s3://photos/sets/b.png")
    with pytest.raises(BucketError, match=r"s3://absent/x cannot be read: .*AWS_ACCESS_KEY_ID"):
        bucket_listing(Path("s3://absent/x"))
    with pytest.raises(BucketError, match="names no bucket"):
        bucket_listing(Path("s3://"))
    bucket._store.cache_clear()
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    with pytest.raises(BucketError, match="cannot be read"):
        bucket_listing(PLACE)
