"""Texts without their padding, for text towers whose tokens look back only.

CLIP's text tower fills each text up to 77 tokens, reads the vector at the end mark, and lets no
token look at those behind it (Radford et al. 2021, section 2.4). So what comes after the end mark
changes nothing, and a concept of five tokens needs a tenth of the work.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

from resources.runtime.exact_passes import shared_copy

if TYPE_CHECKING:
    from torch import Tensor, nn

STEP: Final = 8
"""Texts are cut to a multiple of so many tokens, so that few lengths occur."""
_TOLERANCE: Final = 1e-4
"""How far a cut text's vector may be from that of the whole, as a share of its length."""


class ShortTexts:
    """The texts of one open_clip model, cut to their end marks where that changes nothing.

    Args:
        model: a loaded model of open_clip, of any kind; it is left as it is.
    """

    def __init__(self, model: nn.Module) -> None:
        self._model = model
        self._by_length: dict[int, nn.Module] = {}

    def cut(self, tokens: Tensor) -> list[Tensor]:
        """Rows of token numbers (B, context), each cut behind its end mark to a multiple of 8."""
        if not self._looks_back:
            return list(tokens)
        context = tokens.shape[1]
        lengths = (-(-(end + 1) // STEP) * STEP for end in self._ends(tokens).tolist())
        return [row[: min(n, context)] for row, n in zip(tokens, lengths, strict=True)]

    def encode(self, rows: Sequence[Tensor]) -> Tensor:
        """Vectors (B, D) of rows of one length that `cut` gave, on the model's device."""
        import torch

        tokens = torch.stack(list(rows))
        vectors: Tensor = self._of_length(tokens.shape[1]).encode_text(tokens)  # type: ignore[operator]
        return vectors

    def _of_length(self, length: int) -> nn.Module:
        """The model with a context of so many tokens; all share their weights."""
        if length not in self._by_length:
            model = self._model
            if self._looks_back and length < _tower(model).attn_mask.shape[0]:
                model = _shortened(model, length)
            self._by_length[length] = model
        return self._by_length[length]

    @cached_property
    def _looks_back(self) -> bool:
        """Whether the tower is one of open_clip's causal ones, and a cut text has its vector."""
        import torch

        tower = _tower(self._model)
        mask = getattr(tower, "attn_mask", None)
        apart = getattr(tower, "cls_emb", None) is not None or getattr(tower, "use_pad_mask", False)
        if mask is None or apart or _pooling(tower) not in ("argmax", "eos"):
            return False
        text = torch.zeros(1, mask.shape[0], dtype=torch.long, device=mask.device)
        end = min(STEP, mask.shape[0]) - 1
        text[0, :end] = torch.arange(1, end + 1)
        text[0, end] = _end_mark(tower)
        with torch.inference_mode():
            whole = self._model.encode_text(text)  # type: ignore[operator]
            short = _shortened(self._model, end + 1).encode_text(text[:, : end + 1])  # type: ignore[operator]
        return bool((whole - short).norm() <= _TOLERANCE * whole.norm())

    def _ends(self, tokens: Tensor) -> Tensor:
        """Where the end mark of each row is, as open_clip looks for it."""
        tower = _tower(self._model)
        if _pooling(tower) == "argmax":
            return tokens.argmax(dim=1)
        return (tokens == _end_mark(tower)).int().argmax(dim=1)


def _tower(model: nn.Module) -> Any:
    """The module that holds the text tower's mask: the model itself, or its part `text`."""
    return getattr(model, "text", model)


def _pooling(tower: Any) -> str:
    return str(getattr(tower, "text_pool_type", None) or getattr(tower, "pool_type", ""))


def _end_mark(tower: Any) -> int:
    if _pooling(tower) == "argmax":  # the largest number that there is
        return int(tower.token_embedding.num_embeddings) - 1
    eos = getattr(tower, "text_eos_id", None)
    return int(tower.eos_id if eos is None else eos)


def _shortened(model: nn.Module, length: int) -> nn.Module:
    from torch import nn

    short = shared_copy(model)
    tower = _tower(short)
    tower.positional_embedding = nn.Parameter(
        tower.positional_embedding[:length], requires_grad=False
    )
    tower.attn_mask = tower.attn_mask[:length, :length]
    return short
