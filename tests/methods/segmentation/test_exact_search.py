"""Exact search: it finds what trying everything finds, its bounds hold, and a budget is kept to."""

import itertools

import numpy as np
import pytest

from dnd_assets.methods.segmentation.compositions import (
    Formula,
    IntersectionOverUnion,
    Operator,
    PackedMasks,
    search,
)
from dnd_assets.methods.segmentation.exact_search import exact_search
from dnd_assets.methods.segmentation.invert import AreaUnderCurve
from dnd_assets.methods.segmentation.regions import RegionOverlap

NAMES = ("a", "b", "c", "d", "e")


def _masks(seed, positions=40):
    rng = np.random.default_rng(seed)
    return rng.random((len(NAMES), positions)) < rng.uniform(0.1, 0.6, (len(NAMES), 1))


def _all_formulas(length):
    for count in range(1, length + 1):
        for names in itertools.product(NAMES, repeat=count):
            for ways in itertools.product(Operator, repeat=count - 1):
                yield Formula(names[0], tuple(zip(ways, names[1:], strict=True)))


def _best(unit, masks, length):
    presence = dict(zip(NAMES, masks, strict=True))
    held = [(one.holds(presence), one) for one in _all_formulas(length)]
    return max((where & unit).sum() / max((where | unit).sum(), 1) for where, _ in held)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("length", [1, 2, 3])
def test_it_finds_what_trying_everything_finds(seed, length):
    masks = _masks(seed)
    unit = np.random.default_rng(100 + seed).random(masks.shape[1]) < 0.3
    packed = PackedMasks(NAMES, masks)
    expected = _best(unit, masks, length)
    ones = np.ones(masks.shape[1], dtype=np.int64)
    for objective in (
        IntersectionOverUnion(unit, packed),
        RegionOverlap(unit.astype(np.int64), ones, packed),
    ):
        found = exact_search(objective, length=length)
        assert found.complete
        assert found.best.score == pytest.approx(expected)
        assert (found.bound, found.missed) == (found.best.score, 0)
        where = found.best.formula.holds(dict(zip(NAMES, masks, strict=True)))
        assert (where & unit).sum() / (where | unit).sum() == pytest.approx(expected)


@pytest.mark.parametrize("budget", [5, 20, 35, 65])
def test_a_search_that_ends_early_tells_what_it_may_have_missed(budget):
    for seed in range(20):
        masks = _masks(seed)
        unit = np.random.default_rng(100 + seed).random(masks.shape[1]) < 0.3
        objective = IntersectionOverUnion(unit, PackedMasks(NAMES, masks))
        beam = search(objective, beam=1, length=3)[0]
        found = exact_search(objective, length=3, budget=budget, known=beam)
        best = _best(unit, masks, 3)
        assert beam.score <= found.best.score <= best + 1e-12 <= found.bound + 1e-9
        assert found.formulas <= budget
        assert found.complete == (found.missed == 0) or found.missed == pytest.approx(0)


def test_a_beam_misses_what_the_exact_search_finds():
    missed = 0
    for seed in range(30):
        masks = _masks(seed)
        unit = np.random.default_rng(100 + seed).random(masks.shape[1]) < 0.3
        objective = IntersectionOverUnion(unit, PackedMasks(NAMES, masks))
        beam = search(objective, beam=1, length=3)[0]
        found = exact_search(objective, length=3, known=beam)
        missed += found.best.score > beam.score + 1e-12
        wide = search(objective, beam=1000, length=3)[0]
        assert found.best.score == pytest.approx(wide.score)
    assert missed >= 5


def test_bounds_keep_most_formulas_from_being_looked_at():
    rng = np.random.default_rng(0)
    names = [f"c{i}" for i in range(40)]
    masks = rng.random((40, 600)) < 0.1
    unit = (masks[3] | masks[7]) & ~masks[11]
    packed = PackedMasks(names, masks)
    found = exact_search(IntersectionOverUnion(unit, packed), length=3)
    assert (found.complete, found.best.score) == (True, 1.0)
    assert str(found.best.formula) in ("((c3 OR c7) AND NOT c11)", "((c7 OR c3) AND NOT c11)")
    assert found.formulas < 40 * (1 + 120 + 120**2) / 10


def test_an_area_under_a_curve_is_searched_through():
    masks = _masks(3)
    activations = np.random.default_rng(5).normal(size=masks.shape[1])
    objective = AreaUnderCurve(activations, PackedMasks(NAMES, masks), min_share=0.1)
    found = exact_search(objective, length=2)
    wide = search(objective, beam=1000, length=2)[0]
    assert (found.complete, found.best.score) == (True, wide.score)
    stopped = exact_search(objective, length=2, budget=20)
    assert (stopped.complete, stopped.bound) == (False, 1.0)
    for wrong in ({"length": 0}, {"budget": 0}):
        with pytest.raises(ValueError, match="have to be positive"):
            exact_search(objective, **wrong)
