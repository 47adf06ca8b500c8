"""The part of a picture that a network sees: many crop the middle out before they look.

A map lies over that part, not over the picture, so masks have to be cut to it before they are laid
over each other. Networks come with transforms of any make; what one does is found by showing it
a ramp from left to right and from top to bottom.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

if TYPE_CHECKING:
    from torch import Tensor

_TOLERANCE: Final = 0.02
_EDGE: Final = 0.01
_SHORTEST: Final = 4


@dataclass(frozen=True)
class View:
    """A box of a picture, as shares of its width and height.

    Attributes:
        left: of the box.
        top: of the box.
        right: of the box.
        bottom: of the box.
    """

    left: float = 0.0
    top: float = 0.0
    right: float = 1.0
    bottom: float = 1.0

    def box(self, width: int, height: int) -> tuple[int, int, int, int]:
        """Left, top, right and bottom in pixels of a mask, whole numbers; at least one pixel."""
        left, top = round(self.left * width), round(self.top * height)
        right, bottom = round(self.right * width), round(self.bottom * height)
        return left, top, max(right, left + 1), max(bottom, top + 1)


WHOLE: Final = View()


def view(transform: Callable[[Image.Image], Tensor], width: int, height: int) -> View:
    """The part of a picture of this size that a transform keeps.

    Args:
        transform: a picture to float (3, H, W): resizing, cropping and a change of values that
            is linear for each channel.
        width: of the picture, in pixels.
        height: of the picture, in pixels.

    Returns:
        The box that the tensor's edges lie on. The whole picture where the tensor is no resized
        and cropped picture (turned, mirrored, warped, padded), since then no box would be right.
    """
    dark, light = (_transformed(transform, np.full((height, width), v, np.uint8)) for v in (0, 255))
    ends = [
        _ends(transform, np.broadcast_to(ramp, (height, width)), dark, light, axis)
        for ramp, axis in ((_ramp(width)[None, :], 1), (_ramp(height)[:, None], 0))
    ]
    if ends[0] is None or ends[1] is None:
        return WHOLE
    (left, right), (top, bottom) = ends[0], ends[1]
    return View(left, top, right, bottom)


def _ramp(length: int) -> NDArray[np.float64]:
    """Centres of pixels, as shares of the length, in grey values of 0 to 255."""
    return (np.arange(length) + 0.5) / length * 255


def _transformed(
    transform: Callable[[Image.Image], Tensor], grey: NDArray[np.uint8]
) -> NDArray[np.float64]:
    """The first channel, (H, W), of what a transform makes of a grey picture."""
    picture = Image.fromarray(np.ascontiguousarray(grey)).convert("RGB")
    return np.asarray(transform(picture)[0].double())


def _ends(
    transform: Callable[[Image.Image], Tensor],
    ramp: NDArray[np.float64],
    dark: NDArray[np.float64],
    light: NDArray[np.float64],
    axis: int,
) -> tuple[float, float] | None:
    """Where the first and the last edge of the tensor lie along an axis; None for no line."""
    values = _transformed(transform, np.rint(ramp).astype(np.uint8))
    share = (values - dark) / np.where(light == dark, np.nan, light - dark)
    if not np.isfinite(share).all():
        return None
    lines = share if axis == 1 else share.T
    length = lines.shape[1]
    centres = (np.arange(length) + 0.5) / length
    # At the picture's edges filters flatten the ramp.
    middle = slice(length // 4, length - length // 4)
    if length < _SHORTEST:
        return None
    slope, start = np.polyfit(centres[middle], lines.mean(axis=0)[middle], 1)
    deviation = np.abs(lines - (start + slope * centres))[:, middle].max()
    if (
        slope <= 0
        or deviation > _TOLERANCE
        or start < -_TOLERANCE
        or start + slope > 1 + _TOLERANCE
    ):
        return None
    return _snapped(start), _snapped(start + slope)


def _snapped(share: float) -> float:
    """A share in [0, 1], 0 or 1 where it is close to them: grey values are whole numbers."""
    edge = 0.0 if abs(share) < _EDGE else 1.0 if abs(share - 1) < _EDGE else float(share)
    return min(max(edge, 0.0), 1.0)
