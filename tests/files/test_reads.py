"""What was looked at is noted, and any change of it shows."""

import os
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from dnd_assets.files.reads import digest_of, noted, python_files, stamp_of

_OLD = time.time() - 3600


@pytest.fixture
def place(tmp_path):
    """A folder with two files in a folder, and a link to one of them; all of an hour ago."""
    inner = tmp_path / "inner"
    inner.mkdir()
    for name in ("one", "two"):
        (inner / name).write_text("content")
    (tmp_path / "link").symlink_to(inner / "one")
    _aged(tmp_path)
    return tmp_path


def _aged(folder):
    """Wait until files that were made now are told apart from such that are made later."""
    time.sleep(0.05)
    return folder


LOOKS = {
    "opening": lambda place: (place / "inner" / "one").read_text(),
    "opening by number": lambda place: os.close(os.open(place / "inner" / "one", os.O_RDONLY)),
    "asking whether it is there": lambda place: (place / "inner" / "one").exists(),
    "asking for its size": lambda place: (place / "inner" / "one").lstat().st_size,
    "opening a link to it": lambda place: (place / "link").read_text(),
    "listing": lambda place: list((place / "inner").iterdir()),
    "walking": lambda place: list(os.walk(place)),
    "a pattern": lambda place: sorted(place.glob("*/o*")),
    "another thread": lambda place: ThreadPoolExecutor(1).submit(
        (place / "inner" / "one").read_bytes
    ),
}


def _in_place(place):
    """Other content of the same length, and the times of before, as far as they can be set."""
    file = place / "inner" / "one"
    before = file.stat()
    file.write_text("CONTENT")
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))


CHANGES = {
    "other content": _in_place,
    "removed": lambda place: (place / "inner" / "one").unlink(),
    "another file in its place": lambda place: (place / "inner" / "two").replace(
        place / "inner" / "one"
    ),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
@pytest.mark.parametrize("look", LOOKS.values(), ids=LOOKS)
def test_a_change_of_what_was_looked_at_shows(place, look, change):
    with noted() as reads:
        look(place)
    time.sleep(0.01)
    assert reads.settled()
    assert digest_of(reads.paths, reads.folders) == reads.digest()

    change(place)

    assert digest_of(reads.paths, reads.folders) != reads.digest()
    assert not reads.settled()


def test_what_was_missed_counts_when_it_comes(place):
    with noted() as reads:
        assert not (place / "later").exists()
        assert not (place / "inner" / "deep" / "later").exists()
        with pytest.raises(FileNotFoundError):
            (place / "absent").read_text()
    for name in ("later", "absent"):
        before = digest_of(reads.paths, reads.folders)
        (place / name).write_text("")
        assert digest_of(reads.paths, reads.folders) != before


def test_one_file_more_in_a_listed_folder_shows_and_elsewhere_does_not(place):
    with noted() as reads:
        list((place / "inner").iterdir())
    (place / "beside").write_text("")
    assert digest_of(reads.paths, reads.folders) == reads.digest()
    (place / "inner" / "three").write_text("")
    assert digest_of(reads.paths, reads.folders) != reads.digest()


def test_a_link_that_leads_elsewhere_shows(place):
    with noted() as reads:
        (place / "link").read_text()
    (place / "link").unlink()
    (place / "link").symlink_to(place / "inner" / "two")
    assert digest_of(reads.paths, reads.folders) != reads.digest()


def test_what_changes_meanwhile_or_just_before_is_not_settled(place):
    with noted() as reads:
        (place / "inner" / "one").read_text()
        (place / "inner" / "one").write_text("content")
    assert not reads.settled()

    (place / "inner" / "two").write_text("content")
    with noted() as fresh:
        (place / "inner" / "two").read_text()
    assert not fresh.settled(), "it may be written again within the same tick of the clock"


def test_times_of_full_seconds_need_two_of_them(place):
    file = place / "inner" / "one"
    second = int(time.time()) - 1
    os.utime(file, (second, second))
    # The time of the last change cannot be set; only where it is as coarse does it decide.
    with noted() as reads:
        file.read_text()
    stamp = list(stamp_of(str(file)))
    stamp[2:4] = [second * 10**9, second * 10**9]
    reads.paths[str(file)] = tuple(stamp)
    assert not reads._is_old(tuple(stamp))


def test_what_is_asked_over_a_network_is_never_settled(place):
    with noted() as reads, socket.socket() as asking:
        asking.connect_ex(("127.0.0.1", 9))
    assert not reads.settled()


def test_imports_ignored_paths_and_the_system_do_not_count(place):
    with noted(lambda path: path.endswith("two")) as reads:
        import this  # noqa: F401

        (place / "inner" / "two").read_text()
        Path("/proc/self/stat").read_text()
    assert not reads.paths
    assert not [folder for folder in reads.folders if "site-packages" not in folder]


def test_files_in_memory_count_and_devices_do_not():
    with noted() as reads:
        for name in ("/dev/shm/nothing of that name", "/dev/nothing of that name"):
            assert not Path(name).exists()
    assert reads.paths == {"/dev/shm/nothing of that name": ()}


def test_nothing_is_noted_outside_the_block(place):
    before = os.stat, os.lstat
    with noted() as outer:
        with noted() as inner:
            (place / "inner" / "one").read_text()
        (place / "inner" / "two").read_text()
    (place / "link").read_text()
    assert {Path(path).name for path in outer.paths} == {"one", "two"}
    assert {Path(path).name for path in inner.paths} == {"one"}
    assert (os.stat, os.lstat) == before


def test_python_files_are_found_without_byte_code(tmp_path):
    (tmp_path / "a" / "__pycache__").mkdir(parents=True)
    for name in ("a/one.py", "a/__pycache__/one.pyc", "a/schema.sql"):
        (tmp_path / name).write_text("")
    found = [Path(path).name for path in python_files([tmp_path])]
    assert found == ["one.py", "schema.sql"]
