"""Folders of images: all that lies in them is read, set aside by name, or counted."""

import io
import os
import re
import socket
import time

import pytest
from PIL import Image

from dnd_assets.assets.probing_set import PROBING_IMAGES, observe
from dnd_assets.engine.context_builder import build_context
from dnd_assets.errors import StudyError
from dnd_assets.files.image_folders import listing, merged
from dnd_assets.files.image_suffixes import readable_suffixes
from dnd_assets.files.segmentation_masks import index_masks
from dnd_assets.study.probing_images import image_files, inspect, scan, scan_listing
from dnd_assets.study.study import parse_study
from dnd_assets.workflow.doctor import examine

LIMIT = 89_000_000
READ = {
    ".png": "PNG", ".apng": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".jpe": "JPEG",
    ".jfif": "JPEG", ".gif": "GIF", ".bmp": "BMP", ".dib": "DIB", ".tif": "TIFF", ".tiff": "TIFF",
    ".webp": "WEBP", ".ppm": "PPM", ".pgm": "PPM", ".pbm": "PPM", ".pnm": "PPM",
    ".jp2": "JPEG2000", ".j2k": "JPEG2000", ".jpx": "JPEG2000", ".avif": "AVIF", ".tga": "TGA",
    ".qoi": "QOI", ".pcx": "PCX", ".ico": "ICO",
}  # fmt: skip


def picture(kind="PNG", colour=(200, 30, 60), mode="RGB"):
    """A picture's bytes in a format."""
    buffer = io.BytesIO()
    Image.new("RGB", (20, 16), colour).convert(mode).save(buffer, format=kind)
    return buffer.getvalue()


def put(folder, name, data=None):
    """Write a file, folders included; its path."""
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(picture() if data is None else data)
    return path


def names(found, folder):
    return [str(path.relative_to(folder)) for path in found.files]


def kinds(found):
    return sorted(one.kind for one in found.skipped)


def study(folder, **more):
    models = [{"name": "n", "source": "timm:x", "layers": [{"path": "fc"}]}]
    table = {"name": "mine", "models": models, "probing_set": {"folders": ["images"]}, **more}
    return parse_study(table, folder)


@pytest.mark.parametrize("suffix", READ)
@pytest.mark.parametrize("case", [str.lower, str.upper])
def test_every_format_that_is_decoded_is_seen_by_its_suffix(tmp_path, suffix, case):
    path = put(
        tmp_path,
        f"a{case(suffix)}",
        picture(READ[suffix], mode={".pgm": "L", ".pbm": "1"}.get(suffix, "RGB")),
    )
    found = scan_listing(listing(tmp_path), LIMIT)

    assert [(file.path, file.quarantined) for file in found.files] == [(str(path), "")]
    assert found.files[0].format == READ[suffix]
    assert found.skipped == ()


def test_suffixes_are_those_of_the_decoder():
    assert readable_suffixes() >= set(READ)
    assert not readable_suffixes() & {".pdf", ".eps", ".ps", ".h5", ".mpg", ".fits", ".heic"}


@pytest.mark.parametrize(
    ("name", "data", "said"),
    [
        ("a.heic", b"\0\0\0\x18ftypheic\0\0\0\0", "HEIC is not decoded here; .* pillow-heif"),
        ("a.jpg", b"\0\0\0\x18ftypheic\0\0\0\0", "HEIC is not decoded here; .* pillow-heif"),
        ("a.jxl", b"\xff\x0a" + bytes(40), "JXL is not decoded here; .* pillow-jxl-plugin"),
        ("a.svg", b"<svg/>", "SVG is not decoded here; .* cairosvg"),
        ("a.CR2", b"II*\0" + bytes(9), "CR2 is not decoded here; .* rawpy"),
        ("a.jpg", b"a text\n", "no image of a known format"),
        ("a.png", b"", "the file is empty"),
    ],
)
def test_what_cannot_be_decoded_is_named_with_what_reads_it(tmp_path, name, data, said):
    put(tmp_path, "sound.png")
    put(tmp_path, name, data)
    found = scan_listing(listing(tmp_path), LIMIT)

    (aside,) = found.quarantined
    assert aside.path == str(tmp_path / name)
    assert re.search(said, aside.quarantined)
    assert len(found.images) == 1
    assert any(name in line for line in found.told())


def test_content_decides_not_the_suffix(tmp_path):
    put(tmp_path, "really_png.jpg", picture("PNG", (1, 2, 3)))
    put(tmp_path, "really_jpeg.heic", picture("JPEG", (4, 5, 6)))
    put(tmp_path, "without", picture("JPEG", (7, 8, 9)))
    put(tmp_path, "frame.0001", picture("PNG", (10, 11, 12)))
    put(tmp_path, "README", b"no picture")
    found = scan_listing(listing(tmp_path), LIMIT)

    assert [file.format for file in found.files] == ["PNG", "JPEG", "PNG", "JPEG"]
    assert found.quarantined == ()
    assert kinds(found) == ["without suffix"]


