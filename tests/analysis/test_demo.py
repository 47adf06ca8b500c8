"""The bars that labels of the embedded network have to reach, and how they are shown."""

import io

import pytest
from rich.console import Console

from dnd_assets.analysis.compare import Method, compare
from dnd_assets.analysis.compare_request import reference
from dnd_assets.analysis.demo import _mark, _summary, _truth, below_bar
from dnd_assets.study.study import load_study
from dnd_assets.units import Unit

UNITS = [
    *(Unit("worldnet", "head", neuron) for neuron in (0, 3)),  # red, green
    *(Unit("worldnet", "planted", neuron) for neuron in (13, 14, 15)),  # either, dead, random
]
RIGHT = ("red", "green", "purple or crosses", None, "sky")


@pytest.fixture(scope="module")
def known():
    return reference(load_study("known-answers"), UNITS)


def rows(known, labels):
    said = dict(zip([unit.key for unit in UNITS], labels, strict=True))
    return compare([Method("dnd", said)], known).rows


@pytest.mark.parametrize(
    ("labels", "low"),
    [
        (RIGHT, []),
        (("large red circles", *RIGHT[1:]), ["final"]),
        ((*RIGHT[:3], "sky", "sky"), ["dead"]),
        ((*RIGHT[:2], "star", None, None), []),  # neither has a bar
    ],
)
def test_kinds_below_their_bar(known, labels, low):
    assert below_bar(rows(known, labels)) == low


def test_the_summary_leaves_out_what_nobody_knows(known):
    out = io.StringIO()
    Console(file=out).print(_summary(rows(known, ("large red circles", *RIGHT[1:]))))
    assert [line.split() for line in out.getvalue().splitlines()[1:]] == [
        # "large red circles" for red: a precision of 1/3, a recall of 1, an F1 of 1/2, three words.
        ["final", "2", "1", "2", "0.67", "1.00", "0.75", "2.0", "0"],
        ["or", "1", "1", "1", "1.00", "1.00", "1.00", "3.0", "0"],
        ["dead", "1", "1", "1", "1.00", "1.00", "1.00", "-", "1"],
    ]


def test_marks_and_truths(known):
    keys = [unit.key for unit in UNITS]
    marks = [_mark(known.judge(keys[0], label)) for label in ("red", "red star", "star")]
    assert marks == ["ok", "holds it", "WRONG"]
    assert _mark(known.judge(keys[4], "sky")) == ""
    assert [_truth(known, key) for key in keys[2:]] == [
        "cross or purple", "(dead: no label)", "(random: no truth)",
    ]  # fmt: skip
