"""Ratings: the published table's figures, round trips of both services, sums, refusals."""

import csv
import io
import json

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from dnd_assets.analysis.human_study.questionnaire import Asked, Task, export_study, read_key
from dnd_assets.analysis.human_study.rating_files import read_ratings
from dnd_assets.analysis.human_study.ratings import Ratings, Sheet, as_table, by_layer
from dnd_assets.cli import app
from dnd_assets.errors import NotFoundError, TableError
from dnd_assets.methods.metrics.rater_agreement import ordinal_alpha
from tests.analysis.human_study.test_questionnaire import METHODS, png

SHOWN = ["Mean Caption", "Topk-Sq", "Image-Products", "Topk-Compare"]
SCORES = {"Quokka": 5, "Numbat": 2, "Bilby": 4, "Potoroo": 1}

# Means per layer of the table published with DnD: 50 units of each of four layers, rated by E1
# and E2. A mean is that of all 100 ratings of a method in a layer, which is the mean of the two
# raters' means: for Mean Caption in layer 1, E1 gave 3.02 and E2 2.96, hence 2.99. Sheets
# marked Uninterpretable or None are in it.
PUBLISHED = {
    "1": (2.99, 3.07, 3.29, 3.33),
    "2": (2.79, 2.77, 3.12, 2.99),
    "3": (2.40, 2.36, 3.02, 2.67),
    "4": (2.24, 2.29, 2.68, 2.42),
    "all": (2.605, 2.6225, 3.0275, 2.8525),
}


@pytest.fixture
def published(shared_dir):
    return shared_dir / "published" / "human_ratings_scoring_functions.csv"


@pytest.fixture
def study(tmp_path):
    """An exported study of three units in two layers: its folder and its key."""
    tasks = [Task(unit, [png()], METHODS) for unit in ("net/a/0", "net/a/1", "net/b/0")]
    export_study(tasks, tmp_path, image_url="https://example.org")
    return tmp_path, read_key(tmp_path / "key.json")


def label_studio(folder, raters, **extra):
    """What Label Studio exports when raters give each method its score of SCORES."""
    key = read_key(folder / "key.json")
    content = json.loads((folder / "label_studio" / "tasks.json").read_text())
    for task in content:
        methods = key[task["data"]["task"]].methods
        result = [
            {
                "from_name": f"rating_{i}",
                "to_name": f"text_{i}",
                "type": "choices",
                "value": {"choices": [f"{SCORES[method]} words"]},
            }
            for i, method in enumerate(methods)
        ]
        task["annotations"] = [
            {"completed_by": rater, "was_cancelled": False, "result": result, **extra}
            for rater in raters
        ]
    path = folder / "export.json"
    path.write_text(json.dumps(content))
    return path


def mturk(folder, workers, **extra):
    """What MTurk gives as results when workers give each method its score of SCORES."""
    key = read_key(folder / "key.json")
    with (folder / "mturk" / "tasks.csv").open(newline="") as file:
        tasks = [row["task"] for row in csv.DictReader(file)]
    rows = [
        {
            "HITId": "x",
            "AssignmentStatus": "Approved",
            "WorkerId": worker,
            "Input.task": task,
            **{f"Answer.rating_{i}": str(SCORES[m]) for i, m in enumerate(key[task].methods)},
            "Answer.none": "",
            **extra,
        }
        for task in tasks
        for worker in workers
    ]
    path = folder / "results.csv"
    pd.DataFrame(rows).to_csv(path, index=False)
    return path


def test_the_published_means_come_out(published):
    found = read_ratings(published)
    rows = by_layer(found)

    assert found.methods == tuple(SHOWN)
    assert len(found.sheets) == 400
    assert [row.layer for row in rows] == list(PUBLISHED)
    for row in rows:
        means = [row.methods[method].mean for method in SHOWN]
        assert means == pytest.approx(PUBLISHED[row.layer], abs=1e-9)
        assert row.sheets == 2 * row.units
        assert row.unanswered == 0
    assert [row.units for row in rows] == [50, 50, 50, 50, 200]
    assert rows[-1].remarks == {"uninterpretable": 20 + 17, "none": 57 + 36}


