"""What a run notes of time and memory."""

import numpy as np

from dnd_assets.engine.context_builder import build_context
from dnd_assets.study.study import parse_study
from dnd_assets.workflow.metadata import unit_metadata
from resources.runtime.memory import PeakMemory, in_words

MEGABYTE = 10**6


def test_the_peak_is_of_what_was_in_use_not_of_what_is():
    before = PeakMemory()
    large = np.ones(200 * MEGABYTE, dtype=np.uint8)
    del large
    after = before.bytes
    small = PeakMemory()
    assert after >= 200 * MEGABYTE
    # Where the kernel lets a process start its peak anew, the array is forgotten; elsewhere the
    # peak stays, but for the few pages that reading it takes.
    assert small.bytes < after + MEGABYTE


def test_sizes_in_words():
    assert [in_words(size) for size in (2_340_000_000, 999_000_000)] == ["2.3 GB", "999 MB"]


def test_each_computed_stage_is_noted(labelled, colours):
    folder, found = labelled
    context = build_context(parse_study(colours, folder), folder / "state")
    rows = context.lineage.query("SELECT * FROM stage_runs WHERE run = 'run' ORDER BY recorded_at")
    assets = list(dict.fromkeys(asset for asset, _ in found))
    assert [row["asset"] for row in rows] == assets
    for row in rows:
        assert row["units"] == len([1 for asset, _ in found if asset == row["asset"]])
        assert row["seconds"] > 0
        assert row["peak_memory"] > 10 * MEGABYTE
        assert row["device"].startswith("cpu")
    one = found["activations", "net/colours/0"]
    shown = unit_metadata(context, "activations", one)
    assert shown["peak memory (MB)"] == round(one.peak_memory / 1e6) > 10
    assert shown["seconds"] == one.record.seconds
