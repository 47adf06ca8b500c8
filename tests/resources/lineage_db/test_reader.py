"""Readers only read: whatever state a folder is in, and whoever works there, they answer."""

import os
import shutil
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import duckdb
import pytest

from dnd_assets.errors import LineageError, NotFoundError
from resources.lineage_db import index
from resources.lineage_db.database import Lineage
from resources.lineage_db.index import Index
from resources.lineage_db.reader import LineageReader
from tests.lineage import handmade
from tests.processes import CONTEXT, started
from tests.resources.lineage_db.test_database import artefact, everything, fill

LABELS = "SELECT study, unit, label, status, run FROM labels ORDER BY ALL"


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    folder = tmp_path / "cache"
    monkeypatch.setenv("DND_CACHE", str(folder))
    return folder


@pytest.fixture
def root(tmp_path):
    """A state folder whose database holds all that its journal does."""
    lineage = Lineage(root=str(tmp_path / "state"))
    fill(lineage)
    lineage.settle()
    return tmp_path / "state"


def contents(root: Path):
    """Names, sizes, times and places of everything in a folder, the folder itself included."""
    found = {}
    for path in (root, *sorted(root.rglob("*"))):
        told = path.stat()
        found[str(path)] = (told.st_size, told.st_mtime_ns, told.st_ino, told.st_mode)
    return found


def complete(root):
    pass


def behind(root):
    Lineage(root=str(root)).commit({"artefacts": [artefact("later")]})


def without_database(root):
    (root / "lineage.duckdb").unlink()


def damaged(root):
    (root / "lineage.duckdb").write_bytes(b"x" * 50_000)


def older_schema(root):
    with duckdb.connect(str(root / "lineage.duckdb")) as connection:
        connection.execute("UPDATE schema_version SET version = 'of last year'")
        connection.execute("DROP VIEW labels")


def killed_writer(root):
    script = (
        "import duckdb, os, sys; c = duckdb.connect(sys.argv[1]); "
        "c.execute('PRAGMA disable_checkpoint_on_shutdown'); "
        "c.execute('DELETE FROM segments WHERE name = (SELECT min(name) FROM segments)'); "
        "os.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", script, str(root / "lineage.duckdb")], check=False)
    assert (root / "lineage.duckdb.wal").exists()


STATES = [complete, behind, without_database, damaged, older_schema, killed_writer]


@pytest.mark.parametrize("state", STATES, ids=lambda state: state.__name__)
def test_a_reader_finds_what_a_writer_would_and_touches_nothing(root, tmp_path, state):
    state(root)
    shutil.copytree(root, tmp_path / "written")
    expected = everything(Lineage(root=str(tmp_path / "written")))
    before = contents(root)

    for _ in range(2):
        assert everything(LineageReader(root=str(root))) == expected
    assert contents(root) == before


def as_nobody(root, cache, told, written):
    # The program itself may lie where nobody may read, so all of it is imported before.
    LineageReader(root=written).query(LABELS)
    os.setgid(65534)
    os.setuid(65534)
    os.environ["DND_CACHE"] = cache
    with pytest.raises(PermissionError):
        (Path(root) / "new").touch()
    try:
        told.put(LineageReader(root=root).query(LABELS))
    except Exception as error:  # noqa: BLE001 (told to the test)
        told.put(repr(error))


@pytest.mark.parametrize("state", [complete, behind, without_database])
@pytest.mark.parametrize("may_cache", [True, False])
def test_who_may_not_write_may_read(root, tmp_path, state, may_cache):
    if os.getuid() != 0:
        pytest.skip("only the superuser can become somebody else")
    state(root)
    expected = Lineage(root=str(shutil.copytree(root, tmp_path / "written"))).query(LABELS)
    above = [folder for folder in root.parents if "pytest-of-" in str(folder)]
    for folder in (root, root / "journal", *above):
        folder.chmod(0o755)
    mine = tmp_path / "mine"
    mine.mkdir()
    mine.chmod(0o777 if may_cache else 0o700)
    before = contents(root)
    told = CONTEXT.Queue()
    process = started(as_nobody, str(root), str(mine / "cache"), told, str(tmp_path / "written"))

    assert told.get(timeout=240) == expected
    process.join(30)
    assert contents(root) == before
    assert (mine / "cache").exists() == may_cache


