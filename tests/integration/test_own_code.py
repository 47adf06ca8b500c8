"""Methods and metrics of a user's own: those of docs/extend.md, run as they stand there."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dnd_assets.analysis.metric_means import metric_means
from dnd_assets.assets.label_metrics import on_images
from dnd_assets.assets.registry import stages_of
from dnd_assets.engine.context_builder import build_context, find_units
from dnd_assets.engine.plan import plan
from dnd_assets.engine.stage import Work
from dnd_assets.errors import NotFoundError, StudyError, UpstreamError
from dnd_assets.lineage.fingerprint import canonical
from dnd_assets.lineage.records import Outcome, Product
from dnd_assets.study.study import parse_study
from dnd_assets.units import Unit
from tests.blocks import blocks
from tests.studies import changed, label, write_images

DOC = Path(__file__).parents[2] / "docs" / "extend.md"
ASSET = "common_word_labels"
METHODS = {"common_word": "my_methods:CommonWord"}


@pytest.fixture
def own_files():
    """Writes the files that the documentation shows."""

    def write(folder, change=lambda text: text):
        for block in blocks(DOC, "python"):
            name = block.text.splitlines()[0].removeprefix("# ")
            (folder / name).write_text(change(block.text))

    return write


@pytest.fixture
def labelled_copy(labelled, tmp_path):
    shutil.copytree(labelled[0], tmp_path / "copy")
    return tmp_path / "copy"


def _run(table, folder, run):
    """Bring everything up to the own method up to date."""
    found = label(table, folder, run=run, last=ASSET)
    context = build_context(parse_study(table, folder), folder / "state")
    return context, {key: one for (name, key), one in found.items() if name == ASSET}


def test_the_documented_method_labels_by_the_commonest_word(colours, labelled_copy, own_files):
    own_files(labelled_copy)
    table = changed(colours, own_methods=METHODS)
    context, found = _run(table, labelled_copy, "own")
    for key, one in found.items():
        if one.record.status != "ok":
            continue
        rows = context.lineage.query("SELECT caption FROM captions WHERE unit = ?", [key])
        captions = [row["caption"].split() for row in rows]
        best = one.product.payload["labels"][0]
        words = {word for text in captions for word in text}
        counts = [sum(word in text for text in captions) for word in words]
        assert best["score"] == max(counts) / len(captions)
        assert one.product.payload["label"] == best["label"]
    assert {one.record.status for one in found.values()} >= {"ok", "dead"}
    _, again = _run(table, labelled_copy, "again")
    assert all(one.record.reused for one in again.values())


def test_changed_code_is_another_product(colours, labelled_copy, own_files):
    own_files(labelled_copy)
    table = changed(colours, own_methods=METHODS)
    _run(table, labelled_copy, "own")
    study = parse_study(table, labelled_copy)
    own_files(labelled_copy, lambda text: text.replace("best[:3]", "best[:1]"))
    context = build_context(study, labelled_copy / "state")
    units = list(find_units(context).values())
    (planned,) = plan(context, stages_of(study), units, [ASSET])
    assert planned.reuse == 0
    own_files(labelled_copy, lambda text: text.replace("The word that stands", "Another docstring"))
    (planned,) = plan(context, stages_of(study), units, [ASSET])
    assert planned.compute == 0


def test_the_documented_metric_is_measured_of_every_label(colours, labelled_copy, own_files):
    own_files(labelled_copy)
    write_images(labelled_copy / "held-out", 12, seed=7)
    section = {"folders": ["held-out"], "own_metrics": {"auroc": "my_metrics:auroc"}}
    table = changed(colours, evaluation=section)
    found = label(table, labelled_copy, run="measured", last="labels_metrics")
    ok = [one for (name, _), one in found.items() if name == "labels_metrics" and one.product.ok]
    assert ok
    for one in ok:
        assert {"auroc", "pearson"} <= set(one.product.payload["metrics"])
    study = parse_study(table, labelled_copy)
    context = build_context(study, labelled_copy / "state")
    means = metric_means(context.lineage, study.name, {one.unit.key: "all" for one in ok})
    assert [row.metric for row in means][-1] == "auroc", "the user's own come last"


def test_the_documented_metric_by_hand(own_files, tmp_path, colours):
    own_files(tmp_path)
    section = {"folders": ["x"], "own_metrics": {"auroc": "my_metrics:auroc"}}
    metric = on_images(parse_study(changed(colours, evaluation=section), tmp_path))["auroc"]
    # Of six pairs 3 > 1, 3 > 2, 2 > 1 win, 2 = 2 is half, 3 < 4 and 2 < 4 lose.
    value = metric(np.array([3.0, 2, 1, 2, 4]), np.array([1.0, 0.9, 0, 0.1, 0.5]))
    assert value == pytest.approx(3.5 / 6)
    assert np.isnan(metric(np.array([1.0, 2]), np.array([0.0, 0])))


def test_the_documented_captioner_goes_through_the_whole_pipeline(
    colours, labelled_copy, own_files
):
    own_files(labelled_copy)
    table = changed(colours, captioner={"kind": "own", "source": "my_captioner:caption"})
    found = label(table, labelled_copy, run="own captions")
    captions = found["captions", "net/colours/0"].product.payload["captions"]
    assert {one["caption"] for one in captions} <= {"red", "green", "blue", "white"}
    assert captions[0]["caption"] == "red", "what the unit likes best"
    assert found["labels", "net/colours/0"].record.status == "ok"
    context = build_context(parse_study(table, labelled_copy), labelled_copy / "state")
    told = context.captioner.fingerprint()
    (labelled_copy / "weights.bin").write_bytes(b"1")
    own_files(
        labelled_copy, lambda text: text.replace("NAMES =", "FILES = ['weights.bin']\nNAMES =")
    )
    with_file = context.captioner.fingerprint()
    (labelled_copy / "weights.bin").write_bytes(b"2")
    assert len({str(told), str(with_file), str(context.captioner.fingerprint())}) == 3
    (labelled_copy / "weights.bin").unlink()
    with pytest.raises(StudyError, match=r"weights\.bin in FILES"):
        context.captioner.check()


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("def caption(p):\n    return 3\n", "returned int; it has to return text"),
        ("def caption(p):\n    return p.nothing\n", "raised AttributeError"),
    ],
)
def test_a_captioner_that_fails_says_which(tmp_path, colours, own_files, code, said):
    own_files(tmp_path)
    (tmp_path / "my_captioner.py").write_text(code)
    table = changed(colours, captioner={"kind": "own", "source": "my_captioner:caption"})
    context = build_context(parse_study(table, tmp_path), tmp_path / "state")
    with pytest.raises(StudyError, match=f"captioner my_captioner:caption {said}"):
        context.captioner.caption([Image.new("L", (2, 2))], 1)


@pytest.mark.parametrize(
    ("methods", "error", "said"),
    [
        ({"x": "no_such_file:X"}, StudyError, "cannot import 'no_such_file'.*beside the study"),
        ({"x": "my_methods:CommonWordd"}, NotFoundError, "nearest: CommonWord"),
        ({"x": "my_methods:Counter"}, StudyError, "no method of labels.*OwnMethod"),
        ({"x": "broken:X"}, StudyError, "cannot import 'broken'.*SyntaxError"),
        ({"milan": "my_methods:CommonWord"}, StudyError, "there already"),
        ({"Bad Name": "my_methods:CommonWord"}, StudyError, "names no method"),
    ],
)
def test_wrong_names_say_what_is_wrong(tmp_path, colours, own_files, methods, error, said):
    own_files(tmp_path)
    (tmp_path / "broken.py").write_text("def (:\n")
    with pytest.raises(error, match=said):
        stages_of(parse_study(changed(colours, own_methods=methods), tmp_path))


def test_a_metric_that_fails_says_which(tmp_path, colours, own_files):
    (tmp_path / "bad_metric.py").write_text("def bad(a, p):\n    return a['x']\n")
    section = {"folders": ["x"], "own_metrics": {"bad": "bad_metric:bad"}}
    metrics = on_images(parse_study(changed(colours, evaluation=section), tmp_path))
    with pytest.raises(StudyError, match=r"own_metrics\.bad raised IndexError"):
        metrics["bad"](np.zeros(2), np.zeros(2))
    section["own_metrics"] = {"pearson": "bad_metric:bad"}
    with pytest.raises(StudyError, match="there already"):
        on_images(parse_study(changed(colours, evaluation=section), tmp_path))


def test_installed_modules_are_not_hidden_by_files_beside_the_study(tmp_path, colours):
    (tmp_path / "numpy.py").write_text("raise RuntimeError('imported')\n")
    (tmp_path / "fine.py").write_text(
        "import numpy\n\ndef one(a, p):\n    return numpy.ones(1)[0]\n"
    )
    section = {"folders": ["x"], "own_metrics": {"one": "fine:one"}}
    metrics = on_images(parse_study(changed(colours, evaluation=section), tmp_path))
    assert metrics["one"](np.zeros(2), np.zeros(2)) == 1.0


def test_two_studies_may_have_files_of_one_name_and_edited_files_count(tmp_path, colours):
    found = []
    for folder, value in (("a", 1), ("b", 2), ("a", 3)):
        (tmp_path / folder).mkdir(exist_ok=True)
        (tmp_path / folder / "helping.py").write_text(f"HELP = {folder!r}\n")
        code = f"import helping\n\ndef one(a, p):\n    return {value}.0\n"
        (tmp_path / folder / "same_name.py").write_text(code)
        section = {"folders": ["x"], "own_metrics": {"one": "same_name:one"}}
        study = parse_study(changed(colours, evaluation=section), tmp_path / folder)
        found.append(on_images(study)["one"](np.zeros(2), np.zeros(2)))
    assert found == [1.0, 2.0, 3.0]
    assert str(tmp_path / "a") not in sys.path


METHOD = """
from helping import VALUE
from dnd_assets.assets.own_methods import OwnMethod


