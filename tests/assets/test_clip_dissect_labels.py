"""CLIP-Dissect as assets: what is labelled, what is shared, what reruns, what is refused."""

import shutil
from typing import get_args

import dagster as dg
import numpy as np
import pytest
import torch

from dnd_assets.assets import concept_activations, probing_set
from dnd_assets.assets.registry import STAGES, chosen_assets, stages_of
from dnd_assets.engine.cache.shared_results import activations, embeddings, text_embeddings
from dnd_assets.engine.context_builder import build_context, find_units
from dnd_assets.engine.gc import collect, find_garbage
from dnd_assets.engine.materialize import materialize
from dnd_assets.engine.plan import plan
from dnd_assets.engine.resolve import Graph
from dnd_assets.engine.stage import study_assets_of
from dnd_assets.engine.verify import rebuild, verify
from dnd_assets.errors import NotFoundError, StudyError, UpstreamError
from dnd_assets.lineage.explain import pair
from dnd_assets.lineage.trace import trace
from dnd_assets.methods.clip_dissect.similarity import SIMILARITY, soft_wpmi
from dnd_assets.results.diff import changes
from dnd_assets.results.labels import labels as read_labels
from dnd_assets.study.method_settings import Similarity
from dnd_assets.study.study import parse_study
from dnd_assets.study.study_concepts import check_concepts
from dnd_assets.workflow.definitions import build_definitions
from dnd_assets.workflow.external_sources import CONCEPT_FILE, SOURCES, sources_for
from dnd_assets.workflow.run import observe, run
from tests.studies import changed, computed, label, statuses, versions

LABELS = "clip_dissect_labels"
CONCEPTS = "red\ngreen\nblue\ncircle\nsquare\nsand\n"
UNITS = [f"net/{layer}/{n}" for layer in ("colours", "spoilt") for n in range(4)]


@pytest.fixture(scope="module")
def dissecting(colours):
    """The table of the small study with CLIP-Dissect."""
    return changed(colours, clip_dissect={"concepts": "concepts.txt", "top_images": 6})


@pytest.fixture(scope="module")
def first(labelled, dissecting, tmp_path_factory):
    """The labelled study, then dissected in a second run: folder and announcements."""
    folder = tmp_path_factory.mktemp("dissected") / "copy"
    shutil.copytree(labelled[0], folder)
    (folder / "concepts.txt").write_text(CONCEPTS)
    return folder, label(dissecting, folder, run="first", last=LABELS)


@pytest.fixture
def again(first, tmp_path):
    """A copy of the dissected study, free to be changed."""
    shutil.copytree(first[0], tmp_path / "copy")
    return tmp_path / "copy", first[1]


@pytest.fixture
def fresh(colour_folder):
    """A folder with images and concepts, and nothing computed."""
    (colour_folder / "concepts.txt").write_text(CONCEPTS)
    return colour_folder


def _bench(table, folder):
    return build_context(parse_study(table, folder), folder / "state")


def _dissect(table, folder, units=(), run="alone", home=None):
    """Only CLIP-Dissect, without the seven products."""
    study = parse_study(table, folder)
    study_context = build_context(study, home or folder / "state")
    probing_set.materialize(study_context, run)
    concept_activations.materialize(study_context, run)
    stages = stages_of(study)
    chosen = find_units(study_context).select(units)
    found = materialize(Graph(study_context, stages), stages[LABELS], chosen, run)
    return {one.unit.key: one for one in found}


def _content(found):
    return {
        (pair[1] if isinstance(pair, tuple) else pair): one.product.payload
        for pair, one in found.items()
        if not isinstance(pair, tuple) or pair[0] == LABELS
    }


def _work(study_context, run):
    sql = "SELECT asset, what, count FROM work WHERE run = ?"
    return {
        (row["asset"], row["what"]): row["count"] for row in study_context.lineage.query(sql, [run])
    }


def test_labels_are_those_of_the_method_worked_out_by_hand(first, dissecting):
    folder, found = first
    study_context = _bench(dissecting, folder)
    images = sorted(
        row["hash"] for row in study_context.lineage.query("SELECT DISTINCT hash FROM images")
    )
    rows, values = activations(study_context, "net", {"colours": images}, "")["colours"]
    faces, vectors = embeddings(study_context, images)
    concepts = CONCEPTS.split()
    products = vectors[[faces[i] for i in images]] @ text_embeddings(study_context, concepts).T
    q = torch.from_numpy(values[[rows[i] for i in images]])
    expected = soft_wpmi(torch.from_numpy(products), q, top_images=6)
    for neuron in range(3):
        payload = found[LABELS, f"net/colours/{neuron}"].product.payload
        order = expected[neuron].argsort(descending=True, stable=True)[:5].tolist()
        assert [entry["label"] for entry in payload["labels"]] == [concepts[i] for i in order]
        scores = [entry["score"] for entry in payload["labels"]]
        assert scores == pytest.approx(expected[neuron][order].tolist(), abs=2e-4)
        assert (payload["label"], payload["score"]) == (concepts[order[0]], scores[0])
        assert payload["interpretable"] == (scores[0] > 0.16)


