"""The engine: what is computed, what is reused, what fails; nothing leaks between units."""

import json
import shutil

import pytest

from dnd_assets.assets.registry import STAGES
from dnd_assets.engine.context_builder import build_context, find_units
from dnd_assets.engine.materialize import materialize
from dnd_assets.engine.resolve import Graph
from dnd_assets.errors import StudyError, UpstreamError
from dnd_assets.study.study import parse_study
from resources.runtime import compute
from tests import networks
from tests.studies import changed, computed, label, statuses, versions, write_images

BROKEN = 3


@pytest.fixture
def again(labelled, tmp_path):
    """A copy of the labelled study, free to be changed; its paths are the copy's."""
    folder, first = labelled
    shutil.copytree(folder, tmp_path / "copy")
    return tmp_path / "copy", first


def test_each_unit_ends_in_a_label_or_a_typed_status(labelled):
    _, found = labelled
    expected = {f"net/colours/{n}": "ok" for n in range(3)}
    expected |= {f"net/spoilt/{n}": "ok" for n in range(3)}
    expected["net/colours/3"] = "dead"
    expected["net/spoilt/3"] = "not_finite"
    assert statuses(found) == expected
    assert set(found) == {(asset, key) for asset in STAGES for key in expected}
    for (asset, key), one in found.items():
        if expected[key] != "ok":
            assert one.product.payload == {}, (asset, key)
            assert one.record.reason


def test_exemplars_are_the_images_of_the_colour(labelled):
    folder, found = labelled
    context = build_context(
        parse_study({**_minimal(), "name": "colours"}, folder), folder / "state"
    )
    for neuron, name in enumerate(networks.categories()[:3]):
        payload = found["activations", f"net/colours/{neuron}"].product.payload
        values = [entry["activation"] for entry in payload["exemplars"]]
        assert values == sorted(values, reverse=True)
        for image in context.pictures.load([entry["image"] for entry in payload["exemplars"]]):
            top = max(image.getcolors(), key=lambda c: max(c[1]) - min(c[1]))[1]
            assert top.index(max(top)) == neuron, name


def test_crops_lie_on_the_coloured_square(labelled):
    _, found = labelled
    payload = found["crops", "net/colours/0"].product.payload
    assert payload["crops"]
    for crop in payload["crops"]:
        left, top, right, bottom = crop["box"]
        assert 0 <= left < right <= 32
        assert 0 <= top < bottom <= 32
        assert (right - left) * (bottom - top) < 0.8 * 32 * 32
    best = payload["activating"][0]
    assert best["kind"] == "crop", "a crop of a red square is redder than any whole picture"
    assert best["activation"] > payload["activating"][-1]["activation"]


def test_units_without_a_map_have_no_crops(labelled):
    _, found = labelled
    payload = found["crops", "net/spoilt/1"].product.payload
    assert payload["crops"] == []
    exemplars = found["activations", "net/spoilt/1"].product.payload["exemplars"]
    assert [e["image"] for e in payload["activating"]] == [e["image"] for e in exemplars]


def test_a_second_run_reuses_everything_and_loads_no_model(again, colours):
    folder, first = again
    loaded = dict(compute._loaded)
    compute._loaded.clear()
    # A network that this process has met before is known without a file in this state folder.
    compute._loaded.update({key: card for key, card in loaded.items() if key[0] == "card"})
    try:
        second = label(colours, folder, run="second")
        assert computed(second) == set()
        assert versions(second) == versions(first)
        assert not [key for key in compute._loaded if key[0] != "card"]
    finally:
        compute._loaded.update(loaded)


def test_a_unit_does_not_depend_on_which_others_are_there(labelled, colours, tmp_path):
    folder, first = labelled
    alone = label(colours, folder, ["net/colours/1"], home=tmp_path / "other")
    assert computed(alone) == set(alone)
    for pair, version in versions(alone).items():
        assert version == versions(first)[pair], pair


@pytest.mark.parametrize(
    ("change", "value", "touched"),
    [
        ("dissection__beta", 4, {"scores"}),
        ("dissection__scoring", "mean_rank", {"scores"}),
        ("dissection__labels", 2, {"labels"}),
        ("dissection__images_per_concept", 2, {"synthetic_images"}),
        ("dissection__candidates", 1, {"candidate_concepts"}),
        ("captioner__max_new_tokens", 5, {"captions"}),
        ("text_to_image__prompt", "A picture of {concept}", {"synthetic_images"}),
        ("dissection__crop_overlap", 0.4, {"crops"}),
        ("dissection__exemplars", 4, {"activations", "crops"}),
        ("compute__batch__captioner", 3, set()),
        ("probing_set__max_quarantined", 0.5, set()),
        ("description", "other words", set()),
    ],
)
def test_a_setting_touches_its_stage_and_what_follows_from_it(
    again, colours, change, value, touched
):
    folder, first = again
    second = label(changed(colours, **{change: value}), folder, ["net/colours"], run="second")
    redone = {asset for asset, key in computed(second) if key == "net/colours/0"}
    assert touched <= redone
    for stage in STAGES.values():
        moved = [
            name
            for name in stage.upstream
            if name in STAGES
            and versions(second)[name, "net/colours/0"] != versions(first)[name, "net/colours/0"]
        ]
        # A stage runs for a setting of its own or for changed content upstream; for nothing else.
        assert (stage.name in redone) == (stage.name in touched or bool(moved)), stage.name


