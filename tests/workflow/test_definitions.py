"""The assets as Dagster sees them: keys, partitions, events, checks."""

import shutil

import dagster as dg
import pytest

from dnd_assets.assets.registry import STAGES, stages_of
from dnd_assets.assets.resolved import resolve_study
from dnd_assets.engine.context_builder import build_context, find_units
from dnd_assets.engine.plan import plan
from dnd_assets.engine.stage_versions import stage_version
from dnd_assets.study.study import parse_study
from dnd_assets.workflow.definitions import AUTOMATION, build_definitions
from dnd_assets.workflow.external_sources import SOURCES, sources_of
from dnd_assets.workflow.freshness import CHECK, record_verdicts
from dnd_assets.workflow.run import observe
from tests.studies import changed, write_images

ASSETS = ["probing_set", *STAGES]
UNITS = [f"net/{layer}/{n}" for layer in ("colours", "spoilt") for n in range(4)]


@pytest.fixture(scope="module")
def study(colours, labelled):
    folder, _ = labelled
    return parse_study(colours, folder)


@pytest.fixture(scope="module")
def definitions(study):
    return build_definitions(study, study.folder / "state")


@pytest.fixture
def made_before(labelled, tmp_path):
    """The small study's folder with all its products, and nothing that Dagster was told."""
    return shutil.copytree(labelled[0], tmp_path / "made before")


@pytest.fixture(scope="module")
def study_context(study):
    return build_context(study, study.folder / "state")


@pytest.fixture(scope="module")
def instance():
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


def _run(definitions, instance, first, last, assets=ASSETS, **options):
    job = definitions.resolve_implicit_global_asset_job_def()
    return job.execute_in_process(
        instance=instance,
        asset_selection=[dg.AssetKey(name) for name in assets],
        tags={
            "dagster/asset_partition_range_start": first,
            "dagster/asset_partition_range_end": last,
        },
        **options,
    )


def _events(instance, asset, run_id):
    records = instance.fetch_materializations(dg.AssetKey(asset), limit=1000).records
    return {
        record.partition_key: record.asset_materialization
        for record in records
        if record.run_id == run_id
    }, sum(record.run_id == run_id for record in records)


@pytest.fixture(scope="module")
def run(definitions, instance):
    return _run(definitions, instance, "net/colours/1", "net/spoilt/1")


def test_the_assets_are_those_of_the_paper_and_explain_themselves(definitions, study_context):
    graph = definitions.resolve_asset_graph()
    names = {key.to_user_string() for key in graph.get_all_asset_keys()}
    assert names == {*ASSETS, *(source.name for source in SOURCES)}
    for name in ASSETS:
        node = graph.get(dg.AssetKey(name))
        assert len(node.description) > 40, name
        assert node.group_name.startswith("step_")
        assert node.owners
        assert node.kinds
        if name != "probing_set":
            assert node.code_version == stage_version(study_context, STAGES[name])
            assert node.partitions_def.get_partition_keys() == UNITS
            assert node.backfill_policy == dg.BackfillPolicy.single_run()
            above = {*STAGES[name].upstream, *(one.name for one in sources_of(STAGES[name]))}
            assert {key.to_user_string() for key in node.parent_keys} == above
    assert graph.get(dg.AssetKey("probing_set")).partitions_def is None


def test_each_unit_gets_one_event_with_its_own_data_version(run, instance, labelled, study_context):
    assert run.success
    _, first = labelled
    chosen = UNITS[1:6]
    for name in STAGES:
        events, count = _events(instance, name, run.run_id)
        assert sorted(events) == chosen, name
        assert count == len(chosen), name
        for key, event in events.items():
            assert event.tags["dagster/data_version"] == first[name, key].product.data_version
            assert event.tags["dagster/code_version"] == stage_version(study_context, STAGES[name])
            assert event.metadata["status"].value == first[name, key].record.status
    labels, _ = _events(instance, "labels", run.run_id)
    versions = {event.tags["dagster/data_version"] for event in labels.values()}
    assert len(versions) > 1


