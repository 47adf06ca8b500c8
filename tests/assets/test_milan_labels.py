"""MILAN as an asset: what is ranked, what is shared, what reruns, what a plan promises."""

import shutil
from dataclasses import replace

import numpy as np
import pytest

from dnd_assets.assets import probing_set
from dnd_assets.assets.milan_labels import masked_image
from dnd_assets.assets.registry import stages_of
from dnd_assets.engine.cache.caption_likelihoods import beams, log_given, log_prior
from dnd_assets.engine.context_builder import build_context, find_units
from dnd_assets.engine.plan import plan
from dnd_assets.engine.verify import rebuild, verify
from dnd_assets.errors import StudyError
from dnd_assets.lineage.explain import pair
from dnd_assets.lineage.trace import trace
from dnd_assets.methods.milan.mutual_information import log_given_set
from dnd_assets.study.study import parse_study
from tests.resources import tiny
from tests.studies import changed, label_alone, versions

ASSET = "milan_labels"
UNIT = "net/colours/1"


@pytest.fixture(scope="module")
def milan(colours):
    return changed(colours, milan={"exemplars": 4, "candidates": 2})


def _run(table, folder, units=(), run="run", home=None):
    home = home or folder / "state"
    return label_alone(parse_study(table, folder), home, ASSET, units, run)


@pytest.fixture(scope="module")
def first(labelled, milan, tmp_path_factory):
    folder = tmp_path_factory.mktemp("milan") / "copy"
    shutil.copytree(labelled[0], folder)
    return folder, *_run(milan, folder)


def _work(context, run="run"):
    sql = "SELECT what, count FROM work WHERE run = ? AND asset = ?"
    return {row["what"]: row["count"] for row in context.lineage.query(sql, [run, ASSET])}


def test_a_label_is_the_caption_with_most_mutual_information_worked_out_by_hand(first):
    _, context, found = first
    payload = found[ASSET, UNIT].product.payload
    images = [entry["image"] for entry in payload["exemplars"]]
    captions = beams(context, images, 2)
    texts = list(dict.fromkeys(text for image in images for text in captions[image]))
    given = log_given(context, [(image, text) for image in images for text in texts])
    prior = log_prior(context, texts, None)
    expected = {
        text: np.mean([given[image, text] for image in images]) - 0.2 * prior[text]
        for text in texts
    }
    best = max(expected, key=expected.get)
    assert payload["label"] == best
    assert payload["score"] == pytest.approx(expected[best])
    assert payload["candidates"] == len(texts)
    scores = [entry["score"] for entry in payload["labels"]]
    assert scores == sorted(scores, reverse=True)


def test_dead_and_broken_units_have_a_status_and_others_finish(first):
    status = {key: one.record.status for (_, key), one in first[2].items()}
    assert status.pop("net/colours/3") == "dead"
    assert status.pop("net/spoilt/3") == "not_finite"
    assert set(status.values()) == {"ok"}
    assert len(status) == 6


def test_after_describe_and_dissect_no_picture_passes_the_network(first):
    assert "forward passes" not in _work(first[1])


def test_a_label_depends_on_no_other_unit_and_no_batch(first, milan, tmp_path):
    other = changed(milan, compute__batch__captioner=3, compute__batch__target=5)
    _, alone = _run(other, first[0], [UNIT], home=tmp_path / "other")
    assert versions(alone) == {(ASSET, UNIT): versions(first[2])[ASSET, UNIT]}


def test_the_plan_is_what_the_run_does(colour_folder, milan):
    study = parse_study(milan, colour_folder)
    context = build_context(study, colour_folder / "state")
    probing_set.materialize(context, "scan")
    units = list(find_units(context).values())

    def planned():
        return plan(context, stages_of(study), units, [ASSET])[0]

    before = planned().cost
    assert before["forward passes"] == 18
    _run(milan, colour_folder)
    done = _work(context)
    assert done["forward passes"] == 18
    for what in ("caption beams", "caption likelihoods", "caption priors"):
        assert 0 < done[what] <= before[f"{what} at most"]
    assert (planned().compute, planned().reuse, planned().cost) == (0, 8, {})
    again = changed(milan, milan={"exemplars": 4, "candidates": 2, "how": "mixture"})
    other = parse_study(again, colour_folder)
    (found,) = plan(replace(context, study=other), stages_of(other), units, [ASSET])
    assert (found.compute, found.cost) == (8, {}), "probabilities are shared"


