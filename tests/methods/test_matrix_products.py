"""Products by oneDNN: the numbers of torch, and only where it is meant to take part."""

import pytest
import torch

from dnd_assets.methods import matrix_products
from dnd_assets.methods.matrix_products import is_there, product, suits

needs_onednn = pytest.mark.skipif(not is_there(), reason="this torch has no oneDNN on x86")
ROWS, INNER, COLUMNS = 100, 200, 300


def random(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


@needs_onednn
def test_a_product_worked_out_by_hand():
    left, right = torch.ones(ROWS, INNER), torch.arange(float(COLUMNS)).expand(INNER, -1)
    assert suits(left, right.T)
    assert torch.equal(product(left, right), INNER * torch.arange(float(COLUMNS)).expand(ROWS, -1))


@pytest.mark.parametrize("turned", [False, True])
def test_it_is_the_product_of_torch_whatever_the_strides(turned):
    left, right = random(ROWS, INNER), random(INNER, COLUMNS)
    if turned:
        left, right = left.T.contiguous().T, right.T.contiguous().T
    expected = (left.double() @ right.double()).float()
    assert torch.allclose(product(left, right), expected, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize(
    ("left", "right"),
    [
        (random(2, INNER), random(INNER, 3)),
        (random(ROWS, INNER).double(), random(INNER, COLUMNS).double()),
        (random(ROWS, INNER), random(INNER, COLUMNS).requires_grad_()),
    ],
    ids=["small", "of another precision", "with gradients"],
)
def test_others_are_left_to_torch(left, right):
    assert not suits(left, right.T)
    assert torch.equal(product(left, right), left @ right)


def test_without_onednn_all_are_left_to_torch(monkeypatch):
    monkeypatch.setattr(matrix_products, "is_there", lambda: False)
    left, right = random(ROWS, INNER), random(INNER, COLUMNS)
    assert torch.equal(product(left, right), left @ right)
