"""Pictures by content: from their files, from packs, and never with other bytes."""

import numpy as np
import pytest
from PIL import Image

from dnd_assets.engine.cache.stored_pictures import Pictures
from dnd_assets.errors import StoreError
from dnd_assets.files.atomic import sha256
from dnd_assets.files.images import UnreadableImage, encode_png, strip
from dnd_assets.study.probing_images import image_rows, scan
from resources.artefact_store import ArtefactStore
from resources.lineage_db.database import Lineage

LIMIT = 10_000


def noise(seed):
    values = np.random.default_rng(seed).integers(0, 256, (9, 12, 3), dtype=np.uint8)
    return Image.fromarray(values)


def opened(folder):
    lineage = Lineage(root=str(folder / "state"))
    return Pictures(lineage, ArtefactStore(root=str(folder / "store")), LIMIT)


def record(folder, *names):
    """Files of noise under `names`, seen by a scan."""
    paths = [folder / name for name in names]
    for seed, path in enumerate(paths):
        path.parent.mkdir(parents=True, exist_ok=True)
        noise(seed).save(path)
    return scanned(folder, *names)


def scanned(folder, *names):
    found = scan([folder / name for name in names], LIMIT)
    opened(folder).lineage.commit({"images": image_rows(found.files)})
    return {file.path.rpartition("/")[2]: file.hash for file in found.files}


def same(found, expected):
    assert found.mode == "RGB"
    np.testing.assert_array_equal(np.asarray(found), np.asarray(expected))


def test_probing_images_load_from_their_files_in_order(tmp_path):
    names = record(tmp_path, "a.png", "b.png", "c.png")
    images = opened(tmp_path).load([names["c.png"], names["a.png"], names["c.png"]])

    for found, seed in zip(images, [2, 0, 2], strict=True):
        same(found, noise(seed))


def test_bytes_come_back_as_the_file_holds_them(tmp_path):
    names = record(tmp_path, "a.png")

    assert opened(tmp_path).data(names["a.png"]) == (tmp_path / "a.png").read_bytes()


def test_kept_pictures_come_back_from_one_pack(tmp_path):
    pictures = opened(tmp_path)
    pack, hashes = pictures.keep([noise(5), noise(6), noise(5)])

    assert hashes == [sha256(encode_png(noise(n))) for n in (5, 6, 5)]
    for reader in (pictures, opened(tmp_path)):
        for found, seed in zip(reader.load(hashes), [5, 6, 5], strict=True):
            same(found, noise(seed))
    rows = pictures.lineage.query("SELECT * FROM artefacts ORDER BY hash")
    assert [row["hash"] for row in rows] == sorted(set(hashes))
    assert {(row["file"], row["kind"]) for row in rows} == {(pack, "png")}
    assert [p.name for p in (tmp_path / "store").rglob("*") if p.is_file()] == [pack]


def test_a_moved_image_is_found_where_it_was_seen_again(tmp_path):
    name = record(tmp_path, "a.png")["a.png"]
    (tmp_path / "a.png").rename(tmp_path / "z.png")
    with pytest.raises(StoreError):
        opened(tmp_path).load([name])
    scanned(tmp_path, "z.png")

    same(opened(tmp_path).load([name])[0], noise(0))


def test_a_changed_file_is_passed_over_for_its_twin(tmp_path):
    record(tmp_path, "a.png")
    (tmp_path / "b.png").write_bytes((tmp_path / "a.png").read_bytes())
    name = scanned(tmp_path, "b.png")["b.png"]
    noise(7).save(tmp_path / "a.png")

    same(opened(tmp_path).load([name])[0], noise(0))


def test_an_image_that_is_gone_or_changed_is_told(tmp_path):
    names = record(tmp_path, "a.png", "b.png")
    (tmp_path / "a.png").unlink()
    noise(7).save(tmp_path / "b.png")

    for file, name in names.items():
        with pytest.raises(StoreError) as caught:
            opened(tmp_path).load([name])
        text = str(caught.value)
        assert f"image {name[:12]}" in text
        assert str(tmp_path / file) in text
        assert "dnd run --assets probing_set" in text
    with pytest.raises(StoreError, match="seen at: nowhere"):
        opened(tmp_path).data("0" * 64)


