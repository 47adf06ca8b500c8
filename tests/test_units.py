"""Units: slugs, partition keys and the patterns that select them."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dnd_assets.errors import NotFoundError, nearest, not_found
from dnd_assets.units import Unit, UnitIndex, by_layer, slug

NAMES = st.text(min_size=0, max_size=100) | st.text("aA-._/ 1\u00e9", max_size=12)


def index():
    layers = [("net", "fc", 12), ("net", "layer4.2.conv3", 3), ("net2", "fc", 2)]
    return UnitIndex([Unit(m, path, n) for m, path, count in layers for n in range(count)])


@pytest.mark.parametrize("name", ["fc", "layer4.2.conv3", "vit_b-16", "0", "a" * 80])
def test_a_plain_name_is_its_own_slug(name):
    assert slug(name) == name


@given(NAMES)
def test_a_slug_is_safe_in_a_partition_key(name):
    found = slug(name)

    assert re.fullmatch(r"[a-z0-9._-]{1,89}", found)
    assert "..." not in found
    assert found == slug(name)


@given(NAMES, NAMES)
def test_two_names_never_share_a_slug(one, other):
    assert (slug(one) == slug(other)) == (one == other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Layer 4", "layer-4"),
        ("Layer4", "layer4"),
        ("a/b", "a-b"),
        ("a...b", "a-b"),
        ("", "x"),
        ("x", "."),
        ("fc.", "fc"),
        ("\u00e9", "\u00e8"),
        ("a" * 80, "a" * 81),
        ("a" * 81, "a" * 82),
        ("Layer4\n", "Layer4"),
    ],
)
def test_names_that_look_alike_have_slugs_of_their_own(one, other):
    assert slug(one) != slug(other)


@given(NAMES)
def test_a_slug_that_carries_a_hash_is_no_plain_name_itself(name):
    assert slug(name) == name or slug(slug(name)) != slug(name)


def test_a_key_reads_model_layer_neuron():
    assert Unit("resnet50", "layer4", 1234).key == "resnet50/layer4/1234"
    assert str(Unit("net", "fc", 3)) == "net/fc/3"
    parts = Unit("My Net", "a/b", 7).key.split("/")
    assert len(parts) == 3
    assert parts[0].startswith("my-net-")
    assert parts[2] == "7"


def test_units_are_grouped_by_layer_in_their_order():
    b, a, c = Unit("n", "b", 1), Unit("n", "a", 0), Unit("n", "b", 0)

    assert list(by_layer([b, a, c]).items()) == [(("n", "b"), [b, c]), (("n", "a"), [a])]


def test_an_index_maps_keys_to_units_in_order():
    units = [Unit("n", "b", 1), Unit("n", "a", 0)]
    found = UnitIndex(units)

    assert list(found) == ["n/b/1", "n/a/0"]
    assert list(found.values()) == units
    assert len(found) == 2
    assert found["n/a/0"] == units[1]


def test_an_unknown_key_names_the_nearest():
    with pytest.raises(NotFoundError) as caught:
        index()["net/fd/11"]

    assert "no unit 'net/fd/11'; nearest: net/fc/11" in str(caught.value)
    assert "(of 17)" in str(caught.value)
    assert "dnd layers" in str(caught.value)


@pytest.mark.parametrize(
    ("patterns", "keys"),
    [
        (["net/fc/3"], ["net/fc/3"]),
        (["net/fc/1"], ["net/fc/1"]),  # not 10 and 11
        (["net2"], ["net2/fc/0", "net2/fc/1"]),
        (["net2/"], ["net2/fc/0", "net2/fc/1"]),
        (["net2/fc"], ["net2/fc/0", "net2/fc/1"]),
        (["net/layer4.2.conv3"], [f"net/layer4.2.conv3/{n}" for n in range(3)]),
        (["net/fc/9-11"], ["net/fc/9", "net/fc/10", "net/fc/11"]),
        (["net/fc/11-900"], ["net/fc/11"]),
        (["net/fc/0-0"], ["net/fc/0"]),
        (["net2/fc/1", "net/fc/2", "net2/fc"], ["net/fc/2", "net2/fc/0", "net2/fc/1"]),
    ],
)
def test_patterns(patterns, keys):
    assert [unit.key for unit in index().select(patterns)] == keys


def test_no_pattern_selects_everything():
    assert index().select([]) == list(index().values())


@pytest.mark.parametrize(
    ("pattern", "near"),
    [
        ("nett/fc/3", "net/fc/3"),
        ("net/f", "net/fc/"),  # half a name is no prefix
        ("net/fc/12", "net/fc/"),
        ("net/fc/20-30", "net/fc/"),
        ("net/fc/9-3", "net/fc/"),
        ("net/layer4.2.conv/1", "net/layer4.2.conv3/1"),
        ("NET2/FC/1", "net2/fc/1"),
        ("", "net"),
    ],
)
def test_a_wrong_pattern_names_the_nearest(pattern, near):
    with pytest.raises(NotFoundError) as caught:
        index().select(["net/fc/0", pattern])

    text = str(caught.value)
    assert f"no unit {pattern!r}; nearest: {near}" in text
    assert "a prefix or a range" in text
    assert len(text.partition("nearest: ")[2].partition(" (of")[0].split(", ")) <= 5


def test_layers_with_slugs_are_selected_by_their_slug():
    unit = Unit("My Net", "Block 1", 0)

    assert UnitIndex([unit]).select([f"{slug('My Net')}/{slug('Block 1')}"]) == [unit]


def test_nearest_prefers_similar_names_and_else_shows_some():
    assert nearest("LAYER4", ["fc", "layer4", "layer1"]) == ["layer4", "layer1"]
    assert nearest("zzz", ["fc", "conv"], n=1) == ["fc"]
    assert nearest("zzz", []) == []
    assert len(nearest("layer", [f"layer{n}" for n in range(9)])) == 5


def test_not_found_without_any_choice_says_so():
    assert str(not_found("run", "a", [])) == "no run 'a'; there are none."
