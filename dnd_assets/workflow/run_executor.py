"""The executor of runs from the web interface and from Dagster's own command line.

Steps run in one process, so that a model is loaded once a run. The process says that the run is
its own, looks whether everything is there before anything is computed, and ends within two seconds
when it is told to.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator, Mapping, Sequence

import dagster as dg
from dagster._core.execution.context.system import PlanOrchestrationContext
from dagster._core.execution.plan.plan import ExecutionPlan
from dagster._core.execution.retries import RetryMode
from dagster._core.executor.in_process import InProcessExecutor

from dnd_assets.workflow import stopping
from dnd_assets.workflow.dead_runs import cancelled_when_stopped, claim, fail_dead_runs

Preflight = Callable[[Sequence[str], Mapping[str, str]], None]
"""Refuses a run of some assets, given the run's tags, which name its partitions."""


class StoppableExecutor(InProcessExecutor):
    """Dagster's executor in one process, for runs that may be killed and told to stop."""

    def __init__(self, preflight: Preflight) -> None:
        super().__init__(retries=RetryMode.ENABLED)
        self._preflight = preflight

    def execute(
        self, plan_context: PlanOrchestrationContext, execution_plan: ExecutionPlan
    ) -> Iterator[dg.DagsterEvent]:
        """Execute the steps of a run."""
        instance, run = plan_context.instance, plan_context.dagster_run
        claim(instance, run.run_id)
        fail_dead_runs(instance, plan_context.log.warning)
        if multiprocessing.parent_process() is not None:  # a process made for this run alone
            stopping.watch()
        with cancelled_when_stopped(instance, run.run_id):
            layer = plan_context.job.get_definition().asset_layer
            asset_keys = run.asset_selection or layer.selected_asset_keys
            self._preflight(sorted(key.to_user_string() for key in asset_keys), run.tags)
            yield from super().execute(plan_context, execution_plan)


def executor_of(preflight: Preflight) -> dg.ExecutorDefinition:
    """The executor of a study's runs.

    Args:
        preflight: refuses a run that could not end well, before any step.
    """

    @dg.executor(name="in_process")
    def in_process(_: dg.InitExecutorContext) -> StoppableExecutor:
        """Execute all steps in a single process."""
        return StoppableExecutor(preflight)

    return in_process
