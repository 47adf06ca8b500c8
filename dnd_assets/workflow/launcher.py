"""Launches runs of the web interface, and records which process makes each.

Named in the instance's `dagster.yaml`. A run belongs to the process that launches it until its own
process has begun and says so (`run_executor`): one that is killed in between is found, too.
"""

from __future__ import annotations

import logging

from dagster._core.launcher import DefaultRunLauncher, LaunchRunContext

from dnd_assets.workflow.dead_runs import claim, fail_dead_runs


class OwnedRunLauncher(DefaultRunLauncher):
    """Dagster's own launcher; runs that nobody makes any more are marked before another begins."""

    def launch_run(self, context: LaunchRunContext) -> None:
        """Launch a run in a process of its own."""
        fail_dead_runs(self._instance, logging.getLogger("dagster").warning)
        claim(self._instance, context.dagster_run.run_id)
        super().launch_run(context)
