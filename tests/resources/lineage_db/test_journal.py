"""The journal: what was appended is read, in its order, whatever becomes of its files."""

import json
import os
import random
import shutil
import signal
import time
from contextlib import suppress

import pytest

from dnd_assets.errors import LineageError, StoreError
from dnd_assets.files.atomic import sha256
from dnd_assets.lineage.fingerprint import canonical
from resources.lineage_db import journal as module
from resources.lineage_db.database import Lineage
from resources.lineage_db.journal import Journal, outside
from resources.lineage_db.reader import LineageReader
from tests.faults import DieAt, RefuseAt, Steps, watched
from tests.processes import CONTEXT, started
from tests.resources.lineage_db.test_database import artefact, everything

ORDER = "SELECT hash, file FROM artefacts ORDER BY hash"


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "journal"


def rows(name, file="f"):
    return {"artefacts": [artefact(name, file)]}


def append(folder, *names):
    journal = Journal(folder)
    return [journal.append(canonical(rows(name)).encode()) for name in names]


def append_earlier(folder, *names):
    """Segments as earlier versions wrote them: named by time and content."""
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for name in names:
        data = canonical(rows(name)).encode()
        file = f"{time.time_ns():020d}-3f2a1b-{sha256(data)[:16]}.json"
        (folder / file).write_bytes(data)
        written.append(file)
    return written


def said(folder):
    """What the journal says, in its order."""
    journal = Journal(folder)
    return [
        row["hash"]
        for name in journal.segments()
        for held in journal.read(name).values()
        for row in held["artefacts"]
    ]


def files(folder):
    return sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))


def forget():
    """As another process, which knows no numbers."""
    module._POSITIONS.clear()


# Numbers


def test_a_commit_lists_nothing_after_the_first(folder, monkeypatch):
    append(folder, "a")
    monkeypatch.setattr(os, "listdir", lambda _: pytest.fail("listed"))
    append(folder, *"bcd")
    monkeypatch.undo()
    assert said(folder) == list("abcd")


@pytest.mark.parametrize("others", [1, 2, 3, 7, 8, 64, 100])
def test_what_others_wrote_meanwhile_is_passed_over_without_listing(folder, monkeypatch, others):
    append(folder, "first")
    mine = dict(module._POSITIONS)
    append(folder, *(f"other {number}" for number in range(others)))
    monkeypatch.setattr(module, "_POSITIONS", mine)
    monkeypatch.setattr(os, "listdir", lambda _: pytest.fail("listed"))
    (name,) = append(folder, "last")
    monkeypatch.undo()
    assert name == f"{others + 2:020d}.json"
    assert said(folder)[0] == "first"
    assert said(folder)[-1] == "last"


def test_a_number_that_was_freed_by_compaction_is_not_used_again(folder, monkeypatch):
    append(folder, "a", "b")
    mine = dict(module._POSITIONS)
    append(folder, *"cdefgh")
    Journal(folder).compact()
    monkeypatch.setattr(module, "_POSITIONS", mine)
    append(folder, "i")
    assert said(folder) == list("abcdefghi")


def test_another_journal_in_the_same_place_has_its_own_numbers(folder):
    append(folder, *"abc")
    shutil.rmtree(folder)
    append_earlier(folder, "old")
    append(folder, "new")
    assert said(folder) == ["old", "new"]


def test_segments_of_earlier_versions_come_before_new_ones(folder):
    append_earlier(folder, "a", "b")
    forget()
    append(folder, "c", "d")
    assert said(folder) == list("abcd")
    assert Journal(folder).compact() == 3
    assert said(folder) == list("abcd")


def test_an_old_state_folder_opens_and_goes_on(tmp_path):
    append_earlier(tmp_path / "journal", "a", "b")
    lineage = Lineage(root=str(tmp_path))
    assert [row["hash"] for row in lineage.query(ORDER)] == ["a", "b"]
    lineage.commit(rows("c"))
    lineage.compact()
    lineage.rebuild()
    assert [row["hash"] for row in lineage.query(ORDER)] == ["a", "b", "c"]


def many(folder, name, barrier):
    barrier.wait(60)
    for number in range(15):
        append(folder, f"{name} {number}")