def test_fresh_products_carry_pictures_and_tables(colours, colour_folder, instance):
    study = parse_study(colours, colour_folder)
    fresh = build_definitions(study, colour_folder / "state", ["net/colours/1"])
    done = _run(fresh, instance, "net/colours/1", "net/colours/1")
    assert done.success
    found = {name: _events(instance, name, done.run_id)[0]["net/colours/1"] for name in STAGES}
    for asset, entry in (("activations", "exemplars"), ("crops", "activating set")):
        picture = found[asset].metadata[entry]
        assert isinstance(picture, dg.MarkdownMetadataValue)
        assert picture.value.startswith("![")
        assert 500 < len(picture.value) < 100_000
    table = found["scores"].metadata["scores"]
    assert isinstance(table, dg.TableMetadataValue)
    concepts = [record.data["concept"] for record in table.records]
    assert found["labels"].metadata["label"].value == concepts[0]
    assert isinstance(found["captions"].metadata["captions"], dg.TableMetadataValue)
    for asset, event in found.items():
        assert list(event.metadata)[-1] == "key", f"{asset}: what it says comes first"
    assert found["labels"].metadata["exemplars"] == found["activations"].metadata["exemplars"]
    assert list(found["labels"].metadata)[:2] == ["page in the atlas", "label"]
    page = found["labels"].metadata["page in the atlas"]
    assert isinstance(page, dg.TextMetadataValue), "no link that leads nowhere"
    assert "once the asset `atlas` is materialized" in page.value
    assert _digits(table) <= 4
    assert len(str(found["labels"].metadata["score"].value).strip("-0.")) <= 5


def _digits(table):
    """Significant digits of the longest number in a table."""
    numbers = [v for row in table.records for v in row.data.values() if isinstance(v, float)]
    return max(len(f"{v:.12g}".strip("-").replace(".", "").lstrip("0")) for v in numbers)


def test_reused_products_show_pictures_in_small_runs(run, instance):
    events, _ = _events(instance, "activations", run.run_id)
    assert "exemplars" in events["net/colours/1"].metadata
    assert events["net/colours/1"].metadata["reused"].value


def test_many_reused_products_are_told_without_pictures(run, definitions, instance, monkeypatch):
    monkeypatch.setattr("dnd_assets.workflow.unit_asset._FEW", 1)
    done = _run(definitions, instance, UNITS[1], UNITS[2], ["activations", "labels"])
    for asset in ("activations", "labels"):
        events, _ = _events(instance, asset, done.run_id)
        assert "exemplars" not in events["net/colours/1"].metadata, asset


def test_there_is_a_job_for_the_study_for_its_labels_and_for_each_step(definitions):
    jobs = {job.name for job in definitions.jobs}
    assert jobs >= {"label_units", "describe_and_dissect"}
    assert not any(name in jobs for name in ASSETS), "a single asset is materialized from the graph"
    assert jobs >= {"step_1_probing", "step_2_candidates", "step_3_selection"}
    assert all(len(job.description) > 30 for job in definitions.jobs)


def test_jobs_that_begin_at_the_images_take_them_along(definitions):
    def covers(name):
        keys = definitions.resolve_job_def(name).asset_layer.executable_asset_keys
        return {key.to_user_string() for key in keys}

    assert covers("label_units") == covers("describe_and_dissect") == set(ASSETS)
    assert covers("step_1_probing") == {"probing_set", "activations", "crops"}
    assert covers("step_2_candidates") == {"captions", "candidate_concepts"}
    assert covers("step_3_selection") == {"synthetic_images", "scores", "labels"}


def test_an_asset_says_which_job_makes_it_with_all_that_it_comes_from(colours, study, definitions):
    assert "job `describe_and_dissect`" in _text_of(definitions, "scores")
    more = parse_study(changed(colours, milan={}), study.folder)
    assert "job `label_units`" in _text_of(
        build_definitions(more, study.folder / "state"), "milan_labels"
    )


def _text_of(definitions, asset):
    return definitions.resolve_asset_graph().get(dg.AssetKey(asset)).description


