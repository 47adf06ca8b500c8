"""Ask the network: by text, by picture, by an image; on a network whose units are known by hand."""

import json
import shutil

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from typer.testing import CliRunner

from dnd_assets.analysis.clarity import measure
from dnd_assets.analysis.image_query import against, look, sheet
from dnd_assets.analysis.search import search_image, search_text
from dnd_assets.cli import app
from dnd_assets.engine.cache.shared_results import embeddings
from dnd_assets.engine.context_builder import build_context
from dnd_assets.errors import NotFoundError, StudyError, UpstreamError
from dnd_assets.methods import semantic_lens
from dnd_assets.study.study import parse_study
from tests.integration.test_command_line import _toml
from tests.lineage import handmade
from tests.studies import changed

RED, GREEN, BLUE = ("net/colours/0", "net/colours/1", "net/colours/2")


@pytest.fixture(scope="module")
def labelled(labelled, tmp_path_factory):
    """A copy: questions leave embeddings of texts in the state, which other tests count."""
    copy = tmp_path_factory.mktemp("asked") / "copy"
    shutil.copytree(labelled[0], copy)
    return copy, labelled[1]


@pytest.fixture(scope="module")
def context(labelled, colours):
    folder, _ = labelled
    return build_context(parse_study(colours, folder), folder / "state")


@pytest.fixture(scope="module")
def named(labelled, colours, clip_folder, tmp_path_factory):
    """A study whose labels are written by hand, with the small CLIP."""
    from dnd_assets.lineage.records import Outcome

    folder = tmp_path_factory.mktemp("named")
    made = build_context(parse_study(colours, folder), folder / "state")
    texts = {0: "Red  Circle", 1: "one red square on sand", 2: "circle of red", 3: "blue"}
    for neuron, text in texts.items():
        unit = handmade.Unit("net", "fc", neuron)
        answer = {"label": text, "score": 1.0, "labels": [{"label": text, "score": 1.0}]}
        handmade.announce(made.lineage, "colours", unit, "labels", Outcome("ok", answer), {})
    other = {"label": "sand", "labels": [{"label": "sand"}, {"label": "red circle"}]}
    unit = handmade.Unit("net", "fc", 3)
    handmade.announce(made.lineage, "colours", unit, "x_labels", Outcome("ok", other), {})
    dead = handmade.Unit("net", "fc", 4)
    handmade.announce(made.lineage, "colours", dead, "labels", Outcome("dead", {}, "never"), {})
    return made


def test_the_very_label_comes_first_then_its_words_then_its_meaning(named):
    found = search_text(named, "RED circle").hits

    assert [(one.unit, one.how) for one in found] == [
        ("net/fc/0", "exact"),
        ("net/fc/3", "exact"),  # a further label of another method, so after the best one
        ("net/fc/2", "words"),
        ("net/fc/1", "meaning"),
    ]
    assert found[1].asset == "x_labels"
    assert found[1].label == "red circle"
    assert found[0].score is not None


def test_the_score_is_the_cosine_of_the_embeddings(named):
    (one,) = search_text(named, "square", ["net/fc/1"]).hits
    query, label = named.clip.embed_texts(["square", "one red square on sand"])

    assert one.score == pytest.approx(float(query @ label), abs=1e-6)


def test_each_label_is_embedded_once_and_queries_leave_nothing_behind(named, monkeypatch):
    search_text(named, "anything")
    rows = named.lineage.query("SELECT count(*) AS n FROM shared")
    asked = []
    whole = type(named.clip).embed_texts

    def embed(self, texts, *args):
        asked.extend(texts)
        return whole(self, texts, *args)

    monkeypatch.setattr(type(named.clip), "embed_texts", embed)
    search_text(named, "another question")
    assert asked == ["another question"]
    assert named.lineage.query("SELECT count(*) AS n FROM shared") == rows


def test_without_an_encoder_words_decide_and_it_is_told(named, colours):
    study = parse_study(changed(colours, clip__model="a/gone"), named.home)
    gone = build_context(study, named.home)
    found = search_text(gone, "red circle")

    assert [(one.unit, one.how, one.score) for one in found.hits] == [
        ("net/fc/0", "exact", None), ("net/fc/3", "exact", None), ("net/fc/2", "words", None)
    ]  # fmt: skip
    assert "a/gone" in found.remark
    assert search_text(gone, "blue", ["net/fc/3"]).hits[0].how == "exact"


