"""Directions in a layer's space as units: concept activation vectors, probes, PCA, NMF.

A picture's code is how far its vector reaches along each direction:

- `projection`: `(x - mean) . d + bias`: linear probes, concept activation vectors (Kim et al.
  2018), principal components;
- `cosine`: the cosine of `x - mean` and d, 0 for a vector of zeros;
- `non_negative`: the coefficients h >= 0 of least `|x - h D|`, as non-negative matrix
  factorisation has them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, Literal

import numpy as np

if TYPE_CHECKING:
    import torch
    from torch import Tensor

Reading = Literal["projection", "cosine", "non_negative"]
_CLOSE: Final = 1e-7


@dataclass(frozen=True)
class Directions:
    """Directions and how vectors are read along them.

    Attributes:
        directions: (latents, width).
        names: of each; empty where they have none.
        reading: see the module.
        mean: subtracted from the vectors first, (width,); None subtracts nothing.
        bias: added to projections, (latents,); None adds nothing.
    """

    directions: Tensor
    names: tuple[str, ...] = ()
    reading: Reading = "projection"
    mean: Tensor | None = None
    bias: Tensor | None = None

    @property
    def width(self) -> int:
        """Numbers in an input vector."""
        return int(self.directions.shape[1])

    @property
    def latents(self) -> int:
        """Number of directions."""
        return int(self.directions.shape[0])

    @property
    def vectors(self) -> Tensor:
        """The directions themselves, (latents, width)."""
        return self.directions

    def encode(self, values: Tensor) -> Tensor:
        """Codes, float32 (…, latents), of vectors (…, width)."""
        centred = values.float() if self.mean is None else values.float() - self.mean
        if self.reading == "non_negative":
            return _non_negative(centred.reshape(-1, self.width), self.directions).reshape(
                *centred.shape[:-1], self.latents
            )
        codes = centred @ self.directions.T
        if self.reading == "cosine":
            lengths = centred.norm(dim=-1, keepdim=True) * self.directions.norm(dim=1)
            codes = codes / lengths.clamp(min=_CLOSE)
        return codes if self.bias is None else codes + self.bias

    def to(self, device: torch.device) -> Directions:
        """The same with its tensors on a device."""
        return replace(
            self,
            directions=self.directions.to(device),
            mean=None if self.mean is None else self.mean.to(device),
            bias=None if self.bias is None else self.bias.to(device),
        )


def _non_negative(values: Tensor, directions: Tensor) -> Tensor:
    """Non-negative least squares of each vector, (rows, latents); NaN of one that is not finite."""
    import torch
    from scipy.optimize import nnls

    basis, rows = directions.T.double().cpu().numpy(), values.double().cpu().numpy()
    codes = np.full((len(rows), len(directions)), np.nan)
    for place in np.flatnonzero(np.isfinite(rows).all(axis=1)):
        codes[place], _ = nnls(basis, rows[place])
    return torch.from_numpy(codes).to(values)
