"""The largest values of a vector, with ties in the order of the vector."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from dnd_assets.methods.lazy import torch

if TYPE_CHECKING:
    from torch import Tensor


def top_positions(values: Tensor, k: int) -> Tensor:
    """Positions of the `k` largest values, largest first, equal ones by ascending position.

    Unlike `torch.topk`, whose choice among equal values is arbitrary. Costs one selection and one
    sort of what is selected, not a sort of everything.

    Args:
        values: (N,), any real type, without NaN.
        k: how many; all N when there are fewer.

    Returns:
        int64, (min(k, N),), on the device of `values`.

    >>> top_positions(torch.tensor([1.0, 3.0, 2.0, 3.0, 2.0]), 3).tolist()
    [1, 3, 2]
    """
    count = min(k, len(values))
    if count == 0:
        return torch.empty(0, dtype=torch.int64, device=values.device)
    boundary = values.topk(count).values[-1]
    candidates = (values >= boundary).nonzero().flatten()
    order = values[candidates].argsort(descending=True, stable=True)
    return candidates[order[:count]]


def top_positions_of_rows(values: Tensor, k: int) -> Iterator[Tensor]:
    """`top_positions` of each row, with one selection for all rows whose largest all differ.

    Args:
        values: (rows, N), any real type, without NaN.
        k: how many of each row; all N when there are fewer.

    Yields:
        int64, (min(k, N),), for one row after the other.
    """
    count = min(k, values.shape[1])
    if not values.numel() or not count:
        yield from (top_positions(row, k) for row in values)
        return
    # One more than asked for, to see whether the last one has its equal among what is left out.
    largest, positions = values.topk(min(count + 1, values.shape[1]), dim=1)
    differ = (largest[:, 1:] < largest[:, :-1]).all(dim=1)
    chosen = positions[:, :count]
    if differ.all():
        yield from chosen
        return
    for row, all_differ in enumerate(differ.tolist()):
        yield chosen[row] if all_differ else top_positions(values[row], k)
