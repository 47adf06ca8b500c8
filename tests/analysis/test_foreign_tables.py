"""Tables made elsewhere: their layouts, and whether they count units from 0 or from 1."""

import json
import os

import numpy as np
import pytest
from typer.testing import CliRunner

from dnd_assets.analysis.compare_request import TRUTHS, imported, reference
from dnd_assets.analysis.evaluate import evaluate
from dnd_assets.cli import app
from dnd_assets.errors import TableError
from dnd_assets.files.csv_tables import read_text
from dnd_assets.files.unit_texts import numbering, read_labels, read_truths
from dnd_assets.study.label_files import check_imported, counted, imported_labels
from dnd_assets.study.study import parse_study
from dnd_assets.units import Unit
from tests.studies import changed

WORDS = [f"word{chr(97 + i // 26)}{chr(97 + i % 26)}" for i in range(40)]


class Distinct:
    """An encoder of texts as directions of their own: a cosine is 1 for equal texts, else 0."""

    def encode(self, texts):
        known = {text: row for row, text in enumerate(dict.fromkeys(WORDS))}
        found = np.zeros((len(texts), len(known)))
        found[np.arange(len(texts)), [known[text] for text in texts]] = 1
        return found


@pytest.fixture
def write(tmp_path):
    def write(name, content):
        path = tmp_path / name
        path.write_text(content, encoding="utf-8", newline="")
        return path

    return write


def table(first, numbers, column="unit"):
    rows = "".join(f"{n},{WORDS[n - first]}\n" for n in numbers)
    return f"{column},label\n{rows}"


@pytest.mark.parametrize("column", ["unit", "neuron", "Neuron ID", "unit_id", "group", "index"])
def test_a_table_from_1_is_recognised_by_its_last_unit(write, column):
    truths = write("truths.txt", "\n".join(WORDS) + "\n")
    whole = write("labels.csv", table(1, range(1, 41), column))
    found = evaluate(whole, truths, Distinct())

    assert (found.units, found.similarity, found.exact) == (40, 1.0, 40)
    (told,) = found.told
    assert "labels.csv counts units from 1: its last is 40, of 40 units" in told
    assert told in found.lines()
    some = write("some.csv", table(1, [7, 40, 9], column))
    assert evaluate(some, truths, Distinct()).similarity == 1.0


def test_a_table_from_0_is_plain(write):
    truths = write("truths.txt", "\n".join(WORDS) + "\n")
    for numbers in (range(40), [0, 5, 39], [0]):
        found = evaluate(write("labels.csv", table(0, numbers)), truths, Distinct())
        assert (found.similarity, found.told) == (1.0, ())


def test_what_cannot_be_told_is_said_and_can_be_answered(write):
    truths = write("truths.txt", "\n".join(WORDS) + "\n")
    path = write("labels.csv", table(1, [3, 5, 20]))
    found = evaluate(path, truths, Distinct())

    assert found.similarity == 0.0  # it was read as counted from 0
    (told,) = found.told
    assert "units 3 to 20 of 40 and no unit 0" in told
    assert "cannot be told" in told
    assert "--first-unit 1" in told
    answered = evaluate(path, truths, Distinct(), first_unit=1)
    assert (answered.similarity, answered.told) == (1.0, ())
    plain = write("plain.csv", table(0, [3, 5, 20]))
    assert evaluate(plain, truths, Distinct(), first_unit=0).told == ()


def test_truths_from_1_are_recognised_too(write):
    truths = write("truths.csv", table(1, range(1, 41)).replace("label", "truth"))
    found = evaluate(write("labels.csv", table(0, range(40))), truths, Distinct())

    assert found.similarity == 1.0
    assert "truths.csv counts units from 1" in found.told[0]
    both = evaluate(write("both.csv", table(1, [4, 6])), truths, Distinct())
    assert (both.similarity, both.told) == (1.0, ())
    keys = write("keys.csv", "unit,label\n" + "".join(f"n/fc/{i},{WORDS[i]}\n" for i in range(40)))
    assert evaluate(keys, truths, Distinct()).similarity == 1.0


