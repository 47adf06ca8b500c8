"""Layouts: outputs of any order of axes as vectors, tokens or maps."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dnd_assets.errors import StudyError
from dnd_assets.methods.layer_axes import LAYOUTS, Layout, axes_of, check_shape


@pytest.mark.parametrize(
    ("axes", "shape", "kind", "arranged", "units"),
    [
        ("nc", (2, 5), "vectors", (5,), 5),
        ("nchw", (2, 5, 3, 4), "maps", (5, 3, 4), 5),
        ("nhwc", (2, 3, 4, 5), "maps", (5, 3, 4), 5),
        ("nwhc", (2, 4, 3, 5), "maps", (5, 3, 4), 5),
        ("ntc", (2, 7, 5), "tokens", (7, 5), 5),
        ("nct", (2, 5, 7), "tokens", (7, 5), 5),
        ("tnc", (7, 2, 5), "tokens", (7, 5), 5),
        ("nxc", (2, 7, 5), "tokens", (7, 5), 5),
        ("nxxc", (2, 3, 7, 5), "tokens", (21, 5), 5),
        ("nxtc", (2, 3, 7, 5), "tokens", (7, 5), 5),
        ("nxchw", (2, 6, 5, 3, 4), "maps", (5, 3, 4), 5),
    ],
)
def test_every_order_of_axes(axes, shape, kind, arranged, units):
    layout, values = Layout(axes), torch.rand(shape)

    assert layout.kind == kind
    assert layout.units(shape) == units
    assert layout.arranged_shape(shape) == arranged
    assert tuple(layout.arranged(values).shape) == (2, *arranged)


@given(st.permutations("nchw"), st.integers(0, 9))
def test_a_value_is_found_where_its_letters_say(axes, seed):
    sizes = {"n": 2, "c": 3, "h": 4, "w": 5}
    generator = torch.Generator().manual_seed(seed)
    values = torch.rand([sizes[letter] for letter in axes], generator=generator)
    at = {"n": 1, "c": 2, "h": 3, "w": 4}

    maps = Layout("".join(axes)).arranged(values)

    assert maps[1, 2, 3, 4] == values[tuple(at[letter] for letter in axes)]


def test_other_axes_are_averaged_beside_a_map_and_count_as_tokens_alone():
    values = torch.arange(24.0).reshape(1, 2, 3, 4)

    assert Layout("nxtc").arranged(values).equal(values.mean(dim=1))
    assert Layout("nxxc").arranged(values).equal(values.reshape(1, 6, 4))


def test_only_rows_and_columns_or_a_grid_give_places():
    assert Layout("nhwc").places
    assert Layout("ntc", grid=(2, 3)).places
    assert not Layout("ntc").places
    assert not Layout("nxxc").places


@given(
    st.sampled_from(["nc", "ntc", "nhwc"]),
    st.none() | st.tuples(st.integers(1, 9), st.integers(1, 9)),
    st.integers(0, 5),
    st.booleans(),
)
def test_a_layout_survives_json(axes, grid, prefix, has_class):
    layout = Layout(axes, grid, prefix, has_class)

    assert Layout.of_json(layout.as_json()) == layout


def test_names_and_letters():
    assert axes_of("tokens") == "ntc"
    assert axes_of("nxtc") == "nxtc"
    assert {axes_of(name) for name in LAYOUTS} == set(LAYOUTS.values())


@pytest.mark.parametrize("wrong", ["", "nhcw?", "nnc", "chw", "nch", "nthwc", "NCHW", "tokenz"])
def test_what_is_no_layout_says_what_is(wrong):
    with pytest.raises(ValueError, match=r"is no layout; write one of vectors, maps"):
        axes_of(wrong)


def test_an_output_of_another_shape_is_refused_with_both():
    check_shape("layer 'a' of 'net'", (8, 5, 3, 4), (1, 5, 3, 4), "nchw")
    check_shape("layer 'a' of 'net'", (7, 8, 5), (7, 1, 5), "tnc")
    for found in ((8, 5, 3, 5), (8, 6, 3, 4), (8, 5, 12), (8, 5)):
        with pytest.raises(StudyError, match=r"layer 'a' of 'net' gives \(8, .*gave \(1, 5, 3, 4"):
            check_shape("layer 'a' of 'net'", found, (1, 5, 3, 4), "nchw")
