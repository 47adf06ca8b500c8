"""The lineage database: nothing committed is ever lost, whatever becomes of the index."""

import json
import os
import signal
import threading
import time
from collections import Counter

import duckdb
import pytest

from dnd_assets.errors import LineageError, StoreError
from dnd_assets.lineage.records import Outcome
from dnd_assets.units import Unit
from resources.lineage_db import index
from resources.lineage_db.database import Lineage
from resources.servers.calls import StoredCall
from resources.servers.lineage_ledger import LineageLedger
from tests.lineage import handmade
from tests.lineage.handmade import BLUE, CROP, RED, UNIT, A, B, C
from tests.processes import CONTEXT, started

TABLES = {
    "runs", "products", "materializations", "artefacts", "shared", "providers", "images",
    "llm_calls", "failures",
    "removed", "work", "models", "stage_runs", "workers", "segments", "schema_version",
}  # fmt: skip
VIEWS = {
    "latest", "inputs", "exemplars", "crops", "activating_images", "captions",
    "candidate_concepts", "synthetic_images", "scores", "labels",
    "label_metrics", "method_labels", "detection", "detection_scores", "detection_examples",
    "ablation_effects",
}  # fmt: skip


@pytest.fixture
def lineage(tmp_path):
    return Lineage(root=str(tmp_path))


@pytest.fixture(scope="module")
def filled(tmp_path_factory):
    """Two units in two studies, one of them dead; for reading only."""
    found = Lineage(root=str(tmp_path_factory.mktemp("filled")))
    fill(found)
    return found


def fill(lineage):
    dead = Outcome("dead", {}, "it never fires")
    handmade.record(lineage, "mine", UNIT)
    stages = dict.fromkeys(handmade.UPSTREAM, dead)
    handmade.record(lineage, "mine", Unit("net", "fc", 4), changes=stages)
    handmade.record(lineage, "yours", UNIT, run="run-2", beta=3)


def artefact(name, file="f", size=1):
    return {"hash": name, "file": file, "kind": "png", "bytes": size, "recorded_at": "now"}


def everything(lineage, *without):
    """All rows of all tables and views, in no order."""
    found = {}
    with lineage.connect() as connection:
        for name in sorted(TABLES | VIEWS):
            if name not in without:
                rows = connection.execute(f"SELECT * FROM {name}").fetchall()
                found[name] = Counter(str(row) for row in rows)
    return found


def segments(lineage):
    return sorted(path for path in lineage.journal.iterdir() if path.suffix == ".json")


# What is recorded


def test_rows_come_back_as_they_were_committed(lineage):
    rows = [artefact("a"), artefact("b", size=2**40)]
    lineage.commit({"artefacts": rows, "products": []})

    assert lineage.query("SELECT * FROM artefacts ORDER BY hash") == rows
    assert lineage.query("SELECT file FROM artefacts WHERE hash = ?", ["b"]) == [{"file": "f"}]
    assert lineage.locate(["a", "nowhere", "a"]) == {"a": "f"}
    assert lineage.locate([]) == {}


def test_hard_text_survives_journal_and_database(lineage):
    text = "caf\u00e9 \u732b \U0001f408 'quote' \"double\" \\ \n \t \x01 %s ; DROP TABLE shared"
    rows = [{"kind": text, "provider": text, "item": text, "value": json.dumps({text: text})}]
    lineage.commit({"shared": rows})

    assert lineage.shared(text, text, [text, "other"]) == {text: {text: text}}
    lineage.rebuild()
    assert lineage.shared_items(text, text) == {text: {text: text}}


def test_later_rows_of_a_keyed_table_replace_earlier_ones(lineage):
    lineage.commit({"artefacts": [artefact("a", "old"), artefact("b", "kept")]})
    lineage.commit({"artefacts": [artefact("a", "twice"), artefact("a", "new")]})

    assert lineage.locate(["a", "b"]) == {"a": "new", "b": "kept"}
    lineage.rebuild()
    assert lineage.locate(["a", "b"]) == {"a": "new", "b": "kept"}


