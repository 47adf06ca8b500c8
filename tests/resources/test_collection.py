"""Captions and pictures from a collection: by hand, through a whole study, refusals."""

import numpy as np
import pytest
from PIL import Image

from dnd_assets.errors import NotFoundError, StudyError, TableError
from dnd_assets.study.study import parse_study
from resources.captioners.retrieval import RetrievalCaptioner, RetrievalTextToImage
from resources.collection import CaptionedCollection
from resources.encoders.conse import Conse
from resources.text_to_image.base import PaintRequest
from tests import studies
from tests.resources import tiny

SHADES = {"red": (220, 20, 20), "green": (20, 220, 20), "blue": (20, 20, 220)}


@pytest.fixture(scope="module")
def encoder(tmp_path_factory, cpu):
    """Pictures among the names of three colours, see tests/classifiers.py."""
    folder = tiny.sentences(tmp_path_factory.mktemp("sentences") / "mpnet")
    classifier = "module:tests.classifiers:colour_classifier"
    return Conse(classifier=classifier, sentences=str(folder), compute=cpu)


@pytest.fixture
def folder(tmp_path):
    """Three captioned pictures, a repeated row, a row without caption."""
    (tmp_path / "pictures").mkdir()
    rows = ["file,caption"]
    for name, shade in SHADES.items():
        Image.new("RGB", (24, 24), shade).save(tmp_path / "pictures" / f"{name}.png")
        rows.append(f"{name}.png,{name}")
    rows += ["red.png,red", "blue.png,  "]
    (tmp_path / "captions.csv").write_text("\n".join(rows))
    return tmp_path


def collection(folder, encoder, **changes):
    settings = {"tables": ["captions.csv"], "folders": ["pictures"], "base": str(folder)}
    return CaptionedCollection(**{**settings, **changes}, encoder=encoder)


def test_entries_count_once_and_blank_captions_not(folder, encoder):
    found = collection(folder, encoder).entries()

    assert sorted(one.caption for one in found) == ["blue", "green", "red"]
    assert [one.id for one in found] == sorted(one.id for one in found)


def test_a_picture_gets_the_caption_of_the_nearest(folder, encoder):
    captioner = RetrievalCaptioner(collection=collection(folder, encoder))
    pictures = [Image.new("RGB", (40, 30), shade) for shade in [(250, 0, 0), (0, 0, 200)]]

    assert captioner.caption(pictures, 1) == ["red", "blue"]
    assert captioner.caption(pictures[::-1], 16) == ["blue", "red"]
    assert captioner.caption([], 4) == []


def test_a_concept_is_painted_by_the_pictures_nearest_to_it(folder, encoder):
    painter = RetrievalTextToImage(collection=collection(folder, encoder))
    vectors = dict(zip(SHADES, encoder.embed_texts(list(SHADES)), strict=True))
    order = sorted(SHADES, key=lambda name: -float(vectors["green"] @ vectors[name]))

    requests = [PaintRequest("green", 7 * index, index) for index in range(3)]
    found = painter.paint(requests, 2)

    assert [one.image.getpixel((0, 0)) for one in found] == [SHADES[name] for name in order]
    assert order[0] == "green"
    (alone,) = painter.paint(requests[2:], 2)
    assert alone.image.getpixel((0, 0)) == found[2].image.getpixel((0, 0))
    with pytest.raises(StudyError, match="asked for, but the collection has only 3"):
        painter.paint([PaintRequest("green", 0, 3)], 1)


def test_embeddings_are_kept_and_made_again_when_damaged(folder, encoder, monkeypatch):
    kept = collection(folder, encoder, cache=str(folder / "cache"))
    faces, captions = kept._read_or_embed("name", kept.entries())
    (file,) = (folder / "cache").iterdir()
    # Read, not made again: what is in the file is what comes back.
    np.save(file, np.stack([captions, faces]), allow_pickle=False)
    assert np.array_equal(kept._read_or_embed("name", kept.entries())[0], captions)
    file.write_bytes(file.read_bytes()[:40])
    assert np.array_equal(kept._read_or_embed("name", kept.entries())[0], faces)


def test_the_fingerprint_is_of_the_content(folder, encoder, tmp_path):
    before = collection(folder, encoder).fingerprint()
    (folder / "pictures").rename(folder / "elsewhere")
    assert collection(folder, encoder, folders=["elsewhere"]).fingerprint() == before
    (folder / "elsewhere" / "red.png").write_bytes((folder / "elsewhere" / "blue.png").read_bytes())
    assert collection(folder, encoder, folders=["elsewhere"]).fingerprint() != before


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        ("file,caption\nmauve.png,mauve\n", StudyError, "line 2: there is no picture"),
        ("file,caption\nred.png,\n", StudyError, "has no captioned picture"),
        ("file,words\nred.png,red\n", TableError, "no column for the captions"),
        ("file,caption\nred.png,red,more\n", TableError, "line 2: 3 fields"),
    ],
)
def test_tables_that_do_not_serve_are_refused(folder, encoder, text, error, message):
    (folder / "captions.csv").write_text(text)
    with pytest.raises(error, match=message):
        collection(folder, encoder).entries()


def test_a_missing_table_and_a_broken_picture_are_told(folder, encoder):
    with pytest.raises(NotFoundError, match=r"captions\.csv"):
        collection(folder, encoder, tables=["caption.csv"]).entries()
    (folder / "pictures" / "red.png").write_bytes(b"no picture")
    with pytest.raises(StudyError, match=r"red\.png of the collection cannot be read"):
        collection(folder, encoder).captions_of([Image.new("RGB", (9, 9))], 1)


def test_a_study_runs_on_a_collection(colours, colour_folder, folder):
    """All seven products without a captioner and without a text-to-image model."""
    table = studies.changed(
        colours,
        captioner={"kind": "retrieval"},
        text_to_image={"kind": "retrieval"},
        collection={
            "tables": [str(folder / "captions.csv")],
            "folders": [str(folder / "pictures")],
        },
    )

    found = studies.label(table, colour_folder, ["net/colours/0-2"])

    assert set(studies.statuses(found).values()) == {"ok"}
    labels = {one.product.payload["label"] for (a, _), one in found.items() if a == "labels"}
    assert labels <= set(SHADES)
    again = studies.label(table, colour_folder, ["net/colours/0-2"], run="again")
    assert not {asset for asset, _ in studies.computed(again)}
    (folder / "captions.csv").write_text(
        "file,caption\nred.png,scarlet\nblue.png,navy\ngreen.png,lime\n"
    )
    changed = studies.label(table, colour_folder, ["net/colours/0-2"], run="changed")
    assert "captions" in {asset for asset, _ in studies.computed(changed)}
    assert "activations" not in {asset for asset, _ in studies.computed(changed)}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"captioner": {"kind": "retrieval"}}, r"captioner.kind = 'retrieval' needs a section"),
        ({"collection": {"tables": ["a.csv"], "folders": ["a", "b"]}}, "2 folders do not fit 1"),
        ({"collection": {"tables": []}}, "collection.tables"),
        (
            {"captioner": {"kind": "retrieval"}, "collection": {"tables": ["a.csv"]}, "milan": {}},
            "needs a captioner that tells how likely",
        ),
    ],
)
def test_settings_that_do_not_fit_are_told(colours, tmp_path, changes, message):
    with pytest.raises(StudyError, match=message):
        parse_study(colours | changes, tmp_path)
