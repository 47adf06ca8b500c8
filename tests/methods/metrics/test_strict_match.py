"""Labels word for word against truths, by hand."""

from __future__ import annotations

import pytest

from dnd_assets.known_answers.target import Truth, is_correct, truths
from dnd_assets.methods.metrics.strict_match import strict


def counted(label, truth):
    found = strict(label, truth)
    assert found is not None
    return found.exact, found.precision, found.recall, found.f1


CIRCLE = Truth("final", (("circle",),))
STRIPES = Truth("planted", (("horizontal", "stripe"),))
EITHER = Truth("or", (("cross",), ("purple",)))


@pytest.mark.parametrize(
    ("label", "truth", "expected"),
    [
        ("circles", CIRCLE, (True, 1, 1, 1)),
        ("a circle", CIRCLE, (True, 1, 1, 1)),
        ("large red circles", CIRCLE, (False, 1 / 3, 1, 1 / 2)),
        ("large squares", CIRCLE, (False, 0, 0, 0)),
        (None, CIRCLE, (False, 0, 0, 0)),
        ("with horizontal stripes", STRIPES, (True, 1, 1, 1)),
        ("stripes", STRIPES, (False, 1, 1 / 2, 2 / 3)),
        ("horizontal or stripes", STRIPES, (False, 1, 1, 1)),
        ("two shapes", Truth("final", (("two",),)), (True, 1, 1, 1)),
        ("not on grass", Truth("final", (("grass",),)), (False, 1 / 2, 1, 2 / 3)),
        ("purple or crosses", EITHER, (True, 1, 1, 1)),
        ("purple crosses", EITHER, (False, 1, 1, 1)),
        ("purple", EITHER, (False, 1, 1 / 2, 2 / 3)),
        ("red or purple", EITHER, (False, 1 / 2, 1 / 2, 1 / 2)),
        ("", Truth("dead", ()), (True, 1, 1, 1)),
        ("sky", Truth("dead", ()), (False, 0, 0, 0)),
    ],
)
def test_a_label_word_for_word(label, truth, expected):
    assert counted(label, truth) == pytest.approx(expected)


def test_a_random_unit_has_nothing_to_be_named():
    assert strict("sky", Truth("random", None)) is None


def test_every_truth_is_exact_as_it_is_written():
    for truth in truths().values():
        if truth.accepted is not None:
            label = " or ".join(" ".join(words) for words in truth.accepted)
            assert counted(label, truth) == (True, 1, 1, 1)
            assert is_correct(label, truth)
