"""What an addition costs: those of docs/extend.md are made to a copy of the project and work."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.blocks import blocks
from tests.studies import write_images

ROOT = Path(__file__).parents[2]
DOC = ROOT / "docs" / "extend.md"
STUDY = """
name = "added"

[[models]]
name = "net"
source = "module:tests.networks:colour_net"
layers = [{ path = "colours" }]

[probing_set]
folders = ["images"]

[dissection]
crop_size = 32
images_per_concept = 2
exemplars = 4
candidates = 2

[captioner]
kind = "colour_word"
noun = "patch"

[summariser]
kind = "word_list"

[text_to_image]
kind = "speckles"
side = 24

[clip]
kind = "mean_colour"

[longest_word]
top = 2

[compute]
device = "cpu"
"""
ASK = """
import json, tomllib
from pathlib import Path
import dnd_assets
from typer.testing import CliRunner
from dnd_assets.cli import app
from dnd_assets.engine.context_builder import build_context
from dnd_assets.errors import StudyError
from dnd_assets.results.tables.table_source import TableSource
from dnd_assets.study.deciding import deciding
from dnd_assets.study.study import load_study, parse_study
from tests.studies import label

here = Path.cwd()
table = tomllib.loads(Path("study.toml").read_text())
told = {"package": str(Path(dnd_assets.__file__).parent)}
told["networks"] = CliRunner().invoke(app, ["networks", "--study", "study.toml"]).output
units = ["net/colours/0-1"]
for last in ("labels", "longest_word_labels"):
    found = label(table, here, units, run="first", last=last)
    told[last] = [[one.record.status, one.product.payload.get("label")]
                  for (asset, _), one in found.items() if asset == last]
again = label(table, here, units, run="second", last="longest_word_labels")
told["reused"] = [one.record.reused for one in again.values()]
study = load_study("study.toml")
context = build_context(study, here / "state", reading=True)
told["titles"] = [getattr(context, role).title()
                  for role in ("captioner", "summariser", "text_to_image", "clip")]
source = TableSource(context.lineage, "added")
told["captions"] = [row for rows in source.batches("captions", [source.table("captions")])
                    for row in rows.by_table["captions"]]
told["tables"] = [one.name for one in source.tables()]
from dnd_assets.methods.metrics.image_level import detection_metrics
kendall = detection_metrics(["kendall"])["kendall"]
told["kendall"] = kendall([1.0, 2.0, 3.0, 4.0], [0.0, 0.0, 1.0, 1.0])
told["decides"] = deciding(study, "longest_word_labels", "net", "colours")["longest_word"]
table = study.model_dump(mode="json")
wrong = {
    "captioner": {"kind": "colour_wrd"},
    "clip": {"kind": "open_clip", "side": 3},
    "text_to_image": {"kind": "diffusers", "side": 3},
}
for section, change in wrong.items():
    try:
        parse_study({**table, section: change}, Path.cwd())
    except StudyError as error:
        told[section] = str(error)
print("TOLD" + json.dumps(told, default=str))
"""


def _replaced(path, old, new):
    text = path.read_text(encoding="utf-8")
    assert text.count(old) == 1, (path, old)
    path.write_text(text.replace(old, new), encoding="utf-8")


def _add(copy):
    """Make the additions; the files that were there and had to be edited, with the lines added."""
    edited = {}
    for block in blocks(DOC, "py"):
        name, text = block.text.split("\n", 1)
        path = copy / name.removeprefix("# ")
        if path.exists():
            edited[path.relative_to(copy).as_posix()] = text
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return edited


EDITS = (
    ("dnd_assets/assets/registry.py", '    "milan": (MilanLabels(),),\n',
     '    "longest_word": (LongestWordLabels(),),\n'),
    ("dnd_assets/assets/registry.py", "from dnd_assets.assets.milan_labels import MilanLabels\n",
     "from dnd_assets.assets.longest_word_labels import LongestWordLabels\n"),
    ("dnd_assets/study/study.py", "    milan: Milan | None = None\n",
     "    longest_word: LongestWordSettings | None = None\n"),
    ("dnd_assets/study/study.py",
     "from dnd_assets.study.network_settings import ModelSettings\n",
     "from dnd_assets.methods.longest_word.settings import LongestWordSettings\n"),
    ("dnd_assets/methods/metrics/image_level.py",
     '    "spearman": ImageMetric(_for_any_share(rankings.spearman), -1.0),\n',
     '    "kendall": ImageMetric(_for_any_share(kendall), -1.0),\n'),
    ("dnd_assets/methods/metrics/image_level.py",
     "from dnd_assets.methods.metrics.active_sets import ACTIVE_SHARE, active_images\n",
     "from dnd_assets.methods.metrics.kendall import kendall\n"),
)  # fmt: skip
"""Lines that are added to files, after which one: the method's line and field, with imports."""
CAPTIONS = "dnd_assets/results/products/captions.py"


