"""Presence of a label on images: three classes of cosines, and the threshold at one half."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from skimage.filters import threshold_multiotsu

from dnd_assets.methods.metrics.presence import presence, shown

TEXT = np.array([1.0, 0.0])


def faces(cosines):
    """Unit vectors whose cosines with TEXT are these."""
    values = np.asarray(cosines, dtype=np.float64)
    return np.stack([values, np.sqrt(1 - values**2)], axis=1)


def test_a_worked_case():
    found = presence(faces([0.1, 0.8, 0.3, 0.1, 0.3, 0.8]), TEXT)
    # Classes {0.1, 0.1}, {0.3, 0.3}, {0.8, 0.8}: what exceeds 0.3 shows it.
    assert found == pytest.approx([0.3, 1.0, 0.5, 0.3, 0.5, 1.0])
    assert shown(found).tolist() == [False, True, False, False, False, True]


@pytest.mark.parametrize(
    ("cosines", "expected"),
    [([0.2, 0.2, 0.2], []), ([0.2, 0.3], [1]), ([0.2, 0.3, 0.2], [1]), ([0.4], [])],
)
def test_fewer_values_than_classes(cosines, expected):
    assert np.flatnonzero(shown(presence(faces(cosines), TEXT))).tolist() == expected


def test_the_threshold_is_that_of_scikit_image():
    rng = np.random.default_rng(0)
    cosines = np.concatenate([rng.normal(m, 0.03, 300) for m in (0.1, 0.25, 0.5)])
    found = shown(presence(faces(cosines), TEXT))
    width = (cosines.max() - cosines.min()) / 256
    sure = np.abs(cosines - threshold_multiotsu(cosines)[-1]) > width
    assert sure.mean() > 0.95
    assert (found == (cosines > threshold_multiotsu(cosines)[-1]))[sure].all()
    assert found.sum() == pytest.approx(300, abs=10)


@given(st.lists(st.integers(-90, 90), min_size=1, max_size=40), st.integers(0, 2**32 - 1))
def test_only_the_order_and_distances_of_cosines_matter(values, seed):
    cosines = np.array(values) / 100
    found = presence(faces(cosines), TEXT)
    assert np.ptp(found - cosines) < 1e-9, "shifted, nothing else"
    order = np.random.default_rng(seed).permutation(len(values))
    assert presence(faces(cosines)[order], TEXT) == pytest.approx(found[order])
    above, below = cosines[shown(found)], cosines[~shown(found)]
    assert len(below), "the lowest never counts"
    assert bool(len(above)) == (len(set(values)) > 1)
    assert not len(above) or above.min() > below.max()


@pytest.mark.parametrize(
    ("images", "text"),
    [
        (np.ones((0, 2)), TEXT),
        (np.ones((3, 3)), TEXT),
        (np.ones(2), TEXT),
        (np.array([[np.nan, 0.0]]), TEXT),
    ],
)
def test_wrong_input_is_refused(images, text):
    with pytest.raises(ValueError, match="embeddings"):
        presence(images, text)
