"""Small doses of the reliability benchmarks.

Continuous integration takes larger ones (`.ci/run`), `python -m benchmarks` the full ones.
"""

import shutil

import duckdb
import pytest

from benchmarks import __main__ as command_line
from benchmarks import damage, edits, faults
from dnd_assets.assets.crops import Crops
from dnd_assets.errors import LineageError
from dnd_assets.study.probing_images import image_paths
from resources.lineage_db.database import Lineage
from tests import studies
from tests.faults import FILE_STEPS, Steps, watched
from tests.processes import CONTEXT


@pytest.fixture(scope="module")
def absolute(colours, tmp_path_factory):
    """The small study with images of its own under an absolute path."""
    folder = tmp_path_factory.mktemp("absolute")
    studies.write_images(folder / "images")
    return studies.changed(colours, probing_set__folders=[str(folder / "images")])


@pytest.fixture(scope="module")
def plain(absolute, tmp_path_factory):
    """That study labelled once by nobody who watches: its folder, and what was announced."""
    folder = tmp_path_factory.mktemp("plain")
    return folder, studies.label(absolute, folder)


@pytest.fixture(scope="module")
def steps(absolute, tmp_path_factory):
    """Every step of one of its runs, and the products."""
    return faults.steps_of_a_run(absolute, tmp_path_factory.mktemp("steps"))


def _bad(figures):
    return [(one.name, one.found) for one in figures if not one.good]


@pytest.mark.timeout(600)
def test_random_edits_come_to_what_a_run_from_nothing_comes_to(absolute, tmp_path):
    assert _bad(edits.random_edits(absolute, tmp_path / "edits", 4)) == []


def test_the_oracle_notices_a_setting_that_is_left_out_of_the_key(absolute, tmp_path, monkeypatch):
    def only_crop_size(project, dice):
        project.table["dissection"]["crop_size"] = dice.choice([24, 28, 40])
        return "crop size", "crops"

    monkeypatch.setattr(Crops, "parameters", lambda self, context: {"crop": True})
    monkeypatch.setattr(edits, "EDITS", (only_crop_size,))
    stale, *_ = edits.random_edits(absolute, tmp_path / "edits", 1)
    assert not stale.good


def test_the_oracle_notices_a_key_with_too_much_in_it(absolute, tmp_path, monkeypatch):
    def with_names(self, context):
        return {"files": [str(path) for path in image_paths(context.study, context.home)]}

    monkeypatch.setattr(Crops, "parameters", with_names)
    monkeypatch.setattr(edits, "EDITS", (edits.file_order,))
    stale, needless, work = edits.random_edits(absolute, tmp_path / "edits", 1)
    assert stale.good
    assert not needless.good, "renaming files must recompute nothing"
    assert work.good


def test_every_step_of_every_kind_of_file_is_watched(steps):
    names, _ = steps
    for kind in ("artefact", "journal", "scan"):  # a card is written when a network is first met
        assert {f"{kind}: {step}" for step in FILE_STEPS} <= set(names)
    assert "database: half taken in" in names


@pytest.mark.timeout(600)
def test_a_disk_that_refuses_loses_nothing(absolute, tmp_path):
    assert _bad(faults.refused(absolute, tmp_path, every=400)) == []


@pytest.mark.timeout(600)
def test_killed_while_a_commit_is_taken_in(absolute, tmp_path, steps):
    found = faults.killed_at_named_points(absolute, tmp_path, 1, ("database: half",), steps)
    assert _bad(found) == []


@pytest.mark.timeout(600)
def test_damage_is_found_and_only_it_is_mended(absolute, tmp_path, plain):
    shutil.copytree(plain[0], tmp_path / "whole")
    counts = {"bit flips": 3, "truncations": 1, "emptied files": 1}
    assert _bad(damage.damaged(absolute, tmp_path, counts)) == []


def _full_disk(root, told):
    """Commit and query with no room for any larger file."""
    import resource
    import signal

    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    lineage = Lineage(root=root)
    row = {"file": "f" * 200, "recorded_at": "now", "why": "test"}
    lineage.commit({"removed": [row] * 20_000})
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
    try:
        lineage.query("SELECT count(*) FROM removed")
    except LineageError as error:
        told.put(str(error))
    else:
        told.put("nothing")


def test_a_database_without_room_says_so_and_loses_nothing(tmp_path):
    told = CONTEXT.Queue()
    process = CONTEXT.Process(target=_full_disk, args=(str(tmp_path), told))
    process.start()
    said = told.get(timeout=60)
    process.join()
    assert str(tmp_path) in said
    assert "run again" in said
    assert Lineage(root=str(tmp_path)).query("SELECT count(*) AS n FROM removed") == [{"n": 20_000}]


def test_the_lineage_comes_back_from_the_journal(labelled, colours, tmp_path):
    folder, _ = labelled
    shutil.copytree(folder / "state", tmp_path / "state")
    lineage = Lineage(root=str(tmp_path / "state"))
    sql = "SELECT * EXCLUDE (payload, preimage) FROM latest ORDER BY ALL"
    before = lineage.query(sql)
    lineage.database.unlink()
    lineage.rebuild()
    assert before
    assert lineage.query(sql) == before
    with duckdb.connect(str(lineage.database), read_only=True) as reader:
        assert reader.execute("SELECT count(*) FROM products").fetchone()[0] > 50


def test_the_benchmarks_refuse_a_name_they_do_not_know(monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["benchmarks", "nonsense"])
    with pytest.raises(SystemExit) as ended:
        command_line.main()
    assert ended.value.code == 2
    assert "there are edits, kills" in capsys.readouterr().err


def test_watching_changes_nothing(absolute, plain, tmp_path):
    with watched(Steps()):
        found = studies.label(absolute, tmp_path / "watched")
    assert studies.versions(found) == studies.versions(plain[1])