@pytest.fixture(scope="module")
def added(tmp_path_factory):
    """What a copy of the project with the additions says of a small study that uses them all."""
    place = tmp_path_factory.mktemp("project")
    for package in ("dnd_assets", "resources"):
        left = ["checkpoints"] * (package == "dnd_assets")  # byte code comes along: it is quicker
        shutil.copytree(ROOT / package, place / package, ignore=shutil.ignore_patterns(*left))
    edited = _add(place)
    assert list(edited) == [CAPTIONS]
    last = '"what the captioner says of it")'
    column = edited[CAPTIONS].strip().removesuffix(",")
    _replaced(place / CAPTIONS, last, f"{last}, {column}")
    for file, line, new in EDITS:
        _replaced(place / file, line, line + new)
    work = place / "work"
    write_images(work / "images", 9)
    (work / "study.toml").write_text(STUDY, encoding="utf-8")
    changed = {"PYTHONPATH": f"{place}{os.pathsep}{ROOT}", "DND_HOME": str(work / "state"),
               "DAGSTER_HOME": str(work / "dagster"), "COLUMNS": "200"}  # fmt: skip
    done = subprocess.run([sys.executable, "-c", ASK], cwd=work, capture_output=True, text=True,
                          env=os.environ | changed, check=False)  # fmt: skip
    assert "TOLD" in done.stdout, (done.stdout + done.stderr)[-3000:]
    return place, json.loads(done.stdout.rpartition("TOLD")[2])


def test_kinds_of_all_roles_label_a_study(added):
    place, told = added
    assert told["package"] == str(place / "dnd_assets")
    assert told["titles"] == [
        "brightest channel", "words of the captions", "speckles", "mean colour"
    ]  # fmt: skip
    assert [status for status, _ in told["labels"]] == ["ok", "ok"], told["labels"]
    assert {label for _, label in told["labels"]} <= {"red", "green", "blue", "patch"}
    assert all(one["caption"].endswith(" patch") for one in told["captions"])


def test_a_kind_that_is_not_there_and_an_option_of_another_are_refused_by_name(added):
    _, told = added
    assert "captioner.kind: 'colour_wrd' is not known; nearest: colour_word" in told["captioner"]
    assert (
        "text_to_image: side is no option of kind = 'diffusers' (it belongs to speckles)"
        in told["text_to_image"]
    )
    assert "clip.side: unknown key" in told["clip"]


def test_a_method_is_a_product_like_any_other(added):
    _, told = added
    # `green` and `patch` have five letters each; the alphabet decides.
    assert {tuple(one) for one in told["longest_word_labels"]} <= {("ok", "green"), ("ok", "patch")}
    assert told["decides"] == {"top": 2}
    assert told["reused"]
    assert all(told["reused"])
    assert "longest_word_labels" in told["tables"]


def test_a_column_and_a_command_are_there(added):
    _, told = added
    assert told["networks"].strip() == "net: module:tests.networks:colour_net"
    assert told["captions"]
    assert all(one["letters"] == len(one["caption"]) for one in told["captions"])


def test_a_metric_is_one_file_and_one_entry(added):
    _, told = added
    # 4 of 6 pairs agree and 2 are tied in presence: 4 / sqrt(6 * 4).
    assert told["kendall"] == pytest.approx(4 / 24**0.5)