def test_links_to_folders_are_followed_and_loops_end(tmp_path):
    real = tmp_path / "elsewhere"
    put(real, "cats/a.png", picture(colour=(1, 1, 1)))
    images = tmp_path / "images"
    put(images, "dogs/b.png", picture(colour=(2, 2, 2)))
    (images / "cats").symlink_to(real / "cats")
    (images / "again").symlink_to(images / "dogs")
    (images / "dogs" / "up").symlink_to(images)
    (real / "cats" / "round").symlink_to(real)
    (images / "file.png").symlink_to(real / "cats" / "a.png")
    (images / "self").symlink_to(images / "self")
    found = listing(images)

    assert names(found, images) == ["cats/a.png", "dogs/b.png", "file.png"]
    assert len(scan(found.files, LIMIT).images) == 2
    assert set(kinds(found)) == {"seen before", "broken link"}
    assert listing(images) == found


def test_hidden_and_system_entries_are_skipped_and_counted(tmp_path):
    put(tmp_path, "a.png")
    hidden = [
        ".thumbnails/a.png", ".ipynb_checkpoints/a.png", ".git/a.png", "__MACOSX/a.png",
        "@eaDir/a.png", "deep/.cache/a.png", "._a.png", ".DS_Store", "Thumbs.db", "desktop.ini",
    ]  # fmt: skip
    for name in hidden:
        put(tmp_path, name)
    found = listing(tmp_path)

    assert names(found, tmp_path) == ["a.png"]
    assert kinds(found) == ["hidden"] * len(hidden)
    put(tmp_path / ".named", "b.png")
    assert names(listing(tmp_path / ".named"), tmp_path) == [".named/b.png"]


def test_other_files_are_counted_by_suffix(tmp_path):
    put(tmp_path, "a.png")
    for name in ("a.txt", "b.TXT", "c.csv", "d.pdf", "e.mp4", "f"):
        put(tmp_path, name, b"text")
    told = listing(tmp_path).told()

    assert told.startswith("skipped 6: 1 .csv, 1 .mp4, 1 .pdf, 2 .txt, 1 without suffix (such as ")
    assert told.endswith("…)")


def test_special_files_are_never_opened(tmp_path):
    put(tmp_path, "a.png")
    os.mkfifo(tmp_path / "fifo")
    os.mkfifo(tmp_path / "fifo.png")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "s"))
        started = time.monotonic()
        found = scan_listing(listing(tmp_path), LIMIT)
    assert time.monotonic() - started < 5

    (aside,) = found.quarantined
    assert aside.quarantined == "cannot be read: it is a FIFO, no file"
    assert kinds(found) == ["FIFO", "socket"]
    listed = scan([tmp_path / "fifo", tmp_path / "a\0b.png", tmp_path / ("x" * 300)], LIMIT)
    assert [bool(file.quarantined) for file in listed.files] == [True] * 3


def test_broken_links_are_named(tmp_path):
    put(tmp_path, "a.png")
    (tmp_path / "gone.png").symlink_to(tmp_path / "nowhere")
    (tmp_path / "gone").symlink_to(tmp_path / "nowhere")
    found = scan_listing(listing(tmp_path), LIMIT)

    assert [file.path for file in found.quarantined] == [str(tmp_path / "gone.png")]
    assert kinds(found) == ["broken link"]
    assert "gone" in found.told()[-1]


def test_a_folder_that_may_not_be_read_is_named(tmp_path, monkeypatch):
    put(tmp_path, "open/a.png")
    put(tmp_path, "closed/b.png", picture(colour=(9, 9, 9)))
    plain = os.scandir

    def scandir(place):
        if str(place).endswith("closed"):
            raise PermissionError(13, "Permission denied", str(place))
        return plain(place)

    monkeypatch.setattr(os, "scandir", scandir)
    found = scan_listing(listing(tmp_path), LIMIT)

    assert len(found.images) == 1
    (aside,) = found.quarantined
    assert (aside.path, aside.hash) == (str(tmp_path / "closed"), "")
    assert aside.quarantined == "folder cannot be read: Permission denied"


def test_names_that_are_long_or_no_text_do_no_harm(tmp_path):
    put(tmp_path, "x" * 240 + ".png")
    (tmp_path / os.fsdecode(b"caf\xe9")).mkdir()
    put(tmp_path, os.fsdecode(b"caf\xe9/\xff.png"))
    put(tmp_path, os.fsdecode(b"\xfe.txt"), b"text")
    os.mkfifo(tmp_path / os.fsdecode(b"\xfd"))
    found = scan_listing(listing(tmp_path), LIMIT, tmp_path / ".cache.json")

    assert len(found.images) == 1
    (aside,) = found.quarantined
    assert aside.path.endswith(r"caf\xe9/\xff.png")
    for line in found.told():
        line.encode()


