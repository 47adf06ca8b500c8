"""A service that fails fails the run; nothing good is displaced; nothing is begun without it."""

import shutil
import socket

import dagster as dg
import pytest
from werkzeug import Response

from dnd_assets.engine.context_builder import build_context
from dnd_assets.errors import StudyError
from dnd_assets.study.study import load_study
from dnd_assets.workflow import live_checks, preflight
from dnd_assets.workflow.asset_checks import service_failures, unanswered
from dnd_assets.workflow.definitions import build_definitions
from dnd_assets.workflow.run import ServiceFailedError
from resources.lineage_db.database import Lineage
from tests import light
from tests.command_line import dnd
from tests.integration.test_crash import _answer

UNITS = ["net/colours/0", "net/colours/1"]


@pytest.fixture(scope="module")
def labelled(tmp_path_factory, clip_folder, running, one_thread):
    """A project whose summariser is a server, labelled once, and how to write its study anew."""
    place = tmp_path_factory.mktemp("served")
    running.expect_request("/v1/chat/completions").respond_with_handler(_answer)

    def write(url="", **settings):
        server = {
            "kind": "chat",
            "base_url": url or running.url_for("/v1"),
            "model": "m",
            "api_key_env": "",
        }
        summariser = {**server, "max_retries": 0, **settings}
        return light.project(place, clip_folder, summariser=summariser)

    folder = write()
    result = dnd(folder, "run")
    assert result.exit_code == 0, (result.output, result.exception)
    shutil.copytree(folder / "state", folder / "saved")
    return folder, write


@pytest.fixture
def project(labelled, running):
    """The same, as it was when it had just been labelled."""
    folder, write = labelled
    shutil.rmtree(folder / "state")
    shutil.copytree(folder / "saved", folder / "state")
    running.clear()
    running.expect_request("/v1/chat/completions").respond_with_handler(_answer)
    write()
    return labelled


def _closed():
    """An address at which nothing answers."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{probe.getsockname()[1]}/v1"


def _count(folder, table="materializations"):
    return Lineage(root=str(folder / "state")).query(f"SELECT count(*) AS n FROM {table}")[0]["n"]


def _labels(folder):
    sql = "SELECT unit, label, status, run FROM labels ORDER BY unit"
    return Lineage(root=str(folder / "state")).query(sql)


def _free(room):
    return type("Usage", (), {"free": room})


def _fails(request):
    return Response("down", 500)


def test_nothing_is_begun_without_a_server_that_is_needed(project, monkeypatch):
    folder, write = project
    before, made = _labels(folder), _count(folder)
    write(url := _closed())
    result = dnd(folder, "run")
    assert isinstance(result.exception, StudyError)
    said = str(result.exception)
    for word in ("candidate_concepts needs the summariser", url, "summariser.base_url", "as they"):
        assert word in said, said
    assert _count(folder) == made, "nothing was computed"
    assert _labels(folder) == before
    # From the interface likewise: no step is begun.
    study = load_study(str(folder / "study.toml"))
    executor = build_definitions(study, folder / "state").executor
    monkeypatch.setenv("DAGSTER_HOME", str(folder / "state" / "dagster"))
    ranged = dict(zip(("start", "end"), UNITS, strict=True))
    tags = {f"dagster/asset_partition_range_{name}": unit for name, unit in ranged.items()}
    check = executor.executor_creation_fn(None)._preflight
    with pytest.raises(StudyError, match="nothing answers at"):
        check(["probing_set", "candidate_concepts", "labels"], tags)
    check(["probing_set", "activations"], tags)


def test_what_is_up_to_date_needs_no_server(project, running):
    folder, write = project
    asked = len(running.log)
    write(max_concurrency=1)  # no result depends on it
    result = dnd(folder, "run")
    assert result.exit_code == 0, result.output
    assert "up to date" in result.output
    assert len(running.log) == asked


def test_stored_answers_need_no_server(project, monkeypatch):
    """Another stage's change asks nothing of the server: so it need not be there."""
    folder, _ = project
    monkeypatch.setattr(preflight, "answers", lambda address: False)
    monkeypatch.setattr(live_checks.shutil, "disk_usage", lambda _: _free(10**12))
    text = (folder / "study.toml").read_text()
    (folder / "study.toml").write_text(
        text.replace("images_per_concept = 3", "images_per_concept = 2")
    )
    result = dnd(folder, "run")
    assert result.exit_code == 0, (result.output, result.exception)
    assert "15 products" not in result.output


