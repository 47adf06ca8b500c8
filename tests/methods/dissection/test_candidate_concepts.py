"""Concepts: cleaning, prompts, orders, and the consensus on generated and natural captions."""

import json
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dnd_assets.known_answers.target import Truth, is_correct, words
from dnd_assets.known_answers.world import PLURALS, caption, scene
from dnd_assets.methods.dissection.candidate_concepts import (
    caption_order,
    clean_concept,
    clean_concepts,
    concept_messages,
    consensus_concepts,
    is_valid_concept,
    phrase_shares,
    shorten_messages,
)

PHOTOGRAPHS = [
    "a brown dog running on a beach",
    "a dog with a ball on the beach",
    "two dogs playing in the sand",
    "there is a dog that is laying on the beach",
    "a close up of a dog's face",
]


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("Red-themed scenes", ["red-themed scenes"]),
        (' "Red  Circle." ', ["red circle"]),
        ("“Red circle”.", ["red circle"]),
        ("'a dog's face'", ["a dog's face"]),
        ("u.s. flag", ["u.s. flag"]),
        ("Striped designs", ["striped designs", "striped designs background"]),
        ("floral design.", ["floral design", "floral design background"]),
        ("Graphic", ["graphic", "graphic background"]),
        ("bold graphics", ["bold graphics", "bold graphics background"]),
        ("redesign", ["redesign"]),
        ("designs of shells", ["designs of shells"]),
        ("line\nbreak\tand tab", ["line break and tab"]),
        ("", []),
        (' "." ', []),
    ],
)
def test_cleaning(answer, expected):
    assert clean_concept(answer) == expected


@given(st.text(max_size=30))
def test_cleaning_twice_changes_nothing(text):
    cleaned = clean_concept(text)[:1]

    assert [again for concept in cleaned for again in clean_concept(concept)][:1] == cleaned


def test_duplicates_are_dropped_and_the_order_is_kept():
    answers = ["Dots", "bold design", "dots.", "", "bold design background", "grass"]

    assert clean_concepts(answers) == ["dots", "bold design", "bold design background", "grass"]


@pytest.mark.parametrize(
    "text", ["red", "red circles with dots", "a " * 11 + "b", "café", "犬", "90s car", "dog's face"]
)
def test_valid_concepts(text):
    assert is_valid_concept(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "  ",
        "...",
        "a " * 12 + "b",
        "a" * 121,
        "red\x00circle",
        "red\ncircle",
        "red\u202ecircle",
        "<b>red</b>",
        "see http://x.y",
    ],
)
def test_invalid_concepts(text):
    assert not is_valid_concept(text)


def data_of(message):
    """The JSON list at the end of a prompt."""
    return json.loads(message["content"].splitlines()[-1])


HOSTILE = ['a "red" dog', "ignore this\n]}", "naïve {concept} %s", "\\"]


def test_the_chat_that_shortens_captions():
    messages = shorten_messages(HOSTILE)

    assert [m["role"] for m in messages] == ["user", "assistant", "user"]
    assert json.loads(messages[1]["content"]) == {"concepts": ["A red background"]}
    assert data_of(messages[2]) == HOSTILE
    assert "1-5 words" in messages[2]["content"]


def test_the_chat_that_asks_for_one_label():
    messages = concept_messages(HOSTILE)

    assert [m["role"] for m in messages] == ["user", "assistant"] * 2 + ["user"]
    answers = [json.loads(m["content"])["concept"] for m in messages[1::2]]
    assert answers == ["multicolored textiles", "red-themed scenes"]
    assert data_of(messages[4]) == HOSTILE
    assert all(len(data_of(m)) >= 4 for m in messages[::2])
    assert messages[4]["content"].startswith("State one coherent and concise concept label")


@given(st.lists(st.text(max_size=3), max_size=8), st.integers(0, 5), st.randoms())
def test_a_caption_order_is_a_permutation_of_the_content(captions, index, generator):
    shuffled = captions[:]
    generator.shuffle(shuffled)
    ordered = caption_order(captions, index, seed=1)

    assert sorted(ordered) == sorted(captions)
    assert caption_order(shuffled, index, seed=1) == ordered


def test_requests_and_seeds_get_other_orders():
    captions = [f"caption {i}" for i in range(10)]

    orders = {tuple(caption_order(captions, i, s)) for i in range(5) for s in range(3)}
    assert len(orders) == 15
    firsts = {caption_order(captions, i, 0)[0] for i in range(100)}
    assert len(firsts) == 10


# --- Consensus ----------------------------------------------------------------------------------


def scenes_that(holds, count=10, start=0):
    """Captions of the first scenes from seed `start` on that satisfy `holds`."""
    found = []
    seed = start
    while len(found) < count:
        if holds(scene(seed)):
            found.append(caption(scene(seed)))
        seed += 1
    return found


CONCEPTS = [
    ("red", lambda s: s.colour == "red"),
    ("black", lambda s: s.colour == "black"),
    *[(shape, lambda s, shape=shape: s.shape == shape) for shape in PLURALS],
    ("horizontal stripes", lambda s: s.texture == "horizontal stripes"),
    ("vertical stripes", lambda s: s.texture == "vertical stripes"),
    ("checks", lambda s: s.texture == "checks"),
    ("dots", lambda s: s.texture == "dots"),
    ("large", lambda s: s.size == "large"),
    ("two", lambda s: s.count == 2),
    ("grass", lambda s: s.background == "grass"),
    ("sky", lambda s: s.background == "sky"),
    ("night", lambda s: s.background == "night"),
    ("brick", lambda s: s.background == "brick"),
]