def test_of_animations_and_pages_the_first_counts_and_it_is_said(tmp_path):
    frames = [Image.new("RGB", (20, 16), colour) for colour in ("red", "blue")]
    for kind, name in (("GIF", "a.gif"), ("PNG", "b.png"), ("TIFF", "c.tiff"), ("WEBP", "d.webp")):
        buffer = io.BytesIO()
        frames[0].save(buffer, kind, save_all=True, append_images=frames[1:])
        put(tmp_path, name, buffer.getvalue())
    put(tmp_path, "e.gif", picture("GIF"))
    found = scan_listing(listing(tmp_path), LIMIT)

    assert [file.animated for file in found.files] == [True] * 4 + [False]
    assert found.told() == ["of 4 files with several frames or pages the first is taken"]


def test_a_folder_with_nothing_to_read_says_what_it_holds(tmp_path):
    put(tmp_path, "images/a.txt", b"text")
    put(tmp_path, "images/.git/config", b"text")
    with pytest.raises(StudyError, match=r"skipped 2: 1 \.txt, 1 hidden"):
        image_files(study(tmp_path), tmp_path / "home")
    put(tmp_path, "images/b.png", b"")
    put(tmp_path, "images/c.png", b"text")
    put(tmp_path, "images/d.jpg", b"text")
    context = build_context(study(tmp_path), tmp_path / "home")
    with pytest.raises(StudyError) as caught:
        PROBING_IMAGES.scan(context)
    for part in ("none of 3", "2 x no image of a known", "1 x the file is empty", "skipped 2"):
        assert part in str(caught.value)


def test_log_doctor_and_notes_of_the_asset_tell_the_same(tmp_path):
    for name in ("a.png", "sub/b.txt", ".hidden/c.png", "d.heic"):
        put(tmp_path, f"images/{name}", picture() if name == "a.png" else b"text")
    lines = []
    context = build_context(study(tmp_path), tmp_path / "home", lines.append)
    notes = observe(context).outcome.notes

    assert notes["skipped"] == {".txt": 1, "hidden": 1}
    assert notes["skipped_first"] == [
        str(tmp_path / "images" / ".hidden"), str(tmp_path / "images" / "sub" / "b.txt"),
    ]  # fmt: skip
    (heic,) = notes["quarantined"]
    assert "pillow-heif" in heic["reason"]
    assert any("set aside 1 of 2 files: " in line and "d.heic" in line for line in lines)
    assert any("skipped 2: 1 .txt, 1 hidden" in line for line in lines)
    assert [line for line in lines if line in notes["told"]] == notes["told"]
    (finding,) = (one for one in examine(study(tmp_path), tmp_path / "home").findings
                  if one.what == "probing set")  # fmt: skip
    assert "2 image files" in finding.found
    assert "1 .heic (pillow-heif) not decoded" in finding.found
    assert "skipped 2" in finding.found


def test_what_is_skipped_changes_no_probing_set(tmp_path):
    put(tmp_path, "images/a.png")
    context = build_context(study(tmp_path), tmp_path / "home")
    before = observe(context)
    put(tmp_path, "images/notes.txt", b"text")
    after = observe(context)

    assert after.key == before.key
    assert after.data_version == before.data_version
    assert after.outcome.notes["skipped"] == {".txt": 1}


def test_listings_of_several_folders_count_each_path_once(tmp_path):
    put(tmp_path, "a/b/c.png")
    put(tmp_path, "a/b/d.txt", b"text")
    every = merged([listing(tmp_path / "a"), listing(tmp_path / "a" / "b")])

    assert names(every, tmp_path) == ["a/b/c.png"]
    assert kinds(every) == [".txt"]


def test_a_verdict_on_a_file_does_not_outlive_the_decoder(tmp_path, monkeypatch):
    path, cache = put(tmp_path, "a.png"), tmp_path / "scanned.json"
    scan([path], LIMIT, cache)
    monkeypatch.setattr("dnd_assets.study.probing_images._DECODER", "another")
    read = []
    monkeypatch.setattr(
        "dnd_assets.study.probing_images.inspect", lambda p, n: read.append(p) or inspect(p, n)
    )
    scan([path], LIMIT, cache)

    assert read == [path]


def test_images_with_masks_may_lie_in_folders_and_have_any_suffix(tmp_path):
    for name in ("a.png", "deep/b.jpe"):
        put(tmp_path, f"images/{name}", picture("JPEG" if name.endswith("jpe") else "PNG"))
        put(tmp_path, "masks/" + name.rpartition(".")[0] + ".png", picture(mode="L"))
    put(tmp_path, "images/c.heic", b"\0\0\0\x18ftypheic")
    (tmp_path / "names.csv").write_text("index,name\n1,sky\n74,wall\n")
    found = index_masks(tmp_path / "images", tmp_path / "masks", tmp_path / "names.csv", "object")

    assert [image.file.name for image in found.images] == ["a.png", "b.jpe"]
    assert [one.file for one in found.set_aside] == ["c.heic"]
