"""Attention crops: the parts of an image that a unit responds to (DnD, step 1)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Box = tuple[int, int, int, int]
"""Left, top, right, bottom in pixels; right and bottom are exclusive."""


def attention_boxes(
    heatmap: NDArray[np.uint8],
    max_crops: int = 4,
    overlap: float = 0.5,
    whole_image: float = 0.8,
) -> tuple[int, list[Box]]:
    """Boxes around the parts of a heatmap that stand out (DnD, section 3.1, attention cropping).

    The heatmap is binarised with Otsu's threshold T (foreground: value > T); the bounding boxes of
    the outer contours of the 8-connected foreground are walked through from the largest area to
    the smallest. A box b is kept if IoU(b, c) <= `overlap` for every kept c and
    IoU(b, whole image) < `whole_image`, up to `max_crops` boxes. A part that lies in a hole of
    another has no outer contour of its own. Of equal areas the lower one comes first, as in the
    reference, which takes contours in OpenCV's order.

    Args:
        heatmap: uint8, height x width.
        max_crops: alpha, boxes kept at most.
        overlap: eta, largest IoU of two kept boxes, in [0, 1].
        whole_image: IoU with the whole image from which a box is no crop.

    Returns:
        The threshold in 0..255, and the boxes in the order in which they were kept. A constant
        heatmap gives (0, []).

    Raises:
        ValueError: when the heatmap is not a non-empty uint8 matrix.
    """
    _check_heatmap(heatmap)
    threshold = otsu_threshold(heatmap)
    height, width = heatmap.shape
    image_box = (0, 0, width, height)
    crops: list[Box] = []
    parts = _Parts.of(heatmap > threshold)
    for part in parts.by_area():
        if len(crops) >= max_crops:
            break
        box = parts.box(part)
        is_new = all(iou(box, crop) <= overlap for crop in crops)
        if is_new and iou(box, image_box) < whole_image and not parts.in_hole(part):
            crops.append(box)
    return threshold, crops


def otsu_threshold(heatmap: NDArray[np.uint8]) -> int:
    """Otsu's threshold: the T that maximises q1 q2 (mu1 - mu2)^2, the lowest one of equals.

    q1, mu1 are share and mean of the pixels <= T, q2, mu2 those of the others. Written out as
    OpenCV's portable code computes it, in float64 with running means, since the choice between
    two nearly equal maxima depends on the rounding.

    Args:
        heatmap: uint8, any shape.

    Returns:
        T in 0..255; 0 for a constant heatmap.
    """
    if not heatmap.size:
        return 0
    counts = np.array(Image.fromarray(heatmap.reshape(1, -1)).histogram())
    shares = counts * (1.0 / heatmap.size)
    mean = float(np.dot(np.arange(256), counts))
    mean *= 1.0 / heatmap.size
    limit = float(np.finfo(np.float32).eps)
    most = 1.0 - limit
    mean1 = share1 = best = 0.0
    threshold = 0
    for level, share in enumerate(shares.tolist()):
        mean1 *= share1
        share1 += share
        share2 = 1.0 - share1
        if share1 < limit or share2 < limit or share1 > most or share2 > most:
            continue
        mean1 = (mean1 + level * share) / share1
        difference = mean1 - (mean - share1 * mean1) / share2
        between = share1 * share2 * difference * difference
        if between > best:
            best, threshold = between, level
    return threshold


def iou(a: Box, b: Box) -> float:
    """Intersection over union of two boxes, in [0, 1]; 0 when both are empty."""
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    common = max(width, 0) * max(height, 0)
    union = _area(a) + _area(b) - common
    return common / union if union else 0.0


def heatmap_bytes(activation: NDArray[np.floating], size: int) -> NDArray[np.uint8]:
    """A unit's activation map as a heatmap of an image (DnD, section 3.1).

    Scaled linearly so that the minimum is 0 and the maximum 255, rounded, then resized with
    Pillow's bicubic filter. The reference lets values above 1 wrap around instead.

    Args:
        activation: one map, height x width, any float type.
        size: side of the heatmap in pixels.

    Returns:
        uint8, size x size; zeros for a constant map.

    Raises:
        ValueError: when the map is no non-empty matrix or holds NaN or infinite values.
    """
    if activation.ndim != 2 or not activation.size:
        raise ValueError(f"an activation map is height x width, not {activation.shape}")
    if not np.isfinite(activation).all():
        raise ValueError("the activation map holds NaN or infinite values")
    # Halved first: the range of two finite float64 can be infinite.
    halves = activation.astype(np.float64) / 2
    span = float(halves.max() - halves.min())
    if span == 0.0:
        return np.zeros((size, size), dtype=np.uint8)
    levels = np.rint((halves - halves.min()) / span * 255).astype(np.uint8)
    return np.asarray(Image.fromarray(levels).resize((size, size), Image.Resampling.BICUBIC))


def cut(image: Image.Image, box: Box, size: int) -> Image.Image:
    """The part of an image inside `box`, resized (bicubic) to size x size, RGB.

    Raises:
        ValueError: when the box is empty or leaves the image.
    """
    left, top, right, bottom = box
    if not (0 <= left < right <= image.width and 0 <= top < bottom <= image.height):
        raise ValueError(f"box {box} is no part of an image of {image.width} x {image.height}")
    picture = image if image.mode == "RGB" else image.convert("RGB")  # which copies all of it
    return picture.crop(box).resize((size, size), Image.Resampling.BICUBIC)


def _check_heatmap(heatmap: NDArray[np.uint8]) -> None:
    if heatmap.dtype != np.uint8 or heatmap.ndim != 2 or not heatmap.size:
        raise ValueError(
            f"a heatmap is a non-empty uint8 matrix, not {heatmap.dtype} of shape "
            f"{heatmap.shape}; make one with heatmap_bytes"
        )


@dataclass(frozen=True)
class _Parts:
    """The 8-connected parts of a foreground, in the order of their first pixels in reading order.

    Found from runs of pixels within rows, of which a heatmap has a few hundred: labelling each of
    its pixels takes ten times as long.

    Attributes:
        starts: where each run starts, as a position in the rows written one after the other, each
            with a pixel of background before and after it.
        ends: the position after its last pixel.
        stride: pixels from one row to the next.
        first_runs: the first run of each part.
        boxes: left, top, right, bottom of each part, int64 (parts, 4).
    """

    starts: NDArray[np.int64]
    ends: NDArray[np.int64]
    stride: int
    first_runs: NDArray[np.int64]
    boxes: NDArray[np.int64]

    @classmethod
    def of(cls, foreground: NDArray[np.bool_]) -> _Parts:
        """The parts of a foreground, bool (height, width)."""
        height, width = foreground.shape
        stride = width + 2
        padded = np.zeros((height, stride), dtype=bool)
        padded[:, 1:-1] = foreground
        pixels = padded.ravel()
        changes = np.flatnonzero(pixels[1:] != pixels[:-1]) + 1
        starts, ends = changes[::2].copy(), changes[1::2].copy()
        roots = _first_of_part(starts, ends, stride, reach=1)
        first_runs = np.flatnonzero(roots == np.arange(len(roots)))
        part = np.searchsorted(first_runs, roots)
        rows = starts // stride
        left, right = np.full(len(first_runs), width), np.zeros(len(first_runs), dtype=np.int64)
        bottom = np.zeros(len(first_runs), dtype=np.int64)
        offsets = rows * stride + 1
        np.minimum.at(left, part, starts - offsets)
        np.maximum.at(right, part, ends - offsets)
        np.maximum.at(bottom, part, rows + 1)
        boxes = np.stack([left, rows[first_runs], right, bottom], axis=1)
        return cls(starts, ends, stride, first_runs, boxes)

    def by_area(self) -> list[int]:
        """Parts by the area of their boxes, largest first; of equal ones that which starts last."""
        left, top, right, bottom = self.boxes.T
        areas = ((right - left) * (bottom - top))[::-1]
        order: list[int] = (len(areas) - 1 - np.argsort(-areas, kind="stable")).tolist()
        return order

    def box(self, part: int) -> Box:
        """The bounding box of a part."""
        left, top, right, bottom = self.boxes[part].tolist()
        return left, top, right, bottom

    def in_hole(self, part: int) -> bool:
        """Whether a part lies in a hole of another: no way leads to it from outside the image."""
        inner, outer = self.boxes[part], self.boxes
        around = (outer[:, :2] < inner[:2]).all(axis=1) & (outer[:, 2:] > inner[2:]).all(axis=1)
        return bool(around.any()) and not self._outside[self.first_runs[part]]

    @cached_property
    def _outside(self) -> NDArray[np.bool_]:
        """Of the background before each run: whether a 4-connected way leads out of the image."""
        stride = self.stride
        # The background after the last pixel of a row goes on before the first of the next one.
        gaps_start = np.concatenate([[-stride], self.ends])
        gaps_end = np.concatenate([self.starts, self.starts[-1:] // stride * stride + 2 * stride])
        roots = _first_of_part(gaps_start, gaps_end, stride, reach=0)
        is_border = gaps_start // stride != (gaps_end - 1) // stride
        is_border |= (gaps_start % stride == 0) | (gaps_end % stride == 0)
        leads_out = np.zeros(len(roots), dtype=bool)
        leads_out[roots[is_border]] = True
        return leads_out[roots]


def _first_of_part(
    starts: NDArray[np.int64], ends: NDArray[np.int64], stride: int, reach: int
) -> NDArray[np.int64]:
    """The first run of the part that each run belongs to, in reading order.

    Args:
        starts: where runs start, ascending positions in rows written one after the other.
        ends: the positions after their last pixels.
        stride: pixels from one row to the next.
        reach: 1 where runs touch that meet at a corner, 0 where only those that share an edge.
    """
    above = np.searchsorted(ends, starts - stride, side="left" if reach else "right")
    after = np.searchsorted(starts, ends - stride, side="right" if reach else "left")
    roots = np.where(after > above, above, np.arange(len(starts)))
    while True:  # each run points to one of the row above: to the first of that one, and so on
        further = roots[roots]
        if np.array_equal(further, roots):
            break
        roots = further
    parents: dict[int, int] = {}
    for run in np.flatnonzero(
        after - above > 1
    ).tolist():  # runs that join several of the row above
        for other in range(int(above[run]) + 1, int(after[run])):
            first, second = _root(parents, int(roots[run])), _root(parents, int(roots[other]))
            if first != second:
                parents[max(first, second)] = min(first, second)
    if parents:
        joined = np.arange(len(roots))
        for run in parents:
            joined[run] = _root(parents, run)
        roots = joined[roots]
    return roots


def _root(parents: dict[int, int], run: int) -> int:
    """The run that a chain of parents ends at; the chain is made shorter on the way."""
    while run in parents:
        parent = parents[run]
        if parent in parents:
            parents[run] = parents[parent]
        run = parent
    return run


def _area(box: Box) -> int:
    return (box[2] - box[0]) * (box[3] - box[1])