def test_top_and_wrong_questions(named, tmp_path, colours):
    assert len(search_text(named, "red", top=1).hits) == 1
    with pytest.raises(StudyError, match="a text is needed"):
        search_text(named, "  ")
    with pytest.raises(NotFoundError, match="nearest: net/fc/"):
        search_text(named, "red", ["net/fcc"])
    empty = build_context(parse_study(colours, tmp_path), tmp_path / "state")
    with pytest.raises(UpstreamError, match="Run `dnd run` on it"):
        search_text(empty, "red")


def test_a_picture_finds_the_units_whose_exemplars_are_like_it(context, labelled):
    folder, found = labelled
    (exemplar, *_) = found["crops", RED].product.payload["activating"]
    picture = folder / "images" / "000.png"
    hits = {one.unit: one.score for one in search_image(context, picture).hits}

    rows, values = embeddings(context, [exemplar["image"]])
    wanted = context.clip.embed_images([Image.open(picture).convert("RGB")], 8)[0]
    for unit, score in hits.items():
        names = [e["image"] for e in found["crops", unit].product.payload["activating"]]
        rows, values = embeddings(context, names)
        mean = np.mean([values[rows[name]] @ wanted for name in names])
        assert score == pytest.approx(float(mean), abs=1e-5)
    assert list(hits.values()) == sorted(hits.values(), reverse=True)
    assert "net/colours/3" not in hits, "a dead unit has no exemplars"


def test_clarity_is_read_from_the_embeddings_that_scoring_made(context, labelled, monkeypatch):
    _, found = labelled

    def refuse(*_, **__):
        raise AssertionError("a picture was embedded again")

    monkeypatch.setattr(type(context.clip), "embed_images", refuse)
    told = measure(context)
    by_unit = {one.unit: one for one in told.units}

    names = [e["image"] for e in found["crops", GREEN].product.payload["activating"]]
    rows, values = embeddings(context, names)
    vectors = values[[rows[name] for name in names]]
    assert by_unit[GREEN].clarity == semantic_lens.clarity(vectors)
    assert by_unit[GREEN].polysemanticity == semantic_lens.polysemanticity(vectors)
    assert by_unit[GREEN].label == found["labels", GREEN].product.payload["label"]
    layer = told.layers[0]
    mine = [one for one in told.units if one.unit.startswith("net/colours/")]
    assert (layer.layer, layer.units) == ("net/colours", 3)
    assert layer.redundancy == pytest.approx(np.mean([one.redundancy for one in mine]))
    assert all(one.nearest in {RED, GREEN, BLUE} - {one.unit} for one in mine)


def test_redundancy_is_among_the_chosen_units(context):
    told = measure(context, [RED])

    assert told.units[0].redundancy is None
    assert told.layers[0].redundancy is None


@given(st.lists(st.integers(-5, 5), min_size=2, max_size=9), st.integers(-6, 6))
def test_a_value_among_the_recorded_ones(values, value):
    found = against(np.array(values, np.float32), float(value))

    if len(set(values)) == 1:
        assert found is None
        return
    below = sum(v < value for v in values) + sum(v == value for v in values) / 2
    mean = sum(values) / len(values)
    assert found == pytest.approx((below / len(values), (value - mean) / (max(values) - mean)))


def test_values_that_are_not_finite_compare_with_nothing():
    assert against(np.array([0.0, np.nan], np.float32), 1.0) is None
    assert against(np.array([0.0, 1.0], np.float32), float("inf")) is None


@pytest.fixture(scope="module")
def green(tmp_path_factory):
    """A large green square, right of the middle, on grey."""
    pixels = np.full((40, 80, 3), 120, np.uint8)
    pixels[10:30, 50:70] = (0, 255, 0)
    file = tmp_path_factory.mktemp("pictures") / "green.png"
    Image.fromarray(pixels).save(file)
    return file


