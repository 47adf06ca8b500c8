"""Activations of sparse autoencoders: how pre-activations become sparse codes.

Every one is a function of a single vector: what a library does over a batch while it trains
(BatchTopK) has a threshold at inference instead, so that no code depends on other pictures.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import torch
    from torch import Tensor


class Activation(Protocol):
    """Makes codes of pre-activations."""

    def __call__(self, pre: Tensor) -> Tensor:
        """Codes (…, latents) of pre-activations (…, latents)."""
        ...

    def to(self, device: torch.device) -> Activation:
        """The same with its tensors on a device."""
        ...


@dataclass(frozen=True)
class Relu:
    """max(0, pre)."""

    def __call__(self, pre: Tensor) -> Tensor:
        """See the class."""
        return pre.relu()

    def to(self, device: torch.device) -> Relu:
        """Itself: it has no tensors."""
        return self


@dataclass(frozen=True)
class TopK:
    """The k largest pre-activations of each vector, the others 0 (Gao et al. 2024).

    Attributes:
        k: how many are kept; all where there are fewer latents.
        relu: whether what is kept and negative becomes 0, too, as in all libraries but saev.
    """

    k: int
    relu: bool = True

    def __call__(self, pre: Tensor) -> Tensor:
        """See the class."""
        import torch

        largest = pre.topk(min(self.k, pre.shape[-1]), dim=-1, sorted=False)
        codes = largest.values.relu() if self.relu else largest.values
        return torch.zeros_like(pre).scatter(-1, largest.indices, codes)

    def to(self, device: torch.device) -> TopK:
        """Itself: it has no tensors."""
        return self


@dataclass(frozen=True)
class Threshold:
    """max(0, pre) where pre is above a threshold, else 0.

    JumpReLU (Rajamanoharan et al. 2024) with a threshold for each latent, and BatchTopK (Bussmann
    et al. 2024) at inference, with one for all.

    Attributes:
        threshold: (latents,) or a scalar.
        inclusive: whether a pre-activation equal to it passes, as in overcomplete.
    """

    threshold: Tensor
    inclusive: bool = False

    def __call__(self, pre: Tensor) -> Tensor:
        """See the class."""
        codes = pre.relu()
        passes = codes >= self.threshold if self.inclusive else codes > self.threshold
        return codes * passes

    def to(self, device: torch.device) -> Threshold:
        """The same with its threshold on a device."""
        return Threshold(self.threshold.to(device), self.inclusive)


@dataclass(frozen=True)
class Gated:
    """A gate that says whether a latent is on, and a magnitude (Rajamanoharan et al. 2024).

    `(pre + gate_bias > 0) * max(0, exp(r_mag) * pre + magnitude_bias)`, where pre has no bias.

    Attributes:
        gate_bias: (latents,).
        scale: exp(r_mag), (latents,).
        magnitude_bias: (latents,).
    """

    gate_bias: Tensor
    scale: Tensor
    magnitude_bias: Tensor

    def __call__(self, pre: Tensor) -> Tensor:
        """See the class."""
        return (pre + self.gate_bias > 0) * (pre * self.scale + self.magnitude_bias).relu()

    def to(self, device: torch.device) -> Gated:
        """The same with its tensors on a device."""
        parts = (self.gate_bias, self.scale, self.magnitude_bias)
        return Gated(*(part.to(device) for part in parts))


@dataclass(frozen=True)
class GroupMax:
    """The largest of each of k groups of neighbouring latents, the others 0 (sparsify).

    Attributes:
        k: number of groups; divides the number of latents.
    """

    k: int

    def __call__(self, pre: Tensor) -> Tensor:
        """See the class."""
        import torch

        grouped = pre.relu().reshape(*pre.shape[:-1], self.k, -1)
        values, places = grouped.max(dim=-1, keepdim=True)
        return torch.zeros_like(grouped).scatter(-1, places, values).flatten(-2)

    def to(self, device: torch.device) -> GroupMax:
        """Itself: it has no tensors."""
        return self
