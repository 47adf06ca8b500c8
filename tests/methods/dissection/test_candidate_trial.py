"""What is known of candidate concepts on images: who shows them, and how well each detects."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import pearsonr

from dnd_assets.methods.dissection.candidate_trial import (
    Candidate,
    CaptionWords,
    Trial,
    correlations,
)
from dnd_assets.methods.dissection.concept_detection import choose, choose_row, trial

CANDIDATES = [Candidate(text, (frozenset(text.split()),)) for text in ("a", "b")]


def test_presence_is_that_a_caption_has_all_words():
    shown = [frozenset(text.split()) for text in ("red ring", "red star", "ring")]
    phrases = [frozenset({"red"}), frozenset({"red", "ring"}), frozenset({"blue"})]
    assert CaptionWords.of(shown).shown(phrases).tolist() == [
        [True, True, False], [True, False, False], [False, False, False],
    ]  # fmt: skip
    assert CaptionWords.of(shown).shown([]).shape == (0, 3)


def test_support_counts_the_fewer_of_those_that_show_it_and_those_that_do_not():
    captions = [frozenset(["a", "b"]), frozenset(["a"]), frozenset(["a"]), frozenset()]
    found = trial(CANDIDATES, captions, np.arange(4.0), {}).whole
    assert {one.candidate.text: one.support for one in found[:2]} == {"a": 1.0, "b": 1.0}


@given(st.lists(st.tuples(st.integers(-5, 5), st.integers(-5, 5), st.integers(0, 3)), min_size=3))
def test_correlations_are_pearson_s_of_repeated_images(rows):
    one, other, times = (np.array(column, dtype=float) for column in zip(*rows, strict=True))
    if not times.sum():
        return
    repeated = times.astype(int)
    a, b = np.repeat(one, repeated), np.repeat(other, repeated)
    varies = np.ptp(a) > 0 and np.ptp(b) > 0
    expected = float(pearsonr(a, b)[0]) if varies else 0.0
    assert correlations(one[None], other, times)[0] == pytest.approx(expected, abs=1e-9)


def test_a_row_that_hardly_varies_for_its_size_correlates_with_nothing():
    rows = np.array([[1e6, 1e6, 1e6], [0.0, 0.0, 0.0], [1.0, 2.0, 3.0]])
    assert correlations(rows, np.array([1.0, 2.0, 3.0]), np.ones(3)).tolist() == [0.0, 0.0, 1.0]


@pytest.mark.parametrize("seed", range(20))
def test_the_row_chosen_from_the_few_near_the_best_is_that_of_all(seed):
    rng = np.random.default_rng(seed)
    words = "abcdef"
    captions = [frozenset(w for w in words if rng.random() < 0.3) for _ in range(60)]
    singles = [Candidate(word, (frozenset(word),)) for word in words]
    active = np.array([("a" in one or "b" in one) + rng.random() for one in captions])
    like = rng.normal(size=(len(words), 60))
    likeness = None if seed % 2 else lambda texts: like[[words.index(text) for text in texts]]
    tried = trial(singles, captions, active, {}, singles[:2], likeness)
    for weights in (np.ones(60), rng.integers(0, 3, 60).astype(float)):
        measures = tried.on(weights)
        every = [measures.detected(row) for row in range(len(tried.candidates))]
        row = choose_row(tried, measures, 0.05)
        assert row is not None
        assert every[row] == choose(every, 0.05)


def test_some_of_the_candidates_are_measured_as_among_all():
    shown = np.array([[1, 1, 0, 0], [1, 0, 1, 0]], dtype=bool)
    both = Trial(tuple(CANDIDATES), shown, np.array([4.0, 3.0, 2.0, 1.0]))
    assert both.of([1]).whole == both.whole[1:]
    assert both.leading(1).candidates == (CANDIDATES[0],)
