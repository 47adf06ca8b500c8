"""Linear layers by oneDNN: the same numbers, only within the block, only in its thread."""

import threading

import pytest
import torch
from torch import nn
from torch.nn import functional

from dnd_assets.methods.matrix_products import is_there
from resources.runtime import faster_layers as layers
from resources.runtime.faster_layers import faster_layers

pytestmark = pytest.mark.skipif(not is_there(), reason="this torch has no oneDNN on x86")
ROWS, INNER, OUTER = 50, 300, 400


@pytest.fixture
def counted(monkeypatch):
    """How many products were made by oneDNN."""
    made = []
    suits = layers.suits

    def noted(*tensors):
        answer = suits(*tensors)
        made.append(answer)
        return answer

    monkeypatch.setattr(layers, "suits", noted)
    return lambda: sum(made)


def random(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def test_a_product_worked_out_by_hand(counted):
    values, weight = torch.ones(ROWS, INNER), torch.full((OUTER, INNER), 2.0)
    with torch.no_grad(), faster_layers():
        found = functional.linear(values, weight, torch.arange(float(OUTER)))
    assert counted() == 1
    assert torch.equal(found, (2.0 * INNER + torch.arange(float(OUTER))).expand(ROWS, -1))


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(ROWS, INNER), (2, ROWS, INNER), (1, ROWS, INNER)])
def test_products_are_those_of_torch(shape, bias, counted):
    layer, values = nn.Linear(INNER, OUTER, bias=bias), random(*shape)
    with torch.inference_mode():
        expected = layer(values)
        with faster_layers():
            found, turned = layer(values), layer(values.transpose(0, -2))
    assert counted() == 2
    assert found.shape == expected.shape
    assert torch.allclose(found, expected, rtol=1e-5, atol=1e-5)
    assert torch.allclose(turned, expected.transpose(0, -2), rtol=1e-5, atol=1e-5)


def test_attention_takes_part_and_agrees(counted):
    attention, tokens = nn.MultiheadAttention(192, 3, batch_first=True).eval(), random(1, 197, 192)
    with torch.inference_mode():
        expected, _ = attention(tokens, tokens, tokens, need_weights=False)
        with faster_layers():
            found, _ = attention(tokens, tokens, tokens, need_weights=False)
    assert counted() == 2  # the three projections of the input as one, and that of the output
    assert torch.allclose(found, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("values", "dtype"),
    [(random(2, INNER), torch.float32), (random(ROWS, INNER), torch.float64)],
    ids=["small", "of another precision"],
)
def test_others_are_left_to_torch(values, dtype, counted):
    layer = nn.Linear(INNER, OUTER, dtype=dtype)
    with torch.inference_mode(), faster_layers():
        layer(values.to(dtype))
    assert counted() == 0


def test_gradients_and_autocast_are_left_to_torch(counted):
    layer, values = nn.Linear(INNER, OUTER), random(ROWS, INNER)
    with faster_layers():
        layer(values).sum().backward()
        with torch.inference_mode(), torch.autocast("cpu", dtype=torch.bfloat16):
            assert layer(values).dtype is torch.bfloat16
    assert layer.weight.grad is not None
    assert counted() == 0


def test_only_the_thread_of_the_block_and_only_within_it(counted):
    original = functional.linear
    layer, values = nn.Linear(INNER, OUTER), random(ROWS, INNER)
    entered, done = threading.Event(), threading.Event()

    def block():
        with faster_layers(), faster_layers():
            entered.set()
            done.wait(30)

    other = threading.Thread(target=block)
    other.start()
    assert entered.wait(30)
    with torch.inference_mode():
        layer(values)
    assert counted() == 0
    assert functional.linear is not original
    done.set()
    other.join()
    assert functional.linear is original


def test_an_error_ends_the_block():
    original = functional.linear
    with pytest.raises(RuntimeError), torch.inference_mode(), faster_layers():
        functional.linear(random(ROWS, INNER), random(OUTER, INNER + 1))
    assert functional.linear is original
    assert not layers._within.blocks
