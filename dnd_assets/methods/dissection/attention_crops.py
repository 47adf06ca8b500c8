"""Attention crops: the parts of an image that a unit responds to (DnD, step 1)."""

from __future__ import annotations

import numpy as np
import scipy
from numpy.typing import NDArray
from PIL import Image

Box = tuple[int, int, int, int]
"""Left, top, right, bottom in pixels; right and bottom are exclusive."""

_EIGHT_NEIGHBOURS = np.ones((3, 3), dtype=bool)


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
    for box in sorted(_outer_boxes(heatmap > threshold), key=_area, reverse=True):
        if len(crops) >= max_crops:
            break
        if iou(box, image_box) < whole_image and all(iou(box, crop) <= overlap for crop in crops):
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
    counts = np.bincount(heatmap.ravel(), minlength=256)
    shares = counts * (1.0 / heatmap.size)
    mean = float(np.dot(np.arange(256), counts))
    mean *= 1.0 / heatmap.size
    limit = float(np.finfo(np.float32).eps)
    mean1 = share1 = best = 0.0
    threshold = 0
    for level, share in enumerate(shares.tolist()):
        mean1 *= share1
        share1 += share
        share2 = 1.0 - share1
        if min(share1, share2) < limit or max(share1, share2) > 1.0 - limit:
            continue
        mean1 = (mean1 + level * share) / share1
        mean2 = (mean - share1 * mean1) / share2
        between = share1 * share2 * (mean1 - mean2) * (mean1 - mean2)
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
    return image.convert("RGB").crop(box).resize((size, size), Image.Resampling.BICUBIC)


def _check_heatmap(heatmap: NDArray[np.uint8]) -> None:
    if heatmap.dtype != np.uint8 or heatmap.ndim != 2 or not heatmap.size:
        raise ValueError(
            f"a heatmap is a non-empty uint8 matrix, not {heatmap.dtype} of shape "
            f"{heatmap.shape}; make one with heatmap_bytes"
        )


def _outer_boxes(foreground: NDArray[np.bool_]) -> list[Box]:
    """Bounding boxes of the outer contours, in OpenCV's order: the last found in reading first."""
    labels, _ = scipy.ndimage.label(_without_holes(foreground), structure=_EIGHT_NEIGHBOURS)
    slices = scipy.ndimage.find_objects(labels)
    return [(x.start, y.start, x.stop, y.stop) for y, x in reversed(slices)]


def _without_holes(foreground: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The foreground with all that no 4-connected way leads to from outside the image.

    As `ndimage.binary_fill_holes`, which grows the outside pixel by pixel, in one labelling.
    """
    background, regions = scipy.ndimage.label(np.pad(~foreground, 1, constant_values=True))
    if regions == 1:
        return foreground
    return np.asarray(background != background[0, 0])[1:-1, 1:-1]


def _area(box: Box) -> int:
    return (box[2] - box[0]) * (box[3] - box[1])
