"""What the similarity functions of CLIP-Dissect take: checks of it, and its units one by one."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from dnd_assets.errors import StudyError
from dnd_assets.methods.clip_dissect.concept_activation_matrix import (
    ConceptActivationMatrix,
    Products,
)
from dnd_assets.methods.lazy import torch
from dnd_assets.methods.ordering import top_positions_of_rows

if TYPE_CHECKING:
    from torch import Tensor

_UNITS_AT_ONCE: Final = 64


def describable(activations: Tensor) -> Tensor:
    """Which units have finite activations that are not all equal, (N, U) -> bool (U,)."""
    low, high = activations.amin(dim=0), activations.amax(dim=0)
    return torch.isfinite(low) & torch.isfinite(high) & (low < high)


def described_units(activations: Tensor, count: int) -> Iterator[tuple[int, Tensor, Tensor]]:
    """Each unit that can be described, its activations, (N,), and its `count` top images."""
    units = describable(activations).nonzero().flatten()
    for batch in blocks(len(units), 1, _UNITS_AT_ONCE):
        columns = activations[:, units[batch]].T.contiguous()
        tops = top_positions_of_rows(columns, count)
        yield from zip(units[batch].tolist(), columns, tops, strict=True)


def blocks(columns: int, rows: int, block: int) -> Iterator[slice]:
    """Slices of columns so that rows x columns is at most `block`, or one column."""
    width = max(1, block // max(rows, 1))
    return (slice(start, start + width) for start in range(0, columns, width))


def undescribed(products: Products, activations: Tensor) -> Tensor:
    """NaN for every unit and concept, (U, M), to be filled for the units that can be described."""
    shape = (activations.shape[1], products.shape[1])
    return torch.full(shape, math.nan, dtype=torch.float32, device=products.device)


def check(products: Products, activations: Tensor) -> None:
    """Refuse P and activations that do not fit, and a P that is not finite.

    Raises:
        ValueError: when it is so.
    """
    shapes = tuple(products.shape), tuple(activations.shape)
    if [len(shape) for shape in shapes] != [2, 2] or shapes[0][0] != shapes[1][0]:
        raise ValueError(
            f"P of shape {shapes[0]} and activations of shape {shapes[1]} do not fit; they have "
            "to be (images, concepts) and (images, units), of the same images in the same order"
        )
    if 0 in shapes[0]:
        raise ValueError(f"P of shape {shapes[0]} holds no image or no concept")
    if not isinstance(products, ConceptActivationMatrix):
        invalid = (~torch.isfinite(products)).nonzero()
        if len(invalid):
            image, concept = invalid[0].tolist()
            raise ValueError(
                f"P holds NaN or infinite values, the first at image {image:,}, concept "
                f"{concept:,}; embed that image and that concept again"
            )


def check_enough(images: int, top_images: int) -> None:
    """Refuse to look for more top images than there are images.

    Raises:
        StudyError: when it is so.
        ValueError: when no image at all is asked for.
    """
    if top_images < 1:
        raise ValueError(f"top_images = {top_images} has to be positive")
    if images < top_images:
        raise StudyError(
            f"the {top_images:,} most activating images of each unit were asked for, but there are "
            f"only {images:,} images; set top_images to {images:,} or less, or probe with more"
        )
