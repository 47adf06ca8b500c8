"""Pairs of concepts: which are proposed, and which is taken."""

import itertools
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dnd_assets.methods.clip_dissect.concept_pairs import Label, best_of, pair_text, propose_pairs

NAMES = ["red", "blue", "circle"]


def test_pairs_of_the_best_concepts_in_the_order_of_ranks():
    found = propose_pairs(torch.tensor([[0.1, 0.9, 0.5, 0.7], [math.nan] * 4]), n=3)

    assert found == [[(1, 3), (1, 2), (3, 2)], []]


@given(st.lists(st.floats(-5, 5), min_size=2, max_size=12), st.integers(2, 14))
def test_each_pair_is_proposed_once(values, n):
    (found,) = propose_pairs(torch.tensor([values]), n)

    best = sorted(range(len(values)), key=lambda i: -torch.tensor(values)[i])[:n]
    assert {frozenset(pair) for pair in found} == set(
        map(frozenset, itertools.combinations(best, 2))
    )
    assert len(found) == math.comb(len(best), 2)
    assert all(best.index(first) < best.index(second) for first, second in found)


def test_fewer_concepts_propose_the_first_pairs():
    values = torch.rand(1, 30, generator=torch.Generator().manual_seed(0))

    assert propose_pairs(values, 20)[0][: math.comb(8, 2)] == propose_pairs(values, 8)[0]
    assert len(propose_pairs(torch.rand(1, 200))[0]) == 4950


def test_a_pair_wins_where_it_is_better():
    singles = torch.tensor([0.5, 0.2, 0.4])
    pairs = [(0, 2), (0, 1)]

    found = best_of(NAMES, singles, pairs, torch.tensor([0.75, 0.5]), n=3)

    assert found == [
        Label((0, 2), "red and circle", 0.75),
        Label((0,), "red", 0.5),
        Label((0, 1), "red and blue", 0.5),
    ]
    assert best_of(NAMES, singles, pairs, torch.tensor([0.5, math.nan])) == [
        Label((0,), "red", 0.5)
    ]
    assert best_of(NAMES, singles * math.nan, [], torch.zeros(0)) == []


def test_refusals():
    with pytest.raises(ValueError, match="n = 1 concepts make no pair"):
        propose_pairs(torch.zeros(1, 3), 1)
    with pytest.raises(ValueError, match="3 concepts and 1 pairs do not fit 2 and 1"):
        best_of(NAMES, torch.zeros(2), [(0, 1)], torch.zeros(1))
    assert pair_text("a", "b") == "a and b"
