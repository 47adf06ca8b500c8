"""Runs whose process has ended without a word: marked failed, so that nothing waits for them.

Dagster learns of the end of a run from its process. One that was killed, or whose machine lost its
power, stays "started" for ever, unless the code server that launched it lives on and notices. So a
run carries its owner as a tag, and whoever starts next looks after it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import dagster as dg
from dagster import DagsterRun, DagsterRunStatus, RunsFilter

from dnd_assets.workflow import stopping
from dnd_assets.workflow.owner import Owner

OWNER_TAG = "dnd/process"
"""Tag of a run that tells which process makes it."""
STUDY_TAG = "dnd/study"
_OPEN = (
    DagsterRunStatus.NOT_STARTED,
    DagsterRunStatus.STARTING,
    DagsterRunStatus.STARTED,
    DagsterRunStatus.CANCELING,
)


def fail_dead_runs(instance: dg.DagsterInstance, log: Callable[[str], None]) -> list[str]:
    """Mark the runs failed whose process has certainly ended, and say so.

    Runs of other machines, and those whose owner is not known, are left as they are.

    Args:
        instance: where runs are recorded.
        log: where each of them is told.

    Returns:
        Ids of the runs that were marked.
    """
    dead = [
        run
        for run in instance.get_runs(RunsFilter(statuses=list(_OPEN)))
        if (owner := Owner.read(run.tags.get(OWNER_TAG, ""))) is not None and owner.is_gone()
    ]
    for run in dead:
        log(
            f"run {run.run_id[:8]}{_study_suffix(run)} was killed; marked failed; finished work is "
            "kept"
        )
        if run.status is DagsterRunStatus.CANCELING:
            instance.report_run_canceled(run, "The process of this run ended while it was stopped.")
        else:
            instance.report_run_failed(
                run, "The process of this run was killed. Finished work is kept: run again."
            )
        if instance.event_log_storage.supports_global_concurrency_limits:
            instance.event_log_storage.free_concurrency_slots_for_run(run.run_id)
    return [run.run_id for run in dead]


def claim(instance: dg.DagsterInstance, run_id: str) -> None:
    """Record that this process makes a run."""
    instance.add_run_tags(run_id, {OWNER_TAG: Owner.this().text})


@contextmanager
def cancelled_when_stopped(instance: dg.DagsterInstance, run_id: str) -> Iterator[None]:
    """Within the block, a run of this process is recorded as cancelled when it is stopped.

    Whether signals are watched for is for the process to decide: a notebook's are its own.
    """

    def open_run() -> DagsterRun | None:
        dagster_run = instance.get_run_by_id(run_id)
        return None if dagster_run is None or dagster_run.is_finished else dagster_run

    def canceling() -> None:
        dagster_run = open_run()
        if dagster_run is not None and dagster_run.status is not DagsterRunStatus.CANCELING:
            instance.report_run_canceling(dagster_run, f"Process {os.getpid()} was asked to stop.")

    def cancelled() -> None:
        dagster_run = open_run()
        if dagster_run is not None:
            instance.report_run_canceled(dagster_run, f"Process {os.getpid()} was stopped.")

    with stopping.noting(canceling, cancelled):
        try:
            yield
        finally:
            if stopping.requested():
                with suppress(
                    Exception
                ):  # it may have been interrupted where Dagster notes nothing
                    cancelled()


def _study_suffix(run: DagsterRun) -> str:
    study = run.tags.get(STUDY_TAG, "")
    return f" of {study}" if study else ""