@pytest.mark.parametrize("change", [{"lam": 0.0}, {"how": "mixture"}])
def test_another_ranking_runs_no_model(first, milan, change, tmp_path):
    shutil.copytree(first[0], tmp_path / "copy")
    table = changed(milan, milan={"exemplars": 4, "candidates": 2, **change})
    context, found = _run(table, tmp_path / "copy", run="second")
    assert not any(one.record.reused for one in found.values())
    assert _work(context, "second") == {}
    payload = found[ASSET, UNIT].product.payload
    if "lam" in change:
        assert payload["score"] == payload["labels"][0]["log_given_images"]
    old, new = pair(context.lineage.query, "colours", ASSET, UNIT, None)
    name = next(iter(change))
    assert old.preimage["parameters"][name] != new.preimage["parameters"][name]


def test_masked_exemplars_are_black_where_the_unit_does_not_look(first, milan, tmp_path):
    shutil.copytree(first[0], tmp_path / "copy")
    table = changed(milan, milan={"exemplars": 4, "candidates": 2, "masked": True})
    context, found = _run(table, tmp_path / "copy", run="second")
    assert 0 < _work(context, "second")["activation maps"] <= 18
    with_map = found[ASSET, UNIT].product.payload["exemplars"]
    flat = found[ASSET, "net/spoilt/1"].product.payload["exemplars"]
    assert all(entry["masked"] for entry in with_map)
    assert not any(entry["masked"] for entry in flat)
    (picture,) = context.pictures.load([with_map[0]["masked"]["image"]])
    pixels = np.asarray(picture).reshape(-1, 3)
    seen = pixels[pixels.any(axis=1)]
    assert len(seen) < len(pixels)
    assert seen.mean(axis=0).argmax() == 1, "the green unit sees green"
    assert _run(table, tmp_path / "copy", run="third")[1][ASSET, UNIT].record.reused


def test_a_mask_by_hand():
    from PIL import Image

    heatmap = np.zeros((4, 4), np.float32)
    heatmap[:, :2] = 1.0
    found = np.asarray(masked_image(Image.new("RGB", (4, 4), (9, 9, 9)), heatmap))
    assert (found[:, :2] == 9).all()
    assert (found[:, 2:] == 0).all()


def test_a_language_model_of_its_own(first, milan, tmp_path):
    from tests.resources.captioners.test_likelihood import language_model

    shutil.copytree(first[0], tmp_path / "copy")
    language_model(tmp_path / "copy" / "lm")
    setting = {"exemplars": 4, "candidates": 2, "language_model": "lm"}
    context, found = _run(changed(milan, milan=setting), tmp_path / "copy", run="second")
    assert set(_work(context, "second")) == {"caption priors"}
    before = first[2][ASSET, UNIT].product.payload["labels"][0]["log_prior"]
    assert found[ASSET, UNIT].product.payload["labels"][0]["log_prior"] != before


def test_a_silent_captioner_is_a_status(colour_folder, milan, tmp_path):
    silent = tiny.silent_blip(tmp_path / "silent")
    speechless = {"checkpoint": str(silent), "max_new_tokens": 6, "min_length": 1}
    one = {"exemplars": 4, "candidates": 1}
    _, found = _run(changed(milan, captioner=speechless, milan=one), colour_folder)
    assert found[ASSET, UNIT].record.status == "no_captions"
    assert "nothing for all 4 activating images" in found[ASSET, UNIT].record.reason


def test_products_rebuild_alike_and_the_store_is_sound(first, milan):
    _, context, _ = first
    stage = {ASSET: stages_of(context.study)[ASSET]}
    assert [one.same for one in rebuild(context, stage, 1)] == [True]
    assert verify(context).clean
    traced = trace(context.lineage.query, "colours", UNIT, ASSET)
    assert set(traced.steps) == {ASSET, "probing_set"}


def test_too_few_images_and_wrong_settings_are_told(colour_folder, colours, tmp_path):
    with pytest.raises(StudyError, match=r"15 most activating images.* lower milan\.exemplars"):
        _run(changed(colours, probing_set={"folders": ["few"]}, milan={}), _few(colour_folder))
    for wrong in ({"lam": -1.0}, {"how": "sum"}, {"candidates": 0}, {"exemplar": 3}):
        with pytest.raises(StudyError, match="milan"):
            parse_study(changed(colours, milan=wrong), tmp_path)


def _few(folder):
    (folder / "few").mkdir()
    for index in range(5):
        shutil.copy(folder / "images" / f"{index:03d}.png", folder / "few")
    return folder


def test_sets_are_put_together_as_the_formula_says():
    values = np.log([[0.5, 0.125], [0.25, 0.25]])
    assert log_given_set(values, "product") == pytest.approx(np.log([0.25, 0.25]))
    assert log_given_set(values, "mixture") == pytest.approx(np.log([0.3125, 0.25]))
