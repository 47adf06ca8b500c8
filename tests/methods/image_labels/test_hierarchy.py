"""Concepts and what they are kinds of."""

import numpy as np
import pytest

from dnd_assets.methods.image_labels.hierarchy import CycleError, ancestors, closed

PARENTS = {"poodle": ["dog"], "dog": ["animal", "pet"], "cat": ["animal"], "animal": ["thing"]}


def test_all_that_a_concept_is_a_kind_of_by_hand():
    above = ancestors(PARENTS)
    assert above["poodle"] == {"dog", "animal", "pet", "thing"}
    assert above["cat"] == {"animal", "thing"}
    assert above["thing"] == above["pet"] == frozenset()
    assert closed(["poodle", "chair"], above) == {"poodle", "chair", *above["poodle"]}


def test_closing_twice_is_closing_once_and_order_does_not_matter():
    rng = np.random.default_rng(0)
    names = [f"c{i}" for i in range(40)]
    parents = {n: [names[j] for j in range(i) if rng.random() < 0.1] for i, n in enumerate(names)}
    above = ancestors(parents)
    assert above == ancestors(dict(reversed(parents.items())))
    for name in names:
        once = closed([name], above)
        assert closed(once, above) == once
        direct = {one for other in once for one in parents[other]}
        assert direct <= once


def test_a_long_chain_needs_no_recursion():
    chain = {f"{i:05d}": [f"{i + 1:05d}"] for i in range(5000)}
    assert len(ancestors(chain)["00000"]) == 5000


@pytest.mark.parametrize("parents", [{"a": ["a"]}, {"a": ["b"], "b": ["c"], "c": ["a"]}])
def test_a_concept_that_is_a_kind_of_itself_is_refused_and_named(parents):
    with pytest.raises(CycleError, match="'a'"):
        ancestors(parents)
