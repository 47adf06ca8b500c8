"""Network Dissection: the concept whose masks a unit's activation map fits best (Bau et al. 2017).

Two passes over the images. The first gives each unit's threshold (`TopShare`), the second counts
what its thresholded maps have in common with all concepts' masks (`Overlaps`). Both are exact, so
that the order of images and batches does not matter.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from dnd_assets.errors import StudyError
from dnd_assets.methods.lazy import torch
from dnd_assets.methods.matrix_products import product

if TYPE_CHECKING:
    from torch import Tensor

CUTOFF: Final = 0.04
"""The IoU above which a unit counts as a detector (Bau et al. 2017, section 3.1)."""

_EXACT_IN_FLOAT32: Final = 1 << 24
_PIXELS_AT_ONCE: Final = 1 << 25


class TopShare:
    """The activation that a given share of all positions exceeds, for each unit, exactly.

    T_k with P(a_k > T_k) = 0.005 over all positions of all images (Bau et al. 2017, section 2.3):
    the (floor(share x positions) + 1)-th largest value. Only so many of each unit's values are
    kept, and as many again until they are sorted out: 16,000 floats a unit for 63,000 images of
    7 x 7 positions.
    """

    def __init__(self, units: int, positions: int, share: float = 0.005) -> None:
        """Prepare for a number of values that is known beforehand.

        Args:
            units: U.
            positions: of all images together, images x height x width.
            share: of the positions that are to exceed the threshold, in [0, 1).

        Raises:
            ValueError: when a number is out of range.
        """
        if units < 1 or positions < 1 or not 0 <= share < 1:
            raise ValueError(
                f"{units:,} units, {positions:,} positions and a share of {share} give no "
                "threshold; units and positions have to be positive, the share in [0, 1)"
            )
        self._per_unit = math.floor(positions * share + 1e-9) + 1
        self._positions = positions
        self._share = share
        self._added = 0
        self._parts: list[Tensor] = [torch.empty(units, 0)]
        self._finite = torch.ones(units, dtype=torch.bool)
        self._counted = torch.zeros(units, dtype=torch.int64)

    def add(self, maps: Tensor, left_out: Tensor | None = None) -> None:
        """Take in the activation maps of some images.

        Args:
            maps: float, (B, U, H, W).
            left_out: bool, (B, U), images that are set aside for a unit; its threshold comes from
                the positions of the others alone.

        Raises:
            ValueError: when the units differ or there are more positions than announced.
        """
        units = len(self._finite)
        if maps.ndim != 4 or maps.shape[1] != units:
            raise ValueError(f"maps of {units:,} units are (B, {units}, H, W), not {maps.shape}")
        values = maps.detach().to("cpu", torch.float32).transpose(0, 1).reshape(units, -1)
        self._added += values.shape[1]
        if self._added > self._positions:
            raise ValueError(
                f"{self._added:,} positions were added, but {self._positions:,} announced; "
                "announce images x height x width"
            )
        finite = torch.isfinite(values)
        self._counted += values.shape[1]
        if left_out is not None and left_out.any():
            excluded = left_out.T.repeat_interleave(maps.shape[2] * maps.shape[3], dim=1)
            values, finite = values.masked_fill(excluded, -math.inf), finite | excluded
            self._counted -= excluded.sum(dim=1)
        self._finite &= finite.all(dim=1)
        self._keep(values)

    def join(self, other: TopShare, *, left_out: bool = False) -> None:
        """Count as well what another has counted, of the same units and announced positions.

        Args:
            other: has counted other images.
            left_out: whether they were added here as well, and left out for all units.
        """
        self._finite &= other._finite
        self._counted += other._counted
        self._added += 0 if left_out else other._added
        self._keep(other._largest())

    def thresholds(self) -> Tensor:
        """The threshold of each unit, float32, (U,).

        NaN for units that gave NaN or infinity, and for those for which no image counts.

        Raises:
            ValueError: when fewer positions were added than announced.
        """
        if self._added < self._positions:
            raise ValueError(
                f"only {self._added:,} of {self._positions:,} announced positions were added; "
                "add all images before asking for thresholds"
            )
        ordered = self._largest().sort(dim=1, descending=True).values
        # Of so many positions as count for a unit; `_per_unit` is of all of them.
        rank = torch.floor(self._counted.double() * self._share + 1e-9).to(torch.int64)
        per_unit = ordered.gather(1, rank.clamp(max=ordered.shape[1] - 1)[:, None])[:, 0]
        return per_unit.where(self._finite & (self._counted > 0), math.nan)

    def state(self) -> dict[str, Tensor]:
        """What has been counted so far, to go on from later: see `load`."""
        self._parts = [self._largest()]
        added = torch.tensor([self._added], dtype=torch.int64)
        return {
            "largest": self._parts[0],
            "finite": self._finite.clone(),
            "seen": added,
            "counted": self._counted.clone(),
        }

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Go on from what `state` gave for the same units, positions and share."""
        self._parts = [state["largest"]]
        self._finite = state["finite"].clone()
        self._added = int(state["seen"])
        self._counted = state["counted"].clone()

    def _keep(self, values: Tensor) -> None:
        """Take in values, (U, n); what is too much is sorted out now and then."""
        self._parts.append(values)
        if sum(part.shape[1] for part in self._parts) > 2 * self._per_unit:
            self._parts = [self._largest()]

    def _largest(self) -> Tensor:
        values = torch.cat(self._parts, dim=1)
        return values.topk(min(self._per_unit, values.shape[1]), dim=1, sorted=False).values


