"""Pictures that are none: what a painter gives when its numbers overflow, or is kept from giving.

In half precision some diffusion pipelines overflow to NaN, which becomes a black picture. Such a
picture shows no concept, so it is rejected as one that the safety checker blanks.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final, Literal

if TYPE_CHECKING:
    from numpy.typing import NDArray


Cause = Literal["safety", "not_finite", "constant"]
"""Why a picture was rejected."""

_WORDS: Final[dict[str, str]] = {
    "safety": "rejected by the safety checker",
    "not_finite": "rejected: the painter's pixels are NaN or infinite",
    "constant": "rejected: all pixels are the same",
}

_COUNTED: Final[dict[str, str]] = {
    "safety": "by the safety checker",
    "not_finite": "for NaN or infinite pixels",
    "constant": "for pixels that are all the same",
}


def broken(pixels: NDArray[Any]) -> Cause | None:
    """Why pixels are no picture; None where they are one.

    Only a picture whose pixels are all exactly the same is none: a plain one has some grain.

    Args:
        pixels: (H, W, C), as the painter's decoder gives them, or as they are stored.

    >>> import numpy as np
    >>> broken(np.zeros((4, 4, 3), np.uint8))
    'constant'
    """
    import numpy as np  # here, so that reading the causes of stored pictures does not load it

    if not np.isfinite(pixels).all():
        return "not_finite"
    return "constant" if (pixels == pixels[:1, :1]).all() else None


def cause_of(image: Mapping[str, object]) -> str:
    """Why a stored picture was rejected, in a word; empty for one that was not."""
    return str(image.get("cause", "safety")) if image["rejected"] else ""


def told(image: Mapping[str, object]) -> str:
    """Why a stored picture was rejected, in words; empty for one that was not."""
    return _WORDS.get(cause_of(image), "")


def why(images: Iterable[Mapping[str, object]], of: str) -> str:
    """Why there are not enough pictures of something.

    Args:
        images: stored pictures, those rejected among them.
        of: which pictures, such as `the pictures of the label`.
    """
    counts = Counter(filter(None, map(cause_of, images)))
    if set(counts) <= {"safety"}:
        return f"the safety checker rejected {of}"
    listed = ", ".join(f"{counts[name]:,} {_COUNTED[name]}" for name in _COUNTED if counts[name])
    return f"{of} were rejected ({listed})"
