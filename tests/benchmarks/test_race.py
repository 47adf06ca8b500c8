"""`make race`: each part of it once, on cases of milliseconds."""

import torch

from benchmarks import race_exact, race_kernels, race_layers
from benchmarks import race_reference as reference
from dnd_assets.methods.dissection import attention_crops
from resources.runtime.exact_passes import Exact


def test_each_kernel_gives_on_both_sides_what_it_should():
    generator = torch.Generator().manual_seed(0)
    images, texts = (torch.randn(120, 8, generator=generator) for _ in range(2))
    layers = [torch.randn(120, units, generator=generator) for units in (3, 5)]
    for name in reference.SIMILARITY:
        ours, other = race_kernels._similarity(name, images, texts, layers)
        for found, expected in zip(ours(), other(), strict=True):
            if name != "rank_reorder":  # whose baseline is random there
                torch.testing.assert_close(found, expected, rtol=1e-4, atol=2e-3)
    ours, other = race_kernels._picking(generator)
    assert [[(one.text, one.similarity) for one in labels] for labels in ours()] == other()


def test_boxes_of_both_sides_are_equal():
    for values in race_kernels._maps():
        heatmap = attention_crops.heatmap_bytes(values, 96)
        assert attention_crops.attention_boxes(heatmap) == reference.crops(heatmap)


def test_exact_passes_are_measured_against_batches():
    weights = torch.randn(4, 4)
    calls = []

    def run(batch):
        calls.append(len(batch))
        return list(torch.stack(list(batch)) @ weights)

    model = race_exact.Model(run, list(torch.randn(5, 4)), Exact())
    figure = race_exact._figure("five rows", model, 1)
    assert sorted(set(calls)) == [1, 5]
    assert "five rows" in figure.name


def test_a_network_is_filled_with_numbers():
    network = race_exact.filled(lambda: torch.nn.Sequential(torch.nn.Linear(3, 5000)))
    assert torch.isfinite(network(torch.ones(1, 3))).all()
    assert 0 < network[0].weight.std() < 0.1


def test_both_ways_of_a_network_give_its_numbers():
    network = torch.nn.Sequential(torch.nn.Conv2d(8, 64, 3), torch.nn.Flatten(2))
    pictures = torch.randn(2, 8, 60, 60).to(memory_format=torch.channels_last)
    with torch.inference_mode():
        ours, other = (way() for way in race_layers._both(network, lambda net: net(pictures)))
    torch.testing.assert_close(ours, other, rtol=1e-4, atol=1e-5)