def test_a_service_that_fails_displaces_nothing_and_fails_the_run(project, running, monkeypatch):
    folder, write = project
    before = _labels(folder)
    assert [row["status"] for row in before] == ["ok", "ok"]
    running.clear()
    running.expect_request("/v1/chat/completions").respond_with_handler(_fails)
    write(model="another")

    result = dnd(folder, "run")

    assert isinstance(result.exception, ServiceFailedError), (result.output, result.exception)
    assert result.exception.exit_status == 3
    said = str(result.exception)
    for word in ("candidate_concepts: 2 units ended in service_error", "HTTP 500", "run again"):
        assert word in said, said
    assert _labels(folder) == before, "good labels stay the newest"
    assert before[0]["label"] in dnd(folder, "labels").output
    assert _count(folder, "failures") == 2 * 4, "candidates and all that follows"
    context = build_context(load_study(str(folder / "study.toml")), folder / "state")
    assert [row["unit"] for row in unanswered(context, "labels")] == UNITS
    _dagster_says_so(folder, monkeypatch)
    running.clear()
    running.expect_request("/v1/chat/completions").respond_with_handler(_answer)
    again = dnd(folder, "run")
    assert again.exit_code == 0, (again.output, again.exception)
    assert unanswered(context, "labels") == []
    newest = _labels(folder)
    assert [row["status"] for row in newest] == ["ok", "ok"]
    assert {row["run"] for row in newest}.isdisjoint(row["run"] for row in before)
    assert service_failures(context, newest[0]["run"], ["candidate_concepts", "labels"]) == ""


def _dagster_says_so(folder, monkeypatch):
    """The run failed; its check tells of which asset; the partitions have no new event."""
    monkeypatch.setenv("DAGSTER_HOME", str(folder / "state" / "dagster"))
    with dg.DagsterInstance.get() as instance:
        newest, first = instance.get_runs()
        assert (newest.status.value, first.status.value) == ("FAILURE", "SUCCESS")
        for asset in ("candidate_concepts", "labels"):
            key = dg.AssetCheckKey(dg.AssetKey(asset), "services_answered")
            (one,) = instance.event_log_storage.get_asset_check_execution_history(key, limit=1)
            assert one.status.value == "FAILED", asset
        events = instance.fetch_materializations(dg.AssetKey("labels"), limit=10).records
        assert {event.run_id for event in events} == {first.run_id}


def test_a_full_disk_is_told_before_a_run(project, monkeypatch):
    folder, _ = project
    monkeypatch.setattr(live_checks.shutil, "disk_usage", lambda _: _free(10**6))
    made = _count(folder)
    text = (folder / "study.toml").read_text()
    (folder / "study.toml").write_text(
        text.replace("images_per_concept = 3", "images_per_concept = 2")
    )
    result = dnd(folder, "run")
    assert result.exit_code != 0
    assert "1 MB free" in str(result.exception)
    assert _count(folder) == made
    assert dnd(folder, "doctor").exit_code == 1


def test_a_missing_key_is_told_before_a_run(project, monkeypatch):
    folder, write = project
    monkeypatch.delenv("NO_SUCH_KEY", raising=False)
    write(api_key_env="NO_SUCH_KEY", model="another")
    made = _count(folder)
    result = dnd(folder, "run")
    assert isinstance(result.exception, StudyError)
    assert "NO_SUCH_KEY" in str(result.exception)
    assert _count(folder) == made


def test_behind_a_proxy_nobody_can_tell(monkeypatch):
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    monkeypatch.setenv("no_proxy", "")
    assert preflight.answers("https://llm.example/v1") is None
    assert preflight.answers(_closed()) is False
