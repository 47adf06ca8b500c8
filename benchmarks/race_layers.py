"""Networks by oneDNN's faster ways beside torch's own, in one thread: what a pass costs on the CPU.

Ours: channels-last memory and `resources.runtime.faster_layers`. Torch's: as its libraries load a
network. Both over the same batch, of two pictures or of what is said, with random weights.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from copy import deepcopy

import torch
from torch import nn

from benchmarks.pairs import paired, ratio_figure
from benchmarks.race_exact import filled
from benchmarks.setting import Figure
from resources.runtime.faster_layers import faster_layers

_NETWORKS = (
    "resnet18", "resnet50", "vgg16", "googlenet", "resnext50_32x4d", "mobilenet_v3_large",
    "efficientnet_b0", "densenet121", "convnext_tiny", "vit_b_16",
)  # fmt: skip
_TEXTS, _TOKENS = 8, 12
Pass = Callable[[], object]


def layers(share: float = 1.0) -> list[Figure]:
    """One line for each network."""
    torch.set_num_threads(1)
    trials = max(1, round(5 * share))
    with torch.inference_mode():
        return [
            ratio_figure(f"a pass by oneDNN against torch's own: {name}", paired(*ways, trials), 1)
            for name, ways in _ways()
        ]


def _ways() -> Iterator[tuple[str, tuple[Pass, Pass]]]:
    import torchvision

    pictures = torch.randn(2, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    for name in _NETWORKS:
        network = filled(lambda name=name: torchvision.models.get_model(name, weights=None))
        yield f"{name}, 2 pictures", _both(network, lambda net: net(pictures))
    yield from _of_transformers(pictures)


def _of_transformers(pictures: torch.Tensor) -> Iterator[tuple[str, tuple[Pass, Pass]]]:
    from transformers import BlipConfig, BlipForConditionalGeneration, MPNetConfig, MPNetModel

    texts = torch.arange(_TEXTS * _TOKENS).reshape(_TEXTS, _TOKENS) + 2
    sentences = filled(lambda: MPNetModel(MPNetConfig()))
    yield (
        f"MPNet base, {_TEXTS} texts of {_TOKENS} tokens",
        _both(sentences, lambda net: net(input_ids=texts)),
    )
    config = BlipConfig(vision_config={"image_size": 224})
    captioner = filled(lambda: BlipForConditionalGeneration(config))
    options = {"max_new_tokens": 20, "min_length": 20, "num_beams": 1, "do_sample": False}
    four = pictures.repeat(2, 1, 1, 1)
    yield (
        "BLIP base, 4 captions of 20 tokens",
        _both(captioner, lambda net: net.generate(pixel_values=four, **options)),
    )


def _both(network: nn.Module, call: Callable[[nn.Module], object]) -> tuple[Pass, Pass]:
    ours = deepcopy(network).to(memory_format=torch.channels_last)

    def faster() -> object:
        with faster_layers():
            return call(ours)

    return faster, lambda: call(network)
