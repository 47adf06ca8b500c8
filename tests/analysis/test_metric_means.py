"""Means of metrics by method, the verdict on metrics, classes read off labels, and the commands."""

import csv
import io
import json
import re
from dataclasses import replace

import numpy as np
import pytest
from typer.testing import CliRunner

from dnd_assets.analysis.class_prediction import place, predict
from dnd_assets.analysis.metric_means import (
    Soundness,
    evaluate_study,
    measured,
    metric_means,
    soundness,
)
from dnd_assets.assets.held_out_images import HeldOutImages
from dnd_assets.cli import app
from dnd_assets.engine.context_builder import build_context, find_units
from dnd_assets.engine.recording import record_of, record_run
from dnd_assets.errors import NotFoundError, StudyError, UpstreamError
from dnd_assets.lineage.records import Outcome, Product
from dnd_assets.methods.metrics.bootstrap import mean_interval
from dnd_assets.methods.metrics.image_level import USUAL
from dnd_assets.methods.metrics.sanity import SanityCheck
from dnd_assets.study.study import parse_study
from tests.studies import changed, write_images

WORDS = ("red", "green", "blue", "broken")
HELD = 9


class Words:
    """Each word its own direction."""

    def encode(self, texts):
        return np.array([[float(text == word) for word in (*WORDS, "sad")] for text in texts])


@pytest.fixture(scope="module")
def choosing(colours):
    """The table of a study of a network that chooses a colour."""
    models = [{
        "name": "net",
        "source": "module:tests.networks:chooser_net",
        "layers": [{"path": "colours"}, {"path": "choice"}],
    }]  # fmt: skip
    return changed(colours, models=models, evaluation={"folders": ["held"]})


@pytest.fixture
def folder(tmp_path):
    write_images(tmp_path / "images", 4)
    write_images(tmp_path / "held", HELD, seed=7)
    return tmp_path


def _bench(table, folder):
    return build_context(parse_study(table, folder), folder / "state")


def _store(context, asset, said, metrics=None):
    """Labels, or their metrics, as a run would have recorded them."""
    record_run(context, "by hand")
    products, records = [], []
    for key, label in said.items():
        payload = {"label": label, "metrics": (metrics or {}).get(key, {})}
        if asset.endswith("labels"):
            payload = {"label": label, "score": 1.0, "labels": []}
        image = {"asset": asset, "code": "1", "parameters": {}, "weights": {}, "inputs": {}}
        done = Outcome("ok", payload) if label else Outcome("dead", {}, "never fires")
        product = Product(f"{asset} of {key}", asset, image, done)
        unit = find_units(context)[key]
        products.append(product.row())
        records.append(record_of(context, "by hand", product, "1", unit).row())
    context.lineage.commit({"products": products, "materializations": records})


SAID = {
    "net/colours/0": "red",
    "net/colours/1": "green",
    "net/colours/2": "blue",
    "net/colours/3": None,
}
FIGURES = {
    "net/colours/0": {"cosy_auc": 0.9, "pearson": 0.5, "exact": 1.0},
    "net/colours/1": {"cosy_auc": 0.7, "pearson": None},
    "net/colours/2": {"cosy_auc": 0.2, "pearson": 0.1},
}


def test_means_leave_out_and_count_what_has_no_value(choosing, folder):
    context = _bench(choosing, folder)
    _store(context, "labels_metrics", SAID, FIGURES)
    _store(context, "clip_dissect_labels_metrics", {"net/colours/0": "red"}, FIGURES)
    _store(context, "labels_metrics", {"net/choice/0": "red"}, {"net/choice/0": {"pearson": 0.25}})
    units = list(find_units(context).values())
    groups = {unit.key: unit.layer for unit in units}
    rows = metric_means(context.lineage, "colours", groups)
    found = {(one.group, one.method, one.metric): one for one in rows}
    assert list(found) == [
        ("colours", "dnd", "cosy_auc"), ("colours", "dnd", "pearson"), ("colours", "dnd", "exact"),
        ("colours", "clip-dissect", "cosy_auc"), ("colours", "clip-dissect", "pearson"),
        ("colours", "clip-dissect", "exact"), ("choice", "dnd", "pearson"),
    ]  # fmt: skip
    auc, pearson = (found["colours", "dnd", name] for name in ("cosy_auc", "pearson"))
    assert (auc.mean.mean, auc.mean.units, auc.without) == (pytest.approx(0.6), 3, 0)
    assert (auc.mean.low, auc.mean.high) == mean_interval([0.9, 0.7, 0.2])
    assert (pearson.mean.mean, pearson.mean.units, pearson.without) == (pytest.approx(0.3), 2, 1)
    alone = found["choice", "dnd", "pearson"].mean
    assert (alone.mean, alone.low, alone.units) == (0.25, None, 1)
    assert metric_means(context.lineage, "colours", {"net/colours/3": "x"}) == []
    sql = "SELECT metric, value FROM label_metrics WHERE asset = ? AND unit = ? ORDER BY metric"
    rows = context.lineage.query(sql, ["labels_metrics", "net/colours/1"])
    assert [tuple(row.values()) for row in rows] == [("cosy_auc", 0.7), ("pearson", None)]
    assert list(measured(context.lineage, "colours")) == ["labels", "clip_dissect_labels"]