@pytest.mark.parametrize(
    ("name", "last"),
    [("label_units", "labels"), ("describe_and_dissect", "labels"), ("step_1_probing", "crops")],
)
def test_a_job_that_starts_at_the_images_works_from_nothing(colours, colour_folder, name, last):
    study = parse_study(colours, colour_folder)
    fresh = build_definitions(study, colour_folder / "state", ["net/colours/1"])
    job = fresh.resolve_job_def(name)
    with dg.DagsterInstance.ephemeral() as instance:
        done = job.execute_in_process(instance=instance, partition_key="net/colours/1")
        assert done.success
        events, count = _events(instance, last, done.run_id)
        assert (list(events), count) == (["net/colours/1"], 1)


@pytest.mark.parametrize(
    ("section", "settings", "costs"),
    [
        ("summariser", {"kind": "consensus"}, False),
        ("summariser", {"kind": "chat", "base_url": "http://127.0.0.1:1/v1"}, False),
        ("summariser", {"kind": "chat", "base_url": "https://llm.example/v1"}, True),
        ("captioner", {"kind": "chat", "base_url": "https://llm.example/v1"}, True),
        ("text_to_image", {"kind": "images"}, True),
    ],
)
def test_automation_is_off_until_it_is_asked_for_and_says_what_may_cost_money(
    colours, colour_folder, monkeypatch, section, settings, costs
):
    study = parse_study(changed(colours, **{section: settings}), colour_folder)
    for asked, status in (("", "STOPPED"), ("1", "RUNNING")):
        monkeypatch.setenv(AUTOMATION, asked)
        (sensor,) = build_definitions(study, colour_folder / "state").sensors
        assert sensor.default_status.value == status
    assert "Off until you switch it on" in sensor.description
    assert ("may cost money" in sensor.description) == costs


def test_checks_are_run_and_pass(run, definitions):
    results = {
        (result.asset_key.to_user_string(), result.check_name): result
        for result in run.get_asset_check_evaluations()
    }
    assert results["probing_set", "few_images_quarantined"].passed
    assert results["labels", "every_unit_answered"].passed
    for name in STAGES:
        assert results[name, "artefacts_in_store"].passed


def test_a_check_tells_of_a_lost_file(colours, colour_folder, instance):
    study = parse_study(colours, colour_folder)
    fresh = build_definitions(study, colour_folder / "state", ["net/colours/1"])
    assert _run(fresh, instance, "net/colours/1", "net/colours/1", ASSETS[:3]).success
    for file in (colour_folder / "state" / "store").rglob("*.safetensors"):
        file.unlink()
    check = dg.AssetCheckKey(dg.AssetKey("crops"), "artefacts_in_store")
    job = fresh.resolve_implicit_global_asset_job_def().get_subset(asset_check_selection={check})
    (result,) = job.execute_in_process(instance=instance).get_asset_check_evaluations()
    assert not result.passed
    assert result.metadata["missing"].value


def test_only_one_stage_can_be_materialized(definitions, instance):
    done = _run(definitions, instance, "net/colours/0", "net/colours/0", ["scores"])
    assert done.success
    assert _events(instance, "scores", done.run_id)[1] == 1
    assert _events(instance, "labels", done.run_id)[1] == 0


def test_a_missing_input_fails_the_step_with_advice(study, colours, instance, tmp_path):
    table = changed(colours, captioner__max_new_tokens=4)
    other = build_definitions(parse_study(table, study.folder), study.folder / "state")
    done = _run(other, instance, UNITS[0], UNITS[1], ["scores"], raise_on_error=False)
    assert not done.success
    error = done.failure_data_for_node("scores").error
    assert "UpstreamError" in str(error)
    assert "dnd run --assets +" in str(error)


def test_resources_are_dagster_resources(definitions):
    for name, resource in definitions.resources.items():
        assert isinstance(resource, dg.ConfigurableResource), name
    assert set(definitions.resources) == {
        "lineage", "store", "compute", "targets", "captioner", "summariser", "text_to_image", "clip"
    }  # fmt: skip


def _stale(definitions, instance, key="net/colours/1"):
    """What Dagster says is out of date of a unit, with the reasons."""
    from dagster._core.definitions.data_version import CachingStaleStatusResolver
    from dagster._core.loader import LoadingContextForTest

    context = LoadingContextForTest(instance)
    resolver = CachingStaleStatusResolver(instance, definitions.resolve_asset_graph(), context)
    causes = {name: resolver.get_stale_root_causes(dg.AssetKey(name), key) for name in STAGES}
    return {name: [one.reason for one in found] for name, found in causes.items() if found}


