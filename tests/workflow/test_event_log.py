"""Events written in batches read like events written one by one."""

from itertools import islice

import dagster as dg
import pytest

from dnd_assets.home import EVENT_BATCH_SIZE
from dnd_assets.workflow.event_batches import materialized
from dnd_assets.workflow.instance import opened_instance

UNITS = [f"net/layer/{number}" for number in range(7)]
KEY = dg.AssetKey("captions")


def _definitions(fails_at=None, taken=None):
    """An asset of seven units with one event each, which may fail before one of them.

    Of the events only so many are `taken` before whoever asks for them goes away.
    """
    parts = dg.StaticPartitionsDefinition(UNITS)

    @dg.multi_asset(
        specs=[dg.AssetSpec("captions", partitions_def=parts, skippable=True)],
        can_subset=True,
        backfill_policy=dg.BackfillPolicy.single_run(),
    )
    def captions(context: dg.AssetExecutionContext):
        def found():
            for number, unit in enumerate(context.partition_keys):
                if number == fails_at:
                    raise RuntimeError("the captioner is gone")
                yield dg.AssetMaterialization(
                    "captions",
                    partition=unit,
                    metadata={"number": number},
                    tags={"dagster/data_version": f"v{number}", "dagster/code_version": "c"},
                )

        yield dg.AssetObservation("images", tags={"dagster/data_version": "seen"})
        events = materialized(context, found())
        yield from islice(events, taken)
        events.close()

    return dg.Definitions([captions])


def _run(folder, definitions, batch, monkeypatch):
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    monkeypatch.setenv(EVENT_BATCH_SIZE, batch)
    with opened_instance(folder) as instance:
        done = definitions.resolve_implicit_global_asset_job_def().execute_in_process(
            instance=instance,
            raise_on_error=False,
            tags={
                "dagster/asset_partition_range_start": UNITS[0],
                "dagster/asset_partition_range_end": UNITS[-1],
            },
        )
        return _told(instance, done.run_id)


def _told(instance, run_id):
    """What the interface asks of an instance."""
    (record,) = instance.get_asset_records([KEY])
    newest = record.asset_entry.last_materialization_record
    events = instance.fetch_materializations(KEY, limit=99).records
    ids = instance.get_latest_storage_id_by_partition(
        KEY, dg.DagsterEventType.ASSET_MATERIALIZATION
    )
    tags = instance.event_log_storage.get_latest_tags_by_partition(
        KEY, dg.DagsterEventType.ASSET_MATERIALIZATION, ["dagster/data_version"]
    )
    log = [entry.dagster_event_type for entry in instance.all_logs(run_id)]
    return {
        "partitions": instance.get_materialized_partitions(KEY),
        "newest": newest.partition_key if newest else None,
        "events": [(one.partition_key, one.asset_materialization.metadata) for one in events],
        "planned": sorted(log, key=str).count(dg.DagsterEventType.ASSET_MATERIALIZATION_PLANNED),
        "by unit": sorted(ids, key=lambda unit: ids[unit]),
        "tags": tags,
        "log": [kind for kind in log if kind is not None],
        "observed": instance.get_asset_records([dg.AssetKey("images")])[0].asset_entry.asset_key,
        "kept newest": newest is not None and newest.storage_id == max(ids.values()),
    }


@pytest.mark.parametrize("fails_at", [None, 0, 3, 6])
def test_what_is_read_is_the_same_whether_events_come_in_batches_or_not(
    tmp_path, monkeypatch, fails_at
):
    one_by_one = _run(tmp_path / "single", _definitions(fails_at), "0", monkeypatch)
    together = _run(tmp_path / "batched", _definitions(fails_at), "1000", monkeypatch)
    assert together == one_by_one
    written = UNITS[:fails_at]
    assert together["partitions"] == set(written)
    assert together["by unit"] == written
    assert together["kept newest"] == bool(written)


@pytest.mark.parametrize("batch", ["1", "2", "3", "7"])
def test_a_batch_that_is_full_is_written_and_none_is_lost(tmp_path, monkeypatch, batch):
    assert _run(tmp_path, _definitions(), batch, monkeypatch)["by unit"] == UNITS


@pytest.mark.parametrize("taken", [1, 3, 7])
def test_no_event_is_lost_when_nobody_asks_for_the_rest(tmp_path, monkeypatch, taken):
    written = _run(tmp_path, _definitions(taken=taken), "1000", monkeypatch)["by unit"]
    assert written[:taken] == UNITS[:taken], "all that were told"


def test_a_second_run_is_newer_in_every_unit(tmp_path, monkeypatch):
    first = _run(tmp_path, _definitions(), "1000", monkeypatch)
    with opened_instance(tmp_path) as instance:
        before = instance.get_latest_storage_id_by_partition(
            KEY, dg.DagsterEventType.ASSET_MATERIALIZATION
        )
    second = _run(tmp_path, _definitions(), "1000", monkeypatch)
    with opened_instance(tmp_path) as instance:
        after = instance.get_latest_storage_id_by_partition(
            KEY, dg.DagsterEventType.ASSET_MATERIALIZATION
        )
    assert min(after.values()) > max(before.values())
    assert len(second["events"]) == 2 * len(first["events"])


def test_a_log_can_be_moved_with_its_folder(tmp_path, monkeypatch):
    _run(tmp_path / "old", _definitions(), "1000", monkeypatch)
    (tmp_path / "old").rename(tmp_path / "new")
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    with opened_instance(tmp_path / "new") as instance:
        assert instance.get_materialized_partitions(KEY) == set(UNITS)
