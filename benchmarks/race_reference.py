"""What the reference implementations compute, written anew from the papers, to be measured beside.

CLIP-Dissect (Oikarinen and Weng, 2023) and Describe-and-Dissect (Bai et al., 2024), each in the
plain form of its authors: tensors in batches, a loop over units where they loop, one scoring
function at a time. Nothing here is used by the product; tests hold it to the references' outputs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
import scipy
import torch
from numpy.typing import NDArray
from PIL import Image

if TYPE_CHECKING:
    from torch import Tensor

try:  # what the authors use; scikit-image where it is not installed
    import cv2
except ImportError:
    cv2 = None
else:
    cv2.setNumThreads(1)  # as all that is measured

LIBRARIES = ("scikit-image",) if cv2 is None else ("OpenCV", "scikit-image")
"""What is there to threshold heat maps and to find their parts; the authors use OpenCV."""
Box = tuple[int, int, int, int]
_MIN_PROB = 1e-7
_PAIRS_AT_ONCE = 10_000


def cos(products: Tensor, activations: Tensor) -> Tensor:
    """Cosine of P's columns (N, M) and activations (N, U), (U, M), in blocks of pairs."""
    products = products / products.norm(p=2, dim=0, keepdim=True)
    activations = activations / activations.norm(p=2, dim=0, keepdim=True)
    return _in_blocks(products, activations)


def cos_cubed(products: Tensor, activations: Tensor) -> Tensor:
    """Cosine of centred and cubed columns, norms at least 1e-3, (U, M)."""
    products = (products - products.mean(dim=0, keepdim=True)) ** 3
    activations = (activations - activations.mean(dim=0, keepdim=True)) ** 3
    products = products / products.norm(p=2, dim=0, keepdim=True).clip(1e-3)
    activations = activations / activations.norm(p=2, dim=0, keepdim=True).clip(1e-3)
    return _in_blocks(products, activations)


def rank_reorder(products: Tensor, activations: Tensor, shuffles: int = 5) -> Tensor:
    """Error of the top 5 % of activations in the order of P's columns, (U, M); random baseline."""
    count = int(len(activations) * 0.05)
    top, rows = activations.topk(count, dim=0)
    generator = torch.Generator().manual_seed(0)
    similarities = []
    for unit in range(activations.shape[1]):
        values, part = top[:, unit], products[rows[:, unit]]
        ranks = part.argsort(dim=0, descending=True).argsort(dim=0)
        error = (values.unsqueeze(1) - values[ranks]).abs().pow(3).mean(dim=0)
        orders = [torch.randperm(count, generator=generator) for _ in range(shuffles)]
        baseline = torch.stack([(values - values[order]).abs().pow(3) for order in orders]).mean()
        similarities.append(-error / baseline / part.mean(dim=0) ** 0.5)
    return torch.stack(similarities)


def wpmi(products: Tensor, activations: Tensor) -> Tensor:
    """Weighted pointwise mutual information of 28 images, a = 2, lambda = 0.6, (U, M)."""
    shares = torch.softmax(2 * products, dim=1)
    rows = activations.topk(28, dim=0).indices
    likelihoods = torch.stack(
        [(_gathered(shares, rows, unit) + _MIN_PROB).log().sum(dim=0)
         for unit in range(activations.shape[1])]
    )  # fmt: skip
    return likelihoods - 0.6 * _log_prior(likelihoods)


def soft_wpmi(products: Tensor, activations: Tensor) -> Tensor:
    """SoftWPMI of 100 images, a = 10, lambda = 1, (U, M)."""
    shares = torch.softmax(10 * products, dim=1)
    rows = activations.topk(100, dim=0).indices
    belongs = (0.998 - torch.arange(100) / 100 * (0.998 - 0.97)).unsqueeze(1)
    likelihoods = []
    for unit in range(activations.shape[1]):
        members = 1 + belongs * (_gathered(shares, rows, unit) - 1)
        likelihoods.append((members + _MIN_PROB).log().sum(dim=0))
    stacked = torch.stack(likelihoods)
    return stacked - _log_prior(stacked)


SIMILARITY: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "soft_wpmi": soft_wpmi,
    "wpmi": wpmi,
    "cos": cos,
    "cos_cubed": cos_cubed,
    "rank_reorder": rank_reorder,
}
"""The similarity functions by name: (P, activations) -> (units, concepts)."""


def best(
    similarities: Tensor, concepts: Sequence[str], n: int = 5
) -> list[list[tuple[str, float]]]:
    """The `n` most similar concepts of each unit: a top-k for each, and the words read off."""
    labels = []
    for row in similarities:
        values, positions = torch.topk(row, k=n, largest=True)
        labels.append(
            [(concepts[int(i)], float(v)) for i, v in zip(positions, values, strict=True)]
        )
    return labels


def crops(
    heatmap: NDArray[np.uint8],
    library: str = LIBRARIES[0],
    alpha: int = 4,
    overlap: float = 0.5,
    whole: float = 0.8,
) -> tuple[float, list[Box]]:
    """Otsu's threshold, and up to `alpha` boxes around what exceeds it, largest first."""
    height, width = heatmap.shape
    outlines = _outlines_opencv if library == "OpenCV" else _outlines_scikit
    threshold, boxes = outlines(heatmap)
    boxes.sort(key=lambda box: (box[2] - box[0]) * (box[3] - box[1]), reverse=True)
    chosen: list[Box] = []
    for box in boxes:
        if len(chosen) == alpha:
            break
        is_new = all(_iou(box, other) <= overlap for other in chosen)
        if is_new and _iou(box, (0, 0, width, height)) < whole:
            chosen.append(box)
    return threshold, chosen