def test_a_lost_probing_image_is_taken_from_a_pack_that_holds_it(tmp_path):
    (name,) = opened(tmp_path).keep([noise(0)])[1]
    (tmp_path / "a.png").write_bytes(encode_png(noise(0)))
    assert scanned(tmp_path, "a.png") == {"a.png": name}
    (tmp_path / "a.png").unlink()

    same(opened(tmp_path).load([name])[0], noise(0))


def test_a_damaged_pack_is_told(tmp_path):
    pack, (name,) = opened(tmp_path).keep([noise(0)])
    path = opened(tmp_path).store.path(pack)
    path.write_bytes(path.read_bytes()[:-1] + b"?")

    with pytest.raises(StoreError, match="has changed since it was written"):
        opened(tmp_path).load([name])
    opened(tmp_path).keep([noise(0)])
    same(opened(tmp_path).load([name])[0], noise(0))


def test_the_limit_of_pixels_holds_for_loading_too(tmp_path):
    name = record(tmp_path, "a.png")["a.png"]
    pictures = opened(tmp_path)
    pictures.max_pixels = 9 * 12 - 1

    with pytest.raises(UnreadableImage, match="too large"):
        pictures.load([name])


def test_pictures_of_one_pack_stand_together(tmp_path):
    names = list(record(tmp_path, "a.png", "b.png").values())
    writer = opened(tmp_path)
    packs = dict(writer.keep(part) for part in parts())
    kept = [name for hashes in packs.values() for name in hashes]
    asked = sorted(names + kept, key=lambda name: name[::-1])
    found = opened(tmp_path).in_order([*asked, *asked])

    assert sorted(found) == sorted(asked)
    assert found[:2] == sorted(names)
    expected = [name for pack in sorted(packs) for name in sorted(packs[pack])]
    assert found[2:] == expected
    assert found == opened(tmp_path).in_order(reversed(asked))


def parts():
    return [[noise(n) for n in (10, 11, 12)], [noise(n) for n in (20, 21, 22)]]


def test_a_picture_that_is_in_a_pack_is_not_stored_again(tmp_path):
    """Pictures by retrieval come again for every concept; each is stored once, and found."""
    first = opened(tmp_path)
    made = first.pack([noise(0), noise(1)])
    first.record(made)
    again = first.pack([noise(1), noise(2), noise(1)])
    first.record(again)
    old, new = made.hashes[1], again.hashes[1]
    assert again.hashes == [old, new, old]
    assert [again.place(name) for name in again.hashes] == [made.file, again.file, made.file]
    assert sorted(first.store.arrays(again.file)) == [new], "the new pack holds the new one alone"
    only_known = first.pack([noise(0)])
    assert only_known.place(only_known.hashes[0]) == made.file
    for found, seed in zip(opened(tmp_path).load([*made.hashes, new]), range(3), strict=True):
        same(found, noise(seed))


def test_a_pack_that_is_gone_does_not_stand_for_its_pictures(tmp_path):
    pictures = opened(tmp_path)
    made = pictures.pack([noise(0)])
    pictures.record(made)
    pictures.store.path(made.file).unlink()
    again = pictures.pack([noise(0)])
    assert again.place(again.hashes[0]) == again.file
    assert pictures.store.has(again.file)


def test_thumbnails_are_those_of_a_strip_and_are_made_once(tmp_path, monkeypatch):
    names = list(record(tmp_path, "a.png", "b.png").values())
    pictures = opened(tmp_path)
    small = pictures.small(names, 6)
    assert strip(small, 6).tobytes() == strip(pictures.load(names), 6).tobytes()
    monkeypatch.setattr(Pictures, "shown", None)  # nothing is read again
    assert pictures.small(names, 6) == small