@pytest.mark.parametrize(("name", "holds"), CONCEPTS)
@pytest.mark.parametrize("start", [0, 10_000])
def test_the_shared_attribute_comes_first(name, holds, start):
    first = consensus_concepts(scenes_that(holds, start=start), 5, 0)[0]

    assert is_correct(first, Truth("final", (words(name),)))


@pytest.mark.parametrize(("name", "holds"), CONCEPTS)
def test_it_survives_two_wrong_captions_and_a_correlated_attribute(name, holds):
    captions = scenes_that(lambda s: holds(s) and s.size == "large", count=8)
    captions += scenes_that(lambda s: not holds(s), count=2)

    found = consensus_concepts(captions, 5, 0)

    assert any(is_correct(concept, Truth("final", (words(name),))) for concept in found)


def test_two_shared_attributes_come_alone_and_together():
    captions = [
        "a large red circle",
        "two red circles on grass",
        "small red circles",
        "a red circle with dots",
        "a red circle at night",
        "three red stars",
        "a red ring in the sky",
        "red crosses",
        "a blue circle",
        "two green squares",
    ]

    assert consensus_concepts(captions, 3, 0) == ["red", "circle", "red circle"]


def test_either_of_two_concepts_gives_both():
    captions = [f"a {c} cross on {b}" for c, b in [("red", "sand"), ("blue", "grass")] * 2]
    captions += [f"a purple {s} at night" for s in ("star", "ring", "circle", "square")]

    found = consensus_concepts(captions, 5, 0)

    assert {"cross", "purple"} <= {word for concept in found for word in concept.split()}


def test_attributes_that_always_go_together_are_also_given_alone():
    captions = [f"three large red {shape}" for shape in PLURALS.values()]

    found = consensus_concepts(captions, 4, 0)

    assert found == ["three large red", "large", "red", "three"]


def test_natural_captions():
    found = consensus_concepts(PHOTOGRAPHS, 5, 0)

    assert found[:2] == ["dog", "beach"]
    assert "brown dog running" in found


def test_words_keep_the_little_words_between_them():
    captions = ["a cat on the mat", "one cat on the mat", "the cat on the mat"]

    assert consensus_concepts(captions, 1, 0) == ["cat on the mat"]
    assert consensus_concepts(["a dog, on a leash", "dog; leash"], 5, 0) == ["dog", "leash"]


def test_plurals_count_with_singulars():
    captions = ["a man", "men", "two boxes", "box", "berries", "a berry", "crosses", "a cross"]

    shares = phrase_shares(captions)

    assert {w: shares[w] for w in ("man", "box", "berry", "cross")} == dict.fromkeys(
        ("man", "box", "berry", "cross"), 0.25
    )
    assert set(phrase_shares(["grass glass bus tennis gas"])) >= {"grass", "glass", "bus", "tennis"}


def test_orientations_need_a_noun():
    found = consensus_concepts(["horizontal stripes"] * 3 + ["vertical stripes"] * 2, 9, 0)

    assert found == ["stripes", "horizontal stripes", "vertical stripes"]


def test_what_is_common_everywhere_can_be_held_against_a_phrase():
    captions = ["a photo dog", "a photo cat on grass", "photo grass", "photo grass tree"]

    assert consensus_concepts(captions, 1, 0) == ["photo"]
    assert consensus_concepts(captions, 1, 0, background={"photo": 1.0}) == ["grass"]


@pytest.mark.parametrize("captions", [[], [""], ["  ", "the of a", "..."], ["<|>"]])
def test_no_usable_caption_gives_no_concept(captions):
    assert consensus_concepts(captions, 5, 0) == []


def test_blank_captions_are_ignored():
    assert consensus_concepts(["", *PHOTOGRAPHS, " "], 5, 0) == consensus_concepts(
        PHOTOGRAPHS, 5, 0
    )


def test_none_may_not_be_asked_for():
    with pytest.raises(ValueError, match="at least one"):
        consensus_concepts(PHOTOGRAPHS, 0, 0)


def test_an_endless_caption_is_cut():
    rng = random.Random(0)
    endless = " ".join(str(rng.random()) for _ in range(100_000))

    assert len(phrase_shares([endless])) <= 3 * 200


WORDS = ["a", "red", "dog", "dogs", "on", "the", "grass", "with", "large", "stripes", "horizontal"]
sentences = st.lists(
    st.lists(st.sampled_from(WORDS), max_size=8),
    max_size=8,
).map(lambda lists: [" ".join(words) for words in lists])


@given(sentences | st.lists(st.text(max_size=20), max_size=5), st.integers(1, 6), st.randoms())
def test_concepts_are_few_short_distinct_valid_and_independent_of_order(captions, n, generator):
    shuffled = captions[:]
    generator.shuffle(shuffled)
    found = consensus_concepts(captions, n, 0)

    assert found == consensus_concepts(shuffled, n, seed=99)
    assert len(found) <= n
    assert len(set(found)) == len(found)
    assert all(is_valid_concept(concept) and len(concept.split()) <= 5 for concept in found)
    assert clean_concepts(found) == found
    assert found == consensus_concepts(captions, n + 1, 0)[:n]
