"""Convolutions with packed weights: torch's numbers, whatever their settings; torch's refusals."""

import gc

import pytest
import torch
from torch import nn
from torch.nn import functional

from resources.runtime import packed_convolutions
from resources.runtime.exact_passes import shared_copy
from resources.runtime.faster_layers import faster_layers
from resources.runtime.packed_convolutions import ConvolutionSettings, convolved, is_there, suits

pytestmark = pytest.mark.skipif(not is_there(), reason="this torch has no oneDNN on x86")
PLAIN = ConvolutionSettings((1, 1), (0, 0), (1, 1), 1)


def random(*shape, seed=0):
    values = torch.randn(*shape, generator=torch.Generator().manual_seed(seed))
    return values.to(memory_format=torch.channels_last)


@pytest.fixture
def counted(monkeypatch):
    """Convolutions that were made with packed weights."""
    made = []
    one = packed_convolutions.convolved

    def noted(*arguments):
        made.append(arguments)
        return one(*arguments)

    monkeypatch.setattr(packed_convolutions, "convolved", noted)
    return made


def test_a_convolution_worked_out_by_hand():
    values = torch.ones(1, 64, 20, 20).to(memory_format=torch.channels_last)
    weight, bias = torch.full((128, 64, 3, 3), 0.5), torch.arange(128.0)
    settings = ConvolutionSettings((1, 1), (1, 1), (1, 1), 1)
    assert suits(values, weight, bias, settings)
    found = convolved(values, weight, bias, settings)
    assert torch.equal(found[0, :, 5, 5], 64 * 9 * 0.5 + bias)  # all nine places within
    assert torch.equal(found[0, :, 0, 0], 64 * 4 * 0.5 + bias)  # a corner: four of nine


@pytest.mark.parametrize(
    "options",
    [
        {}, {"bias": False}, {"stride": 2}, {"padding": 1, "stride": (2, 1)}, {"dilation": 2},
        {"groups": 4}, {"groups": 32, "padding": 1}, {"padding": 1, "padding_mode": "reflect"},
    ],
    ids=str,
)  # fmt: skip
def test_every_setting_gives_the_numbers_of_torch(options, counted):
    convolution = nn.Conv2d(32, 64, 3, **options).to(memory_format=torch.channels_last)
    with torch.inference_mode():
        for batch in (1, 3, 1):  # another shape packs anew
            values = random(batch, 32, 81, 67)
            expected = convolution(values)
            with faster_layers():
                found = convolution(values)
            assert torch.allclose(found, expected, rtol=1e-4, atol=1e-5)
            assert found.stride() == expected.stride()
    assert len(counted) == 3


@pytest.mark.parametrize(
    ("values", "weight", "settings"),
    [
        (random(1, 4, 8, 8), random(4, 4, 3, 3), PLAIN),
        (random(1, 64, 40, 40).contiguous(), random(64, 64, 3, 3), PLAIN),
        (random(1, 64, 40, 40).double(), random(64, 64, 3, 3).double(), PLAIN),
        (random(1, 64, 40, 40), random(64, 32, 3, 3), PLAIN),
        (random(2000, 64, 2, 2), random(64, 64, 3, 3), PLAIN),
    ],
    ids=[
        "small",
        "channels first",
        "of another precision",
        "other channels",
        "too small a picture",
    ],
)
def test_others_are_left_to_torch(values, weight, settings):
    assert not suits(values, weight, None, settings)


def test_torch_says_what_does_not_fit():
    convolution = nn.Conv2d(32, 64, 3)
    with torch.inference_mode(), faster_layers(), pytest.raises(RuntimeError, match="channels"):
        convolution(random(1, 16, 60, 60))


def test_padding_in_words_and_gradients_are_left_to_torch(counted):
    convolution = nn.Conv2d(32, 64, 3, padding="same").to(memory_format=torch.channels_last)
    with torch.inference_mode(), faster_layers():
        assert convolution(random(1, 32, 60, 60)).shape == (1, 64, 60, 60)
    with faster_layers():
        functional.conv2d(random(1, 32, 60, 60), convolution.weight).sum().backward()
    assert not counted


def test_weights_that_change_are_packed_anew(counted):
    convolution = nn.Conv2d(32, 64, 3).to(memory_format=torch.channels_last)
    values = random(1, 32, 60, 60)
    with torch.no_grad(), faster_layers():
        before = convolution(values)
        convolution.weight.mul_(2)
        written = convolution(values)
        convolution.weight.data = random(64, 32, 3, 3, seed=1)
        replaced = convolution(values)
    assert len(counted) == 3
    bias = convolution.bias[:, None, None]
    assert torch.allclose(written - bias, 2 * (before - bias), rtol=1e-4, atol=1e-5)
    expected = functional.conv2d(values, convolution.weight, convolution.bias)
    assert torch.allclose(replaced, expected, rtol=1e-4, atol=1e-5)


def test_copies_share_packed_weights_and_none_outlive_the_network():
    convolution = nn.Conv2d(32, 64, 3).to(memory_format=torch.channels_last)
    values, packed = random(1, 32, 60, 60), packed_convolutions._packed()
    gc.collect()
    before = len(packed)
    with torch.inference_mode(), faster_layers():
        convolution(values)
        shared_copy(convolution)(values)
    assert len(packed) == before + 1
    del convolution
    gc.collect()
    assert len(packed) == before