def test_an_image_is_known_by_content_and_path(lineage):
    rows = [{**image, "bytes": 1, "quarantined": ""} for image in handmade.IMAGES]
    lineage.commit({"images": rows})
    lineage.commit({"images": [{**rows[0], "quarantined": "damaged"}]})

    found = lineage.query("SELECT hash, path, quarantined FROM images ORDER BY path")
    assert len(found) == 4
    assert [row["path"] for row in found if row["quarantined"]] == ["/images/a.png"]


def test_tables_without_a_key_keep_every_row(lineage):
    run = {"run": "r", "study": "s", "recorded_at": "t", "definition": "{}", "versions": "{}"}
    lineage.commit({"runs": [run]})
    lineage.commit({"runs": [run]})

    assert lineage.query("SELECT * FROM runs") == [run, run]


def test_an_empty_commit_leaves_nothing(lineage):
    lineage.commit({})
    lineage.commit({"artefacts": []})

    assert not lineage.journal.exists()


def test_an_unknown_table_is_refused_before_anything_is_written(lineage):
    with pytest.raises(LineageError, match=r"no lineage table 'artefact'.*'artefacts'"):
        lineage.commit({"artefacts": [artefact("a")], "artefact": [artefact("a")]})
    assert not lineage.journal.exists()


def test_a_provider_is_recorded_once(lineage):
    name = lineage.provider({"b": 1, "a": [2]})

    assert lineage.provider({"a": [2], "b": 1}) == name
    assert Lineage(root=lineage.root).provider({"a": [2], "b": 1}) == name
    assert lineage.provider({"a": [3]}) != name
    assert len(segments(lineage)) == 2
    (row,) = lineage.query("SELECT fingerprint FROM providers WHERE provider = ?", [name])
    assert json.loads(row["fingerprint"]) == {"a": [2], "b": 1}


def test_calls_of_a_language_model_are_kept_for_good(lineage):
    ledger = LineageLedger(lineage)
    first = StoredCall("h", {"messages": ["hi"]}, {"answer": "a"}, 3, 4, 0.5)
    ledger.put(first)
    ledger.put(StoredCall("h", {"messages": ["hi"]}, {"answer": "b"}))
    lineage.rebuild()

    assert ledger.get("h") == first
    assert ledger.get("other") is None


# The journal is the record


def test_the_journal_outlives_the_database(lineage):
    fill(lineage)
    before = everything(lineage)
    assert sum(sum(rows.values()) for rows in before.values()) > 100

    lineage.database.unlink()
    assert everything(Lineage(root=lineage.root)) == before
    lineage.rebuild()
    assert everything(lineage) == before