def test_processes_without_a_lock_overwrite_nothing(folder):
    folder.mkdir()
    barrier = CONTEXT.Barrier(3)
    writers = [started(many, folder, name, barrier) for name in "abc"]
    for writer in writers:
        writer.join(60)
    found = said(folder)
    assert len(found) == len(set(found)) == 45
    for name in "abc":
        own = [one for one in found if one.startswith(name)]
        assert own == [f"{name} {number}" for number in range(15)]


def test_where_files_have_no_second_name_nothing_is_overwritten_either(folder, monkeypatch):
    def refused(*_):
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(os, "link", refused)
    append(folder, *"ab")
    mine = dict(module._POSITIONS)
    append(folder, "c")
    monkeypatch.setattr(module, "_POSITIONS", mine)
    append(folder, "d")
    assert said(folder) == list("abcd")


# Damage


@pytest.mark.parametrize("packed", [False, True])
def test_any_changed_byte_is_noticed(folder, packed):
    append(folder, *"abc")
    if packed:
        Journal(folder).compact()
    name = files(folder)[0]
    path = folder / name
    whole = path.read_bytes()
    for at in range(len(whole)):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 4]) + whole[at + 1 :])
        assert Journal(folder).changed() == [name], at
    for end in range(len(whole)):
        path.write_bytes(whole[:end])
        assert Journal(folder).changed() == [name], end
    with pytest.raises(LineageError, match="has changed since it was written"):
        Journal(folder).read(name)


def test_a_changed_segment_goes_into_no_pack(folder):
    append(folder, *"abc")
    path = folder / files(folder)[1]
    path.write_bytes(path.read_bytes().replace(b'"b"', b'"x"'))
    before = files(folder)
    with pytest.raises(LineageError, match="has changed"):
        Journal(folder).compact()
    assert files(folder) == before


# Compaction


@pytest.mark.parametrize("count", [0, 1, 2, 3, 50])
def test_a_compacted_journal_says_the_same_in_fewer_files(folder, count):
    append(folder, *(str(number) for number in range(count)))
    before = said(folder)
    Journal(folder).compact()
    assert said(folder) == before
    assert len(Journal(folder).segments()) == min(count, 2)
    if folder.exists():
        assert files(folder) == sorted(Journal(folder).segments())


def test_compaction_again_and_again_unites_packs_until_they_are_large(folder, monkeypatch):
    monkeypatch.setattr(module, "_PACK_BYTES", 4_000)
    names = [str(number) for number in range(100)]
    for start in range(0, 100, 10):
        append(folder, *names[start : start + 10])
        Journal(folder).compact()
        assert said(folder) == names[: start + 10]
    packs = [path.stat().st_size for path in folder.glob("*.jsonl")]
    assert 3 < len(packs) < 12
    assert max(packs) < 6_000


def compact_and_die(root, number):
    with watched(DieAt(number)):
        Lineage(root=root).compact()


def steps_of_compaction(root):
    count = Steps()
    with watched(count):
        Lineage(root=str(root)).compact()
    return count.names


def filled(root):
    """A journal of old and new segments and a pack, and a database that knows a part of them."""
    lineage = Lineage(root=str(root))
    append_earlier(root / "journal", "a", "b")
    for name in "cde":
        lineage.commit(rows(name))
    lineage.compact()
    lineage.settle()
    for name in "fgh":
        lineage.commit(rows(name))
    return lineage


def test_killed_at_each_named_point_of_compaction_the_rows_are_the_same(tmp_path):
    whole = everything(filled(tmp_path / "whole"), "segments")
    names = steps_of_compaction(shutil.copytree(tmp_path / "whole", tmp_path / "counted"))
    assert {"journal: half written", "journal: rename", "journal: remove"} <= set(names)
    for number, name in enumerate(names):
        root = tmp_path / "killed"
        shutil.rmtree(root, ignore_errors=True)
        filled(root)
        process = started(compact_and_die, str(root), number)
        process.join(60)
        assert process.exitcode == -signal.SIGKILL, name
        assert everything(LineageReader(root=str(root)), "segments") == whole, name
        lineage = Lineage(root=str(root))
        assert lineage.changed_segments() == []
        lineage.rebuild()
        assert everything(lineage, "segments") == whole, name
        lineage.commit(rows("i"))
        lineage.compact()
        assert said(root / "journal") == list("abcdefghi"), name
        assert len(files(root / "journal")) == 2


