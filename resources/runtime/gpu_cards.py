"""Which of a machine's CUDA cards a process sees.

A process that is to compute on one card is shown no other, so that all its code, of libraries and
of users, too, finds it as the first one. CUDA reads that once, when it is used first.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Final

from dnd_assets.errors import StudyError

VISIBLE: Final = "CUDA_VISIBLE_DEVICES"
"""The variable by which CUDA shows a process some cards only."""
_AT_FIRST: Final = os.environ.get(VISIBLE)
"""The value of that variable when this process was started."""


def visible_cards(visible: str | None, count: int) -> list[str]:
    """For each card that this process sees, the value of the variable that shows it alone.

    Args:
        visible: what this process is shown, such as `2,3` or names of cards; None for all.
        count: how many it sees.
    """
    if visible is None:
        return [str(index) for index in range(count)]
    return [name.strip() for name in visible.split(",") if name.strip()][:count]


def spread(cards: Sequence[str], workers: int) -> list[str]:
    """The card of each worker, in turn; an empty text where there is none.

    >>> spread(["0", "1"], 3)
    ['0', '1', '0']
    """
    return [cards[index % len(cards)] if cards else "" for index in range(workers)]


def only_card(device: str) -> None:
    """Show this process one card of those that it was started with, for `cuda:1` and the like.

    Raises:
        StudyError: when there is no such card, or CUDA is in use and sees others already.
    """
    kind, _, number = device.partition(":")
    if kind != "cuda" or not number:
        return
    card = number
    if _AT_FIRST is not None:
        cards = visible_cards(_AT_FIRST, int(number) + 1)
        if int(number) >= len(cards):
            raise StudyError(
                f"there is no device {device!r}: {VISIBLE} is {_AT_FIRST!r}, which shows this "
                f"process {len(cards)} cards. Correct compute.device."
            )
        card = cards[int(number)]
    torch = sys.modules.get("torch")
    if os.environ.get(VISIBLE) != card and torch is not None and torch.cuda.is_initialized():
        raise StudyError(
            f"compute.device = {device!r} cannot be had: this process uses CUDA already, with "
            "other cards. Start a new one for it."
        )
    os.environ[VISIBLE] = card