def test_a_wrong_answer_is_refused(write):
    path = write("labels.csv", table(0, range(40)))
    with pytest.raises(TableError, match="said to count units from 1, but has a unit 0"):
        numbering(read_labels(path), 40, 1)


def test_more_units_than_the_layer_has_are_said(write):
    found = numbering(read_labels(write("labels.csv", table(1, range(1, 41)))), 39)
    assert found.first == 0
    assert "units 1 to 40 of 39" in found.told


def test_keys_count_from_0(write):
    path = write("labels.csv", "unit,label\nnet/fc/1,a\nnet/fc/2,b\n")
    assert numbering(read_labels(path), 2).first == 0


def _study(colours, folder, text, **section):
    (folder / "theirs.csv").write_text(text)
    entry = {"file": "theirs.csv", "layer": "net/colours", **section}
    return parse_study(changed(colours, imported_labels={"theirs": entry}), folder)


UNITS = [Unit("net", "colours", n) for n in range(4)]
SIZES = {"net/colours": 4, "net/spoilt": 4}


def test_imported_labels_from_1_are_those_of_their_units(colours, colour_folder):
    study = _study(colours, colour_folder, "unit,label\n1,red\n2,green\n3,blue\n4,none\n")
    found = imported_labels(study, "theirs", UNITS, SIZES)

    assert [found[unit][0] for unit in UNITS] == ["red", "green", "blue", "none"]
    assert "counts units from 1" in check_imported(study, UNITS, SIZES)[0]
    # Which units are asked for decides nothing.
    assert imported_labels(study, "theirs", UNITS[:1], SIZES)[UNITS[0]] == ("red", "")


def test_imported_labels_that_leave_it_open_ask(colours, colour_folder):
    text = "unit,label\n1,red\n2,green\n"
    study = _study(colours, colour_folder, text)
    assert imported_labels(study, "theirs", UNITS, SIZES)[UNITS[1]][0] == "red"
    assert "first_unit = 1" in counted(study, "theirs", SIZES).told
    said = _study(colours, colour_folder, text, first_unit=1)
    assert imported_labels(said, "theirs", UNITS, SIZES)[UNITS[0]][0] == "red"
    assert counted(said, "theirs", SIZES).told == ""


def test_files_of_a_comparison_are_counted_alike(write):
    told = []
    path = write("labels.csv", table(1, range(1, 5)))
    found = imported("theirs", path, UNITS, SIZES, told)

    assert [found.by_unit[unit.key] for unit in UNITS] == WORDS[:4]
    assert len(told) == 1


ANSWERS = [
    ([1, 2, 3, 4], {}, 1, "counts units from 1"),
    ([1, 3], {}, 0, "--first-unit theirs=1"),
    ([1, 3], {"": 1}, 1, ""),
    ([1, 3], {"": 0}, 0, ""),
    ([1, 3], {"theirs": 1}, 1, ""),
    ([1, 3], {"": 1, "theirs": 0}, 0, ""),
    ([1, 3], {"other": 1}, 0, "--first-unit theirs=1"),
    ([0, 3], {}, 0, ""),
    ([0, 3], {"other": 1, TRUTHS: 1}, 0, ""),
]
"""Numbers of a table for four units, what is said, the first unit then, what is told."""


@pytest.mark.parametrize(("numbers", "firsts", "first", "said"), ANSWERS)
def test_a_comparison_is_told_the_first_unit_of_its_files(write, numbers, firsts, first, said):
    told = []
    path = write("labels.csv", table(first, numbers))
    found = imported("theirs", path, UNITS, SIZES, told, firsts)

    inside = [number - first for number in numbers if number - first < 4]
    assert found.by_unit == {UNITS[one].key: WORDS[one] for one in inside}
    assert [said in line for line in told] == [True] * bool(said)


TRUE = [
    ([1, 2, 3, 4], {}, 1, "counts units from 1"),
    ([1, 3], {}, 0, "--first-unit truths=1"),
    ([1, 3], {"": 1}, 1, ""),
    ([1, 3], {"": 1, TRUTHS: 0}, 0, ""),
    ([1, 3], {TRUTHS: 1}, 1, ""),
    ([0, 3], {"": 1}, 0, ""),
    ([1, 2, 3, 4], {"": 0}, 1, "counts units from 1"),
]
"""As above for a table of truths: what is said of labels answers only where it is open."""


