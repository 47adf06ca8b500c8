"""A layer whose units are latents or directions: how its output is read as codes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol

from dnd_assets.errors import StudyError
from dnd_assets.methods.layer_axes import Layout

if TYPE_CHECKING:
    import torch
    from torch import Tensor

TokenChoice = Literal["class", "patches", "all"]
_MAXIMA: Final = ("auto", "max", "token_max", "identity")
_MEANS: Final = ("mean", "token_mean")
_ROWS_AT_ONCE: Final = 256
"""Vectors encoded at one time: 49,152 codes of as many take 50 MB."""


class Coding(Protocol):
    """What makes codes of vectors: an autoencoder's encoder, or directions."""

    @property
    def width(self) -> int:
        """Numbers in an input vector."""
        ...

    @property
    def latents(self) -> int:
        """Numbers in a code."""
        ...

    @property
    def vectors(self) -> Tensor:
        """The direction of each latent in the layer's space, (latents, width)."""
        ...

    def encode(self, values: Tensor) -> Tensor:
        """Codes, float32 (…, latents), of vectors (…, width)."""
        ...

    def to(self, device: torch.device) -> Coding:
        """The same with its tensors on a device."""
        ...


@dataclass(frozen=True)
class CodedLayout(Layout):
    """The layout of a layer that is read through a coding; its units are latents.

    Every place of a map, every chosen token, or the vector itself is encoded by itself, in float32
    whatever the network runs in, one picture after the other, so that no code depends on others.

    Attributes:
        coding: makes the codes.
        tokens: which tokens count: the class token, those of the picture, or all; None for maps
            and vectors.
        fingerprint: what decides the codes, for keys.
    """

    coding: Coding | None = field(default=None, compare=False)
    tokens: TokenChoice | None = None
    fingerprint: tuple[tuple[str, Any], ...] = ()

    @property
    def places(self) -> bool:
        """Whether codes have a place in the picture: not where the class token alone counts."""
        return self.tokens != "class" and super().places

    def as_json(self) -> dict[str, object]:
        """The layout as plain values, with what decides the codes."""
        return {**super().as_json(), "tokens": self.tokens, "coding": dict(self.fingerprint)}

    def units(self, shape: Sequence[int]) -> int:
        """How many latents there are, whatever the shape."""
        return self._coding.latents

    def arranged_shape(self, shape: Sequence[int]) -> tuple[int, ...]:
        """Shape of one picture's codes."""
        arranged = super().arranged_shape(shape)
        count = self._coding.latents
        if self.kind == "maps":
            return count, *arranged[1:]
        return (count,) if self.kind == "vectors" else (arranged[0], count)

    def pooled(self, values: Tensor, how: str, *, class_token: bool) -> Tensor:
        """The largest code of each picture over its places or chosen tokens; their mean if asked.

        Args:
            values: what the layer gave for a batch.
            how: the layer's `pooling`.
            class_token: whether there is a class token.

        Returns:
            float32 (B, latents).

        Raises:
            StudyError: when `how` does not fit.
        """
        import torch

        if how not in (*_MAXIMA, *_MEANS):
            raise StudyError(
                f"pooling {how!r} does not fit latents, which are pooled by their maximum over "
                f"places or tokens; valid here: auto, max, mean. `tokens` says which tokens count."
            )
        rows = self._rows(values, class_token=class_token)
        return torch.stack([self._pooled_picture(picture, mean=how in _MEANS) for picture in rows])

    def maps_of(self, values: Tensor, neurons: Sequence[int]) -> Tensor:
        """Maps of some latents, float32 (B, latents chosen, H, W).

        Args:
            values: what the layer gave for a batch; the layer has places.
            neurons: indices of latents.
        """
        import torch

        from dnd_assets.methods.pooling import spatial_maps

        vectors = spatial_maps(self.arranged(values), self.prefix_tokens, self.grid)
        assert vectors is not None, "only layers with maps are read"
        indices = torch.as_tensor(list(neurons), device=values.device)
        height, width = vectors.shape[2:]
        chosen_codes = [
            torch.cat([codes[:, indices] for codes in self._codes(picture.flatten(1).T)])
            for picture in vectors
        ]
        return torch.stack(chosen_codes).transpose(1, 2).reshape(len(vectors), -1, height, width)

    @property
    def _coding(self) -> Coding:
        assert self.coding is not None, "a coded layout has a coding"
        return self.coding

    def _rows(self, values: Tensor, *, class_token: bool) -> Tensor:
        """The vectors to encode, (B, rows, width)."""
        arranged = self.arranged(values)
        if self.kind == "maps":
            return arranged.flatten(2).transpose(1, 2)
        if self.kind == "vectors":
            return arranged[:, None]
        if self.tokens == "class":
            if not (class_token and self.prefix_tokens):
                raise StudyError(
                    "tokens = 'class' was asked for, and this layer is not known to have a class "
                    "token. Write tokens = 'patches' or 'all', or declare `prefix_tokens`."
                )
            return arranged[:, :1]
        return arranged[:, self.prefix_tokens :] if self.tokens == "patches" else arranged

    def _pooled_picture(self, rows: Tensor, *, mean: bool) -> Tensor:
        import torch

        parts = [part.sum(dim=0) if mean else part.amax(dim=0) for part in self._codes(rows)]
        stacked = torch.stack(parts)
        return stacked.sum(dim=0) / len(rows) if mean else stacked.amax(dim=0)

    def _codes(self, rows: Tensor) -> Iterator[Tensor]:
        """Codes of some vectors, a part at a time, (rows of it, latents)."""
        import torch

        # Autocast would round them to 16 bits, which moves what passes a threshold.
        with torch.autocast(rows.device.type, enabled=False):
            for start in range(0, len(rows), _ROWS_AT_ONCE):
                yield self._coding.encode(rows[start : start + _ROWS_AT_ONCE].float())
