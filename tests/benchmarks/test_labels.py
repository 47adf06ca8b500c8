"""The benchmark of labels: its units, its figures by hand, and a few units from end to end."""

import numpy as np
import pytest

from benchmarks import labels
from benchmarks.labels import (
    KINDS,
    KnownUnit,
    activations_of,
    auroc,
    calibration_error,
    misread,
    of_seed,
    plot,
    report,
    unit_of,
)

SCENES = {
    "size": np.array(["large", "small", "large"], dtype=object),
    "colour": np.array(["red", "red", "blue"], dtype=object),
    "count": np.array([3, 1, 1], dtype=object),
}


def test_what_units_answer_to():
    facts = (("size", "large"), ("colour", "red"))
    assert KnownUnit("conjunction", facts, 0.0).holds(SCENES).tolist() == [True, False, False]
    assert KnownUnit("disjunction", facts, 0.0).holds(SCENES).tolist() == [True, True, True]
    assert KnownUnit("negation", facts[1:], 0.0).holds(SCENES).tolist() == [False, False, True]
    assert KnownUnit("negation", facts[1:], 0.0).truth() == {"not", "red"}
    strongest = activations_of(KnownUnit("superstimulus", facts[:1], 0.0), SCENES,
                               np.random.default_rng(0))  # fmt: skip
    assert strongest == pytest.approx([3.0, 0.0, 1 + 2 / 3], abs=0.1)
    assert not activations_of(KnownUnit("dead", (), 0.0), SCENES, np.random.default_rng(0)).any()


@pytest.mark.parametrize("kind", sorted(set(KINDS)))
def test_every_kind_of_unit_can_be_drawn(kind):
    unit = unit_of(kind, np.random.default_rng(5))
    assert bool(unit.facts) == (kind not in ("random", "dead"))


def test_auroc_by_hand():
    # Of four pairs of right and wrong, right is above in two and equal in one.
    assert auroc([True, True, False, False], [0.9, 0.5, 0.5, 0.7]) == pytest.approx(2.5 / 4)
    assert auroc([True, False], [0.9, 0.1]) == 1.0
    assert np.isnan(auroc([True], [0.5]))


def test_auroc_is_scikit_learn_s():
    metrics = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(2)
    right, scores = rng.random(50) < 0.4, np.round(rng.random(50), 1)
    assert auroc(right.tolist(), scores.tolist()) == pytest.approx(
        metrics.roc_auc_score(right, scores)
    )


def test_calibration_error_by_hand():
    # Two in the tenth of 0.9 of which one is right, one at 0.25 that is wrong.
    found = calibration_error([True, False, False], [0.95, 0.95, 0.25])
    assert found == pytest.approx(2 / 3 * 0.45 + 1 / 3 * 0.25)
    assert calibration_error([True], [1.0]) == 0.0


def test_a_share_of_the_words_is_wrong():
    text = " ".join(["red"] * 2000)
    wrong = sum(word != "red" for word in misread(text, 0.2, 1).split()) / 2000
    # One in so many swaps draws the word itself.
    assert 0.15 < wrong < 0.22
    assert misread("two red rings on grass", 0.0, 1) == "two red rings on grass"


def test_a_few_units_from_end_to_end(tmp_path, monkeypatch):
    monkeypatch.setattr(labels, "IMAGES", 800)
    monkeypatch.setattr(labels, "REFERENCE", 600)
    found = of_seed(9, 6, 0.0)
    assert [one.kind for one in found] == list(KINDS[:6])
    assert found == of_seed(9, 6, 0.0)
    for one in found:
        assert 0 <= one.precision <= 1
        assert 0 <= one.confidence <= 1
        assert one.covered or not one.exact or one.stability < 0.5
    assert "| planted, exact |" in report(found)
    plot(found, tmp_path / "plot.png")
    assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG")
