"""Compositional explanations: formulas, and the search for them."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dnd_assets.methods.segmentation.compositions import (
    Formula,
    IntersectionOverUnion,
    Operator,
    PackedMasks,
    pack,
    search,
    unpack,
)

AND, OR, AND_NOT = Operator
NAMES = "abcde"


def bits(text):
    return np.array([c == "x" for c in text])


def iou(a, b):
    union = (a | b).sum()
    return (a & b).sum() / union if union else 0.0


def found(unit, masks, names=None, **options):
    names = list(names or NAMES[: len(masks)])
    return search(IntersectionOverUnion(unit, PackedMasks(names, masks)), **options)


def every_formula(names, length):
    for first in names:
        yield Formula(first)
        for size in range(1, length):
            for steps in itertools.product(itertools.product(Operator, names), repeat=size):
                yield Formula(first, tuple(steps))


@st.composite
def cases(draw):
    concepts, positions = draw(st.integers(1, 4)), draw(st.integers(1, 70))
    random = np.random.default_rng(draw(st.integers(0, 2**31)))
    return random.random(positions) < 0.4, random.random((concepts, positions)) < 0.5


def test_formulas_read_from_the_left():
    formula = Formula("water").joined(OR, "river").joined(AND_NOT, "blue")

    assert str(formula) == "((water OR river) AND NOT blue)"
    assert str(Formula("water")) == "water"
    assert len(formula) == 3
    presence = {"water": bits("xx.."), "river": bits(".xx."), "blue": bits(".x..")}
    assert formula.holds(presence).tolist() == bits("x.x.").tolist()
    assert Formula("water").joined(AND, "river").holds(presence).tolist() == bits(".x..").tolist()


def test_a_worked_case():
    unit = bits("xxx.....")
    masks = np.stack([bits("xx......"), bits("..xx...."), bits("...xxxxx")])

    best, second, third = found(unit, masks, ["water", "river", "sky"], beam=3)

    # water alone has 2 / 3, with river 3 / 4; without the sky it is the unit.
    assert str(best.formula) == "((water OR river) AND NOT sky)"
    assert best.score == 1.0
    assert (str(second.formula), second.score) == ("(water OR river)", 3 / 4)
    assert (str(third.formula), third.score) == ("water", 2 / 3)
    (single,) = found(unit, masks, length=1, beam=1)
    assert (str(single.formula), single.score) == ("a", 2 / 3)


@given(cases())
def test_a_wide_beam_finds_the_best_of_all_formulas(case):
    unit, masks = case
    presence = dict(zip(NAMES, masks, strict=False))
    names = list(presence)

    best = found(unit, masks, beam=10_000)[0]

    scores = [iou(unit, formula.holds(presence)) for formula in every_formula(names, 3)]
    assert best.score == max(scores)


@given(cases(), st.integers(1, 6), st.integers(1, 4))
def test_scores_are_those_of_the_formulas(case, beam, length):
    unit, masks = case
    presence = dict(zip(NAMES, masks, strict=False))

    explanations = found(unit, masks, beam=beam, length=length)

    scores = [explanation.score for explanation in explanations]
    assert scores == [iou(unit, e.formula.holds(presence)) for e in explanations]
    assert scores == sorted(scores, reverse=True)
    assert len(explanations) <= beam
    assert all(len(explanation.formula) <= length for explanation in explanations)
    held = {e.formula.holds(presence).tobytes() for e in explanations}
    assert len(held) == len(explanations)
    assert scores[0] >= max(iou(unit, mask) for mask in masks)


@given(cases())
def test_longer_formulas_are_no_worse(case):
    best = [found(*case, length=length)[0].score for length in (1, 2, 3)]

    assert best == sorted(best)


@given(cases(), st.data())
def test_the_order_of_positions_does_not_matter(case, data):
    unit, masks = case
    order = data.draw(st.permutations(range(len(unit))))

    assert found(unit[order], masks[:, order]) == found(unit, masks)


def test_blocks_do_not_matter(monkeypatch):
    random = np.random.default_rng(0)
    unit, masks = random.random(1000) < 0.3, random.random((5, 1000)) < 0.3
    whole = found(unit, masks)
    monkeypatch.setattr("dnd_assets.methods.segmentation.compositions._WORDS_AT_ONCE", 1)

    assert found(unit, masks) == whole


def test_ties_take_the_shorter_formula_then_and_or_not_then_the_order_of_concepts():
    unit = bits("xx..")
    masks = np.stack([bits("xx.."), bits("xx.."), bits(".xx.")])

    explanations = found(unit, masks, beam=20)

    assert str(explanations[0].formula) == "a"
    # a AND c is one pixel of two, as is a AND NOT c.
    texts = [str(e.formula) for e in explanations if e.score == 1 / 2]
    assert texts == ["(a AND c)", "(a AND NOT c)"]
    assert not any("b" in str(explanation.formula) for explanation in explanations)


def test_a_unit_that_is_off_everywhere():
    explanations = found(np.zeros(6, dtype=bool), np.ones((2, 6), dtype=bool))

    assert {explanation.score for explanation in explanations} == {0.0}
    assert str(explanations[0].formula) == "a"


@given(st.integers(0, 200), st.integers(1, 4))
def test_unpack_is_the_inverse_of_pack(positions, rows):
    masks = np.random.default_rng(positions).random((rows, positions)) < 0.5

    assert np.array_equal(unpack(pack(masks), positions), masks)
    assert np.bitwise_count(pack(masks)).sum() == masks.sum()


def test_refusals():
    masks = np.zeros((2, 6), dtype=bool)

    with pytest.raises(ValueError, match="two concepts are called 'a'"):
        PackedMasks(["a", "a"], masks)
    with pytest.raises(ValueError, match=r"3 concepts are bool \(3, positions\)"):
        PackedMasks(["a", "b", "c"], masks)
    with pytest.raises(ValueError, match=r"bool \(6,\).*not bool \(5,\)"):
        IntersectionOverUnion(np.zeros(5, dtype=bool), PackedMasks(["a", "b"], masks))
    for wrong in ({"beam": 0}, {"length": 0}):
        with pytest.raises(ValueError, match="positive"):
            found(masks[0], masks, **wrong)
