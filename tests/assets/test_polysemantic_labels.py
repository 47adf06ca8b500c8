"""Units of several meanings as an asset, on a small study and on the unit planted with two."""

import shutil

import pytest

from dnd_assets.assets import probing_set
from dnd_assets.assets.registry import stages_of
from dnd_assets.engine.context_builder import build_context, find_units
from dnd_assets.engine.plan import plan
from dnd_assets.engine.verify import rebuild
from dnd_assets.errors import StudyError
from dnd_assets.known_answers.target import words
from dnd_assets.lineage.trace import trace
from dnd_assets.results.labels import export
from dnd_assets.results.labels import labels as read_labels
from dnd_assets.results.trace_tree import tree
from dnd_assets.study.study import load_study, parse_study
from tests.studies import changed, label_alone, versions

ASSET = "polysemantic_labels"
UNIT = "net/colours/1"


@pytest.fixture(scope="module")
def several(colours):
    return changed(colours, polysemantic={"exemplars": 6, "smallest": 2})


def _run(study, home, units=(), run="run"):
    return label_alone(study, home, ASSET, units, run)


@pytest.fixture(scope="module")
def first(labelled, several, tmp_path_factory):
    folder = tmp_path_factory.mktemp("several") / "copy"
    shutil.copytree(labelled[0], folder)
    return folder, *_run(parse_study(several, folder), folder / "state")


def _work(context, run="run"):
    sql = "SELECT what, count FROM work WHERE run = ? AND asset = ?"
    return {row["what"]: row["count"] for row in context.lineage.query(sql, [run, ASSET])}


@pytest.fixture(scope="module")
def world(tmp_path_factory, one_thread):
    """The unit of crosses or purple, and a unit of circles alone, on a quarter of the world."""
    table = load_study("known-answers").model_dump(exclude={"milan", "segmentation", "evaluation"})
    table["clip_dissect"] = None
    table["models"][0]["layers"] = [{"path": "planted", "neurons": [8, 13, 14]}]
    table["probing_set"]["world"]["count"] = 1024
    table["polysemantic"] = {}
    table["text_to_image"] = {"kind": "world"}  # a painter that paints what a text says
    study = parse_study(table, tmp_path_factory.mktemp("world"))
    return _run(study, study.folder / "state")[1]


def test_the_unit_planted_with_two_meanings_comes_out_with_both(world):
    payload = world[ASSET, "worldnet/planted/13"].product.payload
    said = [set(words(entry["label"])) for entry in payload["concepts"]]
    assert payload["count"] == 2
    assert sorted("cross" in one for one in said) == [False, True]
    assert sorted("purple" in one for one in said) == [False, True]
    assert payload["label"] == " or ".join(entry["label"] for entry in payload["concepts"])


def test_a_unit_of_one_meaning_comes_out_with_one_and_a_dead_one_with_none(world):
    payload = world[ASSET, "worldnet/planted/8"].product.payload
    assert payload["count"] == 1
    assert "circle" in words(payload["label"])
    assert world[ASSET, "worldnet/planted/14"].record.status == "dead"


def test_exemplars_are_in_one_concept_or_outliers_and_mass_is_their_sum(first):
    for one in first[2].values():
        if one.record.status != "ok":
            continue
        payload = one.product.payload
        inside = [e for c in payload["concepts"] for e in c["exemplars"]]
        names = [entry["image"] for entry in (*inside, *payload["outliers"])]
        assert len(names) == len(set(names)) <= 6
        assert payload["count"] == len(payload["concepts"]) >= 1
        masses = [concept["mass"] for concept in payload["concepts"]]
        assert masses == sorted(masses, reverse=True)
        for concept in payload["concepts"]:
            total = sum(max(entry["activation"], 0) for entry in concept["exemplars"])
            assert concept["mass"] == pytest.approx(total)
            assert len(concept["pictures"]) == 3
            assert concept["label"] not in [other["label"] for other in concept["runners_up"]]


def test_dead_and_broken_units_have_a_status_and_others_finish(first):
    status = {key: one.record.status for (_, key), one in first[2].items()}
    assert status.pop("net/colours/3") == "dead"
    assert status.pop("net/spoilt/3") == "not_finite"
    assert set(status.values()) == {"ok"}


def test_a_label_depends_on_no_other_unit_and_no_batch(first, several, tmp_path):
    batch = {"target": 5, "captioner": 3, "text_to_image": 2, "clip": 7}
    study = parse_study(changed(several, compute__batch=batch), first[0])
    _, alone = _run(study, tmp_path / "other", [UNIT])
    assert versions(alone) == {(ASSET, UNIT): versions(first[2])[ASSET, UNIT]}


def test_the_plan_is_what_the_run_does(labelled, several, tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(labelled[0], folder)
    study = parse_study(several, folder)
    context = build_context(study, folder / "state")
    probing_set.materialize(context, "scan")
    units = list(find_units(context).values())
    (before,) = plan(context, stages_of(study), units, [ASSET])
    assert "forward passes" not in before.cost
    _run(study, folder / "state")
    done = _work(context)
    assert done.get("captions", 0) == before.cost.get("captions", 0)
    assert done["paintings"] <= before.cost["paintings at most"]
    assert done["embeddings"] >= before.cost["embeddings"], "pictures painted are embedded, too"
    (after,) = plan(context, stages_of(study), units, [ASSET])
    assert (after.compute, after.reuse, after.cost) == (0, 8, {})


def test_another_scoring_function_runs_no_model(first, several, tmp_path):
    shutil.copytree(first[0], tmp_path / "copy")
    table = changed(several, dissection__scoring="mean_rank")
    context, found = _run(
        parse_study(table, tmp_path / "copy"), tmp_path / "copy" / "state", (), "b"
    )
    assert not any(one.record.reused for one in found.values())
    assert "captions" not in _work(context, "b")
    assert "LLM calls" not in _work(context, "b")


def test_products_rebuild_alike_and_can_be_traced_and_read(first):
    _, context, found = first
    stage = {ASSET: stages_of(context.study)[ASSET]}
    assert [one.same for one in rebuild(context, stage, 1)] == [True]
    traced = trace(context.lineage.query, "colours", UNIT, ASSET)
    assert set(traced.steps) == {ASSET, "probing_set"}
    payload = found[ASSET, UNIT].product.payload
    lines = [str(one.label) for one in tree(traced).children[0].children]
    assert any(payload["concepts"][0]["label"] in line for line in lines)
    table = read_labels(context.lineage, "colours", ASSET).set_index("unit")
    assert table.loc[UNIT, "label"] == payload["label"]
    assert table.loc[UNIT, "concepts"] == payload["count"]
    assert export(table.reset_index(), "json")


@pytest.mark.parametrize(
    "wrong", [{"reach": 1.5}, {"exemplars": 0}, {"shared": 1.0}, {"smalest": 3}, {"response": -1}]
)
def test_wrong_settings_are_told(colours, tmp_path, wrong):
    with pytest.raises(StudyError, match="polysemantic"):
        parse_study(changed(colours, polysemantic=wrong), tmp_path)
