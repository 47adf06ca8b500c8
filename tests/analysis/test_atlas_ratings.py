"""What people said in an atlas is read with care, counted, and given back as labels."""

import json

import pytest
from typer.testing import CliRunner

from dnd_assets.analysis.atlas_ratings import (
    Rating,
    corrected,
    newest,
    outdated,
    read_atlas_ratings,
    tally,
)
from dnd_assets.cli import app
from dnd_assets.errors import NotFoundError, StudyError, TableError
from dnd_assets.files.unit_texts import read_labels


def rating(unit, verdict="up", label="red", better="", method="labels", at="2026-01-01"):
    return Rating(unit, method, label, verdict, better, at)


def export(path, some=(), **changes):
    entries = [{name: getattr(one, name) for name in one.__dataclass_fields__} for one in some]
    file = {"format": "dnd-ratings", "version": 1, "study": "mine", "ratings": entries, **changes}
    path.write_text(json.dumps(file))
    return path


def test_a_file_comes_back_as_it_was(tmp_path):
    some = [rating("n/a/0"), rating("n/a/1", "down", better="blue")]
    assert read_atlas_ratings(export(tmp_path / "r.json", some), "mine") == some


def test_of_two_ratings_of_a_label_the_later_counts_whatever_their_order():
    early, late = rating("n/a/0", "up", at="2026-01-01"), rating("n/a/0", "down", at="2026-01-02")
    assert newest([early, late]) == newest([late, early]) == [late]


def test_ratings_are_counted_by_layer_and_method():
    some = [rating(f"n/a/{n}") for n in range(9)] + [rating("n/a/9", "down", better="blue")]
    some += [rating("n/b/0", "", better="x"), rating("n/a/0", "down", method="milan_labels")]
    found = {(one.layer, one.method): one for one in tally(some)}
    first = found["n/a", "dnd"]
    assert (first.up, first.down, first.better, first.share) == (9, 1, 1, 0.9)
    # Wilson's interval of 9 of 10, from the formula by hand.
    assert (first.low, first.high) == pytest.approx((0.5958, 0.9821), abs=5e-5)
    assert found["n/b", "dnd"].share is None
    assert found["n/b", "dnd"].low is None
    assert found["n/a", "milan"].down == 1


def test_corrected_labels_are_a_file_that_imported_labels_read(tmp_path):
    hard = '=1+1, "x"\nnext'
    some = [
        rating("n/a/0"),
        rating("n/a/1", "down"),
        rating("n/a/2", "down", better=hard),
        rating("n/a/3", "up", label=""),
        rating("n/a/2", "up", label="green", method="milan_labels"),
    ]
    (tmp_path / "c.csv").write_text(corrected(some))
    assert read_labels(tmp_path / "c.csv").by_unit == {"n/a/0": "red", "n/a/2": hard}


def test_a_label_that_changed_since_is_told():
    some = [rating("n/a/0"), rating("n/a/1")]
    assert outdated(some, {("n/a/0", "labels"): "red", ("n/a/1", "labels"): "blue"}) == some[1:]


@pytest.mark.parametrize(
    ("changes", "error", "match"),
    [
        ({"format": "other"}, TableError, "no export of an atlas"),
        ({"version": 2}, TableError, "version 2"),
        ({"study": "theirs"}, StudyError, "theirs"),
        ({"ratings": {}}, TableError, "no list"),
        ({"ratings": [1]}, TableError, "rating 1"),
        ({"ratings": [{"unit": "n/a/0", "verdict": "maybe"}]}, TableError, "maybe"),
        ({"ratings": [{"verdict": "up"}]}, TableError, "needs a unit"),
        ({"ratings": [{"unit": "n/a/0", "label": 3}]}, TableError, "'label'"),
    ],
)
def test_other_files_are_refused_with_what_to_do(tmp_path, changes, error, match):
    with pytest.raises(error, match=match):
        read_atlas_ratings(export(tmp_path / "r.json", **changes), "mine")
    (tmp_path / "no.json").write_text("{")
    with pytest.raises(TableError, match="no JSON"):
        read_atlas_ratings(tmp_path / "no.json", "mine")
    with pytest.raises(NotFoundError):
        read_atlas_ratings(tmp_path / "absent.json", "mine")


def test_the_command_counts_and_writes_what_the_study_reads(tmp_path):
    from tests.report import made
    from tests.report.conftest import UNITS, context_of

    made.fill(context_of(tmp_path, UNITS), tmp_path / "photos", UNITS, 12, 8, 16)
    study = tmp_path / "atlas.toml"
    layers = "\n".join(f'[[models.layers]]\npath = "{path}"' for path in ("conv.1", "conv/2"))
    study.write_text(
        'name = "atlas"\n[[models]]\nname = "net"\nsource = "module:gone.networks:net"\n'
        f'{layers}\n[probing_set]\nfolders = ["."]\n'
    )
    some = [
        rating(UNITS[0].key, label="label 0"),
        rating(UNITS[1].key, "down", label="an old one", better="stripes"),
    ]
    file = export(tmp_path / "r.json", some, study="atlas")
    asked = ["import-ratings", str(file), "-s", str(study), "--labels", str(tmp_path / "c.csv")]
    done = CliRunner().invoke(app, asked, env={"DND_HOME": str(tmp_path / "state")})
    assert done.exit_code == 0, done.output
    assert "net/conv.1" in done.output
    assert "50%" in done.output
    assert "1 of these judge a label that has changed" in done.output
    found = read_labels(tmp_path / "c.csv").by_unit
    assert found == {UNITS[0].key: "label 0", UNITS[1].key: "stripes"}
    export(file, [rating("net/conv.1/99")], study="atlas")
    done = CliRunner().invoke(app, asked, env={"DND_HOME": str(tmp_path / "state")})
    assert isinstance(done.exception, NotFoundError)