def test_who_may_not_read_is_told_so_and_not_that_there_is_nothing(root, tmp_path):
    if os.getuid() != 0:
        pytest.skip("only the superuser can become somebody else")
    shutil.copytree(root, tmp_path / "written")
    (root / "journal").chmod(0o700)
    told = CONTEXT.Queue()
    cache = str(tmp_path / "cache")
    process = started(as_nobody, str(root), cache, told, str(tmp_path / "written"))

    assert "LineageError" in (said := told.get(timeout=240))
    assert "Permission denied" in said
    process.join(30)


def test_a_mount_that_cannot_be_written_is_read(root, tmp_path):
    behind(root)
    expected = Lineage(root=str(shutil.copytree(root, tmp_path / "written"))).query(LABELS)
    script = (
        "import json, sys\n"
        "from resources.lineage_db.reader import LineageReader\n"
        "from resources.lineage_db.database import Lineage\n"
        f"print(json.dumps(LineageReader(root=sys.argv[1]).query({LABELS!r})))\n"
        "try:\n"
        "    Lineage(root=sys.argv[1]).settle()\n"
        "except Exception as error:\n"
        "    print(error)\n"
    )
    mount = 'mount --bind "$1" "$1" && mount -o remount,ro,bind "$1" && exec "$2" -c "$3" "$1"'
    done = subprocess.run(
        ["unshare", "-m", "sh", "-c", mount, "sh", str(root), sys.executable, script],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if "unshare" in done.stderr or "mount:" in done.stderr:
        pytest.skip(f"no mounts here: {done.stderr.strip()}")

    import json

    found, refusal = done.stdout.splitlines()
    assert json.loads(found) == expected
    assert f"state folder {root} cannot be written: Read-only file system" in refusal


@pytest.mark.parametrize("made", [False, True])
def test_a_folder_without_results_is_told_and_not_made(tmp_path, made):
    folder = tmp_path / "nothing"
    if made:
        folder.mkdir()
    with pytest.raises(NotFoundError, match=r"no results in .*nothing\. Run `dnd run`"):
        LineageReader(root=str(folder)).query("SELECT 1")
    assert folder.exists() == made
    assert list(tmp_path.rglob("*")) == ([folder] if made else [])


# What is read once


def counted(monkeypatch):
    """Names of the segments that are read from now on."""
    names = []
    read = Index.read

    def watched(self, name):
        names.append(name)
        return read(self, name)

    monkeypatch.setattr(Index, "read", watched)
    return names


def test_each_segment_is_read_once_however_often_one_asks(root, monkeypatch):
    names = counted(monkeypatch)
    behind(root)
    for _ in range(3):
        assert LineageReader(root=str(root)).locate(["later"]) == {"later": "f"}
    assert len(names) == 1  # the rest came with a copy of the database

    Lineage(root=str(root)).commit({"artefacts": [artefact("last")]})
    assert LineageReader(root=str(root)).locate(["last"]) == {"last": "f"}
    assert len(names) == 2


def test_without_a_database_each_segment_is_read_once_too(root, monkeypatch):
    without_database(root)
    names = counted(monkeypatch)
    for _ in range(2):
        LineageReader(root=str(root)).query(LABELS)
    assert Counter(names) == Counter(Index(root / "x", root / "journal").segments())


def test_a_database_that_is_far_ahead_of_the_readers_own_is_copied(root, monkeypatch):
    from resources.lineage_db import reader as lineage_reader

    behind(root)
    LineageReader(root=str(root)).query(LABELS)
    for number in range(6):
        Lineage(root=str(root)).commit({"artefacts": [artefact(str(number))]})
    Lineage(root=str(root)).settle()
    behind(root)
    names = counted(monkeypatch)
    monkeypatch.setattr(lineage_reader, "_FEW", 3)
    assert LineageReader(root=str(root)).locate(["5"]) == {"5": "f"}
    assert len(names) == 1


def test_another_journal_in_the_same_place_is_another(root):
    behind(root)
    LineageReader(root=str(root)).query(LABELS)
    shutil.rmtree(root)
    lineage = Lineage(root=str(root))
    handmade.record(lineage, "other", handmade.UNIT)
    lineage.database.unlink(missing_ok=True)
    assert {row["study"] for row in LineageReader(root=str(root)).query(LABELS)} == {"other"}


def test_indexes_of_folders_that_nobody_reads_are_removed(root, cache):
    old = cache / "lineage" / "gone"
    old.mkdir(parents=True)
    os.utime(old, (1, 1))
    behind(root)
    LineageReader(root=str(root)).query(LABELS)
    assert len(list((cache / "lineage").iterdir())) == 1


def test_a_reader_records_nothing(root):
    reader = LineageReader(root=str(root))
    before = contents(root)
    assert reader.provider({"a": 1}) == Lineage(root=str(root / ".." / "b")).provider({"a": 1})
    reader.commit({"artefacts": []})
    with pytest.raises(LineageError, match="opened for reading only"):
        reader.commit({"artefacts": [artefact("a")]})
    with pytest.raises(LineageError, match="opened for reading only"):
        reader.rebuild()
    with pytest.raises(LineageError, match="opened for reading only"), reader.exclusive(print):
        pass
    assert contents(root) == before


# Others at work


@pytest.mark.parametrize("read_only", [True, False])
@pytest.mark.parametrize("state", [complete, behind])
@pytest.mark.parametrize("same_process", [True, False])
def test_an_open_notebook_is_in_nobodys_way(root, tmp_path, read_only, state, same_process):
    state(root)
    expected = Lineage(root=str(shutil.copytree(root, tmp_path / "written"))).query(LABELS)
    ready, stop = CONTEXT.Event(), CONTEXT.Event()
    if same_process:
        notebook = duckdb.connect(str(root / "lineage.duckdb"), read_only=read_only)
    else:
        holder = started(hold_open, str(root / "lineage.duckdb"), read_only, ready, stop)
        assert ready.wait(60)
    before = contents(root)
    start = time.monotonic()
    assert LineageReader(root=str(root)).query(LABELS) == expected
    assert contents(root) == before
    assert time.monotonic() - start < 20
    # A run goes on in another process, and what it records is seen.
    writer = started(commit_one, str(root))
    writer.join(60)
    assert writer.exitcode == 0
    assert LineageReader(root=str(root)).locate(["one"]) == {"one": "f"}
    if same_process:
        assert notebook.execute("SELECT count(*) FROM products").fetchone()[0] > 10
        notebook.close()
    else:
        stop.set()
        holder.join(20)
        assert holder.exitcode == 0


def hold_open(database, read_only, ready, stop):
    with duckdb.connect(database, read_only=read_only) as connection:
        ready.set()
        stop.wait(60)
        assert connection.execute("SELECT count(*) FROM products").fetchone()[0] > 10


def commit_one(root):
    lineage = Lineage(root=root)
    lineage.commit({"artefacts": [artefact("one")]})
    assert lineage.locate(["one"]) == {"one": "f"}


def keep_committing(root, ready, stop):
    """Commits of two rows that belong together, some within a block that holds the database."""
    lineage = Lineage(root=root)
    number = 0
    with lineage.exclusive(print):
        while not stop.is_set():
            with lineage.connect():
                for _ in range(3):
                    lineage.commit(pair(number))
                    number += 1
            lineage.commit(pair(number))
            number += 1
            ready.set()


def pair(number):
    run = {"run": str(number), "study": "s", "recorded_at": "t", "definition": "{}",
           "versions": "{}"}  # fmt: skip
    return {"runs": [run], "artefacts": [artefact(f"of {number}")]}


def test_readers_see_whole_commits_while_a_run_writes(root):
    both = (
        "SELECT (SELECT count(*) FROM runs WHERE study = 's') AS runs, "
        "(SELECT count(*) FROM artefacts WHERE starts_with(hash, 'of ')) AS artefacts"
    )
    ready, stop = CONTEXT.Event(), CONTEXT.Event()
    writer = started(keep_committing, str(root), ready, stop)
    assert ready.wait(60)
    seen, wrong = [], []

    def ask():
        for _ in range(6):
            reader = LineageReader(root=str(root))
            try:
                with reader.connect():
                    first, second = (reader.query(both)[0] for _ in range(2))
            except Exception as error:  # noqa: BLE001 (told to the test)  # noqa: BLE001 (all of them are wrong here)
                wrong.append(error)
                return
            seen.append(first["runs"])
            if first != second or first["runs"] != first["artefacts"]:
                wrong.append((first, second))

    threads = [threading.Thread(target=ask) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    stop.set()
    writer.join(60)
    assert wrong == []
    assert writer.exitcode == 0
    assert len(seen) == 12
    assert max(seen) > min(seen)
    assert Lineage(root=str(root)).query(both) == LineageReader(root=str(root)).query(both)


def test_a_copy_that_may_be_torn_is_not_taken(root, tmp_path, monkeypatch):
    source = root / "lineage.duckdb"
    run = subprocess.run

    def written_meanwhile(*args, **kwargs):
        done = run(*args, **kwargs)
        os.utime(source)
        return done

    monkeypatch.setattr(index.subprocess, "run", written_meanwhile)
    Index(tmp_path / "copy", root / "journal").seed(Index(source, root / "journal"))
    assert not (tmp_path / "copy").exists()
