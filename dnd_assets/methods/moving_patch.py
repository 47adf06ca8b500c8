"""Whether a layer's output follows the picture: a bright patch is moved, and the change with it.

For each place of the patch the change of the output against the picture without it is summed over
the channels. Read in the right order, the change is largest where the patch is. Read in a wrong
order (columns for rows, windows before rows, another width), it is elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating]

CENTRES: Final = tuple((row / 6, column / 6) for row in (1, 3, 5) for column in (1, 3, 5))
"""Centres of the patches, down and across, as shares of the picture's sides."""
HALF: Final = 1 / 12
"""Half of a patch's side, as a share of the picture's."""
_NEEDED: Final = 8
_LOST: Final = 5
_MARGIN: Final = 1 / 24
_MARGIN_CELLS: Final = 0.25
_AREA: Final = 1 / 12
_CONCENTRATED: Final = 0.6
_MOST_SHIFT: Final = 0.45
_WRONG_SHIFT: Final = 0.75
_NEAR: Final = 1.5


class Verdict(Enum):
    """What moving the patch showed: the order is right, or wrong, or neither can be told."""

    PROVEN = "proven"
    WRONG = "wrong"
    OPEN = "open"


@dataclass(frozen=True)
class Followed:
    """What a reading of an output as rows and columns showed.

    Attributes:
        hits: places of the patch, of nine, at which the change is largest where the patch is.
        gathered: share of the change within the twelfth of the map that changes most; a change
            that is spread over the whole map tells nothing.
        shift: cells by which the change lies beside the patch, the most of the three rows.
    """

    hits: int
    gathered: float
    shift: float

    def verdict(self, exact: bool = False) -> Verdict:
        """The verdict; `exact` besides refuses an order that is off by most of a cell."""
        if self.hits >= _NEEDED:
            if not exact or self.shift < _MOST_SHIFT:
                return Verdict.PROVEN
            return Verdict.WRONG if self.shift >= _WRONG_SHIFT else Verdict.OPEN
        if self.hits <= _LOST and self.gathered >= _CONCENTRATED:
            return Verdict.WRONG
        return Verdict.OPEN


def boxes(height: int, width: int) -> Iterator[tuple[slice, slice]]:
    """Rows and columns of the patches in a picture, in the order of `CENTRES`."""
    for down, across in CENTRES:
        yield _span(down, height), _span(across, width)


def followed(change: Floats) -> Followed:
    """How the change of an output follows the patch.

    Args:
        change: (9, H, W), the change for each place of the patch, summed over channels.
    """
    excess = _excess(change)
    if excess is None:
        return Followed(0, 0.0, 0.0)
    _, height, width = excess.shape
    hits = 0
    for patch_excess, (down, across) in zip(excess, CENTRES, strict=True):
        row, column = divmod(int(patch_excess.argmax()), width)
        hits += _touches_patch(row, height, down) and _touches_patch(column, width, across)
    positive = excess.clip(min=0).reshape(len(excess), -1)
    cells = max(1, round(positive.shape[1] * _AREA))
    largest = np.sort(positive, axis=1)[:, -cells:].sum(axis=1)
    total = positive.sum(axis=1)
    gathered = float(np.mean(largest / np.where(total > 0, total, 1.0)))
    return Followed(hits, gathered, _shift(excess.clip(min=0)))


def _span(centre: float, length: int) -> slice:
    start = min(round((centre - HALF) * length), length - 1)
    return slice(start, max(start + 1, round((centre + HALF) * length)))


def _excess(change: Floats) -> NDArray[np.float64] | None:
    """The change beyond what every place of the patch does to a cell; None where nothing changes.

    A cell that changes wherever the patch is, such as a class token, is not where the patch is.
    """
    values = change.astype(np.float64)
    totals = values.sum(axis=(1, 2), keepdims=True)
    if not np.isfinite(totals).all() or (totals <= 0).any():
        return None
    shares = values / totals
    return np.asarray(shares - shares.mean(axis=0))


def _touches_patch(cell: int, count: int, centre: float) -> bool:
    """Whether a cell touches the patch, or nearly so."""
    margin = _MARGIN + _MARGIN_CELLS / count
    low, high = centre - HALF - margin, centre + HALF + margin
    return (cell + 1) / count > low and cell / count < high


def _shift(excess: NDArray[np.float64]) -> float:
    """Cells by which the change lies left or right of the patch: the most of the three rows.

    Tokens that are counted from a wrong first one are off by whole cells. Only cells near the patch
    are weighed, and the three patches of a row together, since their cells are cut symmetrically.
    """
    _, height, width = excess.shape
    rows: list[list[float]] = [[], [], []]
    for index, (patch_excess, (down, across)) in enumerate(zip(excess, CENTRES, strict=True)):
        nearby = [
            _nearby_cells(count, centre) for count, centre in ((height, down), (width, across))
        ]
        part = patch_excess[np.ix_(*nearby)]
        if part.sum() > 0:
            position = float((part.sum(axis=0) * (nearby[1] + 0.5)).sum() / part.sum())
            rows[index // 3].append(position - across * width)
    return max((abs(float(np.mean(offsets))) for offsets in rows if len(offsets) == 3), default=0.0)


def _nearby_cells(count: int, centre: float) -> NDArray[np.int64]:
    """The cells within a cell and a half of the patch."""
    cells = np.arange(count)
    low, high = (centre - HALF) * count - _NEAR, (centre + HALF) * count + _NEAR
    return cells[(cells + 0.5 >= low) & (cells + 0.5 <= high)]