@pytest.mark.parametrize(
    ("drop", "dropped", "units", "verdict"),
    [
        (0.2, 1.0, 4, "sound"),
        (0.2, 0.75, 4, "sound"),
        (0.2, 0.5, 4, "WORTHLESS"),
        (0.0009, 1.0, 4, "WORTHLESS"),
        (-0.1, 1.0, 4, "WORTHLESS"),
        (0.0, 0.0, 4, "WORTHLESS"),
        (float("nan"), float("nan"), 0, "no unit has it"),
    ],
)
def test_a_metric_that_does_not_fall_is_worthless(drop, dropped, units, verdict):
    check = SanityCheck("f1", "extra labels", 0.5, 0.5 - drop, drop, dropped, units)
    assert Soundness("layer", "dnd", check).verdict == verdict


def test_the_checks_are_those_of_the_units_own_images(choosing, folder):
    context = _bench(choosing, folder)
    _store(context, "labels_metrics", SAID, FIGURES)
    units = list(find_units(context).values())
    with pytest.raises(UpstreamError, match="dnd run --assets held_out_images"):
        soundness(context, units)
    HeldOutImages().materialize(context, "run")
    found = soundness(context, units)
    names = [(one.check.metric, one.check.check) for one in found]
    assert names == [
        (metric, check) for check in ("missing labels", "extra labels") for metric in USUAL
    ]
    assert {(one.layer, one.method) for one in found} == {("net/colours", "dnd")}
    assert all(one.check.units <= 3 for one in found), "the dead unit has no label"
    again = soundness(context, units)
    assert [one.check for one in found] == [one.check for one in again]


def test_classes_are_read_off_right_labels_and_not_off_wrong_ones(choosing, folder):
    context = replace(_bench(choosing, folder), sentences=Words())
    HeldOutImages().materialize(context, "run")
    _store(context, "labels_metrics", SAID, {})
    wrong = {"net/colours/0": "blue", "net/colours/1": "red", "net/colours/2": "green"}
    _store(context, "other_labels_metrics", wrong, {})
    right, other = predict(context, list(find_units(context).values()))
    assert (right.layer, right.method, right.labelled) == ("net/colours", "dnd", 3)
    assert (right.feeds, right.classes) == ((4, 7), 4)
    assert (right.right.mean, right.right.units) == (1.0, HELD)
    assert right.most_common == pytest.approx(1 / 3)
    # Weights are the identity, and a class is like the label that says its name.
    assert right.correlation == pytest.approx(1.0)
    assert (other.method, other.right.mean) == ("other", 0.0)
    assert other.correlation < 0
    assert right.top_correlation is None


def test_class_prediction_needs_the_layer_that_feeds_the_last_one(choosing, folder):
    layers = [{"path": "choice"}, {"path": "colours.conv"}]
    models = [{**choosing["models"][0], "layers": layers}]
    context = _bench(changed(choosing, models=models), folder)
    HeldOutImages().materialize(context, "run")
    told = r"last linear layer of 'net' is 'choice'.*'colours.conv'.*do: 'colours', 'pooled'"
    with pytest.raises(StudyError, match=told):
        predict(context, list(find_units(context).values()))


def test_class_prediction_needs_a_linear_layer(colours, folder):
    context = _bench(changed(colours, evaluation={"folders": ["held"]}), folder)
    HeldOutImages().materialize(context, "run")
    with pytest.raises(StudyError, match="has no linear layer of vectors"):
        predict(context, list(find_units(context).values()))


