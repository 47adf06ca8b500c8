"""Probability of given texts under a decoder, each token given those before it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor, device

Decode = Callable[["Tensor", "Tensor"], "Tensor"]
"""Numbers and mask of tokens, int64 (B, T), to logits, (B, T, V)."""


def log_likelihood(
    decode: Decode, texts: Sequence[Sequence[int]], start: int, end: int, device: device
) -> list[float]:
    """Natural log p of each text and its end: sum over t of log p(token t | start, tokens < t).

    Args:
        decode: the decoder.
        texts: token numbers of each text, without marks of start and end; one may be empty.
        start: number of the token that a text starts after.
        end: number of the token that ends it; also fills shorter texts, which does not count.
        device: where the decoder lies.

    Returns:
        A value for each text, in float64, at most 0; NaN when the decoder breaks.
    """
    import torch

    longest = max(len(tokens) for tokens in texts) + 1
    inputs = [[start, *tokens, *[end] * (longest - len(tokens) - 1)] for tokens in texts]
    numbers = torch.tensor(inputs, device=device)
    lengths = torch.tensor([len(tokens) + 1 for tokens in texts], device=device)
    counts = torch.arange(longest, device=device)[None] < lengths[:, None]
    targets = numbers.roll(-1, dims=1)
    targets[torch.arange(len(texts)), lengths - 1] = end
    with torch.inference_mode():
        logits = decode(numbers, counts.long())
    logs = logits.double().log_softmax(dim=-1).gather(2, targets[..., None])[..., 0]
    sums: list[float] = torch.where(counts, logs, 0.0).sum(dim=1).tolist()
    return sums
