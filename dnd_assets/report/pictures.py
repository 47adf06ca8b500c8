"""The probing set from the other side: each picture with the units that it activates most."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from dnd_assets.report.entries import Entry

SHOWN: Final = 300
"""Pictures on the page, those of most units."""
UNITS: Final = 12
"""Units named of a picture."""


@dataclass(frozen=True)
class ActivatedUnit:
    """A unit that a picture activates.

    Attributes:
        unit: the unit.
        place: of the picture among the unit's exemplars, from 1.
    """

    unit: Entry
    place: int


@dataclass(frozen=True)
class Picture:
    """A picture that is an exemplar of some unit.

    Attributes:
        image: its SHA-256.
        firings: units whose exemplar it is, those that rank it highest first.
        more: further units.
    """

    image: str
    firings: tuple[ActivatedUnit, ...]
    more: int

    @property
    def units(self) -> int:
        """How many units have it among their exemplars."""
        return len(self.firings) + self.more


def pictures_of(entries: Sequence[Entry], most: int = SHOWN) -> tuple[list[Picture], int]:
    """Exemplars of the units, those that most units share first, and how many are left out.

    Args:
        entries: the units; ties among equals keep their order.
        most: pictures at most.
    """
    by_image: dict[str, list[ActivatedUnit]] = {}
    for entry in entries:
        for place, image in enumerate(entry.exemplars, 1):
            by_image.setdefault(image, []).append(ActivatedUnit(entry, place))
    order = sorted(by_image, key=lambda image: (-len(by_image[image]), image))
    pictures = []
    for image in order[:most]:
        firings = sorted(by_image[image], key=lambda firing: firing.place)
        pictures.append(Picture(image, tuple(firings[:UNITS]), max(0, len(firings) - UNITS)))
    return pictures, max(0, len(order) - most)
