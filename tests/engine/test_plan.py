"""What a plan promises is what the run does."""

import json
import shutil

import pytest
from werkzeug.wrappers import Response

from dnd_assets.assets import probing_set
from dnd_assets.assets.probing_set import observe
from dnd_assets.assets.registry import STAGES, stages_of
from dnd_assets.engine.context_builder import build_context, find_units
from dnd_assets.engine.plan import _rate, plan
from dnd_assets.errors import UpstreamError
from dnd_assets.study.study import parse_study
from dnd_assets.workflow.preflight import observe as whole_look
from tests.studies import changed, computed, label, write_images

UNITS = 8


@pytest.fixture
def again(labelled, tmp_path):
    """A copy of the labelled study, free to be changed."""
    shutil.copytree(labelled[0], tmp_path / "copy")
    return tmp_path / "copy"


def _plan(table, folder, assets=tuple(STAGES)):
    context = build_context(parse_study(table, folder), folder / "state")
    probing_set.materialize(context, "scan")
    units = list(find_units(context).values())
    return {one.asset: one for one in plan(context, STAGES, units, assets)}


def _work(folder, table, run, asset):
    """What a run recorded of its work on one asset."""
    context = build_context(parse_study(table, folder), folder / "state")
    sql = "SELECT what, count FROM work WHERE run = ? AND asset = ?"
    return {row["what"]: row["count"] for row in context.lineage.query(sql, [run, asset])}


def test_nothing_changed_nothing_planned(again, colours):
    for one in _plan(colours, again).values():
        assert (one.compute, one.reuse, one.may, one.cost) == (0, UNITS, 0, {})


def test_before_the_first_run_only_the_first_stage_can_be_counted(colour_folder, colours):
    context = build_context(parse_study(colours, colour_folder), colour_folder / "state")
    with pytest.raises(UpstreamError, match="dnd run --assets probing_set"):
        plan(context, STAGES, list(find_units(context).values()), list(STAGES))
    found = _plan(colours, colour_folder)
    assert found["activations"].compute == UNITS
    assert found["activations"].cost == {"forward passes": 18}
    for name in list(STAGES)[1:]:
        assert (found[name].compute, found[name].may) == (0, UNITS)


@pytest.mark.parametrize(
    ("change", "value", "asset", "reason"),
    [
        ("dissection__crop_size", 40, "crops", "crops: parameter crop_size 32 → 40"),
        ("captioner__max_new_tokens", 3, "captions", "captions: captioner max_new_tokens 6 → 3"),
        ("dissection__images_per_concept", 4, "synthetic_images",
         "synthetic_images: parameter images_per_concept 3 → 4"),
        ("dissection__beta", 2, "scores", "scores: parameter beta 5 → 2"),
        ("dissection__labels", 1, "labels", "labels: parameter labels 3 → 1"),
    ],
)  # fmt: skip
def test_the_run_does_what_the_plan_said(again, colours, change, value, asset, reason):
    table = changed(colours, **{change: value})
    planned = _plan(table, again)
    assert planned[asset].why == {reason: planned[asset].compute}
    run = label(table, again, run="second")
    done = {key for name, key in computed(run) if name == asset}
    assert planned[asset].compute == len(done) > 0
    work = _work(again, table, "second", asset)
    for what, count in planned[asset].cost.items():
        exactly = what.removesuffix(" at most")
        assert work[exactly] == count or (what != exactly and 0 < work[exactly] < count)
    if asset != "crops":
        assert work == planned[asset].cost, "nothing else was done"
    for name in list(STAGES)[: list(STAGES).index(asset)]:
        assert planned[name].compute == planned[name].may == 0
        assert not [one for one in computed(run) if one[0] == name]
    for name in list(STAGES)[list(STAGES).index(asset) + 1 :]:
        followed = {key for one, key in computed(run) if one == name}
        assert planned[name].compute == 0
        assert len(followed) <= planned[name].may == len(done), "only if the content changes"
        for what, count in _work(again, table, "second", name).items():
            assert count <= planned[name].most[what]


