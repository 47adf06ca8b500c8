"""Evaluating files of labels: figures, matching of units, what is counted, what is refused."""

import json
import math
from importlib.metadata import version

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from dnd_assets.analysis.evaluate import evaluate
from dnd_assets.cli import app
from dnd_assets.errors import NotFoundError, TableError
from dnd_assets.files.unit_texts import read_labels, read_truths
from dnd_assets.methods.metrics import mean_interval
from dnd_assets.results.labels import export

PLANE = {"right": (1, 0), "up": (0, 1), "between": (0.6, 0.8), "left": (-1, 0), "=up": (0, 1)}


class Plane:
    def encode(self, texts):
        return np.array([PLANE[text] for text in texts], dtype=float)


@pytest.fixture
def write(tmp_path):
    def write(name, content):
        path = tmp_path / name
        path.write_text(content, newline="")
        return path

    return write


def test_a_worked_case(write):
    labels = write("labels.csv", "Neuron ID,label\n0,right\n1,up\n2,left\n3,up\n")
    truths = write("truths.txt", "between\nbetween\nright\nup\n")

    found = evaluate(labels, truths, Plane())

    # Cosines 0.6, 0.8, -1 and 1.
    assert found.units == 4
    assert found.similarity == pytest.approx(1.4 / 4)
    assert found.interval == mean_interval([0.6, 0.8, -1.0, 1.0])
    assert found.exact == 1
    assert [row.unit for row in found.worst] == ["2", "0", "1", "3"]
    assert [row.unit for row in found.best] == ["3", "1", "0", "2"]
    assert (found.best[0].label, found.best[0].truth) == ("up", "up")


def test_only_five_are_shown_at_either_end(write):
    rows = "".join(f"{i},up\n" for i in range(9))
    found = evaluate(write("labels.csv", "unit,label\n" + rows), write("t", "up\n" * 9), Plane())

    assert len(found.worst) == len(found.best) == 5
    assert len(found.scored) == 9


@pytest.mark.parametrize("name", ["unit", "Unit", "Neuron ID", "neuron_id", "neuron", "ID"])
def test_units_by_many_names(write, name):
    path = write("labels.csv", f"score,{name},Description\n1,net/fc/3,up\n2,07,right\n3,8.0,up\n")

    assert read_labels(path).by_unit == {"net/fc/3": "up", "7": "right", "8": "up"}


def test_truths_may_stand_beside_the_labels_or_in_a_table(write):
    beside = write("beside.csv", "unit,label,class\n0,up,up\n1,right,between\n")
    labels = write("labels.csv", "unit,label\n0,up\n1,right\n")
    table = write("truths.csv", "id;label\n1;between\n0;up\n")

    assert evaluate(beside, None, Plane()) == evaluate(labels, table, Plane())
    assert evaluate(beside, None, Plane()).similarity == pytest.approx(0.8)


def test_keys_and_numbers_of_one_layer_match(write):
    keys = write("labels.csv", "unit,label\nnet/fc/1,up\nnet/fc/0,right\n")
    lines = write("truths.txt", "right\nup\nleft")

    found = evaluate(keys, lines, Plane())

    assert found.exact == found.units == 2
    assert found.without_label == 1
    whole = write("truths.csv", "unit,truth\nnet/fc/1,up\nnet/fc/0,right\n")
    assert evaluate(keys, whole, Plane()).exact == 2
    numbers = write("numbers.csv", "unit,label\n1,up\n0,right\n")
    assert evaluate(numbers, whole, Plane()).exact == 2


def test_numbers_do_not_tell_layers_apart(write):
    keys = write("labels.csv", "unit,label\nnet/fc/1,up\nnet/conv/1,right\n")

    with pytest.raises(TableError, match=r"2 layers .net/conv, net/fc.*one layer at a time"):
        evaluate(keys, write("truths.txt", "right\nup"), Plane())


def test_what_is_left_out_is_counted_and_told(write):
    labels = write("labels.csv", "unit,label\n0,up\n0,up\n1,\n2,right\n9,up\n")
    truths = write("truths.txt", "up\nup\n\nright\n")

    found = evaluate(labels, truths, Plane())

    counts = (found.units, found.repeated, found.unlabelled)
    assert counts == (1, 1, 1)
    assert (found.without_truth, found.without_label) == (2, 2)
    assert math.isnan(found.interval.low)
    told = "\n".join(found.lines())
    for line in (
        "1 repeated rows, counted once",
        "1 units without a label, left out",
        "2 labels without a truth, left out",
        "2 truths without a label",
    ):
        assert line in told
    assert "interval" not in told


