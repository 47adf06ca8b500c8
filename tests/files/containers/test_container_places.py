"""Pictures inside files of many: found, read, told apart, set aside by name."""

import io
import tarfile

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dnd_assets.errors import StudyError
from dnd_assets.files.atomic import sha256
from dnd_assets.files.containers.container_places import (
    container,
    exists,
    home_of,
    read_bytes,
    state,
    truths_of,
)
from dnd_assets.files.containers.contents import Columns
from dnd_assets.files.image_folders import listing
from dnd_assets.study.image_classes import truths_among
from dnd_assets.study.probing_images import scan_listing
from tests.files.containers import NAMES, STRUCT, features, parquet, png, samples, saved, shard

LIMIT = 10_000_000
NUMBERS = list(range(10))
HASHES = tuple(sorted(sha256(png(n)) for n in NUMBERS))


def write(kind, folder, numbers=NUMBERS):
    if kind == "tar":
        return shard(folder / "train-000.tar", samples(numbers))
    if kind == "parquet":
        return parquet(folder / "train.parquet", numbers)
    return saved(folder / "saved", numbers) / "data-00000-of-00001.arrow"


@pytest.mark.parametrize("kind", ["tar", "parquet", "arrow"])
def test_every_picture_is_known_by_its_bytes_and_read_again_from_its_place(tmp_path, kind):
    file = write(kind, tmp_path)
    found = scan_listing(listing(tmp_path), LIMIT)

    assert found.images == HASHES
    assert not found.quarantined
    assert all(sha256(read_bytes(one.path)) == one.hash for one in found.files)
    assert {home_of(path) for path in listing(tmp_path).files} == {file}
    # A file that is named itself is a set, too.
    assert listing(file).files == listing(tmp_path).files


@pytest.mark.parametrize("kind", ["tar", "parquet", "arrow"])
def test_captions_and_labels_are_those_of_each_picture(tmp_path, kind):
    file = write(kind, tmp_path)
    found = truths_of(file)

    assert len(found) == len(NUMBERS)
    by_hash = {sha256(read_bytes(place)): truth for place, truth in found.items()}
    for n in NUMBERS:
        truth = by_hash[sha256(png(n))]
        assert truth.caption == (f"a picture of number {n}" if kind == "tar" else f"number {n}")
        assert truth.label == (str(n % 3) if kind == "tar" else NAMES[n % 3])


@pytest.mark.parametrize("kind", ["tar", "parquet", "arrow"])
def test_the_same_pictures_in_another_home_are_the_same(tmp_path, kind):
    write(kind, tmp_path / "a")
    (tmp_path / "b").mkdir()
    for n in NUMBERS:
        (tmp_path / "b" / f"{n}.png").write_bytes(png(n))
    found = [scan_listing(listing(tmp_path / name), LIMIT).images for name in "ab"]

    assert found[0] == found[1]


def test_a_shard_that_is_added_leaves_what_was_seen(tmp_path, monkeypatch):
    shard(tmp_path / "s" / "0.tar", samples(range(4)))
    cache = tmp_path / "cache.json"
    scan_listing(listing(tmp_path / "s"), LIMIT, cache)
    read = []
    monkeypatch.setattr(
        "dnd_assets.study.probing_images.read_bytes",
        lambda path: read.append(path.as_posix()) or read_bytes(path),
    )
    scan_listing(listing(tmp_path / "s"), LIMIT, cache)
    assert read == []

    shard(tmp_path / "s" / "1.tar", samples(range(4, 6)))
    found = scan_listing(listing(tmp_path / "s"), LIMIT, cache)
    assert len(found.images) == 6
    assert len(read) == 2
    assert all("1.tar" in name for name in read)


def test_what_is_no_picture_of_a_shard_is_counted(tmp_path):
    members = [
        *samples(range(2)), ("000001.seg.png", png(7)), ("000001.mp4", b"x"),
        ("notes/readme", b"y"), ("../../out.png", png(8)), ("/abs.png", png(9)),
        ("000000.png", png(5)),
    ]  # fmt: skip
    file = shard(tmp_path / "s.tar", members)
    found = listing(tmp_path)

    names = [path.relative_to(file).as_posix() for path in found.files]
    assert names == sorted(["../../out.png", "000000.png", "000001.png", "abs.png"])
    # TAR replaces what comes again: the later picture counts.
    assert read_bytes(file / "000000.png") == png(5)
    assert sorted(one.kind for one in found.skipped) == [
        ".mp4", ".seg.png", "seen before", "without suffix"
    ]  # fmt: skip
    assert not exists(tmp_path / "s.png")


def test_json_beside_a_picture_tells_caption_and_label(tmp_path):
    members = [
        ("a.png", png(1)), ("a.json", b'{"caption": "two words", "label": 4}'), ("b.png", png(2)),
        ("b.json", b'{"text": "t"}'), ("b.cls", b"owl\n"), ("c.png", png(3)),
    ]  # fmt: skip
    found = container(shard(tmp_path / "s.tar", members)).truths()

    assert {name: (one.caption, one.label) for name, one in found.items()} == {
        "a.png": ("two words", "4"), "b.png": ("t", "owl")
    }  # fmt: skip
    broken = shard(tmp_path / "t.tar", [("a.png", png(1)), ("a.json", b"{")])
    with pytest.raises(OSError, match=r"member 'a\.json' of .*t\.tar is no JSON"):
        container(broken).truths()
    with pytest.raises(StudyError, match=r"member 'a\.json' of .*t\.tar is no JSON"):
        truths_among(listing(broken).files, Columns())