def test_the_published_table_by_pandas(published):
    table = pd.read_csv(published)
    columns = {rater: [f"{m} {rater} Rating" for m in SHOWN] for rater in ("E1", "E2")}

    rows = by_layer(read_ratings(published))

    for layer, row in zip(range(1, 5), rows, strict=False):
        part = table[table.Layer == layer]
        scores = np.concatenate([part[names].to_numpy() for names in columns.values()])
        wins = scores == scores.max(axis=1, keepdims=True)
        shares = (wins / wins.sum(axis=1, keepdims=True)).mean(axis=0)
        assert [row.methods[m].best for m in SHOWN] == pytest.approx(shares)
        pairs = zip(*(part[names].to_numpy().ravel() for names in columns.values()), strict=True)
        assert row.alpha == pytest.approx(ordinal_alpha([list(pair) for pair in pairs]))


def test_raters_who_did_not_see_a_unit_have_no_sheet_of_it(tmp_path):
    path = tmp_path / "wide.csv"
    path.write_text("Layer,Unit,A E1 Rating,A E2 Rating,None E2\n1,2,3,,\n1,3,,,TRUE\n")

    found = read_ratings(path)

    assert [(sheet.unit, sheet.rater) for sheet in found.sheets] == [("1/2", "E1"), ("1/3", "E2")]
    assert by_layer(found)[0].unanswered == 1


def test_sheets_with_a_remark_can_be_left_out(published):
    found = read_ratings(published)

    rows = by_layer(found, skip=["uninterpretable"])

    # E1 left 180 units that they could interpret, E2 183.
    assert rows[-1].sheets == 363
    assert rows[-1].remarks["uninterpretable"] == 0
    assert rows[0].methods["Mean Caption"].mean == pytest.approx(3.0)


def test_a_worked_case():
    """Two raters and two units; a tie shares, and an unanswered description is no rating."""
    sheets = (
        Sheet("net/a", "net/a/0", "one", {"x": 5, "y": 5, "z": 1}),
        Sheet("net/a", "net/a/0", "two", {"x": 4, "y": 5, "z": 1}),
        Sheet("net/a", "net/a/1", "one", {"x": 3, "z": 1}, frozenset({"none"})),
    )

    (row,) = by_layer(Ratings(sheets, ("x", "y", "z")))

    assert (row.units, row.sheets, row.unanswered) == (2, 3, 1)
    assert row.remarks == {"uninterpretable": 0, "none": 1}
    assert row.methods["x"].mean == pytest.approx((5 + 4 + 3) / 3)
    assert row.methods["y"].mean == 5
    # x: half of the first sheet and all of the third; y: the other half and the second.
    assert [row.methods[m].best for m in "xyz"] == pytest.approx([1.5 / 3, 1.5 / 3, 0])
    assert sum(one.best for one in row.methods.values()) == pytest.approx(1)
    # Agreement on (unit, method): x 5 4, y 5 5, z 1 1; unit 1 was rated once.
    assert row.alpha == pytest.approx(ordinal_alpha([[5, 4], [5, 5], [1, 1]]))


def test_a_method_that_nobody_rated_has_no_figures():
    (row,) = by_layer(Ratings((Sheet("a", "a/0", "one", {"x": 2}),), ("x", "y")))

    assert row.methods["y"].ratings == 0
    assert np.isnan([row.methods["y"].mean, row.methods["y"].best, row.alpha]).all()
    with pytest.raises(TableError, match="no sheet"):
        by_layer(Ratings((), ("x",)))


@pytest.mark.parametrize("service", [label_studio, mturk])
def test_what_raters_say_comes_back_to_its_method(study, service):
    folder, key = study

    found = read_ratings(service(folder, ["7", "8", "9"]), key)

    assert found.methods == tuple(sorted(METHODS))
    assert len(found.sheets) == 9
    assert {sheet.rater for sheet in found.sheets} == {"7", "8", "9"}
    assert all(sheet.scores == SCORES for sheet in found.sheets)
    rows = by_layer(found)
    assert {row.layer: row.units for row in rows} == {"net/a": 2, "net/b": 1, "all": 3}
    assert rows[-1].methods["Quokka"].best == 1
    assert rows[-1].alpha == 1