def test_dead_and_broken_units_have_a_status(first):
    found = statuses(first[1], LABELS)
    expected = dict.fromkeys(UNITS, "ok")
    expected |= {"net/colours/3": "dead", "net/spoilt/3": "not_finite"}
    assert found == expected
    for key in ("net/colours/3", "net/spoilt/3"):
        mine, theirs = (first[1][asset, key].record.reason for asset in (LABELS, "activations"))
        assert mine == theirs


def test_no_forward_pass_after_describe_and_dissect(first, dissecting):
    work = _work(_bench(dissecting, first[0]), "first")
    assert not [what for _, what in work if what == "forward passes"]
    assert work["concept_activations", "text embeddings"] == 6
    assert 0 < work[LABELS, "embeddings"] <= 18, "those of exemplars were known"
    assert {asset for asset, _ in computed(first[1])} == {LABELS}


@pytest.mark.parametrize("name", ["cos", "cos_cubed", "wpmi", "soft_wpmi"])
def test_a_label_depends_on_no_other_unit_and_no_batch(fresh, dissecting, name, tmp_path):
    setting = {"concepts": "concepts.txt", "similarity": name}
    setting |= {"top_images": 6} if "wpmi" in name else {}
    table = changed(dissecting, clip_dissect=setting)
    every = _content(_dissect(table, fresh))
    other = changed(table, compute__batch__target=5, compute__batch__clip=7)
    alone = _dissect(other, fresh, ["net/colours/1"], home=tmp_path / "other")
    assert _content(alone) == {"net/colours/1": every["net/colours/1"]}


def test_the_prior_is_computed_once_for_a_layer(fresh, dissecting):
    study_context = _bench(dissecting, fresh)
    for key in ("net/colours/1", "net/colours/2"):
        _dissect(dissecting, fresh, [key])
    sql = "SELECT count(*) AS n FROM shared WHERE kind = 'concept_prior'"
    assert study_context.lineage.query(sql)[0]["n"] == 1


def test_pairs_join_where_they_are_better(fresh, dissecting):
    table = changed(dissecting, clip_dissect__pairs=3, clip_dissect__top=9)
    found = _content(_dissect(table, fresh))
    texts = [entry["label"] for entry in found["net/colours/0"]["labels"]]
    assert len(texts) == 9
    assert sum(" and " in text for text in texts) == 3
    scores = [entry["score"] for entry in found["net/colours/0"]["labels"]]
    assert scores == sorted(scores, reverse=True)
    alone = _content(_dissect(table, fresh, ["net/colours/0"], home=fresh / "other"))
    assert alone["net/colours/0"] == found["net/colours/0"]


def test_a_second_run_reuses_and_a_changed_file_reruns_only_the_labels(again, dissecting):
    folder, before = again
    assert computed(label(dissecting, folder, run="second", last=LABELS)) == set()
    (folder / "concepts.txt").write_text("\ufeff" + CONCEPTS.replace("\n", "\r\n") + "red\r\n\r\n")
    same = label(dissecting, folder, run="third", last=LABELS)
    assert computed(same) == set(), "line ends, blank lines and repetitions change nothing"
    (folder / "concepts.txt").write_text(CONCEPTS + "sky\n")
    found = label(dissecting, folder, run="fourth", last=LABELS)
    assert {asset for asset, _ in computed(found)} == {LABELS}
    study_context = _bench(dissecting, folder)
    assert _work(study_context, "fourth") == {("concept_activations", "text embeddings"): 1}
    old = {key: version for key, version in versions(before).items() if key[0] != LABELS}
    assert {key: versions(found)[key] for key in old} == old


@pytest.mark.parametrize(
    ("key", "value"), [("similarity", "wpmi"), ("top", 2), ("cutoff", 3.0), ("top_images", 5)]
)
def test_a_setting_reruns_only_the_labels(again, dissecting, key, value):
    folder, _ = again
    table = changed(dissecting, **{f"clip_dissect__{key}": value})
    found = label(table, folder, ["net/colours"], run="second", last=LABELS)
    assert {asset for asset, _ in computed(found)} == {LABELS}