@pytest.mark.parametrize(("numbers", "firsts", "first", "said"), TRUE)
def test_truths_of_a_comparison_are_told_it_too(write, colours, numbers, firsts, first, said):
    told = []
    path = write("truths.csv", table(first, numbers).replace("label", "truth"))
    found = reference(parse_study(colours, path.parent), UNITS, path, SIZES, told, firsts)

    assert found.texts == {UNITS[n - first].key: (WORDS[n - first],) for n in numbers}
    assert [said in line for line in told] == [True] * bool(said)


def test_what_is_assumed_of_a_part_of_a_layer_is_plain(write):
    path = write("labels.csv", table(1, [7, 9]))
    found = numbering(read_labels(path), 40, ask="say --first-unit 1")

    assert (found.first, found.is_open) == (0, True)
    assert found.told == (
        f"{path} has units 7 to 9 of 40 and no unit 0: whether it counts from 0 or from 1 cannot "
        "be told. It is read as counted from 0: the layer's first unit is taken to be called 0, "
        "and 7 there is unit 7 here. If it counts from 1, say --first-unit 1"
    )


def test_a_wrong_answer_for_one_of_two_files_names_it(write):
    path = write("labels.csv", table(0, range(4)))
    with pytest.raises(
        TableError, match=r"labels\.csv is said to count units from 1.* has a unit 0"
    ):
        imported("theirs", path, UNITS, SIZES, None, {"": 1})


@pytest.mark.parametrize("unit", ["net/colours/1", "colours/1"])
def test_a_first_unit_does_not_apply_to_keys_and_that_is_said(write, unit):
    told = []
    path = write("labels.csv", f"unit,label\n{unit},red\n")
    found = imported("theirs", path, UNITS, SIZES, told, {"": 1})

    assert found.by_unit == {UNITS[1].key: "red"}
    assert "does not apply to it" in told[0]


def test_the_command_takes_the_first_unit(write, clip_folder):
    truths = write("truths.txt", "red\ngreen\nblue\nsky\n")
    labels = write("labels.csv", "unit,label\n2,green\n3,blue\n")
    asked = ["evaluate", "--labels", str(labels), "--truths", str(truths),
             "--encoder", str(clip_folder), "--format", "json"]  # fmt: skip
    open_ = json.loads(CliRunner().invoke(app, asked).stdout)
    told = json.loads(CliRunner().invoke(app, [*asked, "--first-unit", "1"]).stdout)

    assert (open_["exact"], told["exact"]) == (0, 2)
    assert "--first-unit 1" in open_["told"][0]
    assert told["told"] == []


LAYOUTS = {
    "Neuron ID,Label 1,Label 2,Label 3\n0,red,green,blue\n1, ,sky,\n": {"0": "red", "1": "sky"},
    "neuron,concept,concept_id,metric\n0,lhasa,n02,0.9\n": {"0": "lhasa"},
    "layer,unit,description,similarity\nfc,0,red,0.2\nfc,1,sky,0.1\n": {"0": "red", "1": "sky"},
    "layer,unit,description\nfc,0,red\nconv,0,sky\n": {"fc/0": "red", "conv/0": "sky"},
    "group,Unnamed: 0,concept_set_words\n6,6,\"[('brass', 0.1), ('horn', 0.2)]\"\n": {"6": "horn"},
    "unit,weight0,concept0,weight1,concept1\n0,0.5,bar,1.5,kitchen\n1,0.0,0,0.0,0\n": {
        "0": "kitchen"
    },
    "unit;category;label;score\n1;object;sky;0.2\n": {"1": "sky"},
}


