"""Methods side by side: figures worked by hand, what is refused, and real runs."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dnd_assets.analysis.compare import Comparison, Judgement, Method, Reference, compare
from dnd_assets.analysis.compare_request import imported, reference, stored_methods
from dnd_assets.analysis.kept_scoreboard import differences, exact_counts, write
from dnd_assets.analysis.metric_means import DND, method_name
from dnd_assets.analysis.scoreboard import as_text, markdown
from dnd_assets.assets import probing_set
from dnd_assets.assets.registry import stages_of
from dnd_assets.engine.context_builder import build_context
from dnd_assets.errors import NotFoundError, TableError
from dnd_assets.lineage.records import Outcome, Product, now
from dnd_assets.methods.metrics import mean_interval
from dnd_assets.methods.metrics.means import Mean
from dnd_assets.study.ablations import differing
from dnd_assets.study.study import load_study
from dnd_assets.units import Unit
from resources.lineage_db.database import Lineage
from tests import studies
from tests.integration.test_command_line import _dnd, _toml

README = Path(__file__).resolve().parents[2] / "README.md"
UNITS = [Unit("net", "fc", n) for n in range(4)]
KEYS = [unit.key for unit in UNITS]
GROUPS = dict.fromkeys(KEYS, "net/fc")
PLANE = {"right": (1, 0), "up": (0, 1), "between": (0.6, 0.8), "left": (-1, 0)}


class Plane:
    def encode(self, texts):
        return np.array([PLANE[text] for text in texts], dtype=float)


def method(name, *labels):
    return Method(name, dict(zip(KEYS, labels, strict=False)))


def judged(truths, groups=GROUPS):
    known = dict(zip(KEYS, truths, strict=False))
    texts = {unit: (text,) for unit, text in known.items()}
    return Reference(
        groups, texts, lambda u, said: Judgement(said == known[u]) if u in known else None
    )


def test_a_worked_case():
    one = method("one", "right", "up", None, "left")
    other = method("other", "right", "between", "up", "right")
    found = compare([one, other], judged(["right", "between", "up"]), Plane())

    first, second = found.rows
    low, high = mean_interval([1.0, 0.0, 0.0])
    assert (first.units, first.labelled, first.words) == (4, 3, 1.0)
    assert first.exact == Mean(pytest.approx(1 / 3), low, high, 3)
    assert first.exact.count == 1
    assert first.similarity.mean == pytest.approx((1 + 0.8) / 2)
    assert first.similarity.units == 2
    assert second.exact == Mean(1.0, 1.0, 1.0, 3)
    (pair,) = found.pairs
    assert (pair.units, pair.exact) == (3, pytest.approx(1 / 3))
    assert pair.similarity == pytest.approx((1 + 0.8 - 1) / 3)


def test_one_unit_has_no_interval_and_no_truth_no_share():
    found = compare([method("one", "right")], judged(["right"]))
    assert found.rows[0].exact == Mean(1.0, None, None, 1)
    assert found.rows[0].similarity is None
    assert compare([method("one", "up")], Reference(GROUPS)).rows[0].exact is None


def test_the_nearest_of_several_truths_counts():
    known = Reference(GROUPS, {KEYS[0]: ("left", "between")})
    (row,) = compare([method("one", "up")], known, Plane()).rows
    assert row.similarity.mean == pytest.approx(0.8)


def test_units_that_a_method_was_not_asked_for_do_not_count():
    groups = {**dict.fromkeys(KEYS[:2], "a"), **dict.fromkeys(KEYS[2:], "b")}
    found = compare([method("all", *"uuuu"), method("some", "u")], Reference(groups))
    assert [(r.group, r.method, r.units) for r in found.rows] == [
        ("a", "all", 2),
        ("a", "some", 1),
        ("b", "all", 2),
    ]
    assert found.row("b", "some") is None
    assert "| some |  | 1.0 | 1 / 1 labelled | - |" in markdown(found)


columns = st.lists(
    st.lists(st.sampled_from([None, *PLANE]), min_size=4, max_size=4), min_size=2, max_size=4
)


@given(columns, st.randoms(use_true_random=False))
def test_the_order_of_methods_decides_nothing(labels, random):
    methods = [method(f"m{n}", *texts) for n, texts in enumerate(labels)]
    mixed = random.sample(methods, len(methods))
    known = judged(["up", "right", "left"])
    first, second = (compare(order, known, Plane()) for order in (methods, mixed))

    assert set(first.rows) == set(second.rows)
    assert _alike(first) == _alike(second)


def _alike(found):
    return {
        frozenset((p.one, p.other)): (p.units, p.exact, pytest.approx(p.similarity))
        for p in found.pairs
    }


def test_a_label_that_holds_the_truth_among_others_is_not_exact():
    units = [Unit("worldnet", "head", neuron) for neuron in (0, 3)]  # red, green
    known = reference(load_study("known-answers"), units)
    labels = dict(zip([unit.key for unit in units], ["large red circles", "green"], strict=True))
    found = compare([Method("one", labels)], known)
    (row,) = found.rows
    assert (row.exact.count, row.holds.count) == (1, 2)
    assert row.precision.mean == pytest.approx((1 / 3 + 1) / 2)
    assert row.recall.mean == 1
    assert row.f1.mean == pytest.approx((1 / 2 + 1) / 2)
    assert "| 1 / 2 (0 to 100 %), 2 hold it, F1 0.75 |" in markdown(found)


def test_two_methods_of_one_name_are_refused():
    with pytest.raises(TableError, match="two methods are called 'dnd'"):
        compare([method("dnd", "up"), method("dnd", "left")], Reference(GROUPS))


def test_the_known_answers_are_judged_and_grouped_by_kind():
    study = load_study("known-answers")
    units = [
        *(Unit("worldnet", "head", 0), Unit("worldnet", "planted", 13)),
        *(Unit("worldnet", "planted", 14), Unit("worldnet", "planted", 15)),
    ]
    known = reference(study, units)
    said = Method("one", dict(zip([u.key for u in units], ["red", "star", None, "x"], strict=True)))
    rows = {row.group: row for row in compare([said], known).rows}

    assert list(rows) == ["final", "or", "dead", "random"]
    assert [rows[kind].exact and rows[kind].exact.count for kind in rows] == [1, 0, 1, None]
    assert (rows["or"].holds, rows["or"].f1) == (Mean(0.0, None, None, 1), Mean(0.0, None, None, 1))
    assert set(known.texts[units[1].key]) == {"cross", "purple"}
    assert not known.texts.get(units[2].key)


# Files


@pytest.fixture
def file(tmp_path):
    def write(content, name="labels.csv"):
        path = tmp_path / name
        path.write_text(content)
        return path

    return write


def test_files_name_units_by_key_or_by_number(file):
    keyed = imported("one", file("unit,label\nnet/fc/0,up\nnet/fc/2,\nother/fc/1,left\n"), UNITS)
    assert keyed.by_unit == {"net/fc/0": "up", "net/fc/2": None}
    numbered = imported("one", file("unit,label\n0,up\n3,left\n9,left\n"), UNITS)
    assert numbered.by_unit == {"net/fc/0": "up", "net/fc/3": "left"}


def test_numbers_do_not_tell_layers_apart(file):
    with pytest.raises(TableError, match="ask for one layer alone: net/fc"):
        imported("one", file("unit,label\n0,up\n"), [*UNITS, Unit("net", "other", 0)])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("unit,label\nnet/fd/0,up\n", "holds none of the units.*net/fc/0"),
        ("unit,text\nnet/fc/0,up\n", "no column for the label"),
        ("unit,label\nnet/fc/0,up,left\n", "line 2: 3 fields"),
        ("unit,label\nnet/fc/0,up\nnet/fc/0,left\n", "Keep one of the rows"),
        ("unit,label\n", "no rows"),
    ],
)
def test_wrong_files_are_refused_with_reasons(file, content, message):
    with pytest.raises(TableError, match=message):
        imported("one", file(content), UNITS)


def test_truths_of_a_file(file):
    study = load_study("known-answers")
    known = reference(study, UNITS, file("up\nleft\n", "truths.txt"))
    found = [known.judge(KEYS[n], "up") for n in range(3)]
    assert found == [Judgement(exact=True), Judgement(exact=False), None]
    assert known.groups == GROUPS


# The scoreboard in a document


@pytest.fixture
def board():
    return compare([method("one", "a", "b"), method("x|y", "a", "a")], judged(["a", "a"]))


def test_a_document_keeps_its_text_around_the_scoreboard(board, file):
    path = file("before\n<!-- scoreboard -->\nold\n<!-- /scoreboard -->\nafter\n", "README.md")
    write(board, path)
    text = path.read_text()
    assert text.startswith("before\n<!-- scoreboard -->\n| method | setting | words | net/fc |\n")
    assert text.endswith("<!-- /scoreboard -->\nafter\n")
    write(board, path)
    assert path.read_text() == text
    assert exact_counts(path) == {("one", "net/fc"): 1, ("x|y", "net/fc"): 2}


def test_other_counts_are_told(board, file):
    path = file("<!-- scoreboard --><!-- /scoreboard -->", "README.md")
    write(board, path)
    assert differences(board, path) == []
    worse = compare([method("one", "b", "b"), method("new", "a", "a")], judged(["a", "a"]))
    assert [line.split(": ", 1)[1].split(".")[0] for line in differences(worse, path)] == [
        "new, net/fc: nothing exact there, 2 now",
        "one, net/fc: 1 exact there, 0 now",
        "x|y, net/fc: 2 exact there, nothing now",
    ]


def test_close_calls_may_be_tolerated(board, file):
    path = file("<!-- scoreboard --><!-- /scoreboard -->", "README.md")
    write(board, path)
    worse = compare([method("one", "b", "b"), method("x|y", "b", "b")], judged(["a", "a"]))
    assert len(differences(worse, path)) == 2
    assert [line.split(", ")[0][-3:] for line in differences(worse, path, tolerance=1)] == ["x|y"]
    assert differences(worse, path, tolerance=2) == []


def test_a_document_may_keep_the_scoreboard_of_a_study_by_kind(board, file):
    """Markers that name the study hold a row for each kind and method; others stay as they are."""
    plain = "<!-- scoreboard -->\nkept\n<!-- /scoreboard -->"
    path = file(f"{plain}\n<!-- scoreboard mine --><!-- /scoreboard mine -->", "README.md")
    write(board, path, "mine")
    text = path.read_text()
    assert text.startswith(plain)
    assert "| net/fc | one | 2 | 1 / 2" in text
    assert "| **all** | x|y".replace("x|y", "x\\|y") in text
    assert exact_counts(path, "mine") == {("one", "net/fc"): 1, ("x|y", "net/fc"): 2}
    assert differences(board, path, study="mine") == []
    worse = compare([method("one", "b", "b"), method("x|y", "a", "a")], judged(["a", "a"]))
    assert len(differences(worse, path, study="mine")) == 1
    write(board, path, "another")
    assert "kept" not in path.read_text(), "a study without markers of its own has the plain ones"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("no markers", "no place for a scoreboard"),
        ("<!-- scoreboard -->", "no place for a scoreboard"),
        ("<!-- scoreboard --><!-- /scoreboard -->", "has no scoreboard. Write it"),
    ],
)
def test_a_document_without_a_scoreboard_is_refused(content, message, file):
    with pytest.raises(TableError, match=message):
        exact_counts(file(content, "README.md"))


def test_the_readme_has_every_method():
    counts = exact_counts(README)
    study = load_study("known-answers")
    others = [name for name in stages_of(study) if name.endswith("_labels")]
    methods = [DND, *differing(study), *(method_name(name) for name in others)]
    groups = ("final", "planted", "or", "dead")
    mapless = {(method, "final") for method in ("compositions", "network-dissection")}
    assert len(others) == 6
    assert set(counts) == {(name, group) for name in methods for group in groups} - mapless
    assert counts[DND, "final"] >= 0.95 * 27
    assert counts[DND, "planted"] >= 0.8 * 13


def test_csv_and_json_hold_the_same_figures(board, tmp_path):
    (tmp_path / "board.csv").write_text(as_text(board, "csv"))
    table = pd.read_csv(tmp_path / "board.csv")
    found = json.loads(as_text(board, "json"))
    assert table["exact"].tolist() == [row["exact"]["mean"] for row in found["rows"]] == [0.5, 1.0]
    assert table["same as x|y"][0] == found["agreement"][0]["exact"] == 0.5
    assert table["same as one"].isna().tolist() == [True, False]


def test_no_group_gives_an_empty_table():
    nothing = Comparison((), (), ())
    assert nothing.groups == []
    assert as_text(nothing, "csv").strip() in ("", '""')


# Real runs


@pytest.fixture(scope="module")
def project(colours, tmp_path_factory):
    """A folder whose study was compared with two ablations, and what that printed."""
    folder = tmp_path_factory.mktemp("compared")
    studies.write_images(folder / "images")
    (folder / "study.toml").write_text(_toml(colours), encoding="utf-8")
    study = load_study(folder / "study.toml")
    probing_set.materialize(build_context(study, folder / "state"), "looked at")
    early = _dnd(folder, "compare", "net/colours", "--no-run")
    done = _dnd(folder, "compare", "net/colours", "--with", "no-selection,no-crops")
    assert done.exit_code == 0, done.output
    return folder, early, done


def test_without_labels_it_says_what_to_run(project):
    _, early, _ = project
    assert isinstance(early.exception, NotFoundError)
    assert "study 'colours' has no labels of these units yet" in str(early.exception)


def test_it_prints_a_table_for_the_layer(project):
    _, _, done = project
    rows = [line.split() for line in done.stdout.splitlines()]
    assert ["net/colours"] in rows
    for name in ("dnd", "no-selection", "no-crops"):
        assert any(row[:3] == [name, "4", "75%"] for row in rows), name


def _computed(folder, study):
    sql = "SELECT DISTINCT asset FROM materializations WHERE study = ? AND NOT reused"
    rows = Lineage(root=str(folder / "state")).query(sql, [study])
    return {row["asset"] for row in rows} - {"probing_set"}


def _worked(folder, study):
    sql = "SELECT DISTINCT asset FROM work WHERE study = ?"
    return {row["asset"] for row in Lineage(root=str(folder / "state")).query(sql, [study])}


def test_an_ablation_computes_only_below_its_setting(project):
    folder, _, _ = project
    result = _dnd(folder, "compare", "net/colours", "--with", "topk-squared,nc1,q2")
    assert result.exit_code == 0, result.output
    assert _computed(folder, "colours+topk-squared") == {"scores", "labels"}
    assert _worked(folder, "colours+topk-squared") == set()
    assert _computed(folder, "colours+nc1").isdisjoint({"activations", "crops", "captions"})
    assert _computed(folder, "colours+q2") <= {"synthetic_images", "scores", "labels"}
    assert _worked(folder, "colours+q2") == set()  # the first two of three pictures


def test_no_run_takes_what_is_there_and_the_default_is_all_of_it(project):
    folder, _, _ = project
    before = _count(folder)
    shown = _dnd(folder, "compare", "net/colours", "--no-run", "--format", "json")
    names = [one["method"] for one in json.loads(shown.stdout)["methods"]]
    assert set(names) >= {"dnd", "no-selection", "no-crops"}
    again = _dnd(folder, "compare", "net/colours", "--with", "no-selection")
    assert "colours+no-selection: up to date" in again.stderr
    assert _count(folder) == before


def _count(folder):
    return Lineage(root=str(folder / "state")).query("SELECT count(*) AS n FROM materializations")


def test_files_truths_and_an_encoder(project, sentences_folder, tmp_path):
    folder, _, _ = project
    (tmp_path / "other.csv").write_text("unit,label\n0,red\n1,green\n2,red\n3,\n")
    (tmp_path / "truths.txt").write_text("red\ngreen\nblue\n")
    result = _dnd(
        folder, "compare", "net/colours", "--no-run", "--with", "no-selection",
        "--labels", f"other={tmp_path / 'other.csv'}", "--truths", tmp_path / "truths.txt",
        "--encoder", sentences_folder, "--format", "json",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    (row,) = [row for row in found["rows"] if row["method"] == "other"]
    assert (row["units"], row["labelled"]) == (4, 3)
    assert row["exact"]["mean"] == pytest.approx(2 / 3)
    assert row["similarity"]["mean"] < 1
    assert {(p["one"], p["other"]) for p in found["agreement"]} == {
        ("dnd", "no-selection"),
        ("dnd", "other"),
        ("no-selection", "other"),
    }
    assert all(pair["similarity"] is not None for pair in found["agreement"])


def test_the_first_unit_of_files_is_said_or_asked_for(project, tmp_path):
    folder, _, _ = project
    (tmp_path / "other.csv").write_text("unit,label\n1,red\n3,blue\n")
    (tmp_path / "zero.csv").write_text("unit,label\n0,red\n2,blue\n")
    (tmp_path / "truths.txt").write_text("red\ngreen\nblue\nsky\n")
    common = [
        "compare", "net/colours", "--no-run", "--truths", tmp_path / "truths.txt", "--format",
        "json", "--labels", f"other={tmp_path / 'other.csv'}",
        "--labels", f"zero={tmp_path / 'zero.csv'}",
    ]  # fmt: skip
    asked = _dnd(folder, *common)
    assert "is read as counted from 0" in asked.stderr
    assert "--first-unit other=1" in asked.stderr
    assert _right(asked) == {"other": 0, "zero": 1}
    answered = _dnd(folder, *common, "--first-unit", "other=1")
    assert "counted from" not in answered.stderr
    assert _right(answered) == {"other": 1, "zero": 1}
    wrong = _dnd(folder, *common, "--first-unit", "1")
    assert "zero.csv is said to count units from 1, but has a unit 0" in str(wrong.exception)


def _right(result):
    rows = json.loads(result.stdout)["rows"]
    return {
        row["method"]: row["exact"]["mean"] for row in rows if row["method"] in ("other", "zero")
    }


def test_check_and_update_of_a_document(project, tmp_path):
    folder, _, _ = project
    (tmp_path / "truths.txt").write_text("red\ngreen\nblue\n")
    path = tmp_path / "README.md"
    path.write_text("<!-- scoreboard --><!-- /scoreboard -->")
    common = ["compare", "net/colours", "--no-run", "--with", "no-crops"]
    common += ["--truths", tmp_path / "truths.txt"]
    assert _dnd(folder, *common, "--update", path).exit_code == 0
    assert _dnd(folder, *common, "--check", path).exit_code == 0
    path.write_text(path.read_text().replace("| 0 / 3", "| 3 / 3"))
    wrong = _dnd(folder, *common, "--check", path)
    assert wrong.exit_code == 1
    assert "3 exact there, 0 now" in wrong.stderr


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--with", "no-crop"], "no ablation 'no-crop'; nearest: no-crops"),
        (["--no-run", "--with", "k3"], "study 'colours+k3' has no labels of these units yet"),
        (["--labels", "milan"], "is no NAME=FILE"),
        (["--labels", "a=b", "--labels", "a=c"], "two files are called 'a'"),
        (["--labels", "a=nowhere.csv"], "no file nowhere.csv"),
        (["--labels", "a=b", "--first-unit", "2"], "'2' is neither 0 nor 1"),
        (["--labels", "a=b", "--first-unit", "c=1"], "no file 'c'; nearest: a"),
        (["--labels", "a=b", "--first-unit", "a=1", "--first-unit", "a=0"], "second answer"),
        (["--first-unit", "1"], "goes with --labels or --truths"),
        (["--with", "k3", "--labels", "k3=study.toml"], "two methods are called 'k3'"),
        (["--with", "k3", "--check", "study.toml"], "no place for a scoreboard"),
    ],
)
def test_wrong_requests_name_the_way_out_before_anything_runs(
    project, arguments, text, monkeypatch
):
    folder, _, _ = project
    monkeypatch.chdir(folder)
    before = _count(folder)
    result = _dnd(folder, "compare", "net/colours", *arguments)
    assert result.exit_code != 0
    assert _count(folder) == before
    assert text in f"{result.exception} {result.output}"


def test_other_assets_of_labels_are_columns_of_their_own(tmp_path):
    study, lineage = load_study("known-answers"), Lineage(root=str(tmp_path))
    for asset, text in (("labels", "red"), ("clip_dissect_labels", "blue"), ("scores", "no")):
        _store(lineage, study.name, asset, text)
    found = stored_methods(lineage, study, [], UNITS)
    assert [(m.name, dict(m.by_unit)) for m in found] == [
        ("dnd", {KEYS[0]: "red"}),
        ("clip-dissect", {KEYS[0]: "blue"}),
    ]


def _store(lineage, study, asset, label):
    preimage = {"asset": asset, "code": "1", "parameters": {}, "weights": {}, "inputs": {}}
    product = Product(f"key-{asset}", asset, preimage, Outcome("ok", {"label": label}))
    row = {
        "run": "run", "study": study, "asset": asset, "unit": KEYS[0], "model": "net",
        "layer": "fc", "neuron": 0, "key": product.key, "data_version": product.data_version,
        "code_version": "1", "status": "ok", "reason": None, "reused": False, "device": "cpu",
        "seconds": 0.0, "recorded_at": now(),
    }  # fmt: skip
    lineage.commit({"products": [product.row()], "materializations": [row]})
