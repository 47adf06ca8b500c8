"""Pooling: a layer's output as one number for each unit (g of DnD), and as maps for the crops.

A unit is a channel of a map (B, C, H, W), a feature of a token (B, T, D), or an output of a linear
layer (B, D).
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final

from dnd_assets.errors import StudyError
from dnd_assets.methods.lazy import torch

if TYPE_CHECKING:
    from torch import Tensor

_KEPT_BITS: Final = 14
_DROPPED_BITS: Final = 23 - _KEPT_BITS
_KINDS: Final = {2: "vectors", 3: "tokens", 4: "maps"}
_VALID: Final = {
    "maps": ("auto", "mean", "max"),
    "tokens": ("auto", "class_token", "token_mean", "token_max"),
    "vectors": ("auto", "identity"),
}


def pool(
    output: object, how: str, prefix_tokens: int = 1, class_token: bool | None = None
) -> Tensor:
    """One activation for each image and unit.

    `auto` is the mean over space for maps, the class token for tokens (their mean where there is
    no class token), and the value itself for vectors, as in DnD. `token_mean` and `token_max` are
    taken over the patch tokens, without the prefix tokens.

    Args:
        output: what the layer gave: maps (B, C, H, W), tokens (B, T, D) or vectors (B, D); or a
            tuple, mapping or dataclass that holds such a tensor (see `tensor_of`).
        how: auto, mean, max, class_token, token_mean, token_max or identity.
        prefix_tokens: tokens before the patches, a class token being the first of them.
        class_token: whether the first of them is a class token, and no register; None where any
            token before the patches is one.

    Returns:
        float32, (B, units), on the output's device.

    Raises:
        StudyError: when `how` does not fit the output; names the poolings that do.
    """
    values = tensor_of(output).float()
    kind = _kind(values)
    if how not in _VALID[kind]:
        raise _unfit(how, kind, values)
    if how in ("auto", "class_token") and kind == "tokens":
        has_class_token = prefix_tokens > 0 and class_token is not False
        how = _token_pooling(how, has_class_token, prefix_tokens)
    if how == "class_token":
        return values[:, 0]
    return _POOLINGS[kind, how](_patches(values, prefix_tokens) if kind == "tokens" else values)


def spatial_maps(
    output: object, prefix_tokens: int = 1, grid: tuple[int, int] | None = None
) -> Tensor | None:
    """The layer's maps, from which attention crops are made.

    Args:
        output: as for `pool`.
        prefix_tokens: tokens before the patches.
        grid: rows and columns that the tokens after them make, row by row; None where that is not
            known.

    Returns:
        float32, (B, C, H, W); None for an output without spatial extent: vectors, and tokens
        whose place is not known.

    Raises:
        StudyError: when the output holds no tensor of 2 to 4 dimensions, or the tokens do not
            make the grid.
    """
    values = tensor_of(output).float()
    kind = _kind(values)
    if kind == "maps":
        return values
    if kind == "vectors":
        return None
    if grid is None:
        return None
    patches = values[:, prefix_tokens:]
    if patches.shape[1] != math.prod(grid):
        raise StudyError(
            f"the layer gives {values.shape[1]} tokens, {prefix_tokens} of them before the "
            f"patches, which make no grid of {grid[0]} x {grid[1]}. Correct `grid` and "
            "`prefix_tokens` of that layer."
        )
    return patches.transpose(1, 2).reshape(len(patches), -1, *grid)


def tensor_of(output: object) -> Tensor:
    """The tensor in a layer's output.

    The output itself, its `last_hidden_state`, or the first tensor inside a tuple, list, mapping
    or dataclass.

    Raises:
        StudyError: when there is none.
    """
    tensor = _first_tensor(output)
    if tensor is None:
        raise StudyError(
            f"the layer gives {type(output).__name__}, in which there is no tensor; choose a layer "
            "that gives maps, tokens or vectors (`dnd layers` lists them)."
        )
    return tensor


def stabilise(values: Tensor) -> Tensor:
    """`values` in float32, rounded to 14 bits after the leading one of the mantissa.

    The same image gives results that differ in the last bits with the size of its batch. Rounded
    (half away from zero, relative error at most 2^-15) nearly all of these become equal, and
    equal values become ties, which are broken by id. NaN, infinities, zeros and signs stay; the
    order of values is kept except for new ties.
    """
    floats = values.float()
    bits = floats.view(torch.int32)
    half = 1 << (_DROPPED_BITS - 1)
    rounded = ((bits + half) & -(1 << _DROPPED_BITS)).view(torch.float32)
    # Adding to the bits of NaN or infinity, or next to the largest float, leaves the finite ones.
    return torch.where(torch.isfinite(floats) & torch.isfinite(rounded), rounded, floats)


_POOLINGS: Final[Mapping[tuple[str, str], Callable[[Tensor], Tensor]]] = {
    ("maps", "auto"): lambda maps: maps.mean(dim=(2, 3)),
    ("maps", "mean"): lambda maps: maps.mean(dim=(2, 3)),
    ("maps", "max"): lambda maps: maps.amax(dim=(2, 3)),
    ("tokens", "token_mean"): lambda tokens: tokens.mean(dim=1),
    ("tokens", "token_max"): lambda tokens: tokens.amax(dim=1),
    ("vectors", "auto"): lambda vectors: vectors,
    ("vectors", "identity"): lambda vectors: vectors,
}


def _kind(values: Tensor) -> str:
    if values.ndim not in _KINDS or 0 in values.shape[1:]:
        raise StudyError(
            f"the layer gives a tensor of shape {tuple(values.shape)}; units are read from maps "
            "(B, C, H, W), tokens (B, T, D) or vectors (B, D). Choose another layer."
        )
    return _KINDS[values.ndim]


def _patches(values: Tensor, prefix_tokens: int) -> Tensor:
    if values.shape[1] <= prefix_tokens:
        raise StudyError(
            f"the layer gives {values.shape[1]} tokens, of which {prefix_tokens} are no patches; "
            "nothing is left to pool. Set `pooling` of that layer to class_token."
        )
    return values[:, prefix_tokens:]


def _token_pooling(how: str, class_token: bool, prefix_tokens: int) -> str:
    if class_token:
        return "class_token"
    if how == "class_token":
        description = "has registers and no class token" if prefix_tokens else "has no class token"
        raise StudyError(
            f"pooling 'class_token' was asked for, but this network {description} there; valid "
            "here: auto, token_mean, token_max. Set `pooling` of that layer to one of them."
        )
    return "token_mean"


def _unfit(how: str, kind: str, values: Tensor) -> StudyError:
    return StudyError(
        f"pooling {how!r} does not fit a layer that gives {kind} {tuple(values.shape)}; valid "
        f"here: {', '.join(_VALID[kind])}. Set `pooling` of that layer to one of them."
    )


def _first_tensor(output: object) -> Tensor | None:
    if isinstance(output, torch.Tensor):
        return output
    hidden = getattr(output, "last_hidden_state", None)
    if isinstance(hidden, torch.Tensor):
        return hidden
    if isinstance(output, Mapping):
        parts = list(output.values())
    elif isinstance(output, tuple | list):
        parts = list(output)
    elif dataclasses.is_dataclass(output):
        parts = [getattr(output, field.name) for field in dataclasses.fields(output)]
    else:
        return None
    return next((tensor for tensor in map(_first_tensor, parts) if tensor is not None), None)