def test_damage_is_told_with_file_and_member(tmp_path):
    file = shard(tmp_path / "s.tar", [("a.png", png(1)), ("b.png", b"text"), ("c.png", png(2))])
    whole = file.read_bytes()
    found = scan_listing(listing(tmp_path), LIMIT)
    (aside,) = found.quarantined
    assert aside.path == str(file / "b.png")
    assert "no image of a known format" in aside.quarantined

    start = whole.index(png(2))
    file.write_bytes(whole[: start + 10])  # cut inside the last picture
    aside = {
        one.path: one.quarantined for one in scan_listing(listing(tmp_path), LIMIT).quarantined
    }
    assert aside[str(file)].startswith("cannot be read: its directory is damaged after 3 members")
    assert "is cut: member 'c.png' has 10 of" in aside[str(file / "c.png")]

    file.write_bytes(whole[: start - 512] + b"\xff" * 512 + whole[start:])  # a damaged header
    found = scan_listing(listing(tmp_path), LIMIT)
    assert len(found.images) == 1
    assert any(
        "damaged after 2 members: no header at byte" in a.quarantined for a in found.quarantined
    )

    file.write_bytes(b"no shard at all" * 100)
    assert (
        "damaged after 0 members"
        in scan_listing(listing(tmp_path), LIMIT).quarantined[0].quarantined
    )


def test_links_in_a_shard_are_not_followed(tmp_path):
    with tarfile.open(tmp_path / "s.tar", "w") as archive:
        link = tarfile.TarInfo("a.png")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    (aside,) = scan_listing(listing(tmp_path), LIMIT).quarantined
    assert "is a link, no file" in aside.quarantined


def test_rows_without_a_picture_and_damaged_tables_are_told(tmp_path):
    rows = [{"bytes": png(1), "path": None}, None, {"bytes": None, "path": "x/y.jpg"}]
    pq.write_table(pa.table({"image": pa.array(rows, STRUCT)}), tmp_path / "t.parquet")
    (tmp_path / "u.parquet").write_bytes(b"PAR1" + bytes(40) + b"PAR1")
    found = scan_listing(listing(tmp_path), LIMIT)

    aside = {one.path: one.quarantined for one in found.quarantined}
    assert len(found.images) == 1
    row = "row {} of column 'image' of " + str(tmp_path / "t.parquet")
    assert aside[str(tmp_path / "t.parquet/image/1")].endswith(f"{row.format(1)} holds no picture")
    assert "only the path 'x/y.jpg'" in aside[str(tmp_path / "t.parquet/image/2")]
    assert "is damaged" in aside[str(tmp_path / "u.parquet")]


def test_which_column_holds_pictures(tmp_path):
    plain = {"id": pa.array([b"\0\1", b"\2"]), "jpg": pa.array([png(1), png(2)])}
    pq.write_table(pa.table(plain), tmp_path / "plain.parquet")
    assert [p.parent.name for p in listing(tmp_path).files] == ["jpg", "jpg"]

    two = {"a/b": pa.array([png(3)]), "mask": pa.array([png(4)]), "said": pa.array(["words"])}
    pq.write_table(pa.table(two), tmp_path / "two.parquet")
    found = scan_listing(listing(tmp_path / "two.parquet"), LIMIT)
    (aside,) = found.quarantined
    assert "columns 'a/b', 'mask' hold pictures; say which counts" in aside.quarantined
    asked = Columns(image="a/b", caption="said")
    (place,) = listing(tmp_path / "two.parquet", asked).files
    assert read_bytes(place) == png(3)
    assert truths_of(tmp_path / "two.parquet", asked)[place].caption == "words"

    pq.write_table(pa.table({"x": [1.5]}), tmp_path / "none.parquet")
    (skipped,) = listing(tmp_path / "none.parquet").skipped
    assert skipped.kind == ".parquet without pictures"
    asked = Columns(label="kind")
    with pytest.raises(OSError, match="has no column 'kind'; it has id, jpg"):
        container(tmp_path / "plain.parquet", asked).truths()


def test_files_that_map_kept_beside_a_saved_set_do_not_count(tmp_path):
    folder = saved(tmp_path / "train", range(3))
    other = saved(tmp_path / "other", range(3, 9)) / "data-00000-of-00001.arrow"
    other.rename(folder / "cache-12ab.arrow")
    found = listing(folder)

    assert len(found.files) == 3
    assert "kept by `map` or `filter`" in [one.kind for one in found.skipped]


def test_folders_named_like_shards_are_folders(tmp_path):
    (tmp_path / "old.tar").mkdir()
    (tmp_path / "old.tar" / "a.png").write_bytes(png(1))
    found = scan_listing(listing(tmp_path), LIMIT)

    assert [one.path for one in found.files] == [str(tmp_path / "old.tar" / "a.png")]
    assert state(tmp_path / "gone.tar") == ""


def test_datasets_writes_what_is_read(tmp_path):
    datasets = pytest.importorskip("datasets", reason="needs Hugging Face datasets")
    from PIL import Image

    images = [Image.open(io.BytesIO(png(n))) for n in NUMBERS]
    held = datasets.Dataset.from_dict(
        {"image": images, "label": [n % 3 for n in NUMBERS]},
        features=datasets.Features(
            {"image": datasets.Image(), "label": datasets.ClassLabel(names=NAMES)}
        ),
    )
    datasets.DatasetDict({"train": held}).save_to_disk(str(tmp_path / "disk"))
    held.to_parquet(str(tmp_path / "p" / "train.parquet"))

    for folder in ("disk", "p"):
        found = scan_listing(listing(tmp_path / folder), LIMIT)
        truths = truths_among(listing(tmp_path / folder).files, Columns())
        assert len(found.images) == len(NUMBERS)
        assert not found.quarantined
        assert [one.label for _, one in sorted(truths.items(), key=lambda i: int(i[0].name))] == [
            NAMES[n % 3] for n in NUMBERS
        ]
    assert features()
