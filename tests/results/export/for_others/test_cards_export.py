"""Exports for Neuronpedia, SAEDashboard and MAIA are read as these tools read them."""

import gzip
import io
import json
import shutil

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from dnd_assets.cli import app
from dnd_assets.errors import NotFoundError, StudyError
from dnd_assets.files.atomic import sha256
from dnd_assets.results.export.for_others.cards_export import export_cards, layers_of
from dnd_assets.results.export.for_others.maia import mask_of, threshold_of
from dnd_assets.results.unit_card.card import Box, Crop, Distribution, Exemplar, UnitCard
from dnd_assets.results.unit_card.card_reader import Cards
from tests.report import made
from tests.report.conftest import UNITS, context_of

# Arguments of sae_dashboard.neuronpedia.neuronpedia_dashboard, which refuses any other.
FEATURE = {
    "feature_index", "neuron_alignment_indices", "neuron_alignment_values", "neuron_alignment_l1",
    "correlated_neurons_indices", "correlated_neurons_l1", "correlated_neurons_pearson",
    "correlated_features_indices", "correlated_features_l1", "correlated_features_pearson",
    "neg_str", "neg_values", "pos_str", "pos_values", "frac_nonzero", "freq_hist_data_bar_values",
    "freq_hist_data_bar_heights", "logits_hist_data_bar_heights", "logits_hist_data_bar_values",
    "n_prompts_total", "n_tokens_in_prompt", "dataset", "activations", "decoder_weights_dist",
}  # fmt: skip
ACTIVATION = {
    "bin_min", "bin_max", "bin_contains", "tokens", "values", "qualifying_token_index"
}  # fmt: skip
# Columns that Neuronpedia's import needs a value for.
NEURON = {"modelId", "layer", "index", "creatorId", "maxActApprox", "frac_nonzero", "hasVector"}
NP_ACTIVATION = {
    "id", "tokens", "index", "layer", "modelId", "maxValue", "maxValueTokenIndex", "minValue",
    "values", "creatorId", "dataSource", "dataIndex",
}  # fmt: skip
EXPLANATION = {"id", "modelId", "layer", "index", "authorId", "description", "typeName"}


@pytest.fixture(scope="module")
def context(tmp_path_factory):
    folder = tmp_path_factory.mktemp("units")
    context = context_of(folder, UNITS)
    made.fill(context, folder / "photos", UNITS, 24, 8, 48)
    first = Cards(context.lineage, context.store, "atlas").card(UNITS[0].key)
    made.heat_map(context, UNITS[0], first.exemplars[0].image)
    return context


@pytest.fixture(scope="module")
def cards(context):
    return Cards(context.lineage, context.store, "atlas")


