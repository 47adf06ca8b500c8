"""What files of many pictures have in common."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import IO, Protocol


@dataclass(frozen=True)
class Columns:
    """Which columns of a table are which; None for what the table itself says.

    Attributes:
        image: the one that holds pictures.
        caption: the one that says in words what they show.
        label: the one that names their class.
    """

    image: str | None = None
    caption: str | None = None
    label: str | None = None


AS_TABLES_SAY = Columns()


@dataclass(frozen=True)
class SlideTiles:
    """How slides are cut.

    Attributes:
        side: of a tile, in pixels of the level.
        level: of the slide's pyramid, 0 for the whole resolution.
        tissue: least share of a tile that is tissue.
    """

    side: int = 224
    level: int = 0
    tissue: float = 0.1


@dataclass(frozen=True)
class PictureTruth:
    """What a set says of a picture; empty for nothing."""

    caption: str = ""
    label: str = ""


@dataclass(frozen=True)
class Contents:
    """What a file of many pictures holds.

    Attributes:
        pictures: its pictures by their own names, in its order.
        others: what else is in it, with what it is counted as; captions and labels do not count.
        damage: why the rest cannot be told; empty for nothing.
    """

    pictures: tuple[str, ...]
    others: tuple[tuple[str, str], ...] = ()
    damage: str = ""


@dataclass(frozen=True)
class Source:
    """A file, here or in a bucket, that is read in parts.

    Attributes:
        place: where it lies, as people are told.
        state: changes with its content.
        size: in bytes.
        open: a new reader that can seek.
        range: some of its bytes: start, length.
    """

    place: str
    state: str
    size: int
    open: Callable[[], IO[bytes]]
    range: Callable[[int, int], bytes]


class Container(Protocol):
    """A file of many pictures."""

    def contents(self) -> Contents:
        """What it holds."""

    def read(self, name: str) -> bytes:
        """The bytes of one picture.

        Raises:
            OSError: when it is not there or cannot be read; says file and member.
        """

    def truths(self) -> Mapping[str, PictureTruth]:
        """What it says of its pictures, by their own names."""


class MemberError(OSError):
    """A picture inside a file cannot be read; its text says file, member and reason."""