def test_the_unit_that_fires_most_for_itself_comes_first_with_its_place(context, green):
    found = look(context, green, "colours")
    first = found.firings[0]

    assert first.unit == GREEN
    assert first.share == 17 / 18, "one probing image has more green"
    assert found.compared == 18
    assert "net/colours/3" not in [one.unit for one in found.firings], "dead"
    left, top, right, bottom = first.box
    assert abs(left - 50) <= 8
    assert abs(right - 70) <= 8
    assert abs(top - 10) <= 4
    assert abs(bottom - 30) <= 4
    lit = np.asarray(found.overlays[0])
    assert lit[20, 60].tolist() == [0, 255, 0]
    assert lit[20, 10].tolist() == [42, 42, 42], "dark where the unit does not look"


def test_shares_do_not_depend_on_the_scale_of_a_unit(context, green):
    """Units of `spoilt` have the same values as means over space, and other activations' layer."""
    by_unit = {one.unit: one for one in look(context, green, top=20).firings}

    assert by_unit["net/spoilt/1"].share == by_unit[GREEN].share
    assert by_unit["net/spoilt/1"].box is None
    assert "net/spoilt/3" not in by_unit, "its recorded values are not all finite"
    shares = [one.share for one in by_unit.values()]
    assert shares == sorted(shares, reverse=True)


def test_a_probing_image_has_its_own_place_in_the_record(context, labelled):
    folder, found = labelled
    exemplars = found["activations", BLUE].product.payload["exemplars"]
    (path,) = context.lineage.query(
        "SELECT path FROM images WHERE hash = ?", [exemplars[0]["image"]]
    )
    by_unit = {one.unit: one for one in look(context, folder / path["path"], "colours").firings}

    assert by_unit[BLUE].activation == pytest.approx(exemplars[0]["activation"])
    assert by_unit[BLUE].share == pytest.approx(1 - 0.5 / 18)
    assert by_unit[BLUE].reach == pytest.approx(1)


def test_the_sheet_shows_every_unit_and_any_label(context, green):
    found = look(context, green)
    page = sheet(found)

    assert page.mode == "RGB"
    assert page.width > 224
    hostile = [type(one)(**{**vars(one), "labels": {"labels": "\n\x00\U0001f408 " * 50}})
               for one in found.firings]  # fmt: skip
    sheet(type(found)(found.image, tuple(hostile), found.overlays, found.compared))
    with pytest.raises(StudyError, match="no unit"):
        sheet(type(found)(found.image, (), (), 0))


def test_wrong_names_and_missing_records_are_told(context, green, colours, labelled, tmp_path):
    with pytest.raises(NotFoundError, match=r"holds: green\.png"):
        look(context, green.with_name("greeen.png"))
    with pytest.raises(NotFoundError, match="nearest: colours"):
        look(context, green, "colour")
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no image")
    for ask in (look, search_image):
        with pytest.raises(StudyError, match="cannot be read"):
            ask(context, broken)
    fresh = build_context(parse_study(colours, labelled[0]), tmp_path / "state")
    with pytest.raises(UpstreamError, match=r"--assets \+activations"):
        look(fresh, green)


def test_the_commands(labelled, colours, green, tmp_path):
    folder, _ = labelled
    (folder / "study.toml").write_text(_toml(colours), encoding="utf-8")
    environment = {
        "DND_HOME": str(folder / "state"), "DND_STUDY": str(folder / "study.toml"),
        "COLUMNS": "200",
    }  # fmt: skip

    def dnd(*arguments):
        done = CliRunner().invoke(app, [str(a) for a in arguments], env=environment)
        assert done.exit_code == 0, done.output
        return done.stdout

    assert GREEN in dnd("look", green, "--layer", "colours", "-o", tmp_path / "look.png")
    assert Image.open(tmp_path / "look.png").format == "PNG"
    told = json.loads(dnd("look", green, "--format", "json"))
    assert {"unit", "labels", "activation", "share", "reach", "box"} == set(told["units"][0])
    assert json.loads(dnd("search", "red", "--format", "json"))
    assert "exemplars" in dnd("search", "--image", green)
    assert "clearest units" in dnd("clarity")
    assert json.loads(dnd("clarity", "net/colours", "--format", "json"))["layers"][0]["units"] == 3
    wrong = CliRunner().invoke(app, ["search", "red", "--image", str(green)], env=environment)
    assert wrong.exit_code == 2