def test_dagster_calls_fresh_what_is_fresh(run, definitions, instance):
    for key in ("net/colours/1", "net/spoilt/0"):
        assert _stale(definitions, instance, key) == {}


def _observe(definitions, instance):
    sources = [dg.AssetKey(source.name) for source in SOURCES]
    job = definitions.resolve_job_def("observe_sources")
    return job.execute_in_process(instance=instance, asset_selection=sources)


@pytest.mark.parametrize(
    ("change", "value", "asset", "source"),
    [
        ("captioner__max_new_tokens", 4, "captions", "captioner_weights"),
        ("text_to_image__prompt", "A photo of {concept}", "synthetic_images", "painting_prompt"),
        ("text_to_image__steps", 2, "synthetic_images", "text_to_image_weights"),
        ("summariser", {"kind": "none"}, "candidate_concepts", "summariser_prompts"),
    ],
)
def test_an_observed_change_marks_what_depends_on_it(
    study, definitions, colours, followed, change, value, asset, source
):
    table = changed(colours, **{change: value})
    second = build_definitions(parse_study(table, study.folder), study.folder / "state")
    assert _observe(definitions, followed).success  # also after what another case has changed
    assert _stale(definitions, followed) == {}
    assert _observe(second, followed).success
    found = _stale(second, followed)
    after = list(STAGES)[list(STAGES).index(asset) :]
    assert asset in found
    assert set(found) <= set(after), "nothing before it is out of date"
    assert found[asset] == ["has a new code version", "has a new data version"]
    records = followed.fetch_observations(dg.AssetKey(source), limit=10).records
    assert len({record.asset_observation.tags["dagster/data_version"] for record in records}) == 2


@pytest.fixture(scope="module")
def followed(definitions):
    """An instance in which a unit was materialized."""
    with dg.DagsterInstance.ephemeral() as instance:
        assert _run(definitions, instance, "net/colours/1", "net/colours/1").success
        yield instance


def _requested(definitions, instance, cursor):
    result = dg.evaluate_automation_conditions(definitions, instance, cursor=cursor)
    return result, {
        name: set(result.get_requested_partitions(dg.AssetKey(name))) for name in STAGES
    }


def test_automation_reruns_what_follows_and_stops_where_the_content_is_equal(colours, made_before):
    study = parse_study(colours, made_before)
    definitions = build_definitions(study, made_before / "state", ["net/colours"])
    keys = UNITS[:4]
    with dg.DagsterInstance.ephemeral() as instance:
        assert _run(definitions, instance, keys[0], keys[-1]).success
        result, requested = _requested(definitions, instance, None)
        assert not any(requested.values()), "nothing is out of date"

        write_images(made_before / "images", 19)  # one more picture
        assert _observe(definitions, instance).success
        result, requested = _requested(definitions, instance, result.cursor)
        assert result.get_requested_partitions(dg.AssetKey("probing_set")) == {None}
        assert not any(requested.values())

        assert _run(definitions, instance, keys[0], keys[-1], ["probing_set"]).success
        result, requested = _requested(definitions, instance, result.cursor)
        assert requested["activations"] == set(keys)
        assert not requested["crops"], "it waits for what activations come to"

        before = _versions(instance, "activations")
        assert _run(definitions, instance, keys[0], keys[-1], ["activations"]).success
        other = {k for k, v in _versions(instance, "activations").items() if v != before[k]}
        result, requested = _requested(definitions, instance, result.cursor)
        assert requested["crops"] == other
        assert other != set(keys), "the dead unit's exemplars cannot have changed"


def test_automation_starts_nothing_that_was_never_materialized(colours, colour_folder):
    study = parse_study(colours, colour_folder)
    definitions = build_definitions(study, colour_folder / "state", ["net/colours"])
    with dg.DagsterInstance.ephemeral() as instance:
        result, requested = _requested(definitions, instance, None)
        assert _observe(definitions, instance).success
        assert _run(definitions, instance, UNITS[0], UNITS[0], ["probing_set"]).success
        for _ in range(2):
            result, requested = _requested(definitions, instance, result.cursor)
            assert not any(requested.values())


