"""What Dagster's files say is what Dagster says; where they may not be read, it is asked itself."""

import shutil

import dagster as dg
import pytest
from dagster import DagsterRun, DagsterRunStatus

from dnd_assets.home import POSTGRES
from dnd_assets.workflow.announced import FileHistory
from dnd_assets.workflow.instance import opened_instance

UNITS = ("net/colours/0", "net/colours/1")
LABELS, PROBING = dg.AssetKey("labels"), dg.AssetKey("probing_set")


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    """A folder of a Dagster that was told of two units' labels, and of the probing set."""
    folder = tmp_path_factory.mktemp("told") / "dagster"
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("DAGSTER_HOME", str(folder))
        patched.delenv(POSTGRES, raising=False)
        with opened_instance(folder.parent) as instance:
            _tell(instance)
    return folder


def _tell(instance):
    for unit in UNITS:
        instance.report_runless_asset_event(dg.AssetMaterialization(LABELS, partition=unit))
    instance.report_runless_asset_event(dg.AssetMaterialization(PROBING))
    instance.report_runless_asset_event(dg.AssetObservation(dg.AssetKey("weights")))


@pytest.fixture
def home(told, tmp_path, monkeypatch):
    """A state folder with a copy of it."""
    shutil.copytree(told, tmp_path / "dagster")
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "dagster"))
    monkeypatch.delenv(POSTGRES, raising=False)
    return tmp_path


def test_files_say_what_dagster_says(home):
    history = FileHistory.of(home)
    assert history is not None
    with opened_instance(home) as instance:
        for asset in ("labels", "probing_set", "crops", "weights"):
            key = dg.AssetKey(asset)
            assert history.partitions(asset) == instance.get_materialized_partitions(key)
            newest = instance.get_latest_materialization_event(key)
            assert history.ever(asset) == (newest is not None)
    assert history.knows(["labels"], ["probing_set"], UNITS)
    assert not history.knows(["labels"], ["probing_set"], [*UNITS, "net/colours/2"])
    assert not history.knows(["labels", "crops"], [], UNITS)
    assert not history.knows([], ["concept_masks"], UNITS)


def test_sqlite_leaves_nothing_behind(home):
    before = sorted(path.name for path in (home / "dagster").rglob("*"))
    history = FileHistory.of(home)
    assert history is not None
    assert history.knows(["labels"], ["probing_set"], UNITS)
    assert not history.goes_on()
    assert sorted(path.name for path in (home / "dagster").rglob("*")) == before


def test_a_run_goes_on_unless_it_has_ended(home):
    history = FileHistory.of(home)
    with opened_instance(home) as instance:
        for status in set(DagsterRunStatus) - {DagsterRunStatus.QUEUED}:  # needs a code server
            instance.add_run(DagsterRun("job", run_id="0" * 32, status=status))
            ended = instance.get_run_by_id("0" * 32).is_finished
            assert history.goes_on() is not ended, status
            instance.delete_run("0" * 32)


def test_after_a_wipe_dagster_is_asked_itself(home):
    with opened_instance(home) as instance:
        instance.wipe_assets([LABELS])
    assert FileHistory.of(home) is None


def test_edited_settings_postgres_and_absent_files_are_left_to_dagster(home, tmp_path, monkeypatch):
    file = home / "dagster" / "dagster.yaml"
    usual = file.read_text()
    file.write_text(f"{usual}run_queue:\n  max_concurrent_runs: 1\n")
    assert FileHistory.of(home) is None
    file.write_text(usual)
    assert FileHistory.of(home) is not None
    (home / "dagster" / "history" / "runs.db").unlink()
    assert FileHistory.of(home) is None
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "none"))
    assert FileHistory.of(home) is None