def test_only_new_bytes_are_passed_through_the_network(again, colours):
    folder, first = again
    before = _rows(folder)
    (folder / "images" / "000.png").rename(folder / "images" / "renamed.png")
    renamed = label(colours, folder, run="renamed")
    assert computed(renamed) == set()
    shutil.copy(folder / "images" / "001.png", folder / "images" / "twin.png")
    assert computed(label(colours, folder, run="twin")) == set()
    assert _rows(folder) == before
    (folder / "images" / "002.png").unlink()
    removed = label(colours, folder, ["net/colours"], run="removed")
    assert {asset for asset, _ in computed(removed)} >= {"activations"}
    unchanged = versions(removed)["activations", "net/colours/0"]
    assert unchanged == versions(first)["activations", "net/colours/0"]
    assert ("crops", "net/colours/0") not in computed(removed), "its exemplars are the same"
    layers = 2
    before = _rows(folder)
    write_images(folder / "new", 1, seed=9)
    (folder / "new" / "000.png").rename(folder / "images" / "added.png")
    added = label(colours, folder, run="added", last="activations")
    assert computed(added) == set(added)
    assert _rows(folder) - before == layers, "one new picture, one row in each layer's block"


def test_a_lost_store_file_is_made_again_and_nothing_else(again, colours):
    folder, first = again
    crops = first["crops", "net/colours/0"].product
    lost = folder / "state" / "store"
    for file in crops.outcome.notes["files"]:
        (lost / file[:2] / file).unlink()
    second = label(colours, folder, run="second")
    assert {asset for asset, _ in computed(second)} == {"crops"}
    assert versions(second) == versions(first)


def test_missing_inputs_are_named_with_what_to_run(colour_folder, colours):
    context = build_context(parse_study(colours, colour_folder), colour_folder / "state")
    units = list(find_units(context).values())
    with pytest.raises(UpstreamError, match=r"no probing set.*dnd run --assets probing_set"):
        list(materialize(Graph(context, STAGES), STAGES["crops"], units, "run"))
    label_probing_set(context)
    with pytest.raises(UpstreamError, match="crops needs activations"):
        list(materialize(Graph(context, STAGES), STAGES["crops"], units, "run"))


def test_more_exemplars_than_images_is_refused_before_any_pass(colour_folder, colours):
    wrong = changed(colours, dissection__exemplars=19)
    with pytest.raises(StudyError, match="19 most activating images; the probing set holds 18"):
        label(wrong, colour_folder)
    assert _rows(colour_folder) == 0


def test_two_units_with_the_same_captions_share_one_key(labelled):
    _, found = labelled
    keys: dict[str, set[str]] = {}
    for (asset, _), one in found.items():
        if asset == "candidate_concepts" and one.product.ok:
            inputs = one.product.preimage["inputs"]["captions"]
            keys.setdefault(inputs, set()).add(one.product.key)
    assert all(len(group) == 1 for group in keys.values())


def label_probing_set(context):
    from dnd_assets.assets import probing_set

    probing_set.materialize(context, "run")


def _rows(folder):
    """Rows of activations that have been stored: pictures passed through the network."""
    context = build_context(parse_study(_minimal(), folder), folder / "state")
    sql = "SELECT coalesce(sum((value ->> 'rows')::INT), 0) AS n FROM shared WHERE kind = ?"
    return int(context.lineage.query(sql, ["activations"])[0]["n"])


def _minimal():
    return {
        "name": "any",
        "models": [
            {
                "name": "net",
                "source": "module:tests.networks:colour_net",
                "layers": [{"path": "colours"}],
            }
        ],
        "probing_set": {"folders": ["images"]},
    }


def test_each_run_is_recorded_with_its_study_and_versions(labelled):
    folder, _ = labelled
    context = build_context(parse_study(_minimal(), folder), folder / "state")
    (row,) = context.lineage.query("SELECT * FROM runs WHERE run = 'run'")
    definition, versions = json.loads(row["definition"]), json.loads(row["versions"])
    assert definition["dissection"]["exemplars"] == 5
    assert definition["models"][0]["layers"][1]["path"] == "spoilt"
    assert versions["torch"]
    assert row["study"] == "colours"


def test_old_names_serve_for_one_more_version():
    from dnd_assets.engine import context

    with pytest.warns(DeprecationWarning, match="StudyContext"):
        assert context.Workbench is context.StudyContext
    with pytest.raises(AttributeError, match="Bench"):
        _ = context.Bench
