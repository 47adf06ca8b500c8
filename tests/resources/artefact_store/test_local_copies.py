"""Copies of far files: bounded, and never trusted unseen."""

import os

import pytest

from dnd_assets.errors import StoreError
from dnd_assets.files.atomic import sha256
from resources.artefact_store.local_copies import LocalCopies, copies_of


def named(number, size=100):
    data = bytes([number]) * size
    return f"{sha256(data)}.json", data


def test_the_copies_that_were_used_last_stay(tmp_path):
    copies = LocalCopies(tmp_path, 1_000)
    for number in range(30):
        name, data = named(number)
        copies.keep(name, data)
        os.utime(tmp_path / name, ns=(number, number))
        assert copies.get(named(0)[0]) is not None, "used again and again"
        assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= 1_100
    there = {path.name for path in tmp_path.iterdir()}
    assert named(0)[0] in there
    assert named(29)[0] in there
    assert named(1)[0] not in there


def test_room_that_other_processes_took_counts(tmp_path):
    for number in range(10):
        LocalCopies(tmp_path, 10_000).keep(*named(number))
    LocalCopies(tmp_path, 300).keep(*named(11))
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= 300


def test_what_does_not_fit_is_not_kept(tmp_path):
    copies = LocalCopies(tmp_path / "none", 50)
    copies.keep(*named(1))
    assert copies.get(named(1)[0]) is None


@pytest.mark.parametrize("harm", [b"", b"x" * 100])
def test_a_changed_copy_is_none(tmp_path, harm):
    copies = LocalCopies(tmp_path, 1_000)
    name, data = named(1)
    copies.keep(name, data)
    (tmp_path / name).write_bytes(harm)
    assert copies.get(name) is None
    assert not (tmp_path / name).exists()


def test_the_room_is_said_by_the_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("DND_CACHE", str(tmp_path))
    assert copies_of("s3://a").room == 10_000_000_000
    assert copies_of("s3://a").folder != copies_of("s3://b").folder
    monkeypatch.setenv("DND_STORE_CACHE_GB", "0.5")
    assert copies_of("s3://a").room == 500_000_000
    monkeypatch.setenv("DND_STORE_CACHE_GB", "much")
    with pytest.raises(StoreError, match="DND_STORE_CACHE_GB is 'much', not a number"):
        copies_of("s3://a")
