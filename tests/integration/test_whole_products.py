"""Products of the whole study: their version follows the code that makes them, in every place."""

import os
import shutil
from unittest.mock import patch

import dagster as dg
import pytest

from dnd_assets.assets.concept_activations import ConceptActivations
from dnd_assets.assets.concept_masks import ConceptMasks
from dnd_assets.assets.held_out_images import HeldOutImages
from dnd_assets.assets.probing_set import ProbingSet
from dnd_assets.assets.registry import stages_of
from dnd_assets.engine.context_builder import build_context
from dnd_assets.engine.plan import newest_announced
from dnd_assets.engine.stage import study_assets_of
from dnd_assets.engine.stage_versions import recorded_version, whole_version
from dnd_assets.study.study import parse_study
from dnd_assets.workflow.definitions import build_definitions
from dnd_assets.workflow.run import observe
from dnd_assets.workflow.run import run as run_study
from tests import studies
from tests.integration.test_segmentation import write_case

KINDS = (ProbingSet, ConceptActivations, HeldOutImages, ConceptMasks)
EVERY = tuple(one.name for one in KINDS)
NAMES = set(EVERY)


@pytest.fixture(scope="module")
def study(colours, tmp_path_factory):
    folder = tmp_path_factory.mktemp("wholes")
    write_case(folder)
    studies.write_images(folder / "fresh", count=4, seed=3)
    (folder / "concepts.txt").write_text("red\ngreen\n")
    masks = {"table": {"file": "table.csv", "images": "images", "masks": "masks"}}
    table = studies.changed(
        colours,
        clip_dissect={"concepts": "concepts.txt", "top_images": 2},
        evaluation={"folders": ["fresh"]},
        segmentation=masks,
    )
    return parse_study(table, folder)


def _run(study, home, assets=EVERY):
    """Products that a run computed by asset; none where everything was up to date."""
    with patch.dict(os.environ, {"DAGSTER_HOME": str(home / "dagster")}):
        done = run_study(study, home, assets=assets, log=lambda _: None)
    assert bool(done.id) == bool(done.computed)
    return done.computed


@pytest.fixture(scope="module")
def made(study, tmp_path_factory):
    """A state folder with all of them, and what the run that made them computed."""
    home = tmp_path_factory.mktemp("made") / "state"
    return home, _run(study, home)


@pytest.fixture
def home(made, tmp_path):
    """A copy of it."""
    return shutil.copytree(made[0], tmp_path / "state")


def _shown(study, home):
    """The code versions that the interface has, by asset."""
    graph = build_definitions(study, home).resolve_asset_graph()
    return {name: graph.get(dg.AssetKey(name)).code_version for name in NAMES}


def test_the_version_is_the_same_wherever_it_is_asked_for(study, made, home):
    assert made[1] == dict.fromkeys(NAMES, 1)
    context = build_context(study, home)
    shown = _shown(study, home)
    assert set(study_assets_of(stages_of(study))) == NAMES
    for product in observe(context):
        key, version = newest_announced(context, product.asset)[""]
        assert product.preimage["code"] == study_assets_of(stages_of(study))[product.asset].code()
        assert (key, version) == (product.key, recorded_version(product))
        assert shown[product.asset] == version
    assert _run(study, home) == {}


def test_changed_code_is_announced_once_and_changes_nothing_else(study, home, monkeypatch):
    contents = {one.asset: one.data_version for one in observe(build_context(study, home))}
    for kind in KINDS:
        before = _shown(study, home)
        monkeypatch.setattr(kind, "code", lambda self: "another")
        after = _shown(study, home)
        assert {name for name in NAMES if after[name] != before[name]} == {kind.name}
        assert _run(study, home) == {kind.name: 1}
    assert _run(study, home) == {}
    now = {one.asset: one.data_version for one in observe(build_context(study, home))}
    assert now == contents, "what is made of it stays up to date"


def test_products_recorded_before_versions_had_code_are_announced_once(
    study, tmp_path, monkeypatch
):
    def old(product):
        return whole_version("", (product.preimage["parameters"], product.preimage["weights"]))

    with monkeypatch.context() as past:
        past.setattr("dnd_assets.engine.recording.recorded_version", old)
        past.setattr("dnd_assets.workflow.due.recorded_version", old)
        _run(study, tmp_path)
        assert _run(study, tmp_path) == {}
    assert _run(study, tmp_path) == dict.fromkeys(NAMES, 1)
    assert _run(study, tmp_path) == {}


def test_units_stay_up_to_date_when_the_code_of_a_set_changes(colours, tmp_path, monkeypatch):
    studies.write_images(tmp_path / "images")
    study, home = parse_study(colours, tmp_path), tmp_path / "state"
    made = _run(study, home, ["+activations"])
    assert set(made) == {"probing_set", "activations"}
    monkeypatch.setattr(ProbingSet, "code", lambda self: "another")
    assert _run(study, home, ["+activations"]) == {"probing_set": 1}
    assert _run(study, home, ["+activations"]) == {}
