"""Bootstrap intervals: all resamples by hand, the normal case, coverage, refusals."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import norm

from dnd_assets.methods.metrics import mean_interval

numbers = st.lists(st.floats(-1e3, 1e3), min_size=2, max_size=30)


def test_all_resamples_of_a_small_case():
    """With four values every one of the 256 resamples can be written down.

    The values are symmetric, so the acceleration is 0, and the bias correction is that of the
    resamples below the mean; the ends are then quantiles of the 256 means.
    """
    values = [0.0, 1.0, 2.0, 3.0]
    means = np.sort([np.mean(draw) for draw in itertools.product(values, repeat=4)])
    below = (np.mean(means < 1.5) + np.mean(means <= 1.5)) / 2
    assert below == pytest.approx(0.5)  # so there is no bias to correct

    found = mean_interval(values, level=0.9, resamples=20_000)

    low, high = np.quantile(means, [0.05, 0.95])
    assert found == pytest.approx((low, high), abs=0.13)  # means lie 0.25 apart


def test_many_units_give_the_normal_interval():
    values = np.random.default_rng(0).normal(3, 2, size=2000)

    found = mean_interval(values)

    half = norm.ppf(0.975) * values.std(ddof=1) / len(values) ** 0.5
    assert found == pytest.approx((values.mean() - half, values.mean() + half), abs=0.01)


@pytest.mark.parametrize("least", [1e-3, 7e-271, 5e-320])
def test_very_small_values_have_an_interval_too(least):
    values = [0.0, least, 0.0, least, least, 0.0, least]
    plain = mean_interval([value / least for value in values])
    assert mean_interval(values) == pytest.approx((plain.low * least, plain.high * least), rel=1e-3)


@given(numbers)
def test_the_interval_holds_the_mean_of_what_it_drew_and_repeats(values):
    found = mean_interval(values, resamples=199)

    rounded = 1e-12 * max(map(abs, values))  # a mean of equal numbers may be off by a last bit
    assert min(values) - rounded <= found.low <= found.high <= max(values) + rounded
    assert mean_interval(values, resamples=199) == found


def test_more_units_and_less_confidence_make_it_narrower():
    rng = np.random.default_rng(1)

    def width(values, level=0.95):
        low, high = mean_interval(values, level=level)
        return high - low

    assert width(rng.random(1000)) < width(rng.random(20))
    assert width(rng.random(50), 0.5) < width(rng.random(50), 0.99)


def test_one_value_for_all_units_is_its_own_interval():
    assert mean_interval([0.1] * 5) == (0.1, 0.1)


def test_wrong_inputs_are_refused():
    with pytest.raises(ValueError, match="two units at least"):
        mean_interval([1.0])
    with pytest.raises(ValueError, match="leave those units out"):
        mean_interval([1.0, float("nan")])
    with pytest.raises(ValueError, match=r"level = 95 has to be in \(0, 1\)"):
        mean_interval([1.0, 2.0], level=95)


@pytest.mark.filterwarnings("ignore:overflow", "ignore:invalid value", "ignore:The BCa")
def test_values_too_large_to_be_squared_are_refused():
    with pytest.raises(ValueError, match=r"up to 1e\+300 are too large"):
        mean_interval([1e300, 0.0, 5e299])
