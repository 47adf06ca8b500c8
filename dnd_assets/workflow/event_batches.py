"""Materializations of one step, handed to Dagster many at a time.

Dagster gathers events only if they say which batch they belong to and which is its last. That says
no public call, so this file reaches for Dagster's own constructor.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterable, Iterator

import dagster as dg
from dagster._core.events import DagsterEventBatchMetadata
from dagster._core.execution.context.system import StepExecutionContext

_FLUSH_S = 1.0
"""Events are written this often at least, so that the interface follows the run, and whoever
kills the process loses no more."""


def materialized(
    context: dg.AssetExecutionContext, materializations: Iterable[dg.AssetMaterialization]
) -> Iterator[dg.DagsterEvent]:
    """The events of materializations, written in batches; all of them, however the step ends.

    Args:
        context: of the step at work.
        materializations: one for each unit, made as they are asked for.
    """
    step = context.op_execution_context._step_execution_context
    batch, written = str(uuid.uuid4()), time.monotonic()
    waiting: dg.AssetMaterialization | None = None
    try:
        for materialization in materializations:
            if waiting is None:
                waiting = materialization
                continue
            is_last = time.monotonic() - written >= _FLUSH_S
            event, waiting = _event(step, waiting, batch, is_last=is_last), materialization
            if is_last:
                written = time.monotonic()
            yield event
    except BaseException:
        if waiting is not None:  # so that what was announced before the failure is written, too
            _event(step, waiting, batch, is_last=True)
        raise
    if waiting is not None:
        yield _event(step, waiting, batch, is_last=True)


def _event(
    step: StepExecutionContext,
    materialization: dg.AssetMaterialization,
    batch: str,
    *,
    is_last: bool,
) -> dg.DagsterEvent:
    """Hand one materialization to Dagster; the last of a batch has the batch written."""
    return dg.DagsterEvent.asset_materialization(
        step, materialization, DagsterEventBatchMetadata(batch, is_last)
    )