def test_a_guarded_formula_is_the_label_it_was(write, tmp_path):
    table = pd.DataFrame({"unit": ["net/fc/0"], "label": ["=up"]})
    (tmp_path / "labels.csv").write_bytes(export(table, "csv"))

    found = evaluate(tmp_path / "labels.csv", write("truths.txt", "up"), Plane())

    assert [(row.label, row.similarity) for row in found.scored] == [("=up", 1.0)]


def test_a_unit_with_two_labels_or_no_name_is_refused(write):
    with pytest.raises(TableError, match="line 3: unit 0 is 'up' here and 'right' before"):
        read_labels(write("labels.csv", "unit,label\n0,right\n0,up\n"))
    with pytest.raises(TableError, match="line 2: no unit"):
        read_labels(write("labels.csv", "unit,label\n ,right\n"))


def test_missing_columns_are_named(write):
    with pytest.raises(TableError, match=r"no column for the unit; .*unit, neuron id"):
        read_labels(write("labels.csv", "thing,label\n0,right\n"))
    with pytest.raises(TableError, match=r"no column for the label; .*label, description"):
        read_labels(write("labels.csv", "unit,text\n0,right\n"))
    labels = write("labels.csv", "unit,label\n0,right\n")
    with pytest.raises(TableError, match=r"no column of truths .*--truths FILE"):
        evaluate(labels, None, Plane())
    with pytest.raises(TableError, match="no column for the truth"):
        read_truths(write("truths.csv", "unit,x\n0,right\n"))


def test_files_without_a_common_unit_are_refused(write):
    labels = write("labels.csv", "unit,label\nnet/fc/7,right\n")

    with pytest.raises(TableError, match=r"no unit has both .*net/fc/7; units with a truth: 0, 1"):
        evaluate(labels, write("truths.txt", "up\nup"), Plane())
    empty = write("labels.csv", "unit,label\n7,\n")
    with pytest.raises(TableError, match="no unit has both"):
        evaluate(empty, write("truths.txt", "up\nup"), Plane())


def dnd(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_the_command(write, sentences_folder, one_thread):
    labels = write("labels.csv", 'unit,label\n0,red\n1,"a circle, on sand"\n2,blue\n')
    truths = write("truths.txt", "red\nblue square\n[blue]\n")
    asked = ("evaluate", "--labels", labels, "--truths", truths, "--encoder", sentences_folder)

    shown, as_json = dnd(*asked), dnd(*asked, "--format", "json")

    assert shown.exit_code == as_json.exit_code == 0, shown.output
    assert "units            3" in shown.output
    assert "exact matches    1" in shown.output
    assert "1.000  0: red | red" in shown.output
    report = json.loads(as_json.output)
    assert report["units"] == 3
    assert report["scored"][-1] == {
        "unit": "0", "label": "red", "truth": "red", "similarity": pytest.approx(1),
    }  # fmt: skip
    assert len(report["encoder"]["weights"]) == 64
    assert f"{report['similarity']:.4f}" in shown.output


def test_the_command_takes_a_clip_too(write, clip_folder, one_thread):
    labels = write("labels.csv", "unit,label,truth\n0,red,red\n1,a circle,blue\n")

    found = dnd("evaluate", "--labels", labels, "--encoder", clip_folder, "-f", "json")

    report = json.loads(found.output)
    assert report["scored"][-1]["similarity"] == pytest.approx(1)
    assert report["scored"][0]["similarity"] < 1
    assert report["encoder"]["open_clip_torch"] == version("open_clip_torch")


def test_the_command_gives_a_single_unit_no_interval(write, sentences_folder, one_thread):
    labels = write("labels.csv", "unit,label,truth\n0,red,blue\n")

    found = dnd("evaluate", "--labels", labels, "--encoder", sentences_folder, "-f", "json")

    assert json.loads(found.output)["interval"] == [None, None]


def test_the_command_tells_what_is_wrong(write):
    labels = write("labels.csv", "unit,label\n0,red\n")

    found = dnd("evaluate", "--labels", labels, "--truths", labels.parent / "no.txt")

    assert isinstance(found.exception, NotFoundError)


def test_the_paper_s_figure_by_the_command(mpnet_folder, shared_dir):
    published = shared_dir / "published"
    found = dnd(
        "evaluate", "--labels", published / "milan_resnet50_fc.csv",
        "--truths", published / "imagenet_classes.txt", "--encoder", mpnet_folder,
    )  # fmt: skip

    assert "mean similarity  0.2788  (95 % interval 0.2" in found.output
    assert "units            1,000" in found.output