def cut(
    image: Image.Image, heat: NDArray[np.float32], library: str = LIBRARIES[0], size: int = 375
) -> list[Image.Image]:
    """The crops of an exemplar by its activation map, each of `size` pixels a side."""
    levels = (255 * (heat - heat.min()) / (heat.max() - heat.min())).astype(np.uint8)
    if library == "OpenCV":
        heatmap = cv2.resize(levels, (size, size), interpolation=cv2.INTER_CUBIC)
    else:
        square = Image.fromarray(levels).resize((size, size), Image.Resampling.BICUBIC)
        heatmap = np.asarray(square)
    _, boxes = crops(heatmap, library)
    return [image.crop(box).resize((size, size), Image.Resampling.BICUBIC) for box in boxes]


def ranks(activations: NDArray[np.floating]) -> NDArray[np.int64]:
    """Rank of each synthetic image (J, Q) among all, 0 for the most active."""
    order = np.argsort(-activations.ravel())
    positions = np.empty(len(order), dtype=np.int64)
    positions[order] = np.arange(len(order))
    return positions.reshape(activations.shape)


def topk_squared(activations: NDArray[np.floating], beta: int = 5) -> list[float]:
    """Minus the mean square of each concept's `beta` smallest ranks."""
    return [-float(np.mean(np.sort(row)[:beta] ** 2)) for row in ranks(activations)]


def image_products(
    activations: NDArray[np.floating],
    generated: NDArray[np.floating],
    exemplars: NDArray[np.floating],
    top_images: int = 10,
) -> list[float]:
    """Mean cosine of the exemplars (K, D) and each concept's images (J, Q, D) among the top."""
    exemplars = exemplars / np.linalg.norm(exemplars, axis=-1, keepdims=True)
    scores = []
    for positions, vectors in zip(ranks(activations), generated, strict=True):
        among = vectors[positions < top_images]
        among = among / np.linalg.norm(among, axis=-1, keepdims=True)
        scores.append(float((among @ exemplars.T).mean()) if len(among) else -1.0)
    return scores


def scored(
    activations: NDArray[np.floating],
    generated: NDArray[np.floating],
    exemplars: NDArray[np.floating],
) -> dict[str, list[float]]:
    """Every scoring function of a unit's candidates, by its name."""
    squared = topk_squared(activations)
    products = image_products(activations, generated, exemplars)
    order = sorted(range(len(squared)), key=lambda j: -squared[j])
    combined = [0.0] * len(squared)
    for position, j in enumerate(order):
        combined[j] = (len(squared) - position) * products[j]
    return {
        "mean_rank": [-float(np.mean(row)) for row in ranks(activations)],
        "topk_squared": squared,
        "image_products": products,
        "topk_squared_image_products": combined,
    }


def _in_blocks(products: Tensor, activations: Tensor) -> Tensor:
    """Products of all columns, (U, M), so many of each at a time."""
    rows = []
    for unit in range(0, activations.shape[1], _PAIRS_AT_ONCE):
        units = activations[:, unit : unit + _PAIRS_AT_ONCE].T
        row = [units @ products[:, concept : concept + _PAIRS_AT_ONCE]
               for concept in range(0, products.shape[1], _PAIRS_AT_ONCE)]  # fmt: skip
        rows.append(torch.cat(row, dim=1))
    return torch.cat(rows)


def _gathered(shares: Tensor, rows: Tensor, unit: int) -> Tensor:
    """The rows of a unit's images."""
    return shares.gather(0, rows[:, unit : unit + 1].expand(-1, shares.shape[1]))


def _log_prior(likelihoods: Tensor) -> Tensor:
    return torch.logsumexp(likelihoods, dim=0) - torch.tensor(float(len(likelihoods))).log()


def _outlines_opencv(heatmap: NDArray[np.uint8]) -> tuple[float, list[Box]]:
    threshold, binary = cv2.threshold(heatmap, 0, 255, cv2.THRESH_BINARY + cv2.THRESH_OTSU)
    outlines, _ = cv2.findContours(binary, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    boxes = [cv2.boundingRect(outline) for outline in outlines]
    return threshold, [(x, y, x + width, y + height) for x, y, width, height in boxes]


def _outlines_scikit(heatmap: NDArray[np.uint8]) -> tuple[float, list[Box]]:
    from skimage.filters import threshold_otsu
    from skimage.measure import label, regionprops

    if heatmap.min() == heatmap.max():
        return 0.0, []
    threshold = float(threshold_otsu(heatmap))
    parts = regionprops(label(scipy.ndimage.binary_fill_holes(heatmap > threshold), connectivity=2))
    boxes = [(left, top, right, bottom) for top, left, bottom, right in (p.bbox for p in parts)]
    return threshold, boxes[::-1]


def _iou(a: Box, b: Box) -> float:
    width = max(0, min(a[2], b[2]) - max(a[0], b[0]))
    height = max(0, min(a[3], b[3]) - max(a[1], b[1]))
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (a, b)]
    return width * height / (sum(areas) - width * height)