def _plan(table, folder):
    study_context = _bench(table, folder)
    probing_set.materialize(study_context, "scan")
    stages = stages_of(study_context.study)
    units = list(find_units(study_context).values())
    return {
        one.asset: one
        for one in plan(study_context, stages, units, list(stages), *observe(study_context))
    }


def test_the_plan_is_what_the_run_does(fresh, dissecting):
    found = _plan(dissecting, fresh)
    assert found["activations"].cost == {"forward passes": 18}
    assert found[LABELS].compute == len(UNITS)
    assert found[LABELS].cost == {"embeddings": 18}, "passes are counted where they come first"
    _dissect(dissecting, fresh, run="run")
    done = _work(_bench(dissecting, fresh), "run")
    assert done[LABELS, "forward passes"] == 18
    assert done[LABELS, "embeddings"] == 18
    after = _plan(dissecting, fresh)
    assert after["activations"].cost == {}
    assert (after[LABELS].compute, after[LABELS].reuse, after[LABELS].cost) == (0, 8, {})


def test_the_plan_after_describe_and_dissect(labelled, dissecting, tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(labelled[0], folder)
    (folder / "concepts.txt").write_text(CONCEPTS)
    found = _plan(dissecting, folder)[LABELS]
    assert found.why == {"never made": 8}
    label(dissecting, folder, run="run", last=LABELS)
    assert (
        _work(_bench(dissecting, folder), "run")[LABELS, "embeddings"] == found.cost["embeddings"]
    )
    (folder / "concepts.txt").write_text(CONCEPTS + "sky\n")
    changed_set = _plan(dissecting, folder)
    assert changed_set[LABELS].why == {f"{LABELS}: other concept_activations": 8}
    assert changed_set[LABELS].cost == {}
    assert changed_set["labels"].compute == 0


def test_explain_and_trace_name_the_concepts(again, dissecting):
    folder, _ = again
    (folder / "concepts.txt").write_text(CONCEPTS + "sky\n")
    label(dissecting, folder, ["net/colours/0"], run="second", last=LABELS)
    study_context = _bench(dissecting, folder)
    key = "net/colours/0"
    old, new = pair(study_context.lineage.query, "colours", LABELS, key, None)
    found = changes(study_context, LABELS, key, old, new)[
        -1
    ]  # the copied folder is another path, too
    assert (found.asset, found.what) == ("concept_activations", "concepts")
    assert found.before.startswith("6 (")
    assert found.after.startswith("7 (")
    traced = trace(study_context.lineage.query, "colours", key, LABELS)
    assert set(traced.steps) == {LABELS, "probing_set", "concept_activations"}


def test_products_come_out_the_same_when_rebuilt_and_the_store_is_sound(again, dissecting):
    folder, _ = again
    table = changed(dissecting)
    table["models"][0]["layers"] = [{"path": "colours", "neurons": [1]}]
    study_context = _bench(table, folder)
    label(table, folder, run="second", last=LABELS)
    found = rebuild(study_context, {LABELS: stages_of(study_context.study)[LABELS]}, 1)
    assert [one.same for one in found] == [True]
    assert verify(study_context).clean
    assert verify(study_context).orphaned == []


def test_what_is_kept_is_no_garbage(again, dissecting):
    folder, _ = again
    study_context = _bench(dissecting, folder)
    collect(study_context, find_garbage(study_context))
    (folder / "concepts.txt").write_text(CONCEPTS + "sky\n")
    label(dissecting, folder, run="second", last=LABELS)
    assert _work(study_context, "second") == {("concept_activations", "text embeddings"): 1}


def test_a_missing_concept_set_is_named_with_what_to_run(fresh, dissecting):
    study_context = _bench(dissecting, fresh)
    probing_set.materialize(study_context, "run")
    stages = stages_of(study_context.study)
    units = list(find_units(study_context).values())
    with pytest.raises(UpstreamError, match="dnd run --assets concept_activations"):
        list(materialize(Graph(study_context, stages), stages[LABELS], units, "run"))


def test_too_few_images_are_refused_before_any_pass(fresh, dissecting):
    table = changed(dissecting, clip_dissect={"concepts": "concepts.txt"})
    with pytest.raises(StudyError, match=r"100 most activating images .* only 18 images"):
        _dissect(table, fresh)
    study_context = _bench(table, fresh)
    sql = "SELECT count(*) AS n FROM shared WHERE kind IN ('activations', 'embeddings')"
    assert study_context.lineage.query(sql)[0]["n"] == 0


@pytest.mark.parametrize(
    ("data", "error", "message"),
    [
        (b"", StudyError, "holds no concept"),
        (b"\n \r\n", StudyError, "holds no concept"),
        (b"red\ncaf\xe9\n", StudyError, "not UTF-8: byte 0xe9 at offset 7, in line 2"),
        (None, NotFoundError, "no concept set 'concepts.txt'; nearest: concept.txt"),
    ],
)
def test_a_bad_concept_file_fails_early(colours, tmp_path, data, error, message):
    (tmp_path / "concept.txt").write_text("red\n")
    if data is not None:
        (tmp_path / "concepts.txt").write_bytes(data)
    study = parse_study(changed(colours, clip_dissect__concepts="concepts.txt"), tmp_path)
    with pytest.raises(error, match=message):
        check_concepts(study)


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({}, "clip_dissect.concepts: is missing"),
        ({"similarity": "soft_wpm"}, "similarity: 'soft_wpm' is not known; nearest: soft_wpmi"),
        ({"simlarity": "cos"}, "clip_dissect.simlarity: unknown key; nearest: similarity"),
        ({"prompt": "a photo"}, "clip_dissect.prompt: .* has no {concept}"),
        ({"top": 0}, "clip_dissect.top: 0 is wrong"),
        ({"pairs": 1}, "pairs = 1 makes no pair"),
        ({"cutoff": float("nan")}, "clip_dissect.cutoff"),
        ({"similarity": "cos", "top_images": 9}, "top_images is no option of 'cos'"),
    ],
)
def test_wrong_settings_are_told(colours, tmp_path, section, message):
    named = {"concepts": "x.txt", **section} if section else {}
    with pytest.raises(StudyError, match=message):
        parse_study(changed(colours, clip_dissect=named), tmp_path)


