"""The Dagster instance: made once, however many open it at the same moment."""

import threading
from concurrent.futures import ThreadPoolExecutor

from dnd_assets.workflow.instance import opened_instance

OPENERS = 8


def test_an_instance_that_is_not_there_yet_is_opened_by_many_at_once(tmp_path, monkeypatch):
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    together = threading.Barrier(OPENERS)

    def runs() -> int:
        together.wait()
        with opened_instance(tmp_path) as instance:
            return instance.get_runs_count()

    with ThreadPoolExecutor(OPENERS) as openers:
        counts = [openers.submit(runs) for _ in range(OPENERS)]
    assert [count.result() for count in counts] == [0] * OPENERS


def test_the_lock_is_held_for_the_opening_only(tmp_path, monkeypatch):
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    with opened_instance(tmp_path) as first, opened_instance(tmp_path) as second:
        assert first.root_directory == second.root_directory
