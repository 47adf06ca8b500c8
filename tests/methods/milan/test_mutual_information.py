"""MILAN: pointwise mutual information, and sets of images."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dnd_assets.methods.milan.mutual_information import log_given_set, pmi, rerank

LOGS = st.floats(-50, 0)
PAIRS = st.lists(st.tuples(LOGS, LOGS), min_size=1, max_size=8)


def test_a_worked_case():
    # p(d|images) = 1/4 and 1/8, p(d) = 1/2 and 1/64.
    given_images, prior = np.log([1 / 4, 1 / 8]), np.log([1 / 2, 1 / 64])
    names = ["animals", "sea lions"]

    assert rerank(names, given_images, prior, lam=0)[0] == ("animals", math.log(1 / 4))
    # With lambda 1/2: 1/4 / sqrt(1/2) = 0.354 and 1/8 / (1/8) = 1.
    (best, first), (_, second) = rerank(names, given_images, prior, lam=0.5)
    assert best == "sea lions"
    assert first == pytest.approx(0.0, abs=1e-12)
    assert second == pytest.approx(math.log(math.sqrt(2) / 4))


@given(PAIRS, st.floats(0, 2))
def test_pmi_by_a_loop(pairs, lam):
    given_images, prior = np.array(pairs).T

    found = pmi(given_images, prior, lam)

    assert found.tolist() == [x - lam * y for x, y in pairs]


@given(PAIRS, st.data())
def test_candidates_may_come_in_any_order(pairs, data):
    order = data.draw(st.permutations(range(len(pairs))))
    given_images, prior = np.array(pairs).T

    plain = pmi(given_images, prior)

    assert pmi(given_images[order], prior[order]).tolist() == plain[order].tolist()


def test_equal_candidates_keep_their_order():
    assert [name for name, _ in rerank("abc", np.zeros(3), np.zeros(3))] == ["a", "b", "c"]


def test_what_is_impossible_comes_last():
    found = rerank("ab", np.array([-math.inf, -9.0]), np.array([-math.inf, -1.0]))

    assert [name for name, _ in found] == ["b", "a"]
    assert found[1][1] == -math.inf


def test_sets_of_a_worked_case():
    # One is quite likely on both images, the other certain on one and unlikely on the other.
    single = np.log([[1 / 4, 1 / 4], [1.0, 1 / 64]])

    np.testing.assert_allclose(np.exp(log_given_set(single)), [1 / 4, 1 / 8])
    mixed = np.exp(log_given_set(single, "mixture"))
    np.testing.assert_allclose(mixed, [1 / 4, 65 / 128])


@given(st.lists(LOGS, min_size=1, max_size=6), st.integers(1, 3))
def test_sets_do_not_grow_with_repetition_or_depend_on_order(logs, times):
    values = np.array([logs])
    for how in ("product", "mixture"):
        expected = log_given_set(values, how)[0]
        repeated = log_given_set(np.tile(values, times)[:, ::-1], how)[0]
        assert repeated == pytest.approx(expected, abs=1e-9)
        assert min(logs) - 1e-9 <= expected <= max(logs) + 1e-9
    assert log_given_set(values)[0] <= log_given_set(values, "mixture")[0] + 1e-9


def test_refusals():
    with pytest.raises(ValueError, match=r"\(2,\) log-prob.*\(3,\) of the language"):
        pmi(np.zeros(2), np.zeros(3))
    with pytest.raises(ValueError, match=r"given the images hold 0.5 at \(1,\)"):
        pmi(np.array([0.0, 0.5]), np.zeros(2))
    with pytest.raises(ValueError, match="of the language model hold nan"):
        pmi(np.zeros(1), np.array([math.nan]))
    with pytest.raises(ValueError, match=r"candidate 1 has .* floor"):
        pmi(np.zeros(2), np.array([0.0, -math.inf]))
    with pytest.raises(ValueError, match="2 log-probabilities do not fit 3 candidates"):
        rerank("abc", np.zeros(2), np.zeros(2))
    with pytest.raises(ValueError, match=r"not \(2, 0\)"):
        log_given_set(np.zeros((2, 0)))
    with pytest.raises(ValueError, match=r"hold nan at \(0, 1\)"):
        log_given_set(np.array([[0.0, math.nan]]))
    with pytest.raises(ValueError, match="neither 'product' nor"):
        log_given_set(np.zeros((1, 1)), "sum")
