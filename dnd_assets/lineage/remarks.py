"""Remarks on a sound product: what a reader has to know of it beside the result."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal

from dnd_assets.lineage.records import Payload

Kind = Literal["few_exemplars", "images_set_aside", "units_counted"]
NAMED: Final = 3
"""Files that are named where there may be many."""
_KEPT: Final = 100


@dataclass(frozen=True)
class Remark:
    """One thing to know of a product.

    Attributes:
        kind: what it is about.
        text: in words, for people.
        details: the same as values.
    """

    kind: Kind
    text: str
    details: Mapping[str, object] = field(default_factory=dict)

    def as_json(self) -> dict[str, object]:
        """The remark as a product's notes keep it, in their list `remarks`."""
        return {"kind": self.kind, "text": self.text, **self.details}


def few_exemplars(kept: int, asked: int, fires_on: int | None, images: int) -> Remark:
    """Fewer exemplars than were asked for.

    Args:
        kept: how many there are.
        asked: how many were asked for.
        fires_on: images on which the unit fires; None where nothing tells.
        images: images with a finite activation.
    """
    scope = f"fires on {fires_on:,} of" if fires_on is not None else "is finite on"
    text = f"{kept:,} of {asked:,} exemplars asked: the unit {scope} {images:,} images"
    details = {"kept": kept, "asked": asked, "fires_on": fires_on, "images": images}
    return Remark("few_exemplars", text, details)


def set_aside(images: Sequence[str], of: int) -> Remark:
    """Images that are set aside since the unit is NaN or infinite on them.

    Args:
        images: their hashes, ascending; the first 100 are kept.
        of: how many images there are in all.
    """
    first_names = ", ".join(f"{name[:16]}…" for name in images[:NAMED])
    more = f" and {len(images) - NAMED:,} more" if len(images) > NAMED else ""
    text = f"NaN or infinite on {len(images):,} of {of:,} images, set aside: {first_names}{more}"
    return Remark("images_set_aside", text, {"count": len(images), "images": list(images[:_KEPT])})


def remarks_of(notes: Payload) -> Iterator[str]:
    """The texts of the remarks among a product's notes."""
    yield from (str(remark["text"]) for remark in notes.get("remarks", ()))
