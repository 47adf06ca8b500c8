"""Which units answer alike."""

import numpy as np
import pytest

from dnd_assets.report.build import build_report
from dnd_assets.report.similar import nearest_columns, similar_key, similar_units
from dnd_assets.results.unit_card.card_reader import Cards
from tests.report import made
from tests.report.conftest import UNITS


def columns(values):
    wide = values - values.mean(axis=0)
    length = np.linalg.norm(wide, axis=0)
    return (wide / np.where(length > 0, length, np.inf)).astype(np.float32)


def test_correlations_are_those_of_numpy_and_the_nearest_come_first():
    rng = np.random.default_rng(0)
    values = rng.normal(size=(50, 700)) + rng.normal(size=(50, 1))
    found = nearest_columns(columns(values), most=5, least=0.0)
    like = np.corrcoef(values.T)
    np.fill_diagonal(like, -1)
    for row, near in enumerate(found):
        best = np.sort(like[row])[::-1][:5]
        assert [value for _, value in near] == pytest.approx(best, abs=6e-4)
        assert all(abs(like[row, other] - value) < 6e-4 for other, value in near)


def test_opposite_and_constant_units_are_like_none():
    ramp = np.arange(8.0)
    found = nearest_columns(columns(np.stack([ramp, -ramp, np.ones(8), 2 * ramp + 1], axis=1)))
    assert found == [[(3, 1.0)], [], [], [(0, 1.0)]]


def test_units_of_other_layers_count_and_order_does_not(atlas):
    _, state = atlas
    cards = Cards(state.context.lineage, state.context.store, "atlas")
    order = [unit.key for unit in UNITS]
    found = similar_units(cards, order)
    # Made by hand: both layers share one block, so that equal numbers answer alike.
    for place, near in enumerate(found):
        assert (near[0].place, near[0].correlation) == ((place + 6) % 12, 1.0)
        assert place not in [one.place for one in near]
    turned = similar_units(cards, order[::-1])
    for place, near in enumerate(turned):
        assert order[::-1][near[0].place] == order[found[11 - place][0].place]


def test_it_is_worked_out_again_only_where_activations_changed(state, tmp_path, monkeypatch):
    cards = Cards(state.context.lineage, state.context.store, "atlas")
    before = similar_key(cards, [unit.key for unit in UNITS])
    build_report(state.context, tmp_path / "out")
    monkeypatch.setattr("dnd_assets.report.build.similar_units", None)
    made.record(state, UNITS[3:4], made.Texts(label=lambda n: f"other {n}"), 3, "run-2")
    build_report(state.context, tmp_path / "out")
    again = Cards(state.context.lineage, state.context.store, "atlas")
    assert similar_key(again, [unit.key for unit in UNITS]) == before
    assert similar_key(again, [unit.key for unit in UNITS[:5]]) != before
