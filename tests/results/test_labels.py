"""Results: labels as tables that other programs read back as they were."""

import json
from io import BytesIO

import pandas as pd
import pytest

from dnd_assets.errors import StudyError
from dnd_assets.lineage.records import Outcome
from dnd_assets.results.labels import COLUMNS, export, labels
from dnd_assets.units import Unit
from resources.lineage_db.database import Lineage
from tests.lineage import handmade

HARD = [
    'a "quoted" word',
    "a, b; c\tand d",
    "two\nlines",
    "carriage\rreturn",
    "both\r\nof them",
    "caf\u00e9 \u732b \U0001f408 \u202e",
    "  spaces  ",
    "<script>alert(1)</script>",
    "it's",
    "",
]


def table(texts):
    scores = [0.1 + 0.2 + n for n in range(len(texts))]
    return pd.DataFrame({"label": texts, "neuron": range(len(texts)), "score": scores})


def back(data, kind):
    if kind == "csv":
        return pd.read_csv(BytesIO(data), keep_default_na=False, float_precision="round_trip")
    return pd.read_parquet(BytesIO(data)) if kind == "parquet" else pd.DataFrame(json.loads(data))


@pytest.mark.parametrize("kind", ["csv", "json", "parquet"])
def test_hard_text_and_every_digit_come_back(kind):
    sent = table(HARD)
    found = back(export(sent, kind), kind)

    assert found["label"].tolist() == HARD
    assert found["neuron"].tolist() == list(range(len(HARD)))
    assert found["score"].tolist() == sent["score"].tolist()


@pytest.mark.parametrize("kind", ["csv", "json", "parquet"])
def test_the_same_table_gives_the_same_bytes(kind):
    assert export(table(HARD), kind) == export(table(HARD), kind)


@pytest.mark.parametrize("kind", ["csv", "json", "parquet"])
@pytest.mark.parametrize("rows", [0, 2])
def test_what_is_missing_stays_missing(kind, rows):
    sent = pd.DataFrame({"label": [None, "red"], "score": [None, 0.5]}).head(rows)
    data = export(sent, kind)

    if kind == "csv":
        found = pd.read_csv(BytesIO(data))
    else:
        found = pd.DataFrame(back(data, kind), columns=["label", "score"])
    assert list(found.columns) == ["label", "score"]
    assert found.isna().to_numpy().tolist() == [[True, True], [False, False]][:rows]


def test_json_is_one_list_of_records_in_plain_unicode():
    data = export(table(["\u732b"]), "json")

    assert json.loads(data) == [{"label": "\u732b", "neuron": 0, "score": 0.1 + 0.2}]
    assert "\u732b" in data.decode()


@pytest.mark.parametrize(
    "text", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "=cmd|' /C calc'!A0", "\n=1"]
)
def test_a_spreadsheet_runs_no_label(text):
    (found,) = back(export(table([text]), "csv"), "csv")["label"]

    assert found == f"'{text}"


def test_numbers_are_no_formulas():
    sent = pd.DataFrame({"score": [-1.5], "neuron": [-3], "label": ["red - blue = x"]})

    assert back(export(sent, "csv"), "csv").to_dict("records") == sent.to_dict("records")


@pytest.mark.parametrize("kind", ["json", "parquet"])
def test_other_formats_leave_text_alone(kind):
    assert back(export(table(["=1+1"]), kind), kind)["label"].tolist() == ["=1+1"]


def announce(lineage, layer, neuron, outcome, run="run-1", study="mine"):
    handmade.announce(lineage, study, Unit("net", layer, neuron), "labels", outcome, {}, run, n=run)


def named(label, score):
    return Outcome("ok", {"label": label, "score": score, "labels": []})


def test_labels_are_the_newest_of_each_unit_in_order(tmp_path):
    lineage = Lineage(root=str(tmp_path))
    announce(lineage, "fc", 10, named("red", 0.5))
    announce(lineage, "fc", 9, named("old", 0.1))
    announce(lineage, "fc", 9, named('a "new" one', 0.2), run="run-2")
    announce(lineage, "conv", 0, Outcome("dead", {}, "it never fires"))
    announce(lineage, "fc", 0, named("elsewhere", 0.9), study="other")
    found = labels(lineage, "mine")

    assert tuple(found.columns) == COLUMNS
    assert found["unit"].tolist() == ["net/conv/0", "net/fc/9", "net/fc/10"]
    assert found["neuron"].tolist() == [0, 9, 10]
    assert found["label"].fillna("-").tolist() == ["-", 'a "new" one', "red"]
    assert found["score"].fillna(-1).tolist() == [-1, 0.2, 0.5]
    assert found["status"].tolist() == ["dead", "ok", "ok"]
    assert found["reason"].tolist() == ["it never fires", "", ""]
    assert found["run"].tolist() == ["run-1", "run-2", "run-1"]


def sure(label, confidence):
    payload = {"label": label, "score": confidence, "confidence": confidence, "labels": []}
    return Outcome("ok", payload)


def test_labels_of_a_confidence_or_more_and_no_unit_without_a_label(tmp_path):
    lineage = Lineage(root=str(tmp_path))
    for neuron, value in enumerate((0.99, 0.8, 0.79)):
        announce(lineage, "fc", neuron, sure(f"label {neuron}", value))
    announce(lineage, "fc", 3, Outcome("no_concept", {}, "nothing"))
    found = labels(lineage, "mine", sure=0.8)
    assert found["label"].tolist() == ["label 0", "label 1"]
    assert tuple(found.columns) == COLUMNS
    assert len(labels(lineage, "mine")) == 4
    assert not len(labels(lineage, "mine", sure=1.0))


def test_scores_of_other_selections_are_taken_for_no_confidence(tmp_path):
    lineage = Lineage(root=str(tmp_path))
    announce(lineage, "fc", 0, named("red", 0.9))
    with pytest.raises(StudyError, match="labels have no confidence"):
        labels(lineage, "mine", sure=0.5)


@pytest.mark.parametrize("kind", ["csv", "json", "parquet"])
def test_labels_round_trip(tmp_path, kind):
    lineage = Lineage(root=str(tmp_path))
    texts = HARD[:4]
    for neuron, text in enumerate(texts):
        announce(lineage, "fc", neuron, named(text, 1 / (3 + neuron)))
    sent = labels(lineage, "mine")
    found = back(export(sent, kind), kind)

    assert found["label"].tolist() == texts
    assert found["score"].tolist() == [1 / (3 + neuron) for neuron in range(4)]
    assert found["unit"].tolist() == sent["unit"].tolist()


@pytest.mark.parametrize("kind", ["csv", "json", "parquet"])
def test_a_study_without_labels_exports_an_empty_table(tmp_path, kind):
    empty = labels(Lineage(root=str(tmp_path)), "mine")

    assert tuple(empty.columns) == COLUMNS
    assert len(empty) == 0
    assert len(back(export(empty, kind), kind)) == 0