class Overlaps:
    """IoU of every unit with every concept, counted image by image.

    IoU(k, c) = sum |M_k(x) and L_c(x)| / sum |M_k(x) or L_c(x)|, over the images x on which some
    concept of the category of c is labelled (Bau et al. 2017, section 2.4). M_k(x) are the pixels
    where the unit's map, bilinearly brought to the size of the mask, is above the threshold. Above,
    not at it, as in the authors' code: else a unit that is mostly 0 would be on everywhere. Maps
    are laid over the mask edge to edge (`align_corners=False`).
    """

    def __init__(self, thresholds: Tensor, categories: Sequence[str]) -> None:
        """Begin with no image.

        Args:
            thresholds: T_k, float, (U,); a unit of NaN is never on.
            categories: the category of each concept, (C,); one and the same where there are none.
        """
        self._thresholds = thresholds.detach().to("cpu", torch.float32)
        names = {name: i for i, name in enumerate(dict.fromkeys(categories))}
        self._category = torch.tensor([names[name] for name in categories], dtype=torch.int64)
        units, concepts = len(self._thresholds), len(self._category)
        self._common = torch.zeros(units, concepts, dtype=torch.int64)
        self._unit_area = torch.zeros(units, len(names), dtype=torch.int64)
        self._concept_area = torch.zeros(concepts, dtype=torch.int64)
        # Of each concept what lies on images that are set aside for a unit; empty while none is.
        self._set_aside = torch.zeros(0, concepts, dtype=torch.int64)

    def add(
        self,
        maps: Tensor,
        concepts: Sequence[int],
        masks: NDArray[np.bool_],
        left_out: Tensor | None = None,
    ) -> None:
        """Take in one image.

        Args:
            maps: the units' activation maps, (U, h, w), float.
            concepts: the labelled concepts, (n,), each once.
            masks: where they are, bool, (n, H, W).
            left_out: units for which the image is set aside, bool, (U,): their IoU is that of the
                other images.

        Raises:
            ValueError: when shapes do not fit or a concept is unknown or repeated.
        """
        present = self._check(maps, concepts, masks)
        if not len(present):
            return
        pixels = torch.from_numpy(masks.copy()).flatten(1)
        areas = pixels.sum(dim=1)
        self._concept_area[present] += areas
        maps = maps.detach().to("cpu", torch.float32)
        # Interpolation never exceeds the largest value: most units are off on most images.
        may_be_on = maps.amax(dim=(1, 2)) > self._thresholds
        if left_out is not None and left_out.any():
            may_be_on &= ~left_out
            self._leave_out(left_out, present, areas)
        categories = torch.tensor(sorted(set(self._category[present].tolist())))
        floats = pixels.float().T
        active = may_be_on.nonzero().flatten()
        step = max(1, _PIXELS_AT_ONCE // pixels.shape[1])
        for start in range(0, len(active), step):
            units = active[start : start + step]
            lit = thresholded(maps[units], self._thresholds[units], masks.shape[1:])
            common = product(lit.float(), floats).to(torch.int64)
            self._common[units[:, None], present] += common
            self._unit_area[units[:, None], categories] += lit.sum(dim=1, keepdim=True)

    def state(self) -> dict[str, Tensor]:
        """What has been counted so far, to go on from later: see `load`."""
        return {
            "common": self._common, "unit_area": self._unit_area,
            "concept_area": self._concept_area, "set_aside": self._set_aside,
        }  # fmt: skip

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Go on from what `state` gave for the same thresholds and categories."""
        self._common = state["common"].clone()
        self._unit_area = state["unit_area"].clone()
        self._concept_area = state["concept_area"].clone()
        self._set_aside = state["set_aside"].clone()

    def join(self, other: Overlaps) -> None:
        """Count as well what another has counted, of the same units and concepts."""
        self._common += other._common
        self._unit_area += other._unit_area
        self._concept_area += other._concept_area
        if len(other._set_aside):
            own = self._set_aside if len(self._set_aside) else torch.zeros_like(self._common)
            self._set_aside = own + other._set_aside

    def ious(self) -> Tensor:
        """IoU, float64, (U, C), in [0, 1].

        0 where neither unit nor concept has a pixel; NaN for units whose threshold is NaN.
        """
        common = self._common.double()
        areas = self._concept_area.expand(self._common.shape)
        areas = areas - self._set_aside if len(self._set_aside) else areas
        union = self._unit_area[:, self._category] + areas - self._common
        ratios = common / union.clamp(min=1)
        ratios[self._thresholds.isnan()] = math.nan
        return ratios

    def _leave_out(self, units: Tensor, concepts: Tensor, areas: Tensor) -> None:
        """Note what an image that is set aside for some units has of its concepts."""
        if not len(self._set_aside):
            self._set_aside = torch.zeros_like(self._common)
        self._set_aside[units.nonzero(), concepts] += areas

    def _check(self, maps: Tensor, concepts: Sequence[int], masks: NDArray[np.bool_]) -> Tensor:
        units, count = len(self._thresholds), len(self._category)
        if maps.ndim != 3 or len(maps) != units:
            raise ValueError(f"maps of {units:,} units are ({units}, h, w), not {maps.shape}")
        if masks.dtype != np.bool_ or masks.ndim != 3 or len(masks) != len(concepts):
            raise ValueError(
                f"masks of {len(concepts)} concepts are bool ({len(concepts)}, H, W), not "
                f"{masks.dtype} {masks.shape}"
            )
        if masks[:1].size > _EXACT_IN_FLOAT32:
            raise StudyError(
                f"a mask of {masks.shape[2]:,} x {masks.shape[1]:,} pixels is too large to be "
                f"counted exactly; make it smaller than {_EXACT_IN_FLOAT32:,} pixels"
            )
        if len(set(concepts)) < len(concepts) or any(not 0 <= c < count for c in concepts):
            raise ValueError(
                f"concepts {list(concepts)} have to be different numbers from 0 to {count - 1}"
            )
        return torch.tensor(list(concepts), dtype=torch.int64)


def thresholded(maps: Tensor, thresholds: Tensor, size: Sequence[int]) -> Tensor:
    """Which pixels of a mask are on: M_k(x) (Bau et al. 2017, section 2.3).

    Args:
        maps: float32, (U, h, w).
        thresholds: T_k, float32, (U,).
        size: height and width of the mask, to which maps are brought bilinearly, edge to edge.

    Returns:
        bool, (U, height x width); true above the threshold, not at it.
    """
    resized = torch.nn.functional.interpolate(
        maps.unsqueeze(0), size=list(size), mode="bilinear", align_corners=False
    )[0]
    return resized.flatten(1) > thresholds.unsqueeze(1)


@dataclass(frozen=True)
class Detector:
    """A unit's label by Network Dissection.

    Attributes:
        concept: position of the concept.
        iou: its IoU with the unit.
    """

    concept: int
    iou: float


def detectors(ious: Tensor, cutoff: float = CUTOFF) -> list[Detector | None]:
    """The label of each unit: the concept of the best IoU, if that is above the cut-off.

    Args:
        ious: (U, C); of equal ones the first concept counts.
        cutoff: IoU that has to be exceeded.

    Returns:
        For each unit its label; None for units that detect nothing, and for rows of NaN.

    Raises:
        ValueError: when there is no concept.
    """
    if ious.ndim != 2 or not ious.shape[1]:
        raise ValueError(f"IoUs are units x concepts, at least one, not {tuple(ious.shape)}")
    labels: list[Detector | None] = []
    for row in np.asarray(ious.double()):
        best = int(np.argmax(np.where(np.isnan(row), -1.0, row)))
        labels.append(Detector(best, float(row[best])) if row[best] > cutoff else None)
    return labels
