"""Attention heads as units: how much each head of a transformer's block says at each token.

A block's heads give one vector each, side by side in what the block's projection reads. A head's
activation at a token is the length of its vector, before the projection mixes the heads: 0 where it
attends to nothing but values of zero.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from dnd_assets.errors import StudyError

if TYPE_CHECKING:
    import torch
    from torch import Tensor


@dataclass(frozen=True)
class Heads:
    """The heads of one block.

    Attributes:
        width: numbers in a token's vector.
        latents: heads.
    """

    width: int
    latents: int

    @property
    def span(self) -> int:
        """Numbers in a head's vector."""
        return self.width // self.latents

    @property
    def vectors(self) -> Tensor:
        """Never: a head is a subspace and has no direction of its own.

        Raises:
            StudyError: says so.
        """
        raise StudyError(
            "attention heads are subspaces without one direction each, which [named_directions] "
            "would name. Name neurons, latents or directions."
        )

    def encode(self, values: Tensor) -> Tensor:
        """Lengths of the heads' vectors, float32 (…, heads), of tokens (…, width)."""
        per_head = values.float().reshape(*values.shape[:-1], self.latents, self.span)
        lengths: Tensor = per_head.norm(dim=-1)
        return lengths

    def to(self, device: torch.device) -> Heads:
        """Itself: it has no tensors."""
        return self

    def channels(self, heads: tuple[int, ...]) -> tuple[int, ...]:
        """The places of some heads in a token's vector."""
        return tuple(
            place for head in heads for place in range(head * self.span, (head + 1) * self.span)
        )