@pytest.mark.parametrize("refusal", ["ENOSPC", "EIO"])
def test_a_disk_that_refuses_a_step_of_compaction_loses_nothing(tmp_path, refusal):
    root = tmp_path / "state"
    filled(root)
    names = steps_of_compaction(shutil.copytree(root, tmp_path / "counted"))
    for number in range(len(names)):
        place = tmp_path / "refused"
        shutil.rmtree(place, ignore_errors=True)
        shutil.copytree(root, place)
        with watched(RefuseAt(number, refusal)), suppress(OSError, LineageError, StoreError):
            Lineage(root=str(place)).compact()
        assert said(place / "journal") == list("abcdefgh")


def test_a_database_takes_in_each_row_of_a_pack_once(tmp_path):
    run = {"run": "r", "study": "s", "recorded_at": "t", "definition": "{}", "versions": "{}"}
    lineage = Lineage(root=str(tmp_path))
    dice = random.Random(0)
    for number in range(60):
        lineage.commit({"runs": [run | {"run": str(number)}]})
        if dice.random() < 0.2:
            lineage.settle()
        if dice.random() < 0.2:
            lineage.compact()
    expected = [{"run": run} for run in sorted(str(number) for number in range(60))]
    sql = "SELECT run FROM runs ORDER BY run"
    assert lineage.query(sql) == LineageReader(root=str(tmp_path)).query(sql) == expected
    lineage.rebuild()
    assert lineage.query(sql) == expected


def test_a_reader_keeps_its_own_index_over_a_compaction(tmp_path, monkeypatch):
    monkeypatch.setenv("DND_CACHE", str(tmp_path / "cache"))
    lineage = Lineage(root=str(tmp_path / "state"))
    for name in "abc":
        lineage.commit(rows(name))
    reader = LineageReader(root=lineage.root)
    before = reader.query(ORDER)
    (own,) = (tmp_path / "cache").rglob("lineage.duckdb")
    place = own.stat().st_ino
    lineage.compact()
    assert reader.query(ORDER) == before
    assert own.stat().st_ino == place


def keep_compacting(root, ready, stop):
    lineage = Lineage(root=root)
    number = 0
    while not stop.is_set():
        lineage.commit({**rows(f"{number:06d}"), "removed": [_removed(number)]})
        number += 1
        if number % 7 == 0:
            lineage.compact()
        ready.set()


def _removed(number):
    return {"file": str(number), "recorded_at": "t", "why": "w"}


def test_readers_see_whole_commits_while_segments_are_united(tmp_path, monkeypatch):
    monkeypatch.setenv("DND_CACHE", str(tmp_path / "cache"))
    root = str(tmp_path / "state")
    ready, stop = CONTEXT.Event(), CONTEXT.Event()
    writer = started(keep_compacting, root, ready, stop)
    assert ready.wait(60)
    sql = (
        "SELECT (SELECT count(*) FROM artefacts) AS a, (SELECT count(*) FROM removed) AS r, "
        "(SELECT max(hash)::INT + 1 FROM artefacts) AS last"
    )
    seen = []
    for _ in range(15):
        (row,) = LineageReader(root=root).query(sql)
        assert row["a"] == row["r"] == row["last"]
        seen.append(row["a"])
    stop.set()
    writer.join(60)
    assert writer.exitcode == 0
    assert seen == sorted(seen)
    assert seen[-1] > seen[0]


def test_a_stage_end_unites_many_segments(tmp_path, monkeypatch):
    from resources.lineage_db import database

    monkeypatch.setattr(database, "_COMPACT_AT", 10)
    lineage = Lineage(root=str(tmp_path))
    for number in range(12):
        lineage.commit(rows(str(number)))
    lineage.settle()
    assert len(files(tmp_path / "journal")) == 2
    assert lineage.query("SELECT count(*) AS n FROM artefacts") == [{"n": 12}]


def test_what_lies_in_the_range_of_a_pack_is_told(folder):
    append(folder, *"abcdef")
    names = files(folder)
    Journal(folder).compact()
    packs = Journal(folder).segments()
    assert outside(names, packs) == {names[-1]}
    assert outside(names, []) == set(names)
    assert json.loads((folder / packs[0]).read_text().splitlines()[0])["segments"] == names[:-1]