def test_every_similarity_function_can_be_named():
    assert set(get_args(Similarity)) == set(SIMILARITY)


def test_without_the_section_nothing_is_there(colours, labelled):
    study = parse_study(colours, labelled[0])
    assert stages_of(study) == STAGES
    assert list(study_assets_of(stages_of(study))) == ["probing_set"]
    assert sources_for(study) == list(SOURCES)
    with pytest.raises(NotFoundError, match="needs a section"):
        chosen_assets(study, [LABELS])
    assert chosen_assets(study, []) == ["probing_set", *STAGES]


def test_only_what_leads_to_the_assets_is_looked_at(first, dissecting):
    study_context = build_context(parse_study(dissecting, first[0]), first[0] / "state")
    both = ["probing_set", "concept_activations"]
    asked = {("labels",): both[:1], (LABELS,): both, ("concept_activations",): both[1:]}
    for assets, found in asked.items():
        assert [one.asset for one in observe(study_context, assets)] == found
    assert [one.asset for one in observe(study_context)] == both


def test_upstream_brings_what_belongs_to_no_unit(dissecting, first):
    study = parse_study(dissecting, first[0])
    assert chosen_assets(study, [f"+{LABELS}"]) == ["probing_set", "concept_activations", LABELS]


@pytest.fixture(scope="module")
def definitions(first, dissecting):
    return build_definitions(parse_study(dissecting, first[0]), first[0] / "state")


def _run(definitions, instance, assets):
    job = definitions.resolve_implicit_global_asset_job_def()
    keys = {"start": "net/colours/1", "end": "net/spoilt/1"}
    return job.execute_in_process(
        instance=instance,
        asset_selection=[dg.AssetKey(name) for name in assets],
        tags={f"dagster/asset_partition_range_{end}": key for end, key in keys.items()},
    )


def test_dagster_shows_one_event_for_each_unit_and_calls_it_fresh(definitions, first):
    with dg.DagsterInstance.ephemeral() as instance:
        done = _run(definitions, instance, ["probing_set", "concept_activations", LABELS])
        assert done.success
        events = instance.fetch_materializations(dg.AssetKey(LABELS), limit=99).records
        shown = {one.partition_key: one.asset_materialization for one in events}
        assert sorted(shown) == UNITS[1:6]
        assert len(events) == 5
        for key, event in shown.items():
            version = first[1][LABELS, key].product.data_version
            assert event.tags["dagster/data_version"] == version
        event = shown["net/colours/1"]
        table = event.metadata["top concepts"]
        assert isinstance(table, dg.TableMetadataValue)
        assert table.records[0].data["concept"] == event.metadata["label"].value
        results = {
            (one.asset_key.to_user_string(), one.check_name): one.passed
            for one in done.get_asset_check_evaluations()
        }
        assert results[LABELS, "artefacts_in_store"]
        assert results[LABELS, "every_unit_answered"]
        assert results["concept_activations", "artefacts_in_store"]
        assert _stale(definitions, instance) == {}


