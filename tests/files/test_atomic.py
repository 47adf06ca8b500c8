"""Atomic files: the old content or the new one, whatever happens in between."""

import errno
import hashlib
import os
import stat
from pathlib import Path

import pytest

from dnd_assets.errors import StoreError
from dnd_assets.files.atomic import atomic_path, sha256, sha256_file, write_atomic
from tests.processes import CONTEXT, started

SPACE = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_hashes_are_sha256(tmp_path):
    data = os.urandom(3_000_000)
    (tmp_path / "a").write_bytes(data)

    assert sha256(b"abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert sha256_file(tmp_path / "a") == sha256(data) == hashlib.sha256(data).hexdigest()


def test_a_file_and_its_folders_appear(tmp_path):
    target = tmp_path / "new" / "folder" / "file.bin"
    write_atomic(target, b"first")
    write_atomic(target, b"second")

    assert target.read_bytes() == b"second"
    assert names(target.parent) == ["file.bin"]


def test_long_names_and_empty_content(tmp_path):
    target = tmp_path / ("\u00e9" * 120)
    write_atomic(target, b"")

    assert target.read_bytes() == b""


def test_others_may_read_it_as_any_other_file(tmp_path):
    (tmp_path / "plain").write_bytes(b"")
    write_atomic(tmp_path / "atomic", b"")

    mode = stat.S_IMODE((tmp_path / "plain").stat().st_mode)
    assert stat.S_IMODE((tmp_path / "atomic").stat().st_mode) == mode


def fails(*_):
    raise SPACE


def fsync_fails(patch):
    patch.setattr(os, "fsync", fails)


def rename_fails(patch):
    patch.setattr(Path, "replace", fails)


def write_fails(patch):
    def half(self, data):
        with self.open("wb") as file:
            file.write(data[: len(data) // 2])
        raise SPACE

    patch.setattr(Path, "write_bytes", half)


@pytest.mark.parametrize("failure", [fsync_fails, rename_fails, write_fails])
@pytest.mark.parametrize("before", [b"old content", None])
def test_a_full_disk_leaves_the_target_as_it_was(tmp_path, failure, before):
    target = tmp_path / "file.bin"
    if before is not None:
        target.write_bytes(before)
    with pytest.MonkeyPatch.context() as patch:
        failure(patch)
        with pytest.raises(StoreError) as caught:
            write_atomic(target, b"new content")

    assert names(tmp_path) == ([] if before is None else ["file.bin"])
    assert before is None or target.read_bytes() == before
    text = str(caught.value)
    assert str(target) in text
    assert "No space left on device" in text
    assert "free some space" in text
    assert isinstance(caught.value.__cause__, OSError)


def test_a_folder_that_cannot_be_made_is_told(tmp_path):
    (tmp_path / "file").write_bytes(b"")

    with pytest.raises(StoreError, match=r"cannot write .*file/below\.bin: \w+"):
        write_atomic(tmp_path / "file" / "below.bin", b"data")


def test_a_folder_in_the_place_of_the_target_is_told(tmp_path):
    (tmp_path / "taken").mkdir()

    with pytest.raises(StoreError, match="taken"):
        write_atomic(tmp_path / "taken", b"data")
    assert names(tmp_path) == ["taken"]


def test_an_error_of_the_writer_passes_through_and_leaves_nothing(tmp_path):
    target = tmp_path / "file.bin"
    target.write_bytes(b"old")

    def write():
        with atomic_path(target) as temporary:
            temporary.write_bytes(b"half")
            assert temporary.parent == target.parent
            assert target.read_bytes() == b"old"
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        write()
    assert target.read_bytes() == b"old"
    assert names(tmp_path) == ["file.bin"]


def test_data_is_flushed_before_the_rename_and_the_folder_after(tmp_path, monkeypatch):
    events = []
    fsync, replace = os.fsync, Path.replace

    def noted_fsync(handle):
        events.append("folder" if stat.S_ISDIR(os.fstat(handle).st_mode) else "file")
        fsync(handle)

    def noted_replace(self, target):
        events.append("rename")
        return replace(self, target)

    monkeypatch.setattr(os, "fsync", noted_fsync)
    monkeypatch.setattr(Path, "replace", noted_replace)
    write_atomic(tmp_path / "file.bin", b"data")

    assert events == ["file", "rename", "folder"]


def write_often(target, stop):
    letters = 0
    while not stop.is_set():
        write_atomic(target, bytes([97 + letters % 26]) * (1 + letters % 3) * 100_000)
        letters += 1


def test_a_reader_never_sees_a_torn_file(tmp_path):
    target = tmp_path / "file.bin"
    write_atomic(target, b"a" * 100_000)
    stop = CONTEXT.Event()
    writers = [started(write_often, target, stop) for _ in range(2)]
    seen = set()
    try:
        while len(seen) < 20:
            data = target.read_bytes()
            assert len(set(data)) == 1
            assert len(data) in (100_000, 200_000, 300_000)
            seen.add((data[0], len(data)))
    finally:
        stop.set()
        for writer in writers:
            writer.join(20)
    assert [writer.exitcode for writer in writers] == [0, 0]
    assert names(tmp_path) == ["file.bin"]
