"""The command line as a user meets it."""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
from typer.testing import CliRunner

from dnd_assets.cli import app, web_interface
from dnd_assets.errors import NotFoundError, StudyError
from resources.lineage_db.database import Lineage
from tests import studies
from tests.command_line import dnd as _dnd
from tests.command_line import toml as _toml

UNIT = "net/colours/0"


@pytest.fixture(scope="module")
def project(colours, tmp_path_factory):
    """A folder with a study file and images, labelled by `dnd run`."""
    folder = tmp_path_factory.mktemp("project")
    studies.write_images(folder / "images")
    (folder / "study.toml").write_text(_toml(colours), encoding="utf-8")
    result = _dnd(folder, "run", "net/colours")
    assert result.exit_code == 0, result.output
    return folder, result.output


def test_run_tells_what_it_did_and_what_comes_next(project):
    _, output = project
    assert "probing images 18/18" in output
    assert "4 units, 29 products computed, 0 reused" in output
    assert "dnd trace" in output
    for work in ("captions", "forward passes", "activation maps", "embeddings", "paintings"):
        assert f" {work}" in output.split("Run ")[1]


def test_a_run_with_nothing_to_do_says_so_and_makes_none(project):
    folder, _ = project
    lineage = Lineage(root=str(folder / "state"))
    before = lineage.query("SELECT count(*) AS n FROM materializations")
    for arguments in (["net/colours"], ["net/colours/0-1", "--assets", "+labels"]):
        result = _dnd(folder, "run", *arguments)
        assert result.exit_code == 0
        assert "units are up to date" in result.output
    assert lineage.query("SELECT count(*) AS n FROM materializations") == before
    assert "everything is up to date" in _dnd(folder, "plan", "net/colours").output


@pytest.mark.parametrize(
    ("arguments", "names"),
    [
        (["run", "net/colours"], {"id", "units", "computed", "reused", "work", "seconds"}),
        (["verify"], {"files", "missing", "changed", "segments", "orphaned", "set_aside", "rebuilt",
                      "sound"}),
        (["plan", "net/colours"], {"asset", "compute", "reuse", "may", "cost", "most", "seconds",
                                   "most_seconds", "why"}),
        (["runs"], {"run", "began", "ended", "units", "computed", "reused"}),
        (["layers", "net"], {"path", "kind", "units", "shape", "has_map", "known", "reason",
                             "layout", "raw", "proven"}),
    ],
)  # fmt: skip
def test_json_alone_is_on_stdout_and_quiet_leaves_no_progress(project, arguments, names):
    loud = _dnd(project[0], *arguments, "--json")
    assert loud.exit_code == 0, loud.output
    found = json.loads(loud.stdout)
    assert names == set(found if isinstance(found, dict) else found[0])
    quiet = _dnd(project[0], "--quiet", *arguments)
    assert (quiet.exit_code, quiet.stderr) == (0, ""), quiet.output
    assert not _dnd(project[0], *arguments, "-q").stderr


def test_runs_are_listed_by_the_ids_that_diff_asks_for(project):
    (run,) = json.loads(_dnd(project[0], "runs", "--json").stdout)
    assert (run["units"], run["computed"]) == (4, 29)
    assert run["run"][:8] in _dnd(project[0], "runs").stdout
    same = _dnd(project[0], "diff", run["run"], run["run"][:8])
    assert "0 labels differ" in same.stdout
    assert json.loads(_dnd(project[0], "diff", run["run"], run["run"], "--json").stdout) == []


def test_a_new_section_runs_its_own_assets_and_announces_no_others(project, colours, tmp_path):
    """What is up to date stays as it is: no event, no pass.

    Readers know the folder of a study from its last run, so what stands is confirmed by a row each.
    """
    folder = tmp_path / "copy"
    shutil.copytree(project[0], folder)
    moved = _dnd(folder, "run", "net/colours")  # the same images in another folder
    assert ", 1 products computed, 0 reused" in moved.output, moved.output
    assert _newest_run(folder, reused=False) == [("probing_set", 1)]
    assert {number for _, number in _newest_run(folder, reused=True)} == {4}
    assert "made under other settings" not in _dnd(folder, "labels").output
    (folder / "concepts.txt").write_text("red\ngreen\nblue\nsand\n")
    section = {"concepts": "concepts.txt", "similarity": "cos_cubed"}
    table = studies.changed(colours, clip_dissect=section)
    (folder / "study.toml").write_text(_toml(table), encoding="utf-8")

    result = _dnd(folder, "run", "net/colours")

    assert result.exit_code == 0, result.output
    assert "4 units, 5 products computed, 0 reused" in result.output
    assert _newest_run(folder, reused=False) == [
        ("clip_dissect_labels", 4),
        ("concept_activations", 1),
    ]
    (folder / "concepts.txt").write_text("red\ngreen\nblue\nsand\n\n")  # a blank line says nothing
    assert "units are up to date" in _dnd(folder, "run", "net/colours").output
    _methods_side_by_side(folder, tmp_path)


