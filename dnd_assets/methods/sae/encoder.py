"""The encoder of a sparse autoencoder: activations of a layer to codes of latents."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, Literal

from dnd_assets.methods.matrix_products import product
from dnd_assets.methods.sae.activation_functions import Activation

if TYPE_CHECKING:
    import torch
    from torch import Tensor

Normalisation = Literal["none", "layer_norm", "constant_norm"]
_EPSILON: Final = 1e-5


@dataclass(frozen=True)
class Encoder:
    """How vectors of a layer become codes.

    `codes = activation(rescale * ((normalise(scale * x) - shift) @ weight + bias))`.

    Attributes:
        weight: (width, latents).
        bias: (latents,); zero for a gated encoder, which has biases of its own.
        activation: codes of pre-activations.
        shift: what is subtracted from the normalised input, (width,): the decoder's bias in most
            libraries; None subtracts nothing.
        normalisation: of each input vector; see `normalised`.
        scale: what the input is multiplied by first.
        rescale: what pre-activations are multiplied by, (latents,); None for nothing.
        decoder: the vector that each latent adds to a reconstruction, (latents, width).
        unknown: why it is not known what a latent adds to the vectors that are read; empty where
            it is its decoder's vector, times its code.
    """

    weight: Tensor
    bias: Tensor
    activation: Activation
    shift: Tensor | None = None
    normalisation: Normalisation = "none"
    scale: float = 1.0
    rescale: Tensor | None = None
    decoder: Tensor | None = None
    unknown: str = ""

    @property
    def width(self) -> int:
        """Numbers in an input vector."""
        return int(self.weight.shape[0])

    @property
    def latents(self) -> int:
        """Numbers in a code."""
        return int(self.weight.shape[1])

    @property
    def vectors(self) -> Tensor:
        """The direction of each latent, (latents, width): its decoder's, else its encoder's."""
        return self.weight.T if self.decoder is None else self.decoder

    def encode(self, values: Tensor) -> Tensor:
        """Codes, float32 (…, latents), of vectors (…, width)."""
        inputs = normalised(values.float() * self.scale, self.normalisation)
        if self.shift is not None:
            inputs = inputs - self.shift
        pre = product(inputs, self.weight) + self.bias
        if self.rescale is not None:
            pre = pre * self.rescale
        return self.activation(pre)

    def to(self, device: torch.device) -> Encoder:
        """The same with its tensors on a device."""
        return replace(
            self,
            weight=self.weight.to(device),
            bias=self.bias.to(device),
            activation=self.activation.to(device),
            shift=None if self.shift is None else self.shift.to(device),
            rescale=None if self.rescale is None else self.rescale.to(device),
            decoder=None if self.decoder is None else self.decoder.to(device),
        )


def normalised(values: Tensor, how: Normalisation) -> Tensor:
    """Input vectors as an autoencoder was trained on them.

    `layer_norm` takes away the mean of each vector and divides by its standard deviation with
    n - 1 degrees of freedom plus 1e-5, as SAELens and ViT-Prisma do (torch.nn.LayerNorm: n, and
    1e-5 within the root). `constant_norm` gives each vector the length sqrt(width).

    Args:
        values: (…, width).
        how: none, layer_norm or constant_norm.
    """
    if how == "layer_norm":
        centred = values - values.mean(dim=-1, keepdim=True)
        values = centred / (centred.std(dim=-1, keepdim=True) + _EPSILON)
    elif how == "constant_norm":
        values = values * (values.shape[-1] ** 0.5 / values.norm(dim=-1, keepdim=True))
    return values
