"""Every command, study and program that the documentation shows is run or read."""

import importlib.util
import os
import re
import runpy
import shlex
import shutil
import tomllib
from pathlib import Path

import pandas as pd
import pytest
from typer.testing import CliRunner

from dnd_assets.analysis.human_study.questionnaire import read_key
from dnd_assets.cli import app
from dnd_assets.study.study import parse_study
from resources.lineage_db.database import Lineage
from tests.blocks import blocks
from tests.resources import tiny
from tests.studies import write_images

ROOT = Path(__file__).parents[1]
DOCS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
EXTEND = ROOT / "docs" / "extend.md"
FRAME = {
    "name": "frame",
    "models": [{"name": "n", "source": "module:m:f", "layers": [{"path": "l"}]}],
    "probing_set": {"folders": ["photographs"]},
}
HUGE = "paper-resnet50", "modern", "offline-photos", "land-cover", "eurosat"
"""Studies whose models are not here: of these the doctor is asked, and has to find what lacks."""
SLOW = re.compile(r"dnd (ui|demo)\b")
"""Commands that other tests or CI run, or that only end when they are stopped."""


def _small_models(clip, captioner):
    """Sections that stand in for the hub's models, small and of the same classes."""
    return f"""
[captioner]
checkpoint = "{captioner}"

[summariser]
kind = "consensus"

[text_to_image]
kind = "world"

[clip]
model = "{clip}"
pretrained = ""

[own_methods]
common_word = "my_methods:CommonWord"

[clip_dissect]
concepts = "words.txt"
top_images = 4

[evaluation]
folders = ["held-out"]
images_per_label = 2

[dissection]
exemplars = 10
crop_size = 64
images_per_concept = 2
"""


@pytest.fixture(scope="module")
def workshop(tmp_path_factory, clip_folder, module_monkeypatch):
    """A folder with everything that the commands name, and in it a study that was run twice."""
    folder = tmp_path_factory.mktemp("workshop")
    _files(folder, clip_folder)
    module_monkeypatch.chdir(folder)
    for name in list(os.environ):
        if name.startswith(("DND_", "DAGSTER_")) and name != "DND_SHARED":
            module_monkeypatch.delenv(name)
    module_monkeypatch.setenv("DND_STUDY", "mine.toml")
    present = (folder / "mine.toml").read_text()
    (folder / "mine.toml").write_text(
        present.replace("crop_size = 64", "crop_size = 64\nlabels = 2")
    )
    _done("run lite0/_fc/0-1 --assets +labels")
    (folder / "mine.toml").write_text(present)
    _done("run")
    return folder


def _done(line):
    done = _dnd(line)
    assert done.exit_code == 0, f"{line}: {done.exception!r}\n{done.output}"


def _files(folder, clip_folder):
    write_images(folder / "photographs", 12)
    write_images(folder / "held-out", 6, seed=3)
    models = _small_models(clip_folder, tiny.blip(folder / "captioner", seed=22))
    texts = [block.text for block in blocks(ROOT / "docs" / "your-own-network.md", "toml")]
    shown = next(text for text in texts if text.startswith("name ="))
    here = shown
    for all_units, few in (("sample = 10", "sample = 2"), ('["0-9"]', '["0-4"]')):
        assert all_units in here
        here = here.replace(all_units, few)
    here = here.replace(
        "efficientnet-lite:efficientnet-lite0", "module:tests.small_lite0:like_lite0"
    )
    (folder / "mine.toml").write_text(here + models)
    for block in blocks(EXTEND, "python"):
        (folder / block.text.splitlines()[0].removeprefix("# ")).write_text(block.text)
    (folder / "words.txt").write_text("red\ngreen\nblue\nsquare\n")
    (folder / "imagenet_classes.txt").write_text("".join(f"class {n}\n" for n in range(1000)))
    numbers = "".join(f"{n},{word}\n" for n, word in enumerate(["red", "green", "blue"]))
    (folder / "labels.csv").write_text(f"unit,label\n{numbers}")
    keyed = "".join(f"lite0/_fc/{n},square\n" for n in range(5))
    (folder / "milan.csv").write_text(f"unit,label\n{keyed}")
    (folder / "truths.csv").write_text(f"unit,truth\n{keyed}")
    tiny.sentences(folder / "models" / "all-mpnet-base-v2")