class Own(OwnMethod):
    upstream = ("captions",)

    def labels(self, inputs):
        {before}
        return [(str(VALUE), 1.0)]
"""
METRIC = "from helping import VALUE\n\n\ndef one(a, p):\n    {before}\n    return VALUE\n"
CAPTIONER = "from helping import VALUE\n\n\ndef caption(p):\n    {before}\n    return str(VALUE)\n"


def _bench(kind, colours, folder, before="pass"):
    """A study with one piece of own code, and what of it decides the key."""
    code = {"method": METHOD, "metric": METRIC, "captioner": CAPTIONER}[kind]
    (folder / "mine.py").write_text(code.format(before=before))
    section = {"folders": ["x"], "own_metrics": {"one": "mine:one"}}
    more = {
        "method": {"own_methods": {"own": "mine:Own"}},
        "metric": {"evaluation": section},
        "captioner": {"captioner": {"kind": "own", "source": "mine:caption"}},
    }[kind]
    return build_context(parse_study(changed(colours, **more), folder), folder / "state")


def _counts(kind, context):
    if kind == "captioner":
        return context.captioner.fingerprint()
    stages = stages_of(context.study)
    if kind == "method":
        return stages["own_labels"].own
    return stages["labels_metrics"].parameters(context)


def _run_once(kind, context):
    """What the own code gives when it runs."""
    if kind == "captioner":
        return context.captioner.caption([Image.new("RGB", (2, 2))], 1)[0]
    if kind == "metric":
        return str(on_images(context.study)["one"](np.zeros(2), np.zeros(2)))
    product = Product("key", "captions", {}, Outcome("ok", {}))
    work = [Work(Unit("net", "colours", 0), {"captions": product})]
    ((_, outcome),) = stages_of(context.study)["own_labels"].compute(context, work)
    return outcome.payload["label"]


KINDS = pytest.mark.parametrize("kind", ["method", "metric", "captioner"])
CHANGES = {
    "helper": lambda folder, n: (folder / "helping.py").write_text(f"VALUE = {n}.0\n"),
    "helper of the helper": lambda folder, n: (
        (folder / "helping.py").write_text("from deeper import VALUE\n"),
        (folder / "deeper.py").write_text(f"VALUE = {n}.0\n"),
    ),
    "file": lambda folder, n: (
        (folder / "helping.py").write_text(
            "from pathlib import Path\n"
            "VALUE = float((Path(__file__).parent / ('value' + '.txt')).read_text())\n"
        ),
        (folder / "value.txt").write_text(f"{n}.0"),
    ),
    "variable": lambda folder, n: (
        (folder / "helping.py").write_text("import os\nVALUE = float(os.environ['DND_' + 'N'])\n"),
        os.environ.__setitem__("DND_N", f"{n}.0"),
    ),
}  # fmt: skip


@KINDS
@pytest.mark.parametrize("change", CHANGES)
def test_what_own_code_imports_and_reads_counts(kind, change, colours, tmp_path, monkeypatch):
    monkeypatch.setenv("DND_N", "0")
    known, gave = [], []
    for value in (1, 2, 1):
        CHANGES[change](tmp_path, value)
        context = _bench(kind, colours, tmp_path)
        known.append(canonical(dict(_counts(kind, context))))
        gave.append(_run_once(kind, context))
    assert known[0] == known[2] != known[1]
    assert gave == ["1.0", "2.0", "1.0"], "what runs is what counts"
    assert "helping" not in sys.modules
    assert str(tmp_path) not in known[0]


@KINDS
def test_what_is_read_later_than_it_can_be_known_is_refused(kind, colours, tmp_path):
    CHANGES["helper"](tmp_path, 1)
    (tmp_path / "late.txt").write_text("x")
    late = f"open('{tmp_path}/late' + '.txt').read()"
    with pytest.raises(StudyError, match=r"used, while it ran, .*late\.txt.*FILES = "):
        _run_once(kind, _bench(kind, colours, tmp_path, late))
    listed = f"open('{tmp_path}/late.txt').read()"  # a text in the code names it
    assert _run_once(kind, _bench(kind, colours, tmp_path, listed)) == "1.0"


@KINDS
def test_two_studies_with_helpers_of_one_name(kind, colours, tmp_path):
    benches = []
    for folder, value in (("a", 1), ("b", 2)):
        (tmp_path / folder).mkdir()
        CHANGES["helper"](tmp_path / folder, value)
        benches.append(_bench(kind, colours, tmp_path / folder))
    assert [_run_once(kind, context) for context in benches * 2] == ["1.0", "2.0"] * 2


def test_code_that_changes_while_it_runs_leaves_nothing_behind(colours, labelled_copy, own_files):
    """The method's own file is changed by the run itself."""
    CHANGES["helper"](labelled_copy, 1)
    text = f"open('{labelled_copy}/helping.py', 'w').write('VALUE = 2.0')"
    code = METRIC.format(before=f"{text}")
    (labelled_copy / "mine.py").write_text(code)
    write_images(labelled_copy / "held-out", 12, seed=7)
    section = {"folders": ["held-out"], "own_metrics": {"one": "mine:one"}}
    table = changed(colours, evaluation=section)
    with pytest.raises(UpstreamError, match="parameters of labels_metrics changed while"):
        label(table, labelled_copy, run="measured", last="labels_metrics")
    context = build_context(parse_study(table, labelled_copy), labelled_copy / "state")
    rows = context.lineage.query("SELECT 1 FROM products WHERE asset = 'labels_metrics'")
    assert not list(rows)


def test_a_folder_on_the_path_does_not_hide_this_project(tmp_path):
    (tmp_path / "resources.py").write_text("raise RuntimeError('imported')\n")
    code = "import dnd_assets, resources.own_code.own_places as found; print(found.PROJECT)"
    path = f"{tmp_path}{os.pathsep}{DOC.parents[1]}"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.stdout.strip(), done.returncode) == (str(DOC.parents[1]), 0), done.stderr