def test_an_observed_change_of_the_file_marks_what_follows(again, dissecting):
    folder, _ = again
    study = parse_study(dissecting, folder)
    definitions = build_definitions(study, folder / "state")
    with dg.DagsterInstance.ephemeral() as instance:
        names = ["probing_set", "concept_activations", LABELS]
        assert _run(definitions, instance, names).success
        _observe(definitions, instance, study)
        assert _stale(definitions, instance) == {}
        (folder / "concepts.txt").write_text(CONCEPTS + "sky\n")
        _observe(definitions, instance, study)
        found = _stale(definitions, instance)
        assert [one.reason for one in found["concept_activations"]] == ["has a new data version"]


def _observe(definitions, instance, study):
    sources = [dg.AssetKey(source.name) for source in sources_for(study)]
    assert dg.AssetKey(CONCEPT_FILE.name) in sources
    job = definitions.resolve_job_def("observe_sources")
    assert job.execute_in_process(instance=instance, asset_selection=sources).success


def _stale(definitions, instance):
    from dagster._core.definitions.data_version import CachingStaleStatusResolver
    from dagster._core.loader import LoadingContextForTest

    context = LoadingContextForTest(instance)
    resolver = CachingStaleStatusResolver(instance, definitions.resolve_asset_graph(), context)
    causes = {
        LABELS: resolver.get_stale_root_causes(dg.AssetKey(LABELS), "net/colours/1"),
        "concept_activations": resolver.get_stale_root_causes(dg.AssetKey("concept_activations")),
    }
    return {name: found for name, found in causes.items() if found}


def test_the_graph_explains_the_assets(definitions):
    graph = definitions.resolve_asset_graph()
    for name in ("concept_activations", LABELS):
        node = graph.get(dg.AssetKey(name))
        assert node.group_name == "baselines"
        assert len(node.description) > 40
        assert node.owners
        assert node.kinds
    parents = {key.to_user_string() for key in graph.get(dg.AssetKey(LABELS)).parent_keys}
    assert {"probing_set", "concept_activations"} < parents
    assert graph.get(dg.AssetKey("concept_activations")).partitions_def is None
    assert definitions.resolve_job_def("baselines")


def test_embeddings_of_texts_are_unit_vectors_in_the_order_asked(first, dissecting):
    study_context = _bench(dissecting, first[0])
    both = text_embeddings(study_context, ["red", "blue", "red"])
    assert np.array_equal(both[0], both[2])
    assert np.linalg.norm(both, axis=1) == pytest.approx(1, abs=1e-3)


def test_labels_are_read_as_a_table(first, dissecting):
    table = read_labels(_bench(dissecting, first[0]).lineage, "colours", LABELS)
    assert sorted(table["unit"]) == UNITS
    known = table.set_index("unit")
    payload = first[1][LABELS, UNITS[0]].product.payload
    assert known.loc[UNITS[0], "label"] == payload["label"]
    assert known.loc["net/colours/3", "status"] == "dead"


def test_what_is_not_asked_for_needs_no_concepts(fresh, dissecting):
    study_context = _bench(dissecting, fresh)
    probing_set.materialize(study_context, "run")
    units = list(find_units(study_context).values())
    (found,) = plan(study_context, stages_of(study_context.study), units, ["activations"])
    assert found.compute == len(UNITS)


def test_a_run_from_the_command_line_computes_and_then_has_nothing_to_do(
    fresh, dissecting, monkeypatch
):
    home = fresh / "state"
    monkeypatch.setenv("DAGSTER_HOME", str(home / "dagster"))
    study = parse_study(dissecting, fresh)
    done = run(study, home, assets=[f"+{LABELS}"], log=lambda _: None)
    assert done.computed == {"probing_set": 1, "concept_activations": 1, LABELS: 8}
    assert done.work == {"embeddings": 18, "forward passes": 18, "text embeddings": 6}
    assert run(study, home, assets=[f"+{LABELS}"], log=lambda _: None).id == ""
    (fresh / "concepts.txt").write_text(CONCEPTS + "sky\n")
    done = run(study, home, assets=[f"+{LABELS}"], log=lambda _: None)
    assert done.computed[LABELS] == 8
    assert done.work == {"text embeddings": 1}