def _newest_run(folder, reused):
    """Assets of the newest run, with the number of products that it computed or reused."""
    rows = Lineage(root=str(folder / "state")).query(
        "SELECT asset, count(*) AS n FROM materializations WHERE run = (SELECT run FROM "
        "materializations ORDER BY recorded_at DESC LIMIT 1) AND reused = ? "
        "GROUP BY asset ORDER BY asset",
        [reused],
    )
    return [(row["asset"], row["n"]) for row in rows]


def _methods_side_by_side(folder, tmp_path):
    """Labels of both methods as a table, in the database, and as a study for people."""
    shown = _dnd(folder, "labels", "--asset", "clip_dissect_labels", "--format", "csv")
    said = [row.split(",")[4].strip('"') for row in shown.stdout.splitlines()[1:4]]
    assert set(said) <= {"red", "green", "blue", "sand"}
    wrong = _dnd(folder, "labels", "--asset", "clip_disect_labels")
    assert isinstance(wrong.exception, NotFoundError)
    assert "nearest: clip_dissect_labels" in str(wrong.exception)
    rows = Lineage(root=str(folder / "state")).query(
        "SELECT asset, label, interpretable FROM method_labels WHERE unit = ? ORDER BY asset",
        [UNIT],
    )
    assert [row["asset"] for row in rows] == ["clip_dissect_labels", "labels"]
    assert rows[0]["label"] == said[0]
    asked = _dnd(folder, "human-study", tmp_path / "survey", "--images", "3", "--sample", "2")
    assert asked.exit_code == 0, asked.output
    assert "2 units, dnd, clip-dissect: " in asked.output
    assert "left out: net/colours/3 has no label by dnd, clip-dissect" in asked.output
    key = json.loads((tmp_path / "survey" / "key.json").read_text())
    assert {tuple(sorted(task["methods"])) for task in key["tasks"].values()} == {
        ("clip-dissect", "dnd")
    }
    nobody = _dnd(folder, "human-study", tmp_path / "other", "--methods", "dnd,clip-disect")
    assert "nearest: clip-dissect" in str(nobody.exception)


def test_runs_are_in_the_dagster_instance(project, monkeypatch):
    import dagster as dg

    folder, _ = project
    monkeypatch.setenv("DAGSTER_HOME", str(folder / "state" / "dagster"))
    with dg.DagsterInstance.get() as instance:
        records = instance.fetch_materializations(dg.AssetKey("labels"), limit=100).records
        assert {record.partition_key for record in records} >= {UNIT, "net/colours/3"}
        runs = {run.run_id for run in instance.get_runs()}
        for run in instance.get_runs():  # where the timeline looks, and only there
            place = run.remote_job_origin.repository_origin
            assert place.get_label() == run.tags[".dagster/repository"]
            assert place.code_location_origin.location_name == "dnd_assets.definitions"
    recorded = Lineage(root=str(folder / "state")).query(
        "SELECT DISTINCT run FROM materializations"
    )
    assert {row["run"] for row in recorded} <= runs


def test_labels_in_every_format(project, tmp_path):
    folder, _ = project
    shown = _dnd(folder, "labels")
    assert UNIT in shown.output
    assert "dead" in shown.output
    assert "nan" not in shown.output, "no label is shown as a dash"
    csv = tmp_path / "labels.csv"
    assert _dnd(folder, "labels", "--format", "csv", "--output", csv).exit_code == 0
    parquet = tmp_path / "labels.parquet"
    assert _dnd(folder, "labels", "-f", "parquet", "-o", parquet).exit_code == 0
    table = pd.read_csv(csv)
    assert list(table["unit"]) == [f"net/colours/{n}" for n in range(4)]
    assert list(table["status"]) == ["ok", "ok", "ok", "dead"]
    assert table["label"].isna().tolist() == [False, False, False, True]
    pd.testing.assert_frame_equal(pd.read_parquet(parquet)[["unit"]], table[["unit"]])
    records = json.loads(_dnd(folder, "labels", "--format", "json").stdout)
    assert [record["label"] for record in records[:3]] == list(table["label"][:3])


def test_trace_leads_to_the_pixels(project, tmp_path):
    folder, _ = project
    text = _dnd(folder, "trace", UNIT).output
    assets = ["labels", "scores", "synthetic_images", "candidate_concepts", "captions", "crops"]
    for word in [*assets, "prompt: 'One realistic image of", "seed", "box", "weights"]:
        assert word in text, word
    result = _dnd(folder, "trace", UNIT, "--format", "json", "--pictures", tmp_path / "why")
    found = json.loads(result.stdout[: result.stdout.rindex("}") + 1])
    label = found["products"]["labels"]["content"]["label"]
    scored = [e["concept"] for e in found["products"]["scores"]["content"]["concepts"]]
    assert label == scored[0]
    painted = found["products"]["synthetic_images"]["content"]["concepts"]
    assert {entry["concept"] for entry in painted} == set(scored)
    for image in painted[0]["images"]:
        assert (tmp_path / "why" / "synthetic_images" / f"{image['image']}.png").is_file()
    for exemplar in found["products"]["activations"]["content"]["exemplars"]:
        (path,) = found["images"][exemplar["image"]]["paths"]
        assert Path(path).parent.samefile(folder / "images")
    captions = found["products"]["captions"]
    assert captions["weights"]["captioner"]["checkpoint"]
    assert captions["inputs"]["crops"] == found["products"]["crops"]["data_version"]


