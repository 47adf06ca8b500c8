"""Phrases that set captions apart: the ratio by hand and by scipy, the order, its limits."""

from math import log

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chi2_contingency

from dnd_assets.methods.dissection.contrast import contrast_phrases, log_likelihood_ratio


def test_the_ratio_by_hand():
    # Two samples of two, both hits in one: 2 (4 log 1 - 4 log 1/2) = 8 log 2.
    assert log_likelihood_ratio(2, 2, 0, 2) == pytest.approx(8 * log(2))
    assert log_likelihood_ratio(3, 10, 30, 100) == pytest.approx(0.0, abs=1e-12)


@given(st.integers(1, 40), st.integers(1, 40), st.data())
def test_it_is_scipy_s_g(of, other_of, data):
    hits = data.draw(st.integers(0, of))
    others = data.draw(st.integers(0, other_of))
    ratio = log_likelihood_ratio(hits, of, others, other_of)
    table = [[hits, of - hits], [others, other_of - others]]
    if 0 < hits + others < of + other_of:
        expected = chi2_contingency(table, correction=False, lambda_="log-likelihood").statistic
        assert ratio == pytest.approx(expected, abs=1e-9)
    else:
        assert ratio == pytest.approx(0.0, abs=1e-9)


def test_no_sample_is_refused():
    with pytest.raises(ValueError, match="no two shares"):
        log_likelihood_ratio(0, 0, 1, 2)
    with pytest.raises(ValueError, match="no two shares"):
        log_likelihood_ratio(3, 2, 1, 2)


def test_what_sets_apart_comes_first():
    strong = ["a red ring on grass", "two red stars on grass", "a red cross on sand"]
    random = ["a blue ring on grass", "a green star on grass", "a red cross on sand",
              "a white ring at night"]  # fmt: skip
    found = contrast_phrases(strong, random, 3)
    assert found[0] == "red"
    assert "grass" in contrast_phrases(strong, random, 10)
    assert "blue" not in contrast_phrases(strong, random, 100)


def test_the_order_of_captions_changes_nothing():
    strong, random = ["red ring", "red star", "blue star"], ["blue ring", "green star", "red ring"]
    assert contrast_phrases(strong, random, 9) == contrast_phrases(strong[::-1], random[::-1], 9)


def test_nothing_from_nothing():
    assert contrast_phrases([], ["a red ring"], 5) == []