def test_class_prediction_needs_labels(choosing, folder):
    context = _bench(choosing, folder)
    HeldOutImages().materialize(context, "run")
    with pytest.raises(NotFoundError, match="no metrics of 'colours' yet"):
        predict(context, list(find_units(context).values()))


def test_a_layer_is_found_among_the_inputs_of_another():
    rng = np.random.default_rng(0)
    values = rng.normal(size=(5, 3)).astype(np.float32)
    inputs = np.concatenate([rng.normal(size=(5, 2)), values, values[:, :1]], axis=1)
    assert place(values, inputs) == 2
    assert place(values * (1 + 2**-15), inputs) == 2, "stored values are rounded"
    assert place(values[:, ::-1], inputs) is None
    assert place(inputs, values) is None, "more neurons than inputs"
    assert place(np.ones((5, 2), np.float32), np.ones((5, 4))) is None, "constants tell nothing"


def _write(folder, table):
    """The study as a TOML file."""
    lines = ['name = "colours"', "", "[[models]]", 'name = "net"']
    lines += [f'source = "{table["models"][0]["source"]}"']
    for layer in table["models"][0]["layers"]:
        lines += ["", "[[models.layers]]", f'path = "{layer["path"]}"']
    for name in ("probing_set", "dissection", "captioner", "text_to_image", "clip", "evaluation"):
        lines += ["", f"[{name}]", *(f"{k} = {json.dumps(v)}" for k, v in table[name].items())]
    (folder / "study.toml").write_text("\n".join(lines) + "\n")
    return str(folder / "study.toml")


def _dnd(folder, *arguments):
    state = {"DND_HOME": str(folder / "state"), "COLUMNS": "100"}
    return CliRunner().invoke(app, list(arguments), env=state)


def test_the_commands_show_what_there_is(choosing, folder):
    study = _write(folder, choosing)
    context = _bench(choosing, folder)
    _store(context, "labels", SAID)
    before = _dnd(folder, "evaluate", "--study", study)
    assert isinstance(before.exception, NotFoundError)
    assert "dnd run --assets +labels_metrics" in str(before.exception)
    HeldOutImages().materialize(context, "run")
    _store(context, "labels_metrics", SAID, FIGURES)
    shown = _dnd(folder, "evaluate", "--study", study, "--classes")
    assert shown.exit_code == 0, shown.output
    assert re.search(r"net/colours\nmetrics by method\n.*\ncosy_auc +dnd +0\.600 ", shown.output)
    assert re.search(r"pearson +dnd +extra labels .*(sound|WORTHLESS)", shown.output)
    said = " ".join(shown.output.split())
    assert "net/colours gives 4 of the last layer's 7 inputs" in said
    told = json.loads(_dnd(folder, "evaluate", "--study", study, "-f", "json").stdout)
    first = told["means"][0]
    assert (first["metric"], first["mean"], first["units"]) == ("cosy_auc", pytest.approx(0.6), 3)
    assert {row["verdict"] for row in told["sanity"]} <= {"sound", "WORTHLESS", "no unit has it"}
    written = _dnd(folder, "evaluate", "-s", study, "-f", "csv").stdout
    rows = list(csv.DictReader(io.StringIO(written)))
    assert [row["metric"] for row in rows] == ["cosy_auc", "pearson", "exact"]
    report = evaluate_study(context, list(find_units(context).values()))
    assert rows[1]["missing labels"] == report.rows()[1]["missing labels"]
    compared = _dnd(folder, "compare", "--no-run", "--study", study)
    assert "metrics by method" in compared.stdout
    markdown = _dnd(folder, "compare", "--no-run", "--study", study, "-f", "markdown")
    assert "cosy_auc" not in markdown.stdout
    plain = json.loads(_dnd(folder, "compare", "--no-run", "-s", study, "-f", "json").stdout)
    assert plain["metrics"][0]["metric"] == "cosy_auc"


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--labels", "l.csv", "--study", "s"], "--labels goes without"),
        (["--labels", "l.csv", "--classes"], "--labels goes without"),
        (["--truths", "t.csv"], "--truths goes with --labels"),
    ],
)
def test_a_file_and_a_study_are_asked_for_one_at_a_time(folder, arguments, text):
    found = _dnd(folder, "evaluate", *arguments)
    assert found.exit_code == 2
    assert text in found.output


def test_a_renamed_model_leaves_old_units_alone(choosing, folder):
    assert "net/colours/9" not in find_units(_bench(choosing, folder))
