"""Pooling: worked cases for each kind of output, refusals, stabilised numbers."""

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers.modeling_outputs import BaseModelOutput

from dnd_assets.errors import StudyError
from dnd_assets.methods.pooling import pool, spatial_maps, stabilise, tensor_of

MAPS = torch.tensor([[[[1.0, 2.0], [3.0, 6.0]], [[-1.0, -1.0], [-1.0, 7.0]]]])
TOKENS = torch.tensor([[[9.0, -9.0], [1.0, 2.0], [3.0, 4.0], [5.0, 0.0], [7.0, 2.0]]])
VECTORS = torch.tensor([[1.0, -2.0, 3.0]])


@pytest.mark.parametrize(
    ("output", "how", "expected"),
    [
        (MAPS, "auto", [[3.0, 1.0]]),
        (MAPS, "mean", [[3.0, 1.0]]),
        (MAPS, "max", [[6.0, 7.0]]),
        (TOKENS, "auto", [[9.0, -9.0]]),
        (TOKENS, "class_token", [[9.0, -9.0]]),
        (TOKENS, "token_mean", [[4.0, 2.0]]),
        (TOKENS, "token_max", [[7.0, 4.0]]),
        (VECTORS, "auto", [[1.0, -2.0, 3.0]]),
        (VECTORS, "identity", [[1.0, -2.0, 3.0]]),
    ],
)
def test_worked_cases(output, how, expected):
    pooled = pool(output, how)

    assert pooled.tolist() == expected
    assert pooled.dtype == torch.float32


def test_tokens_without_a_class_token_are_averaged():
    assert pool(TOKENS, "auto", prefix_tokens=0).tolist() == [[5.0, -0.20000000298023224]]
    assert pool(TOKENS, "token_max", prefix_tokens=0).tolist() == [[9.0, 4.0]]
    assert pool(TOKENS, "token_mean", prefix_tokens=3).tolist() == [[6.0, 1.0]]


@pytest.mark.parametrize(
    ("output", "how", "valid"),
    [
        (MAPS, "class_token", "auto, mean, max"),
        (MAPS, "identity", "auto, mean, max"),
        (TOKENS, "mean", "auto, class_token, token_mean, token_max"),
        (VECTORS, "max", "auto, identity"),
        (VECTORS, "nonsense", "auto, identity"),
    ],
)
def test_a_pooling_that_does_not_fit_names_those_that_do(output, how, valid):
    with pytest.raises(StudyError, match=f"'{how}'.*valid here: {valid}\\."):
        pool(output, how)


def test_a_class_token_that_is_not_there():
    with pytest.raises(StudyError, match="valid here: auto, token_mean, token_max"):
        pool(TOKENS, "class_token", prefix_tokens=0)


def test_tokens_without_patches():
    assert pool(TOKENS[:, :1], "auto").tolist() == [[9.0, -9.0]]
    with pytest.raises(StudyError, match="1 tokens, of which 1 are no patches"):
        pool(TOKENS[:, :1], "token_max")


@pytest.mark.parametrize("shape", [(3,), (1, 2, 3, 4, 5), (1, 2, 0, 4), (2, 0)])
def test_shapes_without_units_are_refused(shape):
    with pytest.raises(StudyError, match="Choose another layer"):
        pool(torch.zeros(shape), "auto")
    with pytest.raises(StudyError, match="Choose another layer"):
        spatial_maps(torch.zeros(shape))


@dataclass
class Wrapped:
    note: str
    values: torch.Tensor


@pytest.mark.parametrize(
    "output",
    [
        (MAPS, TOKENS),
        [None, MAPS],
        {"note": "x", "values": MAPS},
        Wrapped("x", MAPS),
        (("x",), (MAPS,)),
        BaseModelOutput(last_hidden_state=MAPS, hidden_states=(TOKENS,)),
    ],
)
def test_the_tensor_is_found_in_wrapped_outputs(output):
    assert tensor_of(output) is MAPS
    assert pool(output, "max").tolist() == [[6.0, 7.0]]


@pytest.mark.parametrize("output", [None, (), "text", {"a": 1}, Wrapped("x", None)])
def test_an_output_without_tensor_is_refused(output):
    with pytest.raises(StudyError, match="there is no tensor"):
        tensor_of(output)


def test_halves_are_pooled_in_float32():
    maps = torch.full((1, 1, 256, 256), 60_000, dtype=torch.float16)

    assert pool(maps, "mean").item() == 60_000


