"""Commits that wait for one another: in their order, soon, and before anybody reads."""

import os
import threading
import time

import pytest

from dnd_assets.errors import StoreError
from dnd_assets.lineage.fingerprint import canonical
from resources.lineage_db import grouping
from resources.lineage_db.database import Lineage
from resources.lineage_db.grouping import group_of
from resources.lineage_db.journal import Journal
from resources.lineage_db.reader import LineageReader
from tests import studies
from tests.processes import started
from tests.resources.lineage_db.test_database import artefact


@pytest.fixture
def lineage(tmp_path):
    return Lineage(root=str(tmp_path))


@pytest.fixture
def patient(monkeypatch):
    """No second is ever over."""
    monkeypatch.setattr(grouping, "_SECONDS", 3600.0)


def caption(item, value="c"):
    row = {"kind": "caption", "provider": "p", "item": item, "value": canonical(value)}
    return {"shared": [row]}


def written(lineage):
    return len(Journal(lineage.journal).segments())


def items(lineage):
    return [row["item"] for row in lineage.query("SELECT item FROM shared ORDER BY item")]


@pytest.mark.usefixtures("patient")
def test_64_commits_go_into_one_segment(lineage):
    with lineage.grouped():
        for number in range(63):
            lineage.commit(caption(f"{number:03d}"))
        assert written(lineage) == 0
        lineage.commit(caption("063"))
        assert written(lineage) == 1
        for number in range(64, 70):
            lineage.commit(caption(f"{number:03d}"))
    assert written(lineage) == 2
    assert items(lineage) == [f"{number:03d}" for number in range(70)]


def test_nothing_waits_longer_than_a_second_though_nobody_commits(lineage):
    with lineage.grouped():
        lineage.commit(caption("a"))
        assert written(lineage) == 0
        until = time.monotonic() + 10
        while not written(lineage):
            assert time.monotonic() < until
            time.sleep(0.01)
        assert grouping._SECONDS <= 1


@pytest.mark.usefixtures("patient")
@pytest.mark.parametrize("how", ["same", "another", "reader", "block"])
def test_whoever_reads_in_this_process_finds_what_waits(lineage, monkeypatch, tmp_path, how):
    monkeypatch.setenv("DND_CACHE", str(tmp_path / "cache"))
    Lineage(root=lineage.root).commit(caption("before"))
    with lineage.grouped():
        lineage.commit(caption("b"))
        kind = LineageReader if how == "reader" else Lineage
        other = lineage if how == "same" else kind(root=lineage.root)
        if how == "block":
            with lineage.connect():
                assert items(lineage) == ["b", "before"]
                lineage.commit(caption("c"))
                assert items(lineage) == ["b", "before", "c"]
                assert items(lineage) == items(Lineage(root=lineage.root))
        assert "b" in items(other)


@pytest.mark.usefixtures("patient")
def test_rows_that_may_not_wait_take_with_them_what_does(lineage):
    """A product is never recorded before what it was made from."""
    with lineage.grouped():
        lineage.commit(caption("a"))
        lineage.commit({"artefacts": [artefact("x")], **caption("b")})
        assert written(lineage) == 0
        lineage.commit({"providers": [{"provider": "p", "fingerprint": "{}"}]})
        assert written(lineage) == 1
    (name,) = Journal(lineage.journal).segments()
    (rows,) = Journal(lineage.journal).read(name).values()
    assert [row["item"] for row in rows["shared"]] == ["a", "b"]
    assert set(rows) == {"shared", "artefacts", "providers"}


@pytest.mark.usefixtures("patient")
def test_later_rows_replace_earlier_ones_that_waited_with_them(lineage):
    with lineage.grouped():
        lineage.commit(caption("a", "first"))
        lineage.commit(caption("a", "second"))
    assert lineage.shared("caption", "p", ["a"]) == {"a": "second"}


@pytest.mark.usefixtures("patient")
def test_a_block_that_fails_writes_what_was_made(lineage):
    with pytest.raises(ZeroDivisionError), lineage.grouped():  # noqa: PT012 (all of it)
        lineage.commit(caption("a"))
        raise ZeroDivisionError
    assert group_of(lineage.root) is None
    assert items(lineage) == ["a"]


@pytest.mark.usefixtures("patient")
def test_blocks_within_blocks_end_with_the_outermost(lineage):
    with lineage.grouped():
        with Lineage(root=lineage.root).grouped():
            lineage.commit(caption("a"))
        lineage.commit(caption("b"))
        assert written(lineage) == 1
    lineage.commit(caption("c"))
    assert written(lineage) == 3


@pytest.mark.usefixtures("patient")
def test_what_the_disk_refuses_waits_on_and_is_said(lineage, monkeypatch):
    def full(_):
        raise OSError(28, "No space left on device")

    with pytest.raises(StoreError, match="No space left"), lineage.grouped():  # noqa: PT012 (all of it)
        lineage.commit(caption("a"))
        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", full)
            group_of(lineage.root)._write_late()  # a timer has nobody to tell
            with pytest.raises(StoreError):
                lineage.query("SELECT 1")
        assert items(lineage) == ["a"]
        lineage.commit(caption("b"))
        monkeypatch.setattr(os, "fsync", full)


@pytest.mark.usefixtures("patient")
def test_threads_lose_nothing(lineage):
    def commit(name):
        for number in range(40):
            lineage.commit(caption(f"{name} {number:02d}"))

    with lineage.grouped():
        threads = [threading.Thread(target=commit, args=(name,)) for name in "abc"]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
    assert items(lineage) == [f"{name} {number:02d}" for name in "abc" for number in range(40)]


def leave_a_group(root):
    with Lineage(root=root).grouped():
        Lineage(root=root).commit(caption("a"))
        os.kill(os.getpid(), 9)


def test_a_killed_process_leaves_whole_segments(lineage):
    lineage.commit(caption("before"))
    process = started(leave_a_group, lineage.root)
    process.join(60)
    assert set(items(lineage)) <= {"a", "before"}
    assert lineage.changed_segments() == []


@pytest.mark.usefixtures("patient")
def test_a_stage_of_many_small_parts_writes_few_segments(colours, tmp_path, monkeypatch):
    studies.write_images(tmp_path / "images")
    table = studies.changed(colours, compute__batch__captioner=1)
    commits = []
    commit = Lineage.commit

    def counted(self, rows):
        commits.append(set(rows))
        commit(self, rows)

    monkeypatch.setattr(Lineage, "commit", counted)
    studies.label(table, tmp_path, ("net/colours/0-1",), last="captions")
    lineage = Lineage(root=str(tmp_path / "state"))
    (found,) = lineage.query("SELECT count(*) AS n FROM shared WHERE kind = 'caption'")
    small = [rows for rows in commits if rows == {"shared"}]
    assert len(small) >= found["n"] > 6, "one commit for each picture"
    assert written(lineage) < len(commits) - found["n"] + 2
