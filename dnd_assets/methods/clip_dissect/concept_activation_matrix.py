"""The concept-activation matrix P of CLIP-Dissect, without having to hold it."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, TypeAlias

from dnd_assets.methods.lazy import torch
from dnd_assets.methods.matrix_products import product

if TYPE_CHECKING:
    from torch import Tensor


_ALL = slice(None)


@dataclass(frozen=True, eq=False)
class ConceptActivationMatrix:
    """P = I T^t from its factors (CLIP-Dissect, section 3.1, step 1).

    P has images x concepts entries: 8.8 GB for 110,000 images and 20,000 words. The factors have
    a few hundred MB, and the similarity functions only ever look at a part of P at a time.

    Attributes:
        images: CLIP's embeddings of the images, float32, (N, D); brought to length 1.
        texts: CLIP's embeddings of the concepts, float32, (M, D); brought to length 1.

    Raises:
        ValueError: when the shapes do not fit, or an embedding is zero, NaN or infinite.
    """

    images: Tensor
    texts: Tensor

    def __post_init__(self) -> None:
        shapes = tuple(self.images.shape), tuple(self.texts.shape)
        if [len(shape) for shape in shapes] != [2, 2] or shapes[0][1] != shapes[1][1]:
            raise ValueError(
                f"embeddings of images {shapes[0]} and of concepts {shapes[1]} do not fit; they "
                "have to be (N, D) and (M, D), made by the same CLIP model"
            )
        object.__setattr__(self, "images", _unit_length(self.images, "image"))
        object.__setattr__(self, "texts", _unit_length(self.texts, "concept"))

    @property
    def shape(self) -> tuple[int, int]:
        """(N, M), the shape of P."""
        return len(self.images), len(self.texts)

    @property
    def device(self) -> torch.device:
        """Where the products are computed."""
        return self.images.device

    def derived(self, name: Hashable, make: Callable[[], Tensor]) -> Tensor:
        """What similarity functions make of all of P, made once for all layers; not to be changed.

        Args:
            name: which of such tensors it is.
            make: makes it, where it is not there yet.
        """
        if name not in self._derived:
            self._derived[name] = make()
        return self._derived[name]

    @cached_property
    def _derived(self) -> dict[Hashable, Tensor]:
        return {}

    def part(self, rows: Tensor | slice = _ALL, columns: slice = _ALL) -> Tensor:
        """`P[rows][:, columns]`, newly made.

        Args:
            rows: the images, as positions (int64) or a slice.
            columns: the concepts.

        Returns:
            float32, (rows, columns), cosines in [-1, 1].
        """
        return product(self.images[rows], self.texts[columns].T)


Products: TypeAlias = "Tensor | ConceptActivationMatrix"
"""P as a tensor (N, M), or by its factors."""


def part_of(products: Products, rows: Tensor | slice = _ALL, columns: slice = _ALL) -> Tensor:
    """`P[rows][:, columns]`, float32: a tensor of its own, unless both are slices of a tensor."""
    if isinstance(products, ConceptActivationMatrix):
        return products.part(rows, columns)
    return products[rows, columns].float()


def _unit_length(embeddings: Tensor, role: str) -> Tensor:
    vectors = embeddings.detach().float()
    lengths = torch.linalg.vector_norm(vectors, dim=1, keepdim=True)
    invalid = (~torch.isfinite(lengths) | (lengths == 0)).flatten().nonzero().flatten()
    if len(invalid):
        raise ValueError(
            f"the embedding of {role} {int(invalid[0]):,} is zero or not finite (and so are "
            f"{len(invalid) - 1:,} others); it has no direction to compare"
        )
    return vectors.div(lengths)