def test_a_plan_sees_a_new_image_before_anything_ran(again, colours):
    table = changed(colours)
    write_images(again / "more", 1, seed=9)
    (again / "more" / "000.png").rename(again / "images" / "999.png")
    context = build_context(parse_study(table, again), again / "state")
    before = context.lineage.query("SELECT count(*) AS n FROM materializations")
    units = list(find_units(context).values())
    found = {one.asset: one for one in plan(context, STAGES, units, STAGES, observe(context))}
    assert found["activations"].cost == {"forward passes": 1}
    assert found["activations"].why == {"activations: other probing_set": UNITS}
    assert context.lineage.query("SELECT count(*) AS n FROM materializations") == before
    label(table, again, run="second")
    assert _work(again, table, "second", "activations") == {"forward passes": 1}


def test_the_calls_to_a_language_model_are_those_planned(again, colours, httpserver):
    server = {
        "kind": "chat",
        "base_url": httpserver.url_for("/v1"),
        "model": "m",
        "api_key_env": "",
    }
    table = changed(colours, summariser=server, dissection__candidates=2)
    httpserver.expect_request("/v1/chat/completions").respond_with_handler(_answer)
    planned = _plan(table, again, ["candidate_concepts"])["candidate_concepts"]
    assert planned.cost["LLM calls"] > 0
    label(table, again, run="second", last="candidate_concepts")
    work = _work(again, table, "second", "candidate_concepts")
    assert work["LLM calls"] == planned.cost["LLM calls"] == len(httpserver.log)
    assert work["LLM tokens"] < planned.cost["LLM tokens at most"]

    # Half of a finished dialogue is known: one more label costs one call for each dialogue.
    more = changed(table, dissection__candidates=3)
    known = len(httpserver.log)
    planned = _plan(more, again, ["candidate_concepts"])["candidate_concepts"]
    label(more, again, run="third", last="candidate_concepts")
    assert len(httpserver.log) - known == planned.cost["LLM calls"] == known // 3


def _answer(request):
    """Each description shortened to its first word and place; always the same label for a list."""
    body = request.get_json()
    listed = json.loads(body["messages"][-1]["content"].rpartition("\n")[2])
    if body["response_format"]["json_schema"]["name"] == "concepts":
        content = {"concepts": [f"thing {text.split()[0]} {i}" for i, text in enumerate(listed)]}
    else:
        content = {"concept": f"{listed[0]} group"}
    message = {"role": "assistant", "content": json.dumps(content)}
    usage = {"prompt_tokens": 7, "completion_tokens": 5}
    answer = {"choices": [{"index": 0, "message": message, "finish_reason": "stop"}]}
    return Response(json.dumps({**answer, "usage": usage}), content_type="application/json")


def test_a_plan_passes_no_picture_through_a_network(colour_folder, colours):
    """What an earlier stage of the plan has promised is not there yet: no later one asks for it."""
    table = changed(colours, polysemantic={"exemplars": 6, "smallest": 2}, milan={})
    table["clip_dissect"] = None
    context = build_context(parse_study(table, colour_folder), colour_folder / "state")
    stages = stages_of(context.study)
    found = plan(
        context, stages, list(find_units(context).values()), list(stages), *whole_look(context)
    )
    costs = {one.asset: one.cost for one in found if one.compute}
    assert costs["activations"]["forward passes"] == 18
    assert costs["polysemantic_labels"]["captions at most"] > 0
    assert "forward passes" not in costs["milan_labels"], "counted once"
    assert context.tally.total() == 0


def test_a_plan_reckons_with_so_many_workers(colour_folder, colours):
    """What workers did divides by their number; what the coordinator did beside them does not."""
    context = build_context(parse_study(colours, colour_folder), colour_folder / "state")
    names = {"run": "r", "study": "colours", "asset": "captions"}
    stage = {**names, "units": 10, "seconds": 100.0, "device": "cpu", "peak_memory": 1}
    done = [{**names, "worker": w, "parts": 8, "seconds": 80.0, "lost": 0} for w in "ab"]
    context.lineage.commit({"stage_runs": [stage], "workers": done})
    assert [_rate(context, "captions", n) for n in (1, 2, 8)] == pytest.approx([18, 10, 4])
    assert _rate(context, "labels", 8) is None