def _versions(instance, asset):
    events = instance.fetch_materializations(dg.AssetKey(asset), limit=1000, ascending=True).records
    return {
        one.partition_key: one.asset_materialization.tags["dagster/data_version"] for one in events
    }


# The graph agrees with the plan


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"dissection__exemplars": 4},
        {"dissection__scoring": "mean_rank"},
        {"dissection__crop_size": 24},
        {"dissection__candidates": 1},
        {"captioner__max_new_tokens": 5},
        {"text_to_image__steps": 2},
        {"compute__batch__clip": 2},
        {"dissection__exemplars": 4, "dissection__scoring": "mean_rank"},
    ],
    ids=lambda changes: " ".join(changes) or "nothing",
)
def test_after_a_reload_the_graph_calls_stale_what_the_plan_would_compute(
    run, instance, colours, study, changes
):
    key = "net/colours/1"
    after = parse_study(changed(colours, **changes), study.folder)
    study_context = build_context(after, study.folder / "state")
    planned = plan(
        study_context,
        STAGES,
        find_units(study_context).select([key]),
        list(STAGES),
        *observe(study_context),
    )
    certain = {one.asset for one in planned if one.compute}

    stale = _stale(build_definitions(after, study.folder / "state"), instance, key)
    waiting = {one.asset for one in planned if one.may}
    assert certain <= set(stale) <= certain | waiting
    assert bool(stale) == bool(changes.keys() - {"compute__batch__clip"})
    own = {name for name in STAGES if stage_version(study_context, STAGES[name])
           != stage_version(
               build_context(study, study.folder / "state"), STAGES[name])}  # fmt: skip
    assert set(stale) == own, "what only may follow is not called stale before its input changes"


@pytest.mark.parametrize(
    ("changes", "stale"),
    [
        ({"captioner__max_new_tokens": 5}, {"captions", "detection_scores"}),
        ({"dissection__crop_size": 24}, {"crops"}),
        ({"dissection__margin": 0.2}, {"detection_scores"}),
        ({"dissection__labels": 2}, {"labels"}),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, dict) else "",
)
def test_an_edit_makes_stale_what_uses_it_itself_and_nothing_that_may_follow(
    colours, study, changes, stale
):
    def versions(**more):
        table = changed(colours, dissection__select="detection", **more)
        edited = parse_study(table, study.folder)
        study_context = build_context(edited, study.folder / "state")
        return {
            name: stage_version(study_context, stage) for name, stage in stages_of(edited).items()
        }

    before, after = versions(), versions(**changes)
    assert {name for name in before if before[name] != after[name]} == stale


def test_another_pooling_is_seen_and_another_layer_changes_nothing(colours, study):
    def version(layers, name):
        table = changed(colours)
        table["models"][0]["layers"] = layers
        study_context = build_context(parse_study(table, study.folder), study.folder / "state")
        return stage_version(study_context, STAGES[name])

    one, two = [{"path": "colours"}], [{"path": "colours"}, {"path": "spoilt"}]
    pooled = [{"path": "colours", "pooling": "max"}]
    for name in STAGES:
        assert version(one, name) == version(two, name)
    changed_by = {name for name in STAGES if version(one, name) != version(pooled, name)}
    assert changed_by == {"activations", "crops", "scores"}


def test_a_rerun_makes_everything_fresh_also_what_is_reused(colours, made_before):
    """Settings there and back again: products are reused, and announced under their version."""
    home, keys = made_before / "state", ["net/colours/0", "net/colours/1"]
    first = parse_study(colours, made_before)
    second = parse_study(changed(colours, dissection__scoring="mean_rank"), made_before)
    with dg.DagsterInstance.ephemeral() as instance:
        for study, assets in (
            (first, ASSETS),
            (second, ["scores", "labels"]),
            (first, ["scores", "labels"]),
        ):
            now = build_definitions(study, home, keys)
            if assets != ASSETS:
                assert _stale(now, instance, keys[0]) == {"scores": ["has a new code version"]}
            assert _run(now, instance, keys[0], keys[-1], assets).success
            for key in keys:
                assert _stale(now, instance, key) == {}


