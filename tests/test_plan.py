"""What a plan promises is what the run does."""

import shutil

import pytest

from dnd_assets.assets import probing_set
from dnd_assets.bench import build_bench, find_units
from dnd_assets.definitions import STAGES
from dnd_assets.errors import UpstreamError
from dnd_assets.plan import plan
from dnd_assets.study import parse_study
from tests.studies import changed, computed, label

UNITS = 8


@pytest.fixture
def again(labelled, tmp_path):
    """A copy of the labelled study, free to be changed."""
    shutil.copytree(labelled[0], tmp_path / "copy")
    return tmp_path / "copy"


def _plan(table, folder, assets=tuple(STAGES)):
    bench = build_bench(parse_study(table, folder), folder / "state")
    probing_set.materialize(bench, "scan")
    units = list(find_units(bench).values())
    return {one.asset: one for one in plan(bench, STAGES, units, assets)}


def _counts(folder, table):
    """Stored captions, paintings, and rows of activations (for both layers)."""
    bench = build_bench(parse_study(table, folder), folder / "state")
    sql = (
        "SELECT kind, sum(CASE WHEN kind IN ('activations', 'embeddings') "
        "THEN (value ->> 'rows')::INT ELSE 1 END) AS n FROM shared GROUP BY kind"
    )
    return {row["kind"]: int(row["n"]) for row in bench.lineage.query(sql)}


def test_nothing_changed_nothing_planned(again, colours):
    for one in _plan(colours, again).values():
        assert (one.compute, one.reuse, one.may, one.cost) == (0, UNITS, 0, {})


def test_before_the_first_run_only_the_first_stage_can_be_counted(colour_folder, colours):
    bench = build_bench(parse_study(colours, colour_folder), colour_folder / "state")
    with pytest.raises(UpstreamError, match="dnd run --assets probing_set"):
        plan(bench, STAGES, list(find_units(bench).values()), list(STAGES))
    found = _plan(colours, colour_folder)
    assert found["activations"].compute == UNITS
    assert found["activations"].cost == {"forward passes": 18}
    for name in list(STAGES)[1:]:
        assert (found[name].compute, found[name].may) == (0, UNITS)


@pytest.mark.parametrize(
    ("change", "value", "asset", "kind", "what"),
    [
        ("captioner__max_new_tokens", 3, "captions", "caption", "captions"),
        ("dissection__images_per_concept", 4, "synthetic_images", "painting", "pictures"),
        ("dissection__beta", 2, "scores", "embeddings", "embeddings"),
        ("dissection__labels", 1, "labels", "caption", "captions"),
    ],
)
def test_the_run_does_what_the_plan_said(again, colours, change, value, asset, kind, what):
    table = changed(colours, **{change: value})
    planned = _plan(table, again)
    before = _counts(again, table)
    run = label(table, again, run="second", last=asset)
    done = {key for name, key in computed(run) if name == asset}
    assert planned[asset].compute == len(done) > 0
    after = _counts(again, table)
    assert after.get(kind, 0) - before.get(kind, 0) == planned[asset].cost.get(what, 0)
    for name in list(STAGES)[: list(STAGES).index(asset)]:
        assert planned[name].compute == planned[name].may == 0
        assert not [one for one in computed(run) if one[0] == name]
    for name in list(STAGES)[list(STAGES).index(asset) + 1 :]:
        assert planned[name].compute == 0
        assert planned[name].may == len(done), "it may follow, if the content changes"
