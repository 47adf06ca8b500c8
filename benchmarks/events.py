"""Dagster's events: time of writing them in batches against one by one, and their size.

On SQLite, and on a Postgres that is started for it where Debian's packages are there.
"""

import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import dagster as dg

from benchmarks.setting import Figure, Table, context
from dnd_assets.home import EVENT_BATCH_SIZE, POSTGRES
from dnd_assets.study.study import parse_study
from dnd_assets.workflow.event_batches import materialized
from dnd_assets.workflow.instance import opened_instance
from dnd_assets.workflow.run import run
from tests import postgres

EVENTS = 2_000
_RATIO = 0.10
_BYTES = 4_096
_METADATA = {"label": "red circle", "score": 0.93, "seconds": 0.012, "key": "0" * 64}
_TAGS = {f"dagster/input_data_version/{name}": "0" * 64 for name in ("activations", "captions")}


def written(table: Table, folder: Path, count: int = EVENTS) -> list[Figure]:
    """Planned events and materializations of one asset, and the size of those of a real run."""
    single, _ = _seconds(folder / "single", "0", count)
    together, _ = _seconds(folder / "together", "1000", count)
    ratio = together / single
    size = _mean_bytes(table, folder / "study")
    name = f"{count:,} events planned and {count:,} materialized, in batches ({together:.1f} s)"
    return [
        Figure(
            f"{name} against one by one ({single:.1f} s)", f"{ratio:.3f}", f"<= {_RATIO}",
            ratio <= _RATIO,
        ),
        _on_postgres(folder, count),
        Figure("mean size of an event of a run", f"{size:,.0f} B", f"<= {_BYTES:,} B",
               size <= _BYTES),
    ]  # fmt: skip


def _on_postgres(folder: Path, count: int) -> Figure:
    """The step that materializes, on a Postgres of this machine that keeps its promises (fsync)."""
    why = postgres.missing()
    if why:
        return Figure(f"events on Postgres: not measured, {why}", "none", f"<= {_RATIO}", good=True)
    with postgres.serving() as address, _environment(POSTGRES, address):
        _, single = _seconds(folder / "postgres", "0", count)
        _, together = _seconds(folder / "postgres", "1000", count)
    ratio = together / single
    return Figure(
        f"Postgres: a step of {count:,} materializations, in batches ({together:.1f} s) against "
        f"one by one ({single:.1f} s)", f"{ratio:.3f}", f"<= {_RATIO}", ratio <= _RATIO,
    )  # fmt: skip


def _seconds(folder: Path, batch: str, count: int) -> tuple[float, float]:
    """Of a run of an asset that does nothing but announce: the whole, and its step alone."""
    definitions = _announcing(count)
    with _environment(EVENT_BATCH_SIZE, batch), opened_instance(folder) as instance:
        job = definitions.resolve_implicit_global_asset_job_def()
        started = time.perf_counter()
        done = job.execute_in_process(
            instance=instance,
            run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
            tags={
                "dagster/asset_partition_range_start": "0",
                "dagster/asset_partition_range_end": str(count - 1),
            },
        )
        assert done.success
        whole = time.perf_counter() - started
        (step,) = instance.get_run_step_stats(done.run_id)
        assert step.start_time is not None
        assert step.end_time is not None
        return whole, step.end_time - step.start_time


def _announcing(count: int) -> dg.Definitions:
    parts = dg.StaticPartitionsDefinition([str(number) for number in range(count)])

    @dg.multi_asset(
        specs=[dg.AssetSpec("labels", partitions_def=parts, skippable=True)],
        can_subset=True,
        backfill_policy=dg.BackfillPolicy.single_run(),
    )
    def labels(context: dg.AssetExecutionContext) -> Iterator[dg.DagsterEvent]:
        yield from materialized(
            context,
            (
                dg.AssetMaterialization("labels", partition=key, metadata=_METADATA, tags=_TAGS)
                for key in context.partition_keys
            ),
        )

    return dg.Definitions([labels])


def _mean_bytes(table: Table, folder: Path) -> float:
    """Of the materializations that a run of the small study writes."""
    run(parse_study(table, folder), folder / "state")
    index = context(table, folder).home / "dagster" / "history" / "runs" / "index.db"
    with sqlite3.connect(index) as connection:
        (mean,) = connection.execute(
            "SELECT avg(length(event)) FROM event_logs WHERE dagster_event_type = ?",
            ["ASSET_MATERIALIZATION"],
        ).fetchone()
    return float(mean)


@contextmanager
def _environment(name: str, value: str) -> Iterator[None]:
    """One variable set, and no instance named, while the block runs."""
    before = {key: os.environ.get(key) for key in (name, "DAGSTER_HOME")}
    os.environ.pop("DAGSTER_HOME", None)
    os.environ[name] = value
    try:
        yield
    finally:
        for key, old in before.items():
            os.environ.pop(key, None)
            if old is not None:
                os.environ[key] = old
