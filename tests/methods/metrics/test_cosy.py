"""CoSy: worked cases, scipy's U statistic and loops, invariants, refusals."""

import numpy as np
import pytest
import scipy.stats
from hypothesis import assume, given
from hypothesis import strategies as st

from dnd_assets.methods.metrics import cosy_auc, cosy_mad

values = st.lists(st.integers(-5, 5), min_size=1, max_size=9).map(lambda v: np.array(v, float))


def test_worked_cases():
    synthetic, natural = np.array([3.0, 1.0]), np.array([0.0, 1.0, 2.0, 3.0])

    # 3 beats 0, 1, 2 and ties with 3: 3.5; 1 beats 0 and ties with 1: 1.5; of 8 pairs.
    assert cosy_auc(synthetic, natural) == pytest.approx(5 / 8)
    # Means 2 and 1.5; deviations 1.5, 0.5, 0.5, 1.5: variance 5 / 4.
    assert cosy_mad(synthetic, natural) == pytest.approx(0.5 / 1.25**0.5)


@given(values, values)
def test_auc_is_the_u_statistic_and_the_loop(synthetic, natural):
    u = scipy.stats.mannwhitneyu(synthetic, natural).statistic
    loop = np.mean([(a > b) + (a == b) / 2 for a in synthetic for b in natural])

    assert cosy_auc(synthetic, natural) == pytest.approx(u / len(synthetic) / len(natural))
    assert cosy_auc(synthetic, natural) == pytest.approx(loop)


@given(values, values)
def test_auc_is_about_order_and_mad_about_distance(synthetic, natural):
    assert cosy_auc(synthetic, natural) == pytest.approx(1 - cosy_auc(natural, synthetic))
    assert cosy_auc(np.exp(synthetic), np.exp(natural)) == cosy_auc(synthetic, natural)
    assume(len(set(natural)) > 1)
    moved = cosy_mad(synthetic * 2 + 7, natural * 2 + 7)
    assert moved == pytest.approx(cosy_mad(synthetic, natural), abs=1e-9)
    assert cosy_mad(natural, natural) == pytest.approx(0, abs=1e-12)


def test_natural_activations_without_spread_give_no_mad():
    assert np.isnan(cosy_mad(np.array([1.0, 2.0]), np.full(5, 0.1)))
    assert np.isnan(cosy_mad(np.array([1.0]), np.array([3.0])))
    assert cosy_auc(np.full(3, 0.1), np.full(5, 0.1)) == 0.5


@pytest.mark.parametrize("metric", [cosy_auc, cosy_mad])
def test_wrong_inputs_are_refused(metric):
    with pytest.raises(ValueError, match="synthetic pictures are a vector"):
        metric(np.array([]), np.ones(2))
    with pytest.raises(ValueError, match="natural pictures are a vector"):
        metric(np.ones(2), np.ones((2, 2)))
    with pytest.raises(ValueError, match="natural pictures hold NaN"):
        metric(np.ones(2), np.array([1.0, np.inf]))