@pytest.fixture(scope="module")
def module_monkeypatch():
    with pytest.MonkeyPatch.context() as patch:
        yield patch


def _dnd(line):
    return CliRunner().invoke(app, shlex.split(line))


def _shown(language):
    return [
        pytest.param(block, id=str(block))
        for file in DOCS
        for block in blocks(file, language)
        if file != EXTEND or language != "python"  # tests/integration/test_own_code.py runs those
    ]


def _lines(block):
    """Commands of a block, without comments and with continued lines joined."""
    text = block.text.replace("\\\n", " ")
    return [line for raw in text.splitlines() if (line := raw.partition("  #")[0].strip())]


@pytest.mark.parametrize("block", _shown("bash"))
def test_every_command_works(block, workshop, monkeypatch):
    for line in _lines(block):
        _run(line, workshop, monkeypatch)


def _run(line, folder, monkeypatch):
    if line.startswith(("#", "source ")):
        return
    if line.startswith("make "):
        target = re.escape(line.split()[1])
        assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.MULTILINE), line
        return
    if line.startswith("export "):
        name, _, value = line.removeprefix("export ").partition("=")
        monkeypatch.setenv(name, value)
        return
    if benchmark := re.match(r"(?:\.venv/bin/)?python -m (benchmarks[\w.]*)", line):
        assert importlib.util.find_spec(benchmark[1]), line
        return
    if SLOW.match(line):
        line = " ".join([*line.split()[:2], "--help"])
    assert line.startswith("dnd "), f"no test knows how to run: {line}"
    if line.startswith("dnd init"):
        (folder / "study.toml").unlink(missing_ok=True)
    if line.startswith("dnd ratings"):
        _rate(folder)
    if line.startswith("dnd merge"):
        for name in ("half-1", "half-2"):
            shutil.copytree(folder / ".dnd", folder / name, dirs_exist_ok=True)
    result = _dnd(_filled(line.removeprefix("dnd "), folder))
    huge = any(re.search(rf"--study {name}\b", line) for name in HUGE)
    said = f"{line}: {result.exception!r}\n{result.output[-2000:]}"
    assert result.exit_code in ({1, 2} if huge else {0}), said


def _rate(folder):
    """What MTurk gives back when two people like every description as well."""
    key = read_key(folder / "survey" / "key.json")
    rows = [
        {
            "HITId": "x", "AssignmentStatus": "Approved", "WorkerId": worker, "Input.task": task,
            **{f"Answer.rating_{i}": "3" for i, _ in enumerate(asked.methods)}, "Answer.none": "",
        }
        for task, asked in key.items()
        for worker in "ab"
    ]  # fmt: skip
    pd.DataFrame(rows).to_csv(folder / "results.csv", index=False)


def _filled(line, folder):
    """The command with what a reader would fill in, and the study whose models are here."""
    if not line.startswith("init"):
        line = line.replace("--study study.toml", "--study mine.toml")
    if "RUN_A" in line:
        rows = Lineage(root=str(folder / ".dnd")).query(
            "SELECT DISTINCT run FROM materializations WHERE study = 'mine' AND asset = 'labels'"
        )
        first, second = sorted(row["run"] for row in rows)[:2]
        line = line.replace("RUN_A", first).replace("RUN_B", second)
    return line


@pytest.mark.parametrize("block", _shown("toml"))
def test_every_study_is_valid(block, tmp_path):
    table = tomllib.loads(block.text)
    assert parse_study(FRAME | table, tmp_path)


@pytest.mark.parametrize("block", _shown("python"))
def test_every_program_runs(block, workshop):
    program = workshop / f"program_{block.file.stem}_{block.line}.py"
    program.write_text(block.text)
    runpy.run_path(str(program))


def test_links_and_pictures_lead_somewhere():
    for file in DOCS:
        for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", file.read_text(encoding="utf-8")):
            if not target.startswith("http"):
                assert (file.parent / target).exists(), f"{file.name}: {target}"


def test_anchors_are_headings():
    for file in DOCS:
        for target, anchor in re.findall(r"\]\(([^)#\s]*)#([^)]+)\)", file.read_text("utf-8")):
            if target.startswith("http"):
                continue
            there = (file.parent / target if target else file).read_text(encoding="utf-8")
            heads = re.findall(r"^#+ (.+)$", there, re.MULTILINE)
            slugs = {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}
            assert anchor in slugs, f"{file.name}: {target}#{anchor}"
