"""Kernels of both papers beside the references' algorithms, one torch thread each."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from PIL import Image

from benchmarks import race_reference as reference
from benchmarks.pairs import paired, ratio_figure
from benchmarks.setting import Figure
from dnd_assets.assets.scores import _all_functions
from dnd_assets.methods.clip_dissect.concept_activation_matrix import ConceptActivationMatrix
from dnd_assets.methods.clip_dissect.concept_pairs import best_singles
from dnd_assets.methods.clip_dissect.labelling import LayerSimilarity
from dnd_assets.methods.dissection import attention_crops

KERNEL = 0.8
_IMAGES, _CONCEPTS, _WIDTH = 2_000, 1_000, 512
_LAYERS = {
    **dict.fromkeys(("soft_wpmi", "wpmi", "cos", "cos_cubed"), (256, 512, 1024, 2048)),
    "rank_reorder": (8, 8, 8, 8),
}
"""Units of the layers that each similarity function is measured on."""
Ways = tuple[Callable[[], object], Callable[[], object]]


def kernels(times: int = 7) -> list[Figure]:
    """One line for each kernel."""
    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(_IMAGES, _WIDTH, generator=generator)
    texts = torch.randn(_CONCEPTS, _WIDTH, generator=generator)
    named: dict[str, Ways] = {
        f"{name}: {_IMAGES:,} images, {_CONCEPTS:,} concepts, {len(layers)} layers, "
        f"{sum(layers):,} units": _similarity(
            name, images, texts, [torch.randn(_IMAGES, n, generator=generator) for n in layers]
        )
        for name, layers in _LAYERS.items()
    }
    named["picking the best 5 of 1,000 concepts, 512 units"] = _picking(generator)
    for library in reference.LIBRARIES:
        named[f"boxes of 10 heat maps of 375 x 375; {library}"] = _boxes(library)
        named[f"attention crops of a unit, 10 maps to crops; {library}"] = _crops(library)
    named["scoring 5 candidates of 10 images, 10 exemplars, all four functions"] = _scoring()
    return [ratio_figure(name, paired(*ways, times), KERNEL) for name, ways in named.items()]


def _similarity(
    name: str, images: torch.Tensor, texts: torch.Tensor, layers: list[torch.Tensor]
) -> Ways:
    """From embeddings and activations of a network's layers to similarities of all its units."""

    def ours() -> object:
        factors = ConceptActivationMatrix(images, texts)
        similarities = []
        for activations in layers:
            layer = LayerSimilarity(name, factors, activations, {})
            similarities.append(layer.of(range(activations.shape[1]), layer.prior()))
        return similarities

    def other() -> object:
        """The matrix of products is made for each layer, as in the authors' programs."""
        similarities = []
        for activations in layers:
            first = images / images.norm(dim=-1, keepdim=True)
            second = texts / texts.norm(dim=-1, keepdim=True)
            similarities.append(reference.SIMILARITY[name](first @ second.T, activations))
        return similarities

    return ours, other


def _picking(generator: torch.Generator) -> Ways:
    similarities = torch.randn(512, _CONCEPTS, generator=generator)
    concepts = [f"concept {number}" for number in range(_CONCEPTS)]

    def ours() -> object:
        return best_singles(concepts, similarities, 5)

    return ours, lambda: reference.best(similarities, concepts)


def _maps(count: int = 10) -> list[np.ndarray]:
    """Maps of 7, 14 and 28 pixels a side, with a few places that stand out."""
    rng = np.random.default_rng(0)
    return [
        np.maximum(rng.standard_normal((side, side)), 0).astype(np.float32)
        for side in (7, 14, 28, 7, 14, 28, 7, 14, 28, 56)[:count]
    ]


def _boxes(library: str) -> Ways:
    heatmaps = [attention_crops.heatmap_bytes(values, 375) for values in _maps()]
    return (
        lambda: [attention_crops.attention_boxes(heatmap) for heatmap in heatmaps],
        lambda: [reference.crops(heatmap, library) for heatmap in heatmaps],
    )


def _crops(library: str) -> Ways:
    maps = _maps()
    rng = np.random.default_rng(1)
    noise = rng.integers(0, 256, (375, 375, 3), dtype=np.uint8)
    picture = Image.fromarray(noise)

    def ours() -> object:
        pieces = []
        for values in maps:
            _, boxes = attention_crops.attention_boxes(attention_crops.heatmap_bytes(values, 375))
            pieces += [attention_crops.cut(picture, box, 375) for box in boxes]
        return pieces

    return ours, lambda: [reference.cut(picture, values, library) for values in maps]


def _scoring() -> Ways:
    rng = np.random.default_rng(2)
    values = rng.standard_normal((5, 10)).astype(np.float32)
    generated = rng.standard_normal((5, 10, _WIDTH)).astype(np.float32)
    exemplars = rng.standard_normal((10, _WIDTH)).astype(np.float32)

    def ours() -> object:
        return [_all_functions(values, generated, exemplars, 5, 10) for _ in range(50)]

    return ours, lambda: [reference.scored(values, generated, exemplars) for _ in range(50)]
