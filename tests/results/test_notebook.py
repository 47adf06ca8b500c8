"""The package in a notebook: the export's tables as frames, a unit's card as safe HTML."""

import re
import subprocess
import sys
from html.parser import HTMLParser

import pandas as pd
import pytest

import dnd_assets as dnd
from dnd_assets.errors import NotFoundError
from dnd_assets.lineage.records import Outcome
from dnd_assets.results.unit_card.html import card_html
from resources.lineage_db.database import Lineage
from tests.lineage import handmade
from tests.results.test_labels import HARD

HOSTILE = [
    *HARD,
    "</td></table><script>alert(1)</script>",
    "' onmouseover='alert(1)",
    '" onerror="alert(1)',
    "<img src=x onerror=alert(1)>",
    "javascript:alert(1)",
    "&lt;b&gt;",
]


@pytest.fixture(scope="module")
def results(labelled):
    folder, _ = labelled
    return dnd.open("colours", folder / "state")


def test_the_frames_are_those_of_an_export(results, tmp_path):
    results.export(tmp_path / "out", "csv")
    exported = dnd.read_export(tmp_path / "out")

    assert results.tables() == list(exported)
    for name, expected in exported.items():
        found = results.table(name)
        if name == "pictures":  # an export has them in the order of the store
            found, expected = (
                one.sort_values("image", ignore_index=True) for one in (found, expected)
            )
        pd.testing.assert_frame_equal(found, expected)


def test_tables_have_methods_of_their_own(results, labelled, monkeypatch):
    _, found = labelled
    asked = []
    monkeypatch.setattr(type(results), "table", lambda _, name: asked.append(name))
    names = ["units", "activations", "exemplars", "crops", "captions", "candidate_concepts",
             "synthetic_images", "scores", "metrics", "labels", "runs"]  # fmt: skip
    for name in names:
        getattr(results, name)()
    assert asked == names
    monkeypatch.undo()
    labels = results.labels().set_index("unit")
    for (asset, unit), one in found.items():
        if asset == "labels":
            said = labels.loc[unit, "label"]
            assert (None if pd.isna(said) else said) == one.product.payload.get("label")
    with pytest.raises(NotFoundError, match="nearest: captions"):
        results.table("caption")


class Tags(HTMLParser):
    """What elements, attributes and references a text of HTML has."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.attributes, self.sources, self.text = set(), set(), [], ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}
        self.sources += [value for name, value in attrs if name in ("src", "href")]

    def handle_data(self, data):
        self.text += data


TAGS = {"div", "h3", "small", "p", "b", "i", "table", "tr", "th", "td", "img", "svg", "rect",
        "details", "summary", "code"}  # fmt: skip
ATTRIBUTES = {"style", "alt", "title", "src", "x", "y", "width", "height", "fill", "role",
              "aria-label"}  # fmt: skip


def safe(text):
    found = Tags(text)
    assert found.tags <= TAGS
    assert found.attributes <= ATTRIBUTES
    assert all(re.fullmatch(r"data:image/jpeg;base64,[\w+/=]+", one) for one in found.sources)
    return found


def test_a_card_shows_what_is_known(results, labelled):
    _, announced = labelled
    card = results.unit("net/colours/0")
    text = card._repr_html_()
    found = safe(text)

    label = announced["labels", "net/colours/0"].product.payload["label"]
    assert label in found.text
    assert repr(card) == f"net/colours/0: {label}"
    for asset in ("labels", "scores", "crops", "activations"):
        assert asset in found.text
    assert len(found.sources) >= 5, "exemplars and painted pictures"
    assert "svg" in found.tags
    assert len(text) < 300_000
    name = results.exemplars()["image"][0]
    assert card.picture(name).size == results.picture(name).size == (32, 32)


def test_a_card_of_a_dead_unit_says_why(results):
    card = results.unit("net/colours/3")

    assert "no label (dead)" in repr(card)
    assert "on every one of 18 images" in safe(card._repr_html_()).text


@pytest.mark.parametrize("text", HOSTILE)
def test_no_text_gets_out_of_its_place(text, tmp_path):
    lineage = Lineage(root=str(tmp_path))
    scores = dict(handmade.CONTENT["scores"]["concepts"][0], concept=text)
    scored = {"label": text, "score": 0.5}
    changes = {
        "labels": Outcome("ok", {**scored, "labels": [scored]}),
        "captions": Outcome("ok", {"captions": [{"image": handmade.B, "caption": text}]}),
        "candidate_concepts": Outcome("ok", {"candidates": [text]}),
        "synthetic_images": Outcome("ok", {"concepts": [{"concept": text, "images": []}]}),
        "scores": Outcome("ok", {"concepts": [scores]}),
    }  # fmt: skip
    handmade.record(lineage, "mine", handmade.UNIT, changes=changes)
    card = dnd.open("mine", tmp_path).unit("net/fc/3")
    found = safe(card._repr_html_())

    assert text in found.text
    assert "picture is gone" in found.text


def test_results_show_their_tables(results):
    found = Tags(results._repr_html_())
    assert "colours: 8 units" in found.text
    assert "candidate_concepts" in found.text


def test_what_is_not_there_is_told(labelled, tmp_path):
    folder, _ = labelled
    with pytest.raises(NotFoundError, match="nearest: colours"):
        dnd.open("colour", folder / "state")
    with pytest.raises(NotFoundError, match="nearest: colours"):
        dnd.open("known-answers", folder / "state")
    with pytest.raises(NotFoundError, match="no results in"):
        dnd.open("colours", tmp_path / "nowhere")
    assert not (tmp_path / "nowhere").exists()
    with pytest.raises(NotFoundError, match="nearest: net/colours/0"):
        dnd.open("colours", folder / "state").unit("net/colors/0")
    with pytest.raises(AttributeError, match="no attribute 'opn'"):
        dnd.opn()


def test_a_study_file_does_too(labelled, colours):
    from tests.integration.test_command_line import _toml

    folder, _ = labelled
    (folder / "again.toml").write_text(_toml(colours), encoding="utf-8")
    assert dnd.open(folder / "again.toml", folder / "state").study == "colours"


def test_importing_the_package_imports_nothing_heavy():
    code = (
        "import sys, dnd_assets\n"
        "assert {'open', 'read_export', 'Results'} <= set(dir(dnd_assets))\n"
        "heavy = {'torch', 'dagster', 'pandas', 'numpy', 'pyarrow', 'PIL', 'duckdb', 'typer'}\n"
        "print(sorted(heavy & set(sys.modules)))\n"
        "dnd_assets.open\n"
        "print(sorted({'torch', 'transformers', 'open_clip', 'diffusers'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split("\n")[:2] == ["[]", "[]"]


def test_a_card_without_anything_is_still_a_card(tmp_path):
    from dnd_assets.results.unit_card.card import UnitCard

    assert "a/b/0" in safe(card_html(UnitCard("a/b/0", "a", "b", 0), None)).text


def test_activations_of_a_layer_are_those_that_exemplars_rest_on(results):
    stored = results.layer_activations("net/colours")
    best = results.exemplars().query("unit == 'net/colours/0'")
    for image, activation in zip(best["image"], best["activation"], strict=True):
        assert stored.loc[image, 0] == pytest.approx(activation)
    with pytest.raises(NotFoundError, match="net/colours"):
        results.layer_activations("net/colors")
