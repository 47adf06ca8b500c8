"""The probing set: every kind of file that people have in their folders."""

import io
import json
import os
import struct
import time
import zlib

import numpy as np
import pytest
from PIL import Image

from dnd_assets.errors import StudyError
from dnd_assets.files.atomic import sha256
from dnd_assets.study.probing_images import image_paths, image_rows, inspect, scan
from dnd_assets.study.study import parse_study
from resources.lineage_db.database import Lineage

LIMIT = 89_000_000


def noise(width=40, height=30, mode="RGB", seed=0):
    bands = len(Image.new(mode, (1, 1)).getbands())
    shape = (height, width) if bands == 1 else (height, width, bands)
    values = np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)
    return Image.fromarray(values, mode)


def saved(image, kind="PNG", **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def sixteen_bits():
    levels = np.linspace(0, 65_535, 40 * 30).astype(np.uint16).reshape(30, 40)
    return saved(Image.fromarray(levels))


def rotated():
    exif = Image.Exif()
    exif[0x0112] = 6
    return saved(noise(), "JPEG", exif=exif)


def animated():
    frames = [noise(seed=seed).quantize() for seed in range(3)]
    return saved(frames[0], "GIF", save_all=True, append_images=frames[1:], duration=10)


def png_header(width, height):
    """A PNG that claims a size and holds next to no data."""

    def chunk(kind, data):
        code = struct.pack(">I", zlib.crc32(kind + data))
        return struct.pack(">I", len(data)) + kind + data + code

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


SOUND = {
    "rgb.png": (saved(noise()), "RGB", "PNG"),
    "grey.png": (saved(noise(mode="L")), "L", "PNG"),
    "16-bit.png": (sixteen_bits(), "I;16", "PNG"),
    "cmyk.jpg": (saved(noise(mode="CMYK"), "JPEG"), "CMYK", "JPEG"),
    "palette.png": (saved(noise().quantize(16)), "P", "PNG"),
    "rgba.png": (saved(noise(mode="RGBA")), "RGBA", "PNG"),
    "animated.gif": (animated(), "P", "GIF"),
    "rotated.JPG": (rotated(), "RGB", "JPEG"),
    "photo.webp": (saved(noise(), "WEBP"), "RGB", "WEBP"),
    "bits.tif": (saved(noise(mode="L").convert("1"), "TIFF"), "1", "TIFF"),
    "really.png.jpeg": (saved(noise(seed=9)), "RGB", "PNG"),
}
BAD = {
    "corrupt.png": (b"\x89PNG\r\n\x1a\n" + b"\x13" * 500, "damaged"),
    "corrupt.jpg": (saved(noise(), "JPEG")[:200] + bytes(300), "damaged"),
    "truncated.jpg": (saved(noise(), "JPEG")[:-400], "truncated"),
    "truncated.png": (saved(noise())[:-400], ""),
    "text.png": (b"this is no image", "no image of a known format"),
    "zero.png": (b"", "the file is empty"),
    "huge.png": (png_header(20_000, 20_000), "too large: "),
}


def fill(folder, files):
    folder.mkdir(parents=True, exist_ok=True)
    for name, (data, *_) in files.items():
        (folder / name).write_bytes(data)
    return folder


def study(tmp_path, **probing):
    models = [{"name": "n", "source": "timm:x", "layers": [{"path": "fc"}]}]
    table = {"name": "mine", "models": models, "probing_set": probing}
    return parse_study(table, tmp_path)


def manifest(folder, **options):
    paths = sorted(p for p in folder.rglob("*") if p.is_file() or p.is_symlink())
    return scan(paths, LIMIT, **options)


def wrong(tmp_path, **probing):
    with pytest.raises(StudyError) as caught:
        image_paths(study(tmp_path, **probing), tmp_path / "home")
    return str(caught.value)


@pytest.mark.parametrize("name", SOUND)
def test_unusual_images_are_sound(tmp_path, name):
    data, mode, kind = SOUND[name]
    (tmp_path / name).write_bytes(data)
    file = inspect(tmp_path / name, LIMIT)

    assert file.quarantined == ""
    assert file.hash == sha256(data)
    assert (file.width, file.height) == (40, 30)  # as stored, even where EXIF turns it
    assert (file.mode, file.format, file.bytes) == (mode, kind, len(data))


@pytest.mark.parametrize("name", BAD)
def test_bad_images_are_set_aside_with_path_and_reason(tmp_path, name):
    data, reason = BAD[name]
    (tmp_path / name).write_bytes(data)
    file = inspect(tmp_path / name, LIMIT)

    assert file.quarantined
    assert reason in file.quarantined
    assert file.path == str(tmp_path / name)
    assert file.hash == sha256(data)
    assert file.bytes == len(data)


def test_a_huge_image_costs_neither_time_nor_memory(tmp_path):
    (tmp_path / "real.png").write_bytes(saved(Image.new("1", (20_000, 20_000))))
    start = time.process_time()
    file = inspect(tmp_path / "real.png", LIMIT)

    assert file.quarantined.startswith("too large: ")
    assert time.process_time() - start < 0.5


def test_the_limit_of_pixels_comes_from_the_study(tmp_path):
    fill(tmp_path, {"rgb.png": SOUND["rgb.png"]})

    assert scan([tmp_path / "rgb.png"], 40 * 30).images
    assert not scan([tmp_path / "rgb.png"], 40 * 30 - 1).images


def test_one_bad_file_never_stops_the_others(tmp_path):
    found = manifest(fill(tmp_path, {**SOUND, **BAD}))

    assert found.images == tuple(sorted({sha256(data) for data, *_ in SOUND.values()}))
    assert {file.path for file in found.quarantined} == {str(tmp_path / name) for name in BAD}
    assert [file.path for file in found.files] == sorted(file.path for file in found.files)
    assert len(found.files) == len(SOUND) + len(BAD)


def test_files_that_cannot_be_read_are_set_aside(tmp_path):
    (tmp_path / "gone.png").symlink_to(tmp_path / "nowhere.png")
    (tmp_path / "folder.png").mkdir()
    found = scan([tmp_path / n for n in ("gone.png", "folder.png", "never.png")], LIMIT)

    assert found.images == ()
    reasons = {file.path.rpartition("/")[2]: file.quarantined for file in found.files}
    assert reasons == {
        "gone.png": "cannot be read: No such file or directory",
        "folder.png": "cannot be read: Is a directory",
        "never.png": "cannot be read: No such file or directory",
    }


def test_a_loop_of_links_is_set_aside(tmp_path):
    (tmp_path / "loop.png").symlink_to(tmp_path / "loop.png")
    fill(tmp_path, {"rgb.png": SOUND["rgb.png"]})
    paths = image_paths(study(tmp_path, folders=["."]), tmp_path)
    found = scan(paths, LIMIT)

    assert len(found.images) == 1
    assert "symbolic links" in found.quarantined[0].quarantined


def test_a_name_that_is_no_text_is_set_aside(tmp_path):
    """Archives from old systems hold names in Latin-1, which no record could spell."""
    path = tmp_path / os.fsdecode(b"caf\xe9.png")
    path.write_bytes(SOUND["rgb.png"][0])
    file = inspect(path, LIMIT)

    assert "UTF-8" in file.quarantined
    assert file.path.endswith(r"caf\xe9.png")
    lineage = Lineage(root=str(tmp_path / "home"))
    lineage.commit({"images": image_rows([file])})
    assert lineage.query("SELECT path FROM images") == [{"path": file.path}]


def test_one_image_under_two_names_counts_once(tmp_path):
    data = SOUND["rgb.png"][0]
    for name in ("a.png", "b.png", "deep/er/c.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(data)
    found = manifest(tmp_path)

    assert found.images == (sha256(data),)
    assert len(found.files) == 3


def test_new_names_and_folders_change_nothing(tmp_path):
    fill(tmp_path / "before", {**SOUND, **BAD})
    fill(tmp_path / "after" / "deep", {f"x{n}.png": v for n, v in enumerate(SOUND.values())})
    fill(tmp_path / "after", {f"y{n}.gif": v for n, v in enumerate(BAD.values())})

    before, after = manifest(tmp_path / "before"), manifest(tmp_path / "after")
    assert before.images == after.images
    assert sorted(f.quarantined for f in before.files) == sorted(f.quarantined for f in after.files)


def test_a_moved_file_is_the_same_image_with_a_warm_cache(tmp_path):
    cache = tmp_path / "home" / "scanned.json"
    folder = fill(tmp_path / "images", {**SOUND, **BAD})
    before = manifest(folder, cache=cache).images
    for path in list(folder.iterdir()):
        path.rename(folder / f"renamed-{path.name}")

    assert manifest(folder, cache=cache).images == before


def test_the_cache_spares_reading_what_has_not_changed(tmp_path, monkeypatch):
    cache = tmp_path / "home" / "scanned.json"
    folder = fill(tmp_path / "images", {**SOUND, **BAD})
    cold = manifest(folder, cache=cache)
    reading = "dnd_assets.study.probing_images.inspect"
    monkeypatch.setattr(reading, lambda *_: pytest.fail("read again"))

    assert manifest(folder, cache=cache) == cold


def test_a_change_in_place_of_the_same_size_is_noticed(tmp_path):
    cache = tmp_path / "home" / "scanned.json"
    path = tmp_path / "image.bmp"
    path.write_bytes(saved(noise(seed=1), "BMP"))
    before = path.stat()
    assert scan([path], LIMIT, cache).images == (sha256(path.read_bytes()),)
    time.sleep(0.02)  # longer than the steps of the file system's clock

    with path.open("r+b") as file:
        file.write(saved(noise(seed=2), "BMP"))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert path.stat().st_size == before.st_size
    assert path.stat().st_mtime_ns == before.st_mtime_ns
    assert scan([path], LIMIT, cache).images == (sha256(path.read_bytes()),)


def test_the_cache_minds_the_limit_of_pixels(tmp_path):
    cache = tmp_path / "home" / "scanned.json"
    fill(tmp_path, {"rgb.png": SOUND["rgb.png"]})

    assert scan([tmp_path / "rgb.png"], LIMIT, cache).images
    assert not scan([tmp_path / "rgb.png"], 10, cache).images
    assert scan([tmp_path / "rgb.png"], LIMIT, cache).images


@pytest.mark.parametrize(
    "content", ["", "{", "[]", "3", '{"PATH": 3}', '{"PATH": ["STAMP", {"colour": 1}]}', "\xff"]
)
def test_a_damaged_cache_costs_time_only(tmp_path, content):
    cache = tmp_path / "scanned.json"
    path = tmp_path / "rgb.png"
    path.write_bytes(SOUND["rgb.png"][0])
    found = scan([path], LIMIT, cache)
    stamp = json.loads(cache.read_text())[str(path)][0]
    text = content.replace("PATH", str(path)).replace("STAMP", stamp)
    cache.write_bytes(text.encode("latin-1"))

    assert scan([path], LIMIT, cache) == found
    assert scan([path], LIMIT, cache) == found


def test_progress_counts_every_file(tmp_path):
    steps = []
    manifest(fill(tmp_path, {**SOUND, **BAD}), advance=steps.append)

    assert sum(steps) == len(SOUND) + len(BAD)


def test_folders_are_searched_below_and_only_for_images(tmp_path):
    fill(tmp_path / "a" / "deep", {"x.PNG": [b""], "y.jpeg": [b""]})
    fill(tmp_path / "a", {"notes.txt": [b""], "z.webp": [b""], "no_suffix": [b""]})
    fill(tmp_path / "b", {"w.tiff": [b""]})
    (tmp_path / "b" / "folder.png").mkdir()
    found = image_paths(study(tmp_path, folders=["a", "b", "a/deep"]), tmp_path)

    names = [str(path.relative_to(tmp_path)) for path in found]
    assert names == ["a/deep/x.PNG", "a/deep/y.jpeg", "a/z.webp", "b/w.tiff"]


def test_a_folder_without_images(tmp_path):
    fill(tmp_path / "images", {"notes.txt": [b""]})
    text = wrong(tmp_path, folders=["images"])

    assert f"folder {tmp_path / 'images'} holds no image file (" in text
    assert ".jpeg" in text
    assert "Put images there or name another folder" in text
    (tmp_path / "empty").mkdir()
    assert "holds no image file" in wrong(tmp_path, folders=["empty"])


def test_a_missing_folder_names_the_nearest(tmp_path):
    for name in ("photos", "photographs", "zebra"):
        (tmp_path / name).mkdir()
    text = wrong(tmp_path, folders=["photo"])

    assert "probing_set.folders names 'photo', but there is no folder" in text
    assert f"{tmp_path} holds: photos, photographs" in text
    assert "Correct the path in the study." in text
    assert "does not exist either" in wrong(tmp_path, folders=["no/where"])


def test_a_file_in_the_place_of_a_folder(tmp_path):
    fill(tmp_path, {"images": [b""]})

    assert "there is no folder" in wrong(tmp_path, folders=["images"])


def test_a_list_of_images_skips_blank_lines_and_starts_at_the_list(tmp_path):
    fill(tmp_path / "lists" / "pictures", {"a b.png": SOUND["rgb.png"], "\u00e9.png": [b"x"]})
    lines = "\n  pictures/a b.png \n\n\t\npictures/\u00e9.png\r\npictures/a b.png\ngone.png\n"
    (tmp_path / "lists" / "list.txt").write_text(lines, encoding="utf-8")
    found = image_paths(study(tmp_path, image_list="lists/list.txt"), tmp_path)

    names = [str(path.relative_to(tmp_path / "lists")) for path in found]
    assert names == ["gone.png", "pictures/a b.png", "pictures/\u00e9.png"]
    assert len(scan(found, LIMIT).images) == 1
    assert len(scan(found, LIMIT).quarantined) == 2


def test_a_list_may_hold_absolute_paths(tmp_path):
    (tmp_path / "list.txt").write_text("/elsewhere/a.png\n")

    assert [str(p) for p in image_paths(study(tmp_path, image_list="list.txt"), tmp_path)] == [
        "/elsewhere/a.png"
    ]


def test_wrong_lists_of_images(tmp_path):
    (tmp_path / "list.txt").write_text("\n \n")
    (tmp_path / "latin.txt").write_bytes(b"caf\xe9.png\n")

    assert "the image list 'list.txt' names no image" in wrong(tmp_path, image_list="list.txt")
    text = wrong(tmp_path, image_list="lists.txt")
    assert "probing_set.image_list names 'lists.txt', but there is no file" in text
    assert f"{tmp_path} holds: list.txt" in text
    assert "UTF-8" in wrong(tmp_path, image_list="latin.txt")


def test_a_generated_world_is_written_once_and_needs_no_files(tmp_path):
    few = study(tmp_path, world={"count": 6, "seed": 3})
    first = image_paths(few, tmp_path / "home")
    stamps = [path.stat().st_mtime_ns for path in first]
    again = image_paths(few, tmp_path / "home")
    other = image_paths(study(tmp_path, world={"count": 6, "seed": 4}), tmp_path / "home")

    assert len(first) == 6
    assert again == first
    assert [path.stat().st_mtime_ns for path in again] == stamps
    assert not scan(first, LIMIT).quarantined
    assert set(scan(other, LIMIT).images) != set(scan(first, LIMIT).images)
    assert all(path.is_relative_to(tmp_path / "home" / "probing") for path in first)


def test_rows_fit_the_table_images(tmp_path):
    found = manifest(fill(tmp_path / "images", {**SOUND, **BAD}))
    lineage = Lineage(root=str(tmp_path / "home"))
    lineage.commit({"images": image_rows(found.files)})

    sql = "SELECT * FROM images ORDER BY path"
    assert lineage.query(sql) == image_rows(found.files)