@pytest.mark.parametrize("text", LAYOUTS)
def test_layouts_by_their_columns(write, text):
    assert read_labels(write("labels.csv", text)).by_unit == LAYOUTS[text]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ([{"label": "red", "x": 1}, {"label": "sky"}], {"0": "red", "1": "sky"}),
        ([{"unit": 5, "label": "red"}], {"5": "red"}),
        ({"3": "red", "4": {"description": "sky"}}, {"3": "red", "4": "sky"}),
        (["red", "sky"], {"0": "red", "1": "sky"}),
    ],
)
def test_json(write, content, expected):
    assert read_labels(write("labels.json", json.dumps(content))).by_unit == expected


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("a.csv", "unit,words\n0,red\n", r"the file has 'unit', 'words'\. Layouts .* FALCON"),
        ("a.csv", "what,label\n0,red\n", r"the file has 'what', 'label'\. Layouts .* INVERT"),
        ("a.csv", "group,concept_set_words\n0,red\n", r"line 2: 'red' is no list of \(word"),
        ("a.csv", 'group,concept_set_words\n0,"__import__(1)"\n', "is no list of"),
        ("a.csv", "unit,weight0,concept0\n0,x,red\n", "line 2: the weight 'x' is no number"),
        ("a.json", "[", "is no JSON"),
        ("a.json", "3", "neither a JSON object by unit nor a list"),
        ("a.json", '[{"x": 1}]', "entry 1: no label .* it has 'x'"),
    ],
)
def test_what_is_no_such_table_says_what_it_has_and_what_is_read(write, name, text, said):
    with pytest.raises(TableError, match=said):
        read_labels(write(name, text))


def test_a_table_of_several_layers_names_units_by_layer(write, colours, colour_folder):
    text = "layer,unit,description\ncolours,0,red\nspoilt,0,sky\n"
    (colour_folder / "theirs.csv").write_text(text)
    study = parse_study(changed(colours, imported_labels={"theirs": "theirs.csv"}), colour_folder)
    units = [Unit("net", "colours", 0), Unit("net", "spoilt", 0)]
    found = imported_labels(study, "theirs", units, SIZES)

    assert [found[unit][0] for unit in units] == ["red", "sky"]


def test_a_fifo_is_refused_without_waiting(tmp_path):
    os.mkfifo(tmp_path / "labels.csv")
    with pytest.raises(TableError, match="it is no file"):
        read_text(tmp_path / "labels.csv")


PUBLISHED = {
    "layouts/falcon_resnet18_layer4.csv": (50, "6", "brass"),
    "layouts/invert_resnet18_layer4.csv": (512, "0", "lhasa"),
    "layouts/linear_explanations_resnet18_layer4.csv": (512, "0", "reception"),
    "layouts/maia_synthetic_or.json": (18, "0", "people_building"),
    "dnd_resnet50_fc.csv": (None, "0", "fishing and catching fish"),
    "dnd_resnet50_layer1.csv": (50, "6", "diagonal black and white pattern"),
    "dnd_resnet50_layer4.csv": (50, "29", "spiral and circular objects"),
    "dnd_resnet50_eurosat_layer4.csv": (2048, "0", "Fishing Moments"),
    "milan_resnet50_fc.csv": (1000, "0", "Living things"),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_tables_are_read(shared_dir, name):
    count, unit, label = PUBLISHED[name]
    found = read_labels(shared_dir / "published" / name)

    assert found.by_unit[unit] == label
    assert count is None or len(found.by_unit) + len(found.blank) == count


def test_a_published_table_counted_from_1_gives_the_same_figure(shared_dir, tmp_path):
    truths = shared_dir / "published" / "imagenet_classes.txt"
    theirs = shared_dir / "published" / "milan_resnet50_fc.csv"
    head, *rows = theirs.read_text(encoding="utf-8").splitlines()
    from_1 = [f"{int(row.partition(',')[0]) + 1},{row.partition(',')[2]}" for row in rows]
    (tmp_path / "from_1.csv").write_text("\n".join([head, *from_1]), encoding="utf-8")
    kept = read_labels(theirs)
    found = read_labels(tmp_path / "from_1.csv")
    count = len(read_truths(truths).by_unit)

    assert numbering(kept, count).first == 0
    assert found.shifted(numbering(found, count).first).by_unit == kept.by_unit