def test_nan_reaches_the_pooled_value():
    maps = MAPS.clone()
    maps[0, 0, 1, 1] = torch.nan

    assert pool(maps, "mean").isnan().tolist() == [[True, False]]
    assert pool(maps, "max").isnan().tolist() == [[True, False]]


def test_tokens_become_maps_row_by_row():
    maps = spatial_maps(TOKENS, grid=(2, 2))

    assert maps is not None
    assert maps.tolist() == [[[[1.0, 3.0], [5.0, 7.0]], [[2.0, 4.0], [0.0, 2.0]]]]
    assert spatial_maps(MAPS).equal(MAPS)
    assert spatial_maps((MAPS,)).equal(MAPS)


def test_no_maps_without_spatial_extent():
    assert spatial_maps(VECTORS) is None
    assert spatial_maps(TOKENS) is None  # four tokens may be anything
    for prefix in (2, 5):
        with pytest.raises(StudyError, match="make no grid of 2 x 2"):
            spatial_maps(TOKENS, prefix, (2, 2))


def test_a_grid_need_not_be_square():
    tokens = torch.arange(12.0).reshape(1, 6, 2)

    wide, tall = (spatial_maps(tokens, 0, grid) for grid in ((2, 3), (3, 2)))

    assert wide[0, 0].tolist() == [[0, 2, 4], [6, 8, 10]]
    assert tall[0, 1].tolist() == [[1, 3], [5, 7], [9, 11]]


def test_registers_are_no_class_token():
    assert pool(TOKENS, "auto", 2, class_token=False).tolist() == [[5.0, 2.0]]
    assert pool(TOKENS, "auto", 2, class_token=True).tolist() == [[9.0, -9.0]]
    with pytest.raises(StudyError, match="has registers and no class token"):
        pool(TOKENS, "class_token", 1, class_token=False)


@given(st.integers(1, 4), st.integers(1, 5), st.integers(0, 2))
def test_pooled_tokens_and_pooled_maps_agree(batch, side, prefix):
    generator = torch.Generator().manual_seed(batch * 100 + side * 10 + prefix)
    tokens = torch.randn(batch, prefix + side * side, 3, generator=generator)

    maps = spatial_maps(tokens, prefix, (side, side))

    assert maps.shape == (batch, 3, side, side)
    assert pool(maps, "max").equal(pool(tokens, "token_max", prefix))
    torch.testing.assert_close(pool(maps, "mean"), pool(tokens, "token_mean", prefix))


floats = st.floats(width=32, allow_nan=False)


@given(st.lists(floats, min_size=1, max_size=20))
def test_stabilised_values_are_near_and_keep_their_order(values):
    plain = torch.tensor(sorted(values), dtype=torch.float32)
    stable = stabilise(plain)

    assert (stable[1:] >= stable[:-1]).all()
    assert stabilise(stable).equal(stable)
    assert stabilise(-plain).equal(-stable)
    assert (torch.signbit(stable) == torch.signbit(plain)).all()
    large = plain.isfinite() & (plain.abs() > 1e-37)
    assert ((stable - plain).abs()[large].double() <= plain.abs()[large].double() * 2**-15).all()


def test_stabilised_values_have_fourteen_bits():
    stable = stabilise(torch.randn(1000, generator=torch.Generator().manual_seed(0)))
    mantissas = np.frexp(stable.numpy().astype(np.float64))[0] * 2**15

    assert (mantissas == np.rint(mantissas)).all()
    assert stabilise(torch.tensor([1 + 2**-15, 1 + 2**-16])).tolist() == [1 + 2**-14, 1.0]


def test_what_has_no_mantissa_stays():
    special = torch.tensor([0.0, -0.0, torch.inf, -torch.inf, 3.4028234e38, -3.4028234e38])

    assert stabilise(special).equal(special)
    assert torch.signbit(stabilise(special)).tolist() == [False, True, False, True, False, True]
    assert stabilise(torch.tensor([torch.nan, -torch.nan])).isnan().all()
    assert stabilise(torch.zeros(0)).shape == (0,)
    assert stabilise(torch.tensor([1.5], dtype=torch.float64)).dtype == torch.float32


def test_differences_of_the_last_bits_vanish():
    values = torch.rand(10_000, generator=torch.Generator().manual_seed(0))
    other = torch.nextafter(values, torch.ones(()))

    changed = (stabilise(values) != stabilise(other)).float().mean().item()
    assert changed < 0.01