def test_trace_of_a_dead_unit_says_why(project):
    folder, _ = project
    text = _dnd(folder, "trace", "net/colours/3").output
    assert "no label (dead)" in text
    assert "its activation is 0 on every one of 18 images" in text


def test_layers_lists_what_can_be_labelled(project):
    folder, _ = project
    text = _dnd(folder, "layers", "net").output
    assert any(
        row.split()[:3] == ["colours", "Colours", "4"] and row.rstrip().endswith("yes")
        for row in text.splitlines()
    )
    assert "no map" in text


def test_doctor_finds_what_is_missing(project, tmp_path):
    folder, _ = project
    assert _dnd(folder, "doctor").exit_code == 0
    broken = (folder / "study.toml").read_text().replace("talkative", "elsewhere")
    (folder / "broken.toml").write_text(broken)
    result = _dnd(folder, "doctor", "--study", folder / "broken.toml")
    assert result.exit_code == 1
    assert "elsewhere" in result.output


@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [
        (["run", "net/colors/0"], NotFoundError, "nearest: net/colours/0"),
        (["run", "--assets", "label"], NotFoundError, "no asset 'label'; nearest: labels"),
        (["run", "--study", "known-answer"], StudyError, "nearest: known-answers"),
        (["trace", "net/colours/7"], NotFoundError, "nearest: net/colours"),
        (["layers", "nett"], NotFoundError, "no model 'nett'; nearest: net"),
    ],
)
def test_wrong_names_list_the_nearest(project, arguments, error, text):
    folder, _ = project
    result = _dnd(folder, *arguments)
    assert isinstance(result.exception, error)
    assert text in str(result.exception)


def test_an_error_is_a_message_not_a_traceback(project):
    folder, _ = project
    environment = {**os.environ, "DND_HOME": str(folder / "state")}
    command = [sys.executable, "-m", "dnd_assets.cli", "labels", "--study", "known-answer"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("dnd: no study 'known-answer'")
    assert "Traceback" not in done.stderr


def test_a_failed_run_names_the_cause_and_keeps_what_was_done(project, colours):
    folder, _ = project
    wrong = studies.changed(colours, dissection__exemplars=30)
    (folder / "wrong.toml").write_text(_toml(wrong), encoding="utf-8")
    before = time.monotonic()
    result = _dnd(folder, "run", UNIT, "--study", folder / "wrong.toml")
    assert time.monotonic() - before < 30
    assert "30 most activating images; the probing set holds 18" in str(result.exception)
    assert "ok" in _dnd(folder, "labels").output


def test_the_dagster_command_line_materializes_any_partitions(project):
    folder, _ = project
    environment = {
        **os.environ,
        "DND_HOME": str(folder / "state"),
        "DND_STUDY": str(folder / "study.toml"),
        "DAGSTER_HOME": str(folder / "state" / "dagster"),
    }
    before = _materializations(folder)
    command = [
        *(sys.executable, "-m", "dagster", "asset", "materialize"),
        *("-m", "dnd_assets.definitions", "--select", "scores,labels"),
        *("--partition-range", "net/colours/1...net/colours/2"),
    ]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    after = _materializations(folder)
    fresh = {(row["asset"], row["unit"]) for row in after if row not in before}
    assert fresh == {(asset, f"net/colours/{n}") for asset in ("scores", "labels") for n in (1, 2)}


def _materializations(folder):
    sql = "SELECT run, asset, unit FROM materializations"
    return Lineage(root=str(folder / "state")).query(sql)


@pytest.mark.parametrize(
    ("given", "inherited", "served"),
    [
        ([], "study.toml", "study.toml"),
        (["--study", "known-answers"], "study.toml", "known-answers"),
        (["--study", "study.toml"], "", "study.toml"),
    ],
)
def test_the_interface_serves_the_active_study(
    project, monkeypatch, tmp_path, given, inherited, served
):
    folder, _ = project
    monkeypatch.chdir(folder)
    started = {}

    def run(command, environment, folder):
        started.update(environment)
        return 0

    monkeypatch.setattr(web_interface, "_until_it_ends", run)
    environment = {
        "DND_HOME": str(tmp_path), "DND_STUDY": inherited, "DAGSTER_HOME": str(tmp_path / "dagster")
    }  # fmt: skip
    told = CliRunner().invoke(app, ["ui", *given], env=environment)
    assert told.exit_code == 1, "it ended, and nobody had asked for that"
    assert Path(started["DND_STUDY"]).name == served