def test_a_product_that_was_announced_under_another_version_is_announced_again(
    colours, colour_folder, monkeypatch
):
    """As after an update that names versions otherwise: nothing is computed, all is fresh."""
    from dnd_assets.workflow.run import run as run_study

    home = colour_folder / "state"
    monkeypatch.setenv("DAGSTER_HOME", str(home / "dagster"))
    study = parse_study(colours, colour_folder)
    with monkeypatch.context() as patch:
        for module in ("engine.recording", "engine.plan", "workflow.definitions"):
            patch.setattr(f"dnd_assets.{module}.stage_version", lambda *_: "earlier")
        run_study(study, home, ["net/colours/1"], ["+activations"], log=lambda _: None)
    again = run_study(study, home, ["net/colours/1"], ["+activations"], log=lambda _: None)
    assert (again.computed.get("activations"), again.reused) == (None, {"activations": 1})
    with dg.DagsterInstance.get() as instance:
        assert _stale(build_definitions(study, home), instance) == {}
    done = run_study(study, home, ["net/colours/1"], ["+activations"], log=lambda _: None)
    assert done.id == ""


def test_automation_follows_changed_settings_stage_by_stage(colours, made_before):
    """Two settings far apart: what lies between them is brought up to date before the second."""
    home, keys = made_before / "state", UNITS[:2]
    first = build_definitions(parse_study(colours, made_before), home, keys)
    table = changed(colours, dissection__exemplars=4, dissection__scoring="mean_rank")
    second = build_definitions(parse_study(table, made_before), home, keys)
    with dg.DagsterInstance.ephemeral() as instance:
        assert _run(first, instance, keys[0], keys[-1]).success
        result, requested = _requested(first, instance, None)
        assert not any(requested.values())
        order, idle = [], 0
        while idle < 2 and len(order) < 20:
            result, requested = _requested(second, instance, result.cursor)
            due = [name for name, found in requested.items() if found]
            order += due
            idle = 0 if due else idle + 1
            for name in due:
                assert _run(second, instance, keys[0], keys[-1], [name]).success, order
        assert order[0] == "activations"
        assert order.index("activations") < order.index("scores")
        assert len(order) == len(set(order)), order
        for key in keys:
            assert _stale(second, instance, key) == {}


def _checked(definitions, instance):
    """What the check says of each asset, by the job that looks at the sources."""
    done = definitions.resolve_job_def("observe_sources").execute_in_process(instance=instance)
    assert done.success
    return {
        found.asset_key.to_user_string(): (
            found.passed, found.metadata["to compute"].value, found.metadata["may follow"].value
        )
        for found in done.get_asset_check_evaluations()
        if found.check_name == "up_to_date"
    }  # fmt: skip


def test_the_check_says_of_whole_assets_what_the_plan_says(run, instance, colours, study):
    """Units that were never made do not count: nothing of theirs is out of date."""
    home = study.folder / "state"
    found = _checked(build_definitions(study, home), instance)
    assert found == dict.fromkeys(STAGES, (True, 0, 0))

    scored = parse_study(changed(colours, dissection__scoring="mean_rank"), study.folder)
    found = _checked(build_definitions(scored, home), instance)
    assert {name for name, (passed, *_) in found.items() if not passed} == {"scores", "labels"}
    assert found["scores"][1] == found["labels"][2] > 0

    record_verdicts(resolve_study(scored, home), instance)  # as `dnd ui` does when it has loaded
    keys = [dg.AssetCheckKey(dg.AssetKey(name), CHECK) for name in STAGES]
    told = instance.event_log_storage.get_latest_asset_check_execution_by_key(keys).items()
    failed = {key.asset_key.path[0] for key, one in told if one.status.value == "FAILED"}
    assert failed == {"scores", "labels"}

    fewer = parse_study(changed(colours, dissection__exemplars=4), study.folder)
    found = _checked(build_definitions(fewer, home), instance)
    assert not any(passed for passed, *_ in found.values())
    assert {name for name, (_, compute, _) in found.items() if compute} == {"activations"}
    assert all(may for name, (*_, may) in found.items() if name != "activations")