def lines(path):
    with gzip.open(path, "rt", encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def test_saedashboard_reads_the_batches(context, cards, tmp_path):
    done = export_cards(cards, context.pictures, tmp_path / "out", "saedashboard")

    assert sum(done.rows.values()) == len(UNITS)
    for layer in layers_of(cards):
        (place,) = (tmp_path / "out" / "net").glob(f"{layer.layer.replace('/', '-')}*")
        held = json.loads((place / "batch-0.json").read_text())
        assert set(held) == {"model_id", "layer", "sae_set", "features"}
        by_index = {one["feature_index"]: one for one in held["features"]}
        for card in cards.read(layer.units):
            feature = by_index[card.neuron]
            assert set(feature) == FEATURE
            assert sum(feature["freq_hist_data_bar_heights"]) == card.distribution.images
            shown = [(one["tokens"][0], one["values"][0]) for one in feature["activations"]]
            assert [value for _, value in shown] == [one.activation for one in card.exemplars]
            for (file, _), one in zip(shown, card.exemplars, strict=True):
                assert sha256((tmp_path / "out" / file).read_bytes()) == one.image
            assert all(set(one) == ACTIVATION for one in feature["activations"])


def test_neuronpedia_gets_its_tables(context, cards, tmp_path):
    export_cards(cards, context.pictures, tmp_path / "out", "neuronpedia")

    for layer in layers_of(cards):
        (place,) = (tmp_path / "out" / "net").glob(f"{layer.position}-*")
        for name in ("release", "model", "sourceset", "source"):
            assert len((place / f"{name}.jsonl").read_text().splitlines()) == 1
        source = json.loads((place / "source.jsonl").read_text())
        assert (source["id"], source["modelId"]) == (place.name, "net")
        neurons = lines(place / "features" / "batch-0.jsonl.gz")
        activations = lines(place / "activations" / "batch-0.jsonl.gz")
        explanations = lines(place / "explanations" / "batch-0.jsonl.gz")
        assert all(set(one) >= NEURON for one in neurons)
        assert all(set(one) >= NP_ACTIVATION for one in activations)
        assert all(set(one) >= EXPLANATION for one in explanations)
        assert len({one["id"] for one in activations}) == len(activations)
        for card in cards.read(layer.units):
            mine = [one for one in activations if one["index"] == str(card.neuron)]
            assert [(one["dataIndex"], one["values"]) for one in mine] == [
                (one.image, [one.activation]) for one in card.exemplars
            ]
            said = {one["description"] for one in explanations if one["index"] == str(card.neuron)}
            assert said == {one.label for one in card.methods if one.label is not None}
            for one in mine:
                assert (
                    sha256((tmp_path / "out" / one["dataSource"]).read_bytes()) == one["dataIndex"]
                )


def test_equal_results_give_equal_files(context, cards, tmp_path):
    for name in ("a", "b"):
        export_cards(cards, context.pictures, tmp_path / name, "neuronpedia")
    held = [
        {
            p.relative_to(tmp_path / n): p.read_bytes()
            for p in (tmp_path / n).rglob("*")
            if p.is_file()
        }
        for n in "ab"
    ]
    assert held[0] == held[1]


def exemplars_as_maia_reads_them(path, layer, unit, index):
    """Picture of an exemplar with what is outside its mask darkened, and its activation."""
    place = path / "exemplars" / "net" / "imagenet" / layer
    activations = np.loadtxt(place / "activations.csv", delimiter=",")
    thresholds = np.loadtxt(place / "thresholds.csv", delimiter=",")
    images = np.load(place / "images.npy", mmap_mode="r")
    masks = np.load(place / "masks.npy", mmap_mode="r")
    mask = np.repeat(masks[unit, index], 3, axis=0)
    image = images[unit, index]
    shown = image * (mask > 0) + 0.25 * image * (mask == 0)
    assert min(activations.shape[1], 15) == images.shape[1]
    picture = Image.fromarray(np.transpose(shown, (1, 2, 0)).astype(np.uint8))
    return picture.resize([224, 224]), activations[unit, index], thresholds[unit], mask[0] > 0


def test_maia_reads_its_exemplars(context, cards, tmp_path):
    export_cards(cards, context.pictures, tmp_path / "out", "maia")

    for unit in (UNITS[0], UNITS[4]):
        card = cards.card(unit.key)
        for index in (0, 3):
            picture, activation, threshold, mask = exemplars_as_maia_reads_them(
                tmp_path / "out", unit.layer, unit.neuron, index
            )
            one = card.exemplars[index]
            assert activation == pytest.approx(one.activation, rel=1e-6)
            assert threshold == pytest.approx(threshold_of(card))
            assert np.array_equal(mask, mask_of(one))
            (whole,) = context.pictures.load([one.image])
            whole = np.asarray(whole.resize((224, 224), Image.Resampling.BICUBIC))
            found = np.asarray(picture)
            assert np.array_equal(found[mask], whole[mask])
            assert (found[~mask] <= whole[~mask] * 0.25).all()
    assert (tmp_path / "out/exemplars/net/imagenet/conv.1/images.npy").is_file()


def test_masks_and_thresholds_by_hand():
    heat = np.zeros((4, 4), np.uint8)
    heat[:2, :2] = 255
    buffer = io.BytesIO()
    Image.fromarray(heat).resize((224, 224), Image.Resampling.NEAREST).save(buffer, "PNG")
    expected = np.zeros((224, 224), bool)
    expected[:112, :112] = True
    assert np.array_equal(mask_of(Exemplar("a", 1.0, heat=buffer.getvalue())), expected)

    crops = (Crop("a", "b", Box(0.0, 0.5, 0.25, 1.0), 100, 1.0), Crop("a", "c", None, 100, 1.0))
    expected = np.zeros((224, 224), bool)
    expected[112:, :56] = True
    assert np.array_equal(mask_of(Exemplar("a", 1.0, crops)), expected)
    assert mask_of(Exemplar("a", 1.0)).all()

    spread = Distribution(200, 0.0, 10.0, 1.0, 1.0, 1.0, (150, 48, 1, 0, 1))
    card = UnitCard("m/l/0", "m", "l", 0, distribution=spread)
    assert threshold_of(card) == 4.0  # 198 of 200 images lie in the first two of five bars
    assert threshold_of(UnitCard("m/l/0", "m", "l", 0)) == 0.0


def test_one_unit_alone_is_a_table_that_maia_can_read(tmp_path):
    context = context_of(tmp_path, UNITS[:1])
    made.fill(context, tmp_path / "photos", UNITS[:1], 24, 8, 48)
    export_cards(
        Cards(context.lineage, context.store, "atlas"), context.pictures, tmp_path / "out", "maia"
    )
    _, activation, _, _ = exemplars_as_maia_reads_them(tmp_path / "out", "conv.1", 0, 0)
    assert activation > 0


def test_a_folder_that_is_there_and_a_study_without_results(context, cards, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").write_text("x")
    with pytest.raises(StudyError, match="exists and is left as it is"):
        export_cards(cards, context.pictures, tmp_path / "out", "maia")
    with pytest.raises(NotFoundError, match="no results yet"):
        export_cards(
            Cards(context.lineage, context.store, "other"),
            context.pictures,
            tmp_path / "new",
            "maia",
        )
    assert not (tmp_path / "new").exists()


def test_lost_pictures_are_counted(context, tmp_path, monkeypatch):
    shutil.copytree(context.home, tmp_path / "state")
    context = context_of(tmp_path, UNITS)
    context.lineage.query("SELECT 1")
    monkeypatch.setattr(type(context.pictures), "_read", _nowhere)
    cards = Cards(context.lineage, context.store, "atlas")
    done = export_cards(cards, context.pictures, tmp_path / "out", "neuronpedia")

    assert done.pictures == 0
    assert done.missing > 0


def _nowhere(self, name):
    from dnd_assets.errors import StoreError

    raise StoreError(f"image {name} is not where it was")


def test_the_command_writes_them(context, tmp_path, monkeypatch):
    monkeypatch.setenv("DND_HOME", str(context.home))
    study = tmp_path / "atlas.toml"
    study.write_text(
        'name = "atlas"\n[[models]]\nname = "net"\nsource = "module:gone.networks:net"\n'
        'layers = [{path = "conv.1"}]\n[probing_set]\nfolders = ["x"]\n'
    )
    for form in ("neuronpedia", "saedashboard", "maia"):
        asked = ["export", "--study", str(study), "--format", form, "-o", str(tmp_path / form)]
        result = CliRunner().invoke(app, asked)
        assert result.exit_code == 0, result.output
        assert "2 layers, 12 rows" in result.output
