"""The embedded study of land cover, on made-up scenes and, where they are, on real ones."""

import tomllib

import numpy as np
import pytest

from dnd_assets.analysis.group_ablation import ablate, units_of_group
from dnd_assets.engine.context_builder import build_context, find_units
from dnd_assets.errors import StudyError
from dnd_assets.study.study import embedded_studies, load_study
from dnd_assets.workflow.preflight import observe
from tests.command_line import dnd
from tests.land_cover_scenes import write_scenes
from tests.studies import label

UNITS = ["tile2vec/layer5/0-5"]
COVERS = {"rice", "open water", "tree nuts"}


def table(scenes, **changes):
    text = embedded_studies()["land-cover"].read_text()
    found = tomllib.loads(text.replace("${DND_LAND_COVER}", str(scenes)))
    found["dissection"] |= {"exemplars": 4, "images_per_concept": 2}
    return found | changes


@pytest.fixture(scope="module")
def made(tmp_path_factory, one_thread):
    folder = tmp_path_factory.mktemp("land")
    write_scenes(folder / "scenes", count=4, side=200)
    return folder, label(table(folder / "scenes"), folder, UNITS, last="none: all")


def outcomes(made, asset):
    return {key: one.product.outcome for (name, key), one in made[1].items() if name == asset}


def test_units_get_labels_in_words_of_the_crop_map(made):
    found = outcomes(made, "labels")
    assert len(found) == 6
    assert {one.status for one in found.values()} <= {"ok", "no_concept", "dead"}
    for one in found.values():
        for entry in one.payload.get("labels", ()):
            said = entry["label"].replace(" or ", " ").split()
            assert set(said) <= {word for name in COVERS for word in (*name.split(), "nut")} | {
                "and",
                "not",
            }


def test_network_dissection_names_covers_by_their_pixels(made):
    found = [one for one in outcomes(made, "network_dissection_labels").values() if one.payload]
    assert found
    assert {one.payload["label"] for one in found} <= COVERS


def test_a_linear_probe_reads_covers_off_and_ablation_is_by_class(made):
    found = outcomes(made, "ablation_effects")
    assert len(found) == 6
    for one in found.values():
        assert one.payload["probe"]
        assert {entry["class"] for entry in one.payload["classes"]} <= COVERS
        assert one.payload["accuracy"]["before"] > 0.8, "made-up covers have a colour each"


def test_a_group_is_pruned_beside_random_groups(made):
    folder = made[0]
    study = load_study_of(folder)
    context = build_context(study, folder / "state")
    units = find_units(context).select(["tile2vec/layer5/0-5"])
    (found,) = ablate(context, units, random=2)
    assert found["random"] == 2
    assert {one["name"] for one in found["accuracies"]} <= COVERS
    for one in found["scores"]:
        assert one["random_low"] <= one["random"] <= one["random_high"]
    labelled = [one for one in outcomes(made, "labels").items() if one[1].status == "ok"]
    for key, one in labelled[:1]:
        assert key in units_of_group(context, one.payload["label"], "labels", [])


def load_study_of(folder):
    from dnd_assets.study.study import parse_study

    return parse_study(table(folder / "scenes"), folder)


def test_without_scenes_it_is_said_at_once_where_to_get_them(tmp_path, monkeypatch):
    monkeypatch.delenv("DND_LAND_COVER", raising=False)
    with pytest.raises(StudyError, match=r"export DND_LAND_COVER=.*ermongroup/tile2vec"):
        load_study("land-cover")
    for place in (tmp_path / "nowhere", tmp_path):
        monkeypatch.setenv("DND_LAND_COVER", str(place))
        result = dnd(tmp_path, "run", "--study", "land-cover")
        assert "ermongroup/tile2vec" in str(result.exception), result.output


def test_real_scenes_are_cut_into_tiles_of_four_bands(shared_dir, tmp_path, monkeypatch):
    monkeypatch.setenv("DND_LAND_COVER", str(shared_dir / "landcover"))
    context = build_context(load_study("land-cover"), tmp_path / "state")
    seen = {one.asset: one for one in observe(context)}
    assert seen["probing_set"].payload["images"] == 150
    assert seen["concept_masks"].payload["images"] == 150
    assert seen["concept_masks"].payload["concepts"] == 5
    first = next((tmp_path / "state" / "scenes").rglob("*.npy"))
    assert np.load(first).shape == (50, 50, 4)
