"""Krippendorff's alpha: his own published example, a small one by hand, loops, invariants."""

import itertools

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from dnd_assets.methods.metrics.rater_agreement import ordinal_alpha

# Krippendorff, Computing Krippendorff's Alpha-Reliability (2011): four observers,
# twelve units, 0 for missing. He gives 0.743 nominal, 0.815 ordinal, 0.849 interval.
PUBLISHED = [
    [1, 2, 3, 3, 2, 1, 4, 1, 2, 0, 0, 0],
    [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, 0, 3],
    [0, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, 0],
    [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, 0],
]

items = st.lists(st.lists(st.integers(1, 5), max_size=4), min_size=1, max_size=8)


def test_the_published_example():
    found = ordinal_alpha([[v for v in unit if v] for unit in zip(*PUBLISHED, strict=True)])

    assert found == pytest.approx(0.815, abs=5e-4)


def test_a_worked_case():
    """Two raters, three items: (1, 1), (1, 2), (3, 3).

    Coincidences: 1-1 twice, 1-2 and 2-1 once each, 3-3 twice; so n = 3, 1, 2 and n.. = 6.
    Squared differences: 1 to 2 is 3/2 + 1/2 = 2, squared 4; 1 to 3 is 3/2 + 1 + 1 = 3.5, squared
    12.25; 2 to 3 is 1/2 + 1 = 1.5, squared 2.25.
    D_o = 2 * 1 * 4 / 6; D_e = 2 * (3*1*4 + 3*2*12.25 + 1*2*2.25) / (6 * 5) = 2 * 90 / 30.
    """
    assert ordinal_alpha([[1, 1], [1, 2], [3, 3]]) == pytest.approx(1 - (8 / 6) / 6)


@given(items)
def test_the_definition_in_loops(rated):
    pairable = [item for item in rated if len(item) > 1]
    pooled = [value for item in pairable for value in item]
    assume(len(set(pooled)) > 1)

    def difference(c, k):
        low, high = sorted((c, k))
        between = sum(low <= value <= high for value in pooled)
        return (between - (pooled.count(c) + pooled.count(k)) / 2) ** 2

    observed = sum(
        difference(c, k) / (len(item) - 1)
        for item in pairable
        for c, k in itertools.permutations(item, 2)
    ) / len(pooled)
    expected = sum(difference(c, k) for c, k in itertools.permutations(pooled, 2))
    expected /= len(pooled) * (len(pooled) - 1)

    assert ordinal_alpha(rated) == pytest.approx(1 - observed / expected)


@given(items, st.randoms(use_true_random=False))
def test_order_and_spacing_do_not_matter(rated, random):
    shuffled = [random.sample([value**3 for value in item], len(item)) for item in rated]
    random.shuffle(shuffled)

    assert ordinal_alpha(shuffled) == pytest.approx(ordinal_alpha(rated), nan_ok=True)


def test_agreement_in_everything_is_one_and_in_nothing_below_zero():
    assert ordinal_alpha([[1, 1], [5, 5, 5], [3, 3]]) == 1.0
    assert ordinal_alpha([[1, 5], [5, 1], [1, 5]]) < 0


def test_what_says_nothing_is_nan():
    assert np.isnan(ordinal_alpha([]))
    assert np.isnan(ordinal_alpha([[1], [2], []]))
    assert np.isnan(ordinal_alpha([[3, 3], [3, 3]]))
    with pytest.raises(ValueError, match="leave missing ratings out"):
        ordinal_alpha([[1.0, float("nan")]])
