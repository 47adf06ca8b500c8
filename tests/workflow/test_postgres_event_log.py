"""Dagster on a real Postgres: what is read is what SQLite would give, in batches or not."""

import pytest
import sqlalchemy

from dnd_assets import home
from dnd_assets.errors import MissingError, StudyError
from dnd_assets.home import EVENT_BATCH_SIZE, POSTGRES, dagster_home
from dnd_assets.workflow.instance import opened_instance
from tests import light, postgres
from tests.command_line import dnd
from tests.workflow.test_event_log import UNITS, _definitions, _run


@pytest.fixture(scope="module")
def server():
    with postgres.serving() as address:
        yield address


@pytest.fixture
def database(server, monkeypatch):
    monkeypatch.setenv(POSTGRES, postgres.emptied(server))
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    return server


@pytest.mark.parametrize("fails_at", [None, 3])
def test_what_is_read_is_what_sqlite_gives(server, database, tmp_path, monkeypatch, fails_at):
    together = _run(tmp_path / "postgres", _definitions(fails_at), "1000", monkeypatch)
    postgres.emptied(server)
    one_by_one = _run(tmp_path / "postgres", _definitions(fails_at), "0", monkeypatch)
    monkeypatch.delenv(POSTGRES)
    sqlite = _run(tmp_path / "sqlite", _definitions(fails_at), "1000", monkeypatch)
    assert together == one_by_one == sqlite
    assert together["partitions"] == set(UNITS[:fails_at])


def test_nothing_of_it_lies_in_the_folder_and_the_address_in_no_file(
    database, tmp_path, monkeypatch
):
    monkeypatch.setenv(POSTGRES, database.replace("dnd@", "dnd:a-password@"))
    _run(tmp_path, _definitions(), "1000", monkeypatch)
    assert not list(tmp_path.rglob("*.db"))
    for path in tmp_path.rglob("*"):
        assert not path.is_file() or b"a-password" not in path.read_bytes()
    with opened_instance(tmp_path) as instance:
        assert instance.get_runs_count() == 1
        assert "a-password" not in instance.info_str()


def test_batches_reach_the_index_in_two_transactions(database, tmp_path, monkeypatch):
    count = []
    _run(tmp_path, _definitions(), "1000", monkeypatch)

    def counted(*_):
        count.append(1)

    monkeypatch.setenv(EVENT_BATCH_SIZE, "1000")
    sqlalchemy.event.listen(sqlalchemy.engine.Engine, "connect", counted)
    try:
        _run(tmp_path, _definitions(), "1000", monkeypatch)
        batched = len(count)
        count.clear()
        _run(tmp_path, _definitions(), "0", monkeypatch)
    finally:
        sqlalchemy.event.remove(sqlalchemy.engine.Engine, "connect", counted)
    assert batched < len(count) - len(UNITS)


def test_a_study_runs_on_it(database, tmp_path, clip_folder):
    place = light.project(tmp_path / "project", clip_folder)
    done = dnd(place, "run", "--assets", "+activations")
    assert done.exit_code == 0, (done.output, done.exception)
    engine = sqlalchemy.create_engine(database)
    with engine.connect() as connection:
        statuses = connection.execute(sqlalchemy.text("SELECT status FROM runs")).fetchall()
        sql = "SELECT count(*) FROM event_logs WHERE dagster_event_type = 'ASSET_MATERIALIZATION'"
        (events,) = connection.execute(sqlalchemy.text(sql)).one()
    engine.dispose()
    assert {status for (status,) in statuses} == {"SUCCESS"}
    assert events >= 3  # the probing set, and both units
    assert not list(place.rglob("*.db"))


# What is said of wrong settings


def test_a_postgres_that_does_not_answer_is_said(tmp_path, monkeypatch):
    pytest.importorskip("dagster_postgres", reason="the extra postgres is not installed")
    import dagster_postgres.utils as utils

    monkeypatch.setattr(utils.time, "sleep", lambda _: None)
    monkeypatch.setenv(POSTGRES, "postgresql+psycopg2://dnd:a-password@127.0.0.1:9/dnd")
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    with pytest.raises(StudyError, match=r"DND_POSTGRES names does not answer") as caught:
        opened_instance(tmp_path).__enter__()
    assert "a-password" not in str(caught.value)


@pytest.mark.parametrize("address", ["postgresql://a:secret@b/c", "postgres://a:secret@b/c", "b"])
def test_an_address_without_the_driver_is_refused(tmp_path, monkeypatch, address):
    monkeypatch.setenv(POSTGRES, address)
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    with pytest.raises(StudyError, match=r"postgresql\+psycopg2://") as caught:
        dagster_home(tmp_path)
    assert "secret" not in str(caught.value)


def test_without_the_extra_it_is_said_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setattr(home, "find_spec", lambda _: None)
    monkeypatch.setenv(POSTGRES, "postgresql+psycopg2://a@b/c")
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    with pytest.raises(MissingError, match=r"dnd-assets\[postgres\]"):
        dagster_home(tmp_path)


def test_a_history_on_postgres_is_not_exchanged_in_silence(tmp_path, monkeypatch):
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    monkeypatch.delenv(POSTGRES, raising=False)
    dagster_home(tmp_path)
    file = tmp_path / "dagster" / "dagster.yaml"
    local = file.read_text()
    monkeypatch.setenv(POSTGRES, "postgresql+psycopg2://a:secret@b/c")
    dagster_home(tmp_path)
    assert file.read_text() != local
    assert "secret" not in file.read_text()
    monkeypatch.delenv(POSTGRES)
    with pytest.raises(StudyError, match="DND_POSTGRES does not say where"):
        dagster_home(tmp_path)
    file.write_text("telemetry:\n  enabled: false\n")
    monkeypatch.setenv(POSTGRES, "postgresql+psycopg2://a@b/c")
    dagster_home(tmp_path)
    assert "postgres" not in file.read_text(), "an edited file stays"
