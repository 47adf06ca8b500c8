"""Whether the process of a run still lives."""

import os
import subprocess
from dataclasses import replace

import dagster as dg
import pytest

from dnd_assets.workflow import owner as owners
from dnd_assets.workflow.dead_runs import OWNER_TAG, fail_dead_runs
from dnd_assets.workflow.owner import Owner


@pytest.fixture
def dead():
    """The owner of a process that has ended."""
    process = subprocess.Popen(["sleep", "60"])
    found = replace(Owner.this(), pid=process.pid, started=owners._start_time(process.pid))
    assert not found.is_gone()
    process.kill()
    process.wait()
    return found


def test_a_process_that_has_ended_is_gone(dead):
    assert dead.is_gone()
    assert Owner.read(dead.text) == dead
    assert not Owner.this().is_gone()


def test_a_number_that_was_given_again_is_another_process():
    mine = Owner.this()
    assert replace(mine, started="1").is_gone(), "this number belongs to a younger process"


def test_a_process_that_waits_to_be_reaped_is_gone():
    process = subprocess.Popen(["sleep", "60"])
    found = replace(Owner.this(), pid=process.pid, started=owners._start_time(process.pid))
    process.kill()
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert found.is_gone()
    process.wait()


def test_nothing_is_said_of_other_machines_and_containers(dead):
    space = dead.boot.partition("/")[0]
    assert not replace(dead, machine="elsewhere").is_gone()
    assert not replace(dead, boot=f"{space}/pid:[1]").is_gone(), "another container"
    assert not replace(dead, started="").is_gone(), "nobody could tell when it was started"
    assert replace(dead, boot="before the machine was started anew/pid:[1]").is_gone()
    for text in ("", "{}", "[]", "no json", '{"pid": 1}'):
        assert Owner.read(text) is None


def test_dead_runs_are_marked_and_no_others(dead):
    @dg.job
    def job():
        pass

    tags = {
        "dead": {OWNER_TAG: dead.text, "dnd/study": "colours"},
        "alive": {OWNER_TAG: Owner.this().text},
        "elsewhere": {OWNER_TAG: replace(dead, machine="elsewhere").text},
        "unknown": {},
        "ended": {OWNER_TAG: dead.text},
        "stopping": {OWNER_TAG: dead.text},
    }
    status = dict.fromkeys(tags, dg.DagsterRunStatus.STARTED)
    status |= {"ended": dg.DagsterRunStatus.SUCCESS, "stopping": dg.DagsterRunStatus.CANCELING}
    with dg.DagsterInstance.ephemeral() as instance:
        made = {
            name: instance.create_run_for_job(job, tags=tags[name], status=status[name]).run_id
            for name in tags
        }
        told = []
        assert set(fail_dead_runs(instance, told.append)) == {made["dead"], made["stopping"]}
        after = {name: instance.get_run_by_id(run).status.value for name, run in made.items()}
        assert after == {
            "dead": "FAILURE", "alive": "STARTED", "elsewhere": "STARTED", "unknown": "STARTED",
            "ended": "SUCCESS", "stopping": "CANCELED",
        }  # fmt: skip
        assert f"run {made['dead'][:8]} of colours was killed; marked failed; finished work" in (
            "\n".join(told)
        )
        assert fail_dead_runs(instance, pytest.fail) == []
