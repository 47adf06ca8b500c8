"""Labels that are one concept, by what they share and what the unit answers to."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dnd_assets.methods.polysemantic.same_concept import (
    OneConcept,
    common_phrases,
    one_concept_each,
    phrases_to_try,
)

WORDS = ["small", "large", "red", "blue", "ring", "star", "cross", "sand"]
LABELS = st.lists(st.sampled_from(WORDS), min_size=1, max_size=3, unique=True).map(" ".join)


def test_rings_of_any_size_and_colour_are_rings():
    labels = ["small green rings", "large purple ring", "small blue ring"]
    responses = {"small green rings": 5.0, "large purple ring": 4.0, "small blue ring": 5.0}
    responses |= {"ring": 4.5, "small": 0.5, "small ring": 0.0}
    found = one_concept_each(labels, responses, base=0.0)
    assert found == [OneConcept("ring", (0, 1, 2))]


def test_a_word_that_the_unit_does_not_answer_to_joins_nothing():
    responses = {"large crosses": 1.0, "large purple": 0.8, "large": 0.2}
    found = one_concept_each(list(responses)[:2], responses, base=0.0)
    assert found == [OneConcept("large crosses", (0,)), OneConcept("large purple", (1,))]
    # 0.2 is enough of 0.8 where a quarter is asked for.
    found = one_concept_each(list(responses)[:2], responses, base=0.0, part=0.25)
    assert found == [OneConcept("large", (0, 1))]


@pytest.mark.parametrize(("base", "concepts"), [(0.0, 1), (1.0, 2)])
def test_what_counts_is_the_response_above_the_average_picture(base, concepts):
    responses = {"red star": 2.0, "red ring": 2.0, "red": 1.2}
    assert len(one_concept_each(["red star", "red ring"], responses, base)) == concepts


def test_common_phrases_by_hand():
    assert common_phrases("stripes in the sky", "checks in the sky") == ["sky"]
    assert common_phrases("cross", "crosses") == ["cross"]
    assert common_phrases("two large red circles", "large red") == ["large red", "large", "red"]
    assert common_phrases("purple", "crosses") == []
    assert phrases_to_try(["red star", "red ring", "red star"]) == {"red star", "red ring", "red"}


def test_a_phrase_without_pictures_is_not_tried():
    responses = {"red star": 2.0, "red ring": 2.0}
    assert len(one_concept_each(["red star", "red ring"], responses, 0.0)) == 2
    with pytest.raises(ValueError, match=r"no response to \['red star'\]"):
        one_concept_each(["red star"], {}, 0.0)
    with pytest.raises(ValueError, match="part = 2"):
        one_concept_each(["red star"], responses, 0.0, part=2)


@given(
    st.lists(LABELS, min_size=1, max_size=6),
    st.sampled_from([0.0, 0.25, 0.5, 1.0]),
    st.integers(-3, 3),
    st.data(),
)
def test_every_group_is_in_one_concept_whatever_zero_and_scale(labels, part, base, data):
    values = st.integers(-4, 4)
    responses = {p: float(data.draw(values)) for p in sorted(phrases_to_try(labels))}
    found = one_concept_each(labels, responses, base, part)
    assert sorted(g for one in found for g in one.groups) == list(range(len(labels)))
    scaled = {p: 4 * value + 8 for p, value in responses.items()}
    assert one_concept_each(labels, scaled, 4 * base + 8, part) == found


@given(st.lists(LABELS, min_size=1, max_size=6))
def test_equal_labels_are_one_concept(labels):
    responses = dict.fromkeys(phrases_to_try(labels), 1.0)
    found = one_concept_each([labels[0]] * len(labels), responses, 0.0)
    assert found == [OneConcept(labels[0], tuple(range(len(labels))))]
