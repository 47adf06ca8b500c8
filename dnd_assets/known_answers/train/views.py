"""Cut-outs of scenes as attention boxes would make them, with captions of what they show."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from dnd_assets.known_answers.render import SIDE
from dnd_assets.known_answers.world import ATTRIBUTES, VALUES, Scene, phrase

WHOLE: Final = (0, 0, SIDE, SIDE)
_WHOLE_SHARE: Final = 0.70  # of an object's square inside the cut-out: then it has a shape
_BEHIND_SHARE: Final = 0.08  # of the cut-out: then its background is named
_TRACE_SHARE: Final = 0.03
_TEXTURE_SHARE: Final = 0.15


@dataclass(frozen=True)
class SceneView:
    """A part of a scene's picture.

    Attributes:
        box: Left, top, right, bottom in pixels.
        scene: The scene, with the count of objects visible in the box.
        shown: Attributes that the box shows.
    """

    box: tuple[int, int, int, int]
    scene: Scene
    shown: frozenset[str]

    @property
    def caption(self) -> str:
        """What the box shows, in words."""
        return phrase(self.scene, self.shown, plural=False)


def whole(scene: Scene) -> SceneView:
    """The whole picture of a scene, which shows all of its attributes."""
    return SceneView(WHOLE, scene, frozenset(ATTRIBUTES))


def random_view(
    scene: Scene,
    mask: npt.NDArray[np.bool_],
    boxes: npt.NDArray[np.float32],
    rng: np.random.Generator,
    whole_share: float = 0.45,
) -> SceneView:
    """The whole picture with probability `whole_share`, else a box like attention's.

    Args:
        scene: The scene.
        mask: Its objects' mask, (64, 64).
        boxes: Its objects' squares, (count, 4).
        rng: Source of chance.
        whole_share: Share of whole pictures.
    """
    kind = rng.random()
    if kind < whole_share:
        return whole(scene)
    kind = (kind - whole_share) / (1 - whole_share)
    if kind < 0.65:
        base_box = boxes[rng.integers(len(boxes))]
        margins = rng.uniform(-3, 10, size=4)
    elif kind < 0.82:
        base_box = np.concatenate([boxes[:, :2].min(axis=0), boxes[:, 2:].max(axis=0)])
        margins = rng.uniform(-1, 8, size=4)
    else:
        sides = np.clip(rng.uniform(14, 40) * rng.uniform(0.8, 1.25, size=2), 12, 44)
        corner = rng.uniform(0, SIDE - sides)
        base_box, margins = np.concatenate([corner, corner + sides]), np.zeros(4)
    enlarged = base_box + margins * np.asarray([-1, -1, 1, 1])
    left, top, right, bottom = np.clip(np.round(enlarged), 0, SIDE).astype(int).tolist()
    if min(right - left, bottom - top) < 8 or (right - left) * (bottom - top) > 0.6 * SIDE**2:
        return whole(scene)
    return seen(scene, mask, boxes, (left, top, right, bottom))


def seen(
    scene: Scene,
    mask: npt.NDArray[np.bool_],
    boxes: npt.NDArray[np.float32],
    box: tuple[int, int, int, int],
) -> SceneView:
    """What a box of a scene's picture shows; arguments as for `random_view`."""
    left, top, right, bottom = box
    share = float(mask[top:bottom, left:right].mean())
    spans = np.minimum(boxes[:, 2:], [right, bottom]) - np.maximum(boxes[:, :2], [left, top])
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)
    complete_objects = int((spans.clip(min=0).prod(axis=1) >= _WHOLE_SHARE * areas).sum())
    attributes: set[str] = set()
    if complete_objects:
        attributes |= {"count", "colour", "shape", "texture"}
    elif share >= _TEXTURE_SHARE:
        attributes |= {"colour", "texture"}
    elif share >= _TRACE_SHARE:
        attributes |= {"colour"}
    if share <= 1 - _BEHIND_SHARE or not attributes:
        attributes |= {"background"}
    counted_scene = dataclasses.replace(scene, count=complete_objects or scene.count)
    return SceneView(box, counted_scene, frozenset(attributes))


def cut(images: Tensor, views: Sequence[SceneView]) -> Tensor:
    """Cut the boxes out, by way of 96x96 as the workflow does.

    Args:
        images: uint8, (B, 3, 64, 64).
        views: One for each picture.

    Returns:
        float32, (B, 3, 64, 64), in [0, 1].
    """
    pixels = images.float() / 255
    cropped = [index for index, view in enumerate(views) if view.box != WHOLE]
    if not cropped:
        return pixels
    parts = []
    for index in cropped:
        left, top, right, bottom = views[index].box
        part = pixels[index : index + 1, :, top:bottom, left:right]
        parts.append(nn.functional.interpolate(part, (96, 96), mode="bicubic").clamp(0, 1))
    resized = nn.functional.interpolate(
        torch.cat(parts), (SIDE, SIDE), mode="bicubic", antialias=True
    )
    pixels[cropped] = resized.clamp(0, 1)
    return pixels


def cut_masks(masks: Tensor, views: Sequence[SceneView], cells: int) -> Tensor:
    """Share of objects, float32 (B, cells, cells), in a grid laid over each box."""
    grids = []
    for mask, view in zip(masks, views, strict=True):
        left, top, right, bottom = view.box
        part = mask[None, top:bottom, left:right].float()
        grids.append(nn.functional.adaptive_avg_pool2d(part, cells))
    return torch.cat(grids)


def one_hot(views: Sequence[SceneView], names: Sequence[str] = ATTRIBUTES) -> tuple[Tensor, Tensor]:
    """What views show, as numbers.

    Returns:
        float32 (B, sum of the attributes' values): 1 for the true value of each attribute; and
        float32 of the same shape: 1 where the attribute is shown, else 0.
    """
    truth, visible = [], []
    for view in views:
        truth.append(
            [getattr(view.scene, name) == value for name in names for value in VALUES[name]]
        )
        visible.append([name in view.shown for name in names for _ in VALUES[name]])
    return torch.tensor(truth, dtype=torch.float32), torch.tensor(visible, dtype=torch.float32)