@pytest.mark.parametrize("harm", ["garbage", "empty", "half", "changed"])
def test_a_damaged_database_is_made_anew(lineage, harm):
    lineage.commit({"artefacts": [artefact(str(n), "f" * 500) for n in range(3_000)]})
    before = everything(lineage)
    data = bytearray(lineage.database.read_bytes())
    if harm == "changed":
        data[4_096:] = bytes(255 - byte for byte in data[4_096:])
    harmed = {"garbage": b"x" * 50_000, "empty": b"", "half": data[: len(data) // 2]}
    lineage.database.write_bytes(harmed.get(harm, data))

    start = time.monotonic()
    assert everything(Lineage(root=lineage.root)) == before
    assert time.monotonic() - start < 20  # no waiting for a lock that nobody holds


def commit_and_die(root):
    lineage = Lineage(root=root)
    lineage.commit({"artefacts": [artefact("a")]})
    lineage.settle()
    connection = duckdb.connect(str(lineage.database))
    connection.execute("PRAGMA disable_checkpoint_on_shutdown")
    connection.execute("INSERT INTO artefacts VALUES ('never journaled', 'f', 'png', 1, 'now')")
    os.kill(os.getpid(), signal.SIGKILL)


def test_changes_left_over_from_a_killed_process_do_not_outlive_the_database(lineage):
    process = started(commit_and_die, lineage.root)
    process.join(60)
    assert process.exitcode == -signal.SIGKILL
    assert lineage.database.with_suffix(".duckdb.wal").exists()
    lineage.database.unlink()

    assert lineage.query("SELECT hash FROM artefacts") == [{"hash": "a"}]


def test_what_was_journaled_before_a_crash_is_taken_in_at_the_next_opening(lineage, monkeypatch):
    lineage.commit({"artefacts": [artefact("a")]})

    def crash(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(index, "insert", crash)
        lineage.commit({"artefacts": [artefact("b")]})
        with pytest.raises(KeyboardInterrupt):
            lineage.settle()

    assert Lineage(root=lineage.root).locate(["a", "b"]) == {"a": "f", "b": "f"}


def test_a_commit_that_the_disk_refuses_leaves_nothing(lineage, monkeypatch):
    lineage.commit({"artefacts": [artefact("a")]})

    def full(_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(StoreError, match="No space left"):
            lineage.commit({"artefacts": [artefact("b")]})

    assert len(segments(lineage)) == 1
    assert lineage.locate(["a", "b"]) == {"a": "f"}
    lineage.commit({"artefacts": [artefact("b")]})
    assert lineage.locate(["a", "b"]) == {"a": "f", "b": "f"}


def test_a_segment_is_taken_in_once(lineage):
    run = {"run": "r", "study": "s", "recorded_at": "t", "definition": "{}", "versions": "{}"}
    lineage.commit({"runs": [run]})
    for _ in range(3):
        assert Lineage(root=lineage.root).query("SELECT count(*) AS n FROM runs") == [{"n": 1}]


def test_a_changed_segment_is_refused(lineage):
    lineage.commit({"artefacts": [artefact("a")]})
    lineage.commit({"artefacts": [artefact("b")]})
    first, second = segments(lineage)
    first.write_bytes(first.read_bytes().replace(b'"a"', b'"c"'))

    with pytest.raises(LineageError) as caught:
        lineage.rebuild()
    text = str(caught.value)
    assert str(first) in text
    assert "has changed since it was written" in text
    assert "Restore it from a copy, or remove it" in text
    first.unlink()
    assert lineage.query("SELECT hash FROM artefacts") == [{"hash": "b"}]
    assert second.exists()


def test_segments_are_numbered_and_say_what_was_committed(lineage):
    for name in "ab":
        lineage.commit({"artefacts": [artefact(name)]})
    first, second = segments(lineage)

    assert (first.name, second.name) == (f"{1:020d}.json", f"{2:020d}.json")
    assert json.loads(first.read_text())["rows"] == {"artefacts": [artefact("a")]}


def test_a_file_that_is_still_being_written_is_no_segment(lineage):
    lineage.commit({"artefacts": [artefact("a")]})
    (lineage.journal / ".00000000000000000001-half.json.1234.tmp").write_text('{"arte')

    assert lineage.query("SELECT hash FROM artefacts") == [{"hash": "a"}]
    lineage.commit({"artefacts": [artefact("b")]})
    assert len(lineage.query("SELECT hash FROM artefacts")) == 2


def test_a_clock_that_is_set_back_does_not_reorder_commits(lineage, monkeypatch):
    for file in ("first", "second", "third"):
        lineage.commit({"artefacts": [artefact("a", file)]})
        monkeypatch.setattr(time, "time_ns", lambda: 1)
    before = everything(lineage)
    lineage.rebuild()

    assert lineage.locate(["a"]) == {"a": "third"}
    assert everything(lineage) == before


def test_a_new_schema_is_applied_to_an_old_database(lineage, monkeypatch, tmp_path):
    lineage.commit({"artefacts": [artefact("a")]})
    newer = tmp_path / "schema.sql"
    script = index._SCHEMA.read_text(encoding="utf-8")
    newer.write_text(script + "CREATE OR REPLACE VIEW files AS SELECT file FROM artefacts;")
    monkeypatch.setattr(index, "_SCHEMA", newer)

    assert lineage.query("SELECT * FROM files") == [{"file": "f"}]


# Several processes


def commit_many(root, name, barrier):
    lineage = Lineage(root=root)
    barrier.wait(60)
    for n in range(20):
        run = {"run": f"{name} {n}", "study": "s", "recorded_at": "t", "definition": "{}",
               "versions": "{}"}  # fmt: skip
        own, common = artefact(f"{name} {n}", name), artefact(f"common {n}", name)
        lineage.commit({"runs": [run], "artefacts": [own, common]})


def test_two_processes_lose_and_repeat_nothing(lineage):
    barrier = CONTEXT.Barrier(2)
    writers = [started(commit_many, lineage.root, name, barrier) for name in ("one", "two")]
    for writer in writers:
        writer.join(120)
    assert [writer.exitcode for writer in writers] == [0, 0]

    expected = [f"{name} {n}" for name in ("one", "two") for n in range(20)]
    assert sorted(r["run"] for r in lineage.query("SELECT run FROM runs")) == sorted(expected)
    assert set(lineage.locate(expected)) == set(expected)
    assert len(segments(lineage)) == 40
    before = everything(lineage)
    lineage.rebuild()
    assert everything(lineage) == before


def test_threads_of_one_process_commit_side_by_side(lineage):
    def commit(name):
        for n in range(4):
            lineage.commit({"artefacts": [artefact(f"{name}{n}")]})

    threads = [threading.Thread(target=commit, args=(name,)) for name in "abc"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)

    assert len(lineage.query("SELECT * FROM artefacts")) == 12


def keep_open(root, ready, stop, read_only):
    """A notebook, or a database tool, that somebody left open."""
    connection = duckdb.connect(str(Lineage(root=root).database), read_only=read_only)
    sql = "SELECT list(key ORDER BY key) FROM products"
    before = connection.execute(sql).fetchall()
    ready.set()
    stop.wait(60)
    assert connection.execute(sql).fetchall() == before
    connection.close()


@pytest.mark.parametrize("read_only", [True, False])
@pytest.mark.parametrize("copies", [3, 0], ids=["copied", "made anew"])
def test_a_database_open_in_another_program_blocks_nobody(lineage, monkeypatch, read_only, copies):
    """The other program keeps what it sees; the next one that opens it there sees the new."""
    fill(lineage)
    lineage.settle()
    ready, stop = CONTEXT.Event(), CONTEXT.Event()
    holder = started(keep_open, lineage.root, ready, stop, read_only)
    assert ready.wait(60)
    monkeypatch.setattr(index, "_PATIENCE_S", 0.1)
    monkeypatch.setattr(index, "_COPIES", copies)
    start = time.monotonic()
    lineage.commit({"artefacts": [artefact("a")]})
    assert lineage.locate(["a"]) == {"a": "f"}
    assert time.monotonic() - start < 20
    before = everything(lineage)

    stop.set()
    holder.join(20)
    assert holder.exitcode == 0  # it read on, undisturbed
    assert everything(lineage) == before
    lineage.rebuild()
    assert everything(lineage) == before
    assert sorted(path.name for path in lineage.database.parent.glob("lineage*")) == [
        "lineage.duckdb", "lineage.lock",
    ]  # fmt: skip


def hold(root, ready, stop, who=""):
    with Lineage(root=root).exclusive(print, who):
        ready.set()
        stop.wait(60)


@pytest.mark.parametrize("who", ["", "run 1f2e3d4c of colours: captions"])
def test_a_second_process_waits_for_the_first_and_says_so(lineage, who):
    ready, stop = CONTEXT.Event(), CONTEXT.Event()
    owner = started(hold, lineage.root, ready, stop, who)
    assert ready.wait(60)
    lines = []
    threading.Timer(0.3, stop.set).start()
    start = time.monotonic()
    with lineage.exclusive(lines.append):
        assert time.monotonic() - start >= 0.25
        assert stop.is_set()
    owner.join(20)

    assert owner.exitcode == 0
    assert lines == [
        f"waiting for process {owner.pid}{f' ({who})' if who else ''}, which is computing on "
        f"{lineage.root}",
    ]


def test_a_killed_owner_frees_the_lock_at_once(lineage):
    ready, stop = CONTEXT.Event(), CONTEXT.Event()
    owner = started(hold, lineage.root, ready, stop)
    assert ready.wait(60)
    lines, waiting = [], threading.Event()

    def log(line):
        lines.append(line)
        waiting.set()

    killed = []

    def kill():
        waiting.wait(20)
        os.kill(owner.pid, signal.SIGKILL)
        killed.append(time.monotonic())

    threading.Thread(target=kill).start()
    with lineage.exclusive(log):
        assert time.monotonic() - killed[0] <= 2
    owner.join(20)
    assert owner.exitcode == -signal.SIGKILL
    with lineage.exclusive(lines.append):
        pass
    assert len(lines) == 1


def test_the_lock_is_free_after_an_error_and_readers_never_wait(lineage):
    with lineage.exclusive(pytest.fail):
        lineage.commit({"artefacts": [artefact("a")]})
        assert Lineage(root=lineage.root).locate(["a"]) == {"a": "f"}
    with pytest.raises(ZeroDivisionError), lineage.exclusive(pytest.fail):
        raise ZeroDivisionError
    with lineage.exclusive(pytest.fail):
        pass


# What people query


def test_every_table_and_view_has_a_comment(filled):
    tables = filled.query("SELECT table_name AS name, comment FROM duckdb_tables()")
    views = filled.query("SELECT view_name AS name, comment FROM duckdb_views() WHERE NOT internal")

    assert {row["name"] for row in tables} == TABLES
    assert {row["name"] for row in views} == VIEWS
    assert [row["name"] for row in tables + views if not row["comment"]] == []


def rows(filled, view, order="position"):
    sql = f"SELECT * FROM {view} WHERE study = 'mine' AND neuron = 3 ORDER BY {order}"
    found = filled.query(sql)
    for row in found:
        assert (row.pop("study"), row.pop("model"), row.pop("layer")) == ("mine", "net", "fc")
        assert (row.pop("neuron"), row.pop("unit")) == (3, "net/fc/3")
    return found


def test_view_exemplars(filled):
    assert rows(filled, "exemplars") == [
        {"position": 1, "image": B, "activation": 2.5},
        {"position": 2, "image": A, "activation": 1.25},
    ]


def test_view_crops(filled):
    (row,) = rows(filled, "crops")
    assert json.loads(row.pop("box")) == [1, 2, 3, 4]
    assert row == {"position": 1, "image": A, "crop": CROP, "threshold": 77, "activation": 3.5}


def test_view_activating_images(filled):
    assert rows(filled, "activating_images") == [
        {"position": 1, "image": CROP, "kind": "crop", "activation": 3.5},
        {"position": 2, "image": B, "kind": "image", "activation": 2.5},
    ]


def test_view_captions(filled):
    assert rows(filled, "captions") == [
        {"position": 1, "image": CROP, "caption": 'a "red" dot'},
        {"position": 2, "image": B, "caption": "a dot"},
    ]


def test_view_candidate_concepts(filled):
    assert rows(filled, "candidate_concepts") == [
        {"position": 1, "concept": "red dot"},
        {"position": 2, "concept": "blue, sky"},
    ]


def test_view_synthetic_images(filled):
    assert rows(filled, "synthetic_images", "concept DESC, index") == [
        {"concept": "red dot", "index": 0, "seed": 2**63 + 5, "image": RED, "rejected": False},
        {"concept": "blue, sky", "index": 0, "seed": 7, "image": "", "rejected": True},
        {"concept": "blue, sky", "index": 1, "seed": 8, "image": BLUE, "rejected": False},
    ]


def test_view_scores(filled):
    found = rows(filled, "scores", "score DESC")

    assert [json.loads(row.pop("activations")) for row in found] == [[0.75, 0.5], [0.25, 0.5]]
    assert found == [
        {
            "position": p,
            "concept": c,
            "score": s,
            **handmade.SCORED,
            "topk_squared_image_products": s,
        }
        for p, c, s in ((1, "red dot", 0.75), (2, "blue, sky", 0.25))
    ]


def test_view_labels(filled):
    (row,) = rows(filled, "labels", "label")
    assert json.loads(row.pop("labels")) == handmade.CONTENT["labels"]["labels"]
    assert row.pop("recorded_at").endswith("run-1")
    told = {"label": "red dot", "score": 0.75, "status": "ok", "reason": "", "run": "run-1"}
    assert {name: value for name, value in row.items() if value is not None} == told
    assert row.keys() >= {"confidence", "held_out", "stability", "confirmed"}, "by detection"


def test_a_dead_unit_has_a_row_that_says_so_and_no_other(filled):
    (row,) = filled.query("SELECT * FROM labels WHERE neuron = 4")
    assert (row["label"], row["score"], row["labels"]) == (None, None, None)
    assert (row["status"], row["reason"]) == ("dead", "it never fires")
    for view in ("exemplars", "crops", "captions", "candidate_concepts", "scores"):
        assert filled.query(f"SELECT * FROM {view} WHERE neuron = 4") == []


def test_view_inputs(filled):
    sql = "SELECT input, version FROM inputs WHERE run = 'run-1' AND unit = ? AND asset = 'scores'"
    found = {row["input"]: row["version"] for row in filled.query(sql, [UNIT.key])}

    content = handmade.CONTENT
    assert found == {
        name: Outcome("ok", content[name]).data_version for name in ("crops", "synthetic_images")
    }


def test_view_latest_holds_the_newest_of_each_asset_study_and_unit(lineage):
    fill(lineage)
    dead = Outcome("dead", {}, "now")
    handmade.announce(lineage, "mine", UNIT, "labels", dead, {}, run="run-3", beta=9)
    sql = "SELECT study, run, status FROM latest WHERE asset = 'labels' AND unit = ? ORDER BY study"

    assert lineage.query(sql, [UNIT.key]) == [
        {"study": "mine", "run": "run-3", "status": "dead"},
        {"study": "yours", "run": "run-2", "status": "ok"},
    ]
    assert lineage.query("SELECT count(*) AS n FROM latest WHERE unit = ''") == [{"n": 2}]


def test_all_images_are_recorded_whatever_they_are_used_for(filled):
    found = filled.query("SELECT DISTINCT hash FROM images ORDER BY hash")

    assert [row["hash"] for row in found] == sorted([A, B, C])


def test_a_changed_schema_is_filled_again_from_the_journal(tmp_path, monkeypatch):
    lineage = Lineage(root=str(tmp_path))
    lineage.commit({"providers": [{"provider": "p", "fingerprint": "{}"}]})
    script = index._SCHEMA.read_text(encoding="utf-8")
    newer = tmp_path / "schema.sql"
    newer.write_text(script + "\nCREATE TABLE extra (a INT);\n", encoding="utf-8")
    monkeypatch.setattr(index, "_SCHEMA", newer)
    assert lineage.query("SELECT count(*) AS n FROM extra") == [{"n": 0}]
    assert lineage.query("SELECT provider FROM providers") == [{"provider": "p"}]