def test_cancelled_and_rejected_sheets_are_counted_and_left_out(study):
    folder, key = study
    path = mturk(folder, ["7", "8"])
    path.write_text(path.read_text().replace("Approved,8", "Rejected,8"))

    found = read_ratings(path, key)
    cancelled = read_ratings(label_studio(folder, [7], was_cancelled=True), key)

    assert (len(found.sheets), found.withdrawn) == (3, 3)
    assert (len(cancelled.sheets), cancelled.withdrawn) == (0, 3)


def test_other_spellings_of_label_studio(study):
    folder, key = study
    stars = [{"from_name": "rating_0", "type": "rating", "value": {"rating": 3}}]
    ticked = [{"from_name": "remarks", "type": "choices", "value": {"choices": ["none"]}}]
    path = label_studio(folder, [{"id": 4, "email": "a@b.c"}], result=stars + ticked)

    found = read_ratings(path, key)

    for sheet in found.sheets:
        first = next(one.methods[0] for one in key.values() if one.unit == sheet.unit)
        assert sheet.scores == {first: 3}
        assert sheet.rater == "a@b.c"
        assert sheet.remarks == {"none"}
    assert by_layer(found)[-1].unanswered == 9


def test_remarks_and_gaps_of_mturk(study):
    folder, key = study
    path = mturk(folder, ["7"], **{"Answer.none": "1", "Answer.rating_2": ""})

    found = read_ratings(path, key)

    assert all(sheet.remarks == {"none"} and len(sheet.scores) == 3 for sheet in found.sheets)


def test_wrong_files_are_refused(study, tmp_path):
    folder, key = study

    def refused(name, content, message, known=key, error=TableError):
        path = tmp_path / name
        path.write_text(content)
        with pytest.raises(error, match=message):
            read_ratings(path, known)

    results, export = mturk(folder, ["7"]).read_text(), label_studio(folder, [7]).read_text()
    refused("a.csv", results, r"key\.json of the study.*--key FILE", known=None)
    refused("a.json", export, "--key FILE", known=None)
    refused("a.csv", results, "Give the key that was", {"x": Asked("u", ("m",))}, NotFoundError)
    refused("a.json", '[{"task": "1"}]', "no export of Label Studio .*not JSON-MIN")
    refused("a.json", "{", "no export of Label Studio")
    refused("a.json", export.replace("5 words", "9"), "task [0-9a-f]{16}: the rating '9' is none")
    refused("a.csv", results + results.partition("\n")[2], "rater 7 has two sheets of unit net/")
    refused("a.csv", results.replace("Answer.rating_3", "x"), "no column for the rating")
    wide = "Layer,Unit,A E1 Rating,None E1\n1,2,{},{}\n"
    refused("a.csv", wide.format(6, ""), "line 2: the rating '6' is none of 1 to 5", None)
    refused("a.csv", wide.format(3.5, ""), "the rating '3.5'", None)
    refused("a.csv", wide.format(3, "maybe"), "'maybe' in column 'none e1' is neither", None)
    refused("a.csv", "Layer,Unit,A\n1,2,3\n", "has no ratings.*<method> <rater> Rating", None)
    refused("a.csv", "Unit,A E1 Rating\n1,2\n", "no column for the layer", None)


def dnd(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_the_command_on_the_published_table(published):
    shown = dnd("ratings", published)
    as_csv = dnd("ratings", published, "--format", "csv")

    assert shown.exit_code == as_csv.exit_code == 0, shown.output
    assert "37 uninterpretable, 93 none, 0 unanswered, 0 withdrawn" in shown.output
    table = pd.read_csv(io.StringIO(as_csv.output))
    assert len(table) == 5 * 4
    first = table.iloc[0]
    assert (first.method, first["mean"], first.units) == ("Mean Caption", 2.99, 50)
    pd.testing.assert_frame_equal(
        table, as_table(by_layer(read_ratings(published))).astype({"layer": str}), check_dtype=False
    )


def test_the_command_with_a_key(study):
    folder, _ = study
    found = dnd("ratings", mturk(folder, ["7"]), "--key", folder / "key.json", "-f", "json")

    rows = json.loads(found.output)
    assert rows[0]["alpha"] is None  # one rater
    assert {row["method"]: row["mean"] for row in rows} == SCORES
    left = dnd("ratings", mturk(folder, ["7"]), "--key", folder / "key.json", "-f", "table")
    assert "net/a" in left.output
