"""What passes over images keep of the maps of one layer; see `map_passes`.

An image on which a unit's map has NaN or infinity is set aside for the unit, and one on which most
units of the layer have for the whole layer, unless that is so of most images, as in
`methods.exemplars`. What comes out is that of the other images alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from dnd_assets.errors import StudyError
from dnd_assets.methods.dissection.exemplars import MOST
from dnd_assets.methods.lazy import torch
from dnd_assets.methods.segmentation.compositions import Booleans
from dnd_assets.methods.segmentation.network_dissection import Overlaps, TopShare, thresholded
from dnd_assets.methods.segmentation.regions import (
    Pattern,
    packed_patterns,
    unpacked_patterns,
)

if TYPE_CHECKING:
    from torch import Tensor

State = dict[str, NDArray[Any]]
"""What a reader keeps between blocks, by name: arrays of the types that each reader chooses."""
Arrays = Mapping[str, NDArray[Any]]
_Seen = TypeVar("_Seen", contravariant=True)

SHOWN = 5
"""Images of a unit whose maps are kept for the interface."""
_COMPACT = 1 << 20
_MOST_REGIONS = 1 << 32


class Reader(Protocol[_Seen]):
    """What a pass keeps of one layer.

    Attributes:
        neurons: whose maps it reads.
    """

    neurons: Sequence[int]

    def add(self, index: int, maps: Tensor, prepared: _Seen) -> None:
        """Take in one image: its maps, float32 (neurons, h, w), and what `prepare` made of it."""

    def state(self) -> State:
        """What has been counted so far."""

    def load(self, state: Arrays) -> None:
        """Go on from a state."""

    def join(self, state: Arrays, images: Sequence[int]) -> None:
        """Take in what another of the kind has counted, of other images.

        In whatever order states are taken in, the same comes out.

        Args:
            state: the other's state.
            images: indices of the images that it was shown.
        """


class _Ends:
    """Over some images: each unit's largest values (for its threshold), extremes, best images."""

    def __init__(self, units: int, positions: int, share: float) -> None:
        self.top = TopShare(units, positions, share)
        self.arrays: State = {
            "low": np.full(units, np.inf, dtype=np.float32),
            "high": np.full(units, -np.inf, dtype=np.float32),
            "best": np.full((units, SHOWN), -1, dtype=np.int64),
            "peak": np.full((units, SHOWN), -np.inf, dtype=np.float32),
        }

    def add(self, index: int, maps: Tensor, left_out: Booleans) -> None:
        """Take in an image, which is set aside for some units, bool (units,)."""
        self.top.add(maps.unsqueeze(0), torch.from_numpy(left_out)[None])
        flat, ends = maps.flatten(1).numpy(), self.arrays
        low, high = (
            np.where(left_out, neutral, end)
            for neutral, end in ((np.inf, flat.min(axis=1)), (-np.inf, flat.max(axis=1)))
        )
        ends["low"] = np.minimum(ends["low"], low)
        ends["high"] = np.maximum(ends["high"], high)
        self._rank(high[:, None], np.full((len(high), 1), index))

    def join(self, other: _Ends, *, left_out: bool = False) -> None:
        """Add what was counted on other images; `left_out` as in `TopShare.join`."""
        self.top.join(other.top, left_out=left_out)
        ends, other_arrays = self.arrays, other.arrays
        ends["low"] = np.minimum(ends["low"], other_arrays["low"])
        ends["high"] = np.maximum(ends["high"], other_arrays["high"])
        self._rank(other_arrays["peak"], other_arrays["best"])

    def state(self) -> State:
        """What has been counted so far."""
        return {**self.arrays, **{name: value.numpy() for name, value in self.top.state().items()}}

    def load(self, state: Arrays) -> None:
        """Go on from a state."""
        counted = ("largest", "finite", "seen", "counted")
        self.top.load({name: torch.from_numpy(state[name].copy()) for name in counted})
        self.arrays = {name: state[name].copy() for name in self.arrays}

    def _rank(self, peaks: NDArray[np.float32], images: NDArray[np.int64]) -> None:
        """Keep the images with the highest peaks; of equal ones the earlier."""
        best, peak = self.arrays["best"], self.arrays["peak"]
        # Images come in their order, so that only several at once can be earlier and as high.
        several = peaks.shape[1] > 1
        units = np.flatnonzero((peaks.max(axis=1) > peak[:, -1]) | several)
        if not len(units):
            return
        values = np.concatenate([peak[units], peaks[units]], axis=1)
        places = np.concatenate([best[units], images[units]], axis=1)
        order = np.lexsort((places, -values), axis=1)[:, :SHOWN]
        peak[units] = np.take_along_axis(values, order, axis=1)
        best[units] = np.take_along_axis(places, order, axis=1)


@dataclass
class Thresholds:
    """First pass: thresholds, which units are dead or not finite on what, and best images."""

    neurons: Sequence[int]
    images: int
    share: float
    shape: tuple[int, ...] = ()
    sound: _Ends | None = None
    failing: _Ends | None = None
    bad: dict[int, Booleans] = field(default_factory=dict)

    def add(self, index: int, maps: Tensor, prepared: None) -> None:
        """See `Reader`."""
        self._check_shape(tuple(maps.shape[1:]))
        maps = maps + 0.0  # no -0.0, which orders of images would tell from 0.0
        self.sound = self.sound or self._ends()
        bad = ~np.isfinite(maps.flatten(1).numpy()).all(axis=1)
        fails = _is_failed(bad)
        if bad.any():
            self.bad[index] = bad
        if fails:  # what it is worth is known when all images have been seen
            self.failing = self.failing or self._ends()
            self.failing.add(index, maps, bad)
        self.sound.add(index, maps, np.ones_like(bad) if fails else bad)

    def join(self, state: Arrays, images: Sequence[int]) -> None:
        """See `Reader`."""
        other = Thresholds(self.neurons, self.images, self.share)
        other.load(state)
        self._check_shape(other.shape)
        self.bad = dict(sorted({**self.bad, **other.bad}.items()))
        self.sound = _joined(self.sound, other.sound)
        self.failing = _joined(self.failing, other.failing)

    def state(self) -> State:
        """See `Reader`."""
        assert self.sound is not None
        failing = self.failing.state() if self.failing else {}
        return {
            "shape": np.array(self.shape, dtype=np.int64),
            **_packed(self.bad, len(self.neurons)),
            **self.sound.state(),
            **{f"failing {name}": value for name, value in failing.items()},
        }

    def load(self, state: Arrays) -> None:
        """See `Reader`."""
        self.shape = tuple(state["shape"].tolist())
        self.bad = _unpacked(state, len(self.neurons))
        self.sound = self._ends()
        self.sound.load(state)
        failing = {name.removeprefix("failing "): state[name] for name in state if " " in name}
        if failing:
            self.failing = self._ends()
            self.failing.load(failing)

    def result(self) -> State:
        """What stands of each unit, in the arrays below; (U,) where nothing else is said.

        `low`, `high` and `threshold`, NaN for a unit that is not finite on most images; `best` and
        `peak` (U, SHOWN); `failed`, the images that are set aside for all units; `lost`, on how
        many of the others the unit is not finite; `bad_images` and `bad_units`, which those are.
        """
        assert self.sound is not None
        failed = {index for index, bad in self.bad.items() if _is_failed(bad)}
        if len(failed) > MOST * self.images and self.failing is not None:
            self.sound.join(self.failing, left_out=True)
            failed = set()
        bad_by_image = {index: bad for index, bad in self.bad.items() if index not in failed}
        bad_counts = sum(bad_by_image.values(), np.zeros(len(self.neurons), dtype=np.int64))
        ends = self.sound.arrays
        useless = bad_counts > MOST * (self.images - len(failed))
        useless |= (bad_counts > 0) & (ends["low"] == ends["high"])
        threshold = self.sound.top.thresholds().numpy()
        return {
            **ends,
            "threshold": np.where(useless, np.nan, threshold).astype(np.float32),
            "failed": np.array(sorted(failed), dtype=np.int64),
            "lost": bad_counts,
            **_packed(bad_by_image, len(self.neurons)),
        }

    def _check_shape(self, shape: tuple[int, ...]) -> None:
        """See that all maps have one shape."""
        self.shape = self.shape or shape
        if shape != self.shape:
            raise StudyError(
                f"a layer's maps are {self.shape} for one image and {shape} for another; the "
                "network's transform has to bring all images to one size"
            )

    def _ends(self) -> _Ends:
        return _Ends(len(self.neurons), self.images * self.shape[0] * self.shape[1], self.share)


def _joined(ends: _Ends | None, other: _Ends | None) -> _Ends | None:
    """Both together, as far as there is something."""
    if ends is not None and other is not None:
        ends.join(other)
    return ends or other


def _is_failed(bad: Booleans) -> bool:
    """Whether an image is one on which most units are not finite."""
    return bool(bad.mean() > MOST)


def _packed(bad: Mapping[int, Booleans], units: int) -> State:
    """Images and the units that are not finite on each, as bits."""
    rows = np.array(list(bad.values()), dtype=bool).reshape(len(bad), units)
    images = np.array(list(bad), dtype=np.int64)
    return {"bad_images": images, "bad_units": np.packbits(rows, axis=1)}


def _unpacked(arrays: Arrays, units: int) -> dict[int, Booleans]:
    rows = np.unpackbits(arrays["bad_units"], axis=1, count=units).astype(bool)
    return dict(zip(arrays["bad_images"].tolist(), rows, strict=True))


class ExcludedImages:
    """Which images of a layer are set aside, by its thresholds."""

    def __init__(self, thresholds: Arrays) -> None:
        self._units = len(thresholds["threshold"])
        self._failed = set(thresholds["failed"].tolist())
        self._images, self._bits = thresholds["bad_images"], thresholds["bad_units"]
        self._rows = {image: row for row, image in enumerate(self._images.tolist())}

    def units(self, image: int) -> Booleans | None:
        """Units for which an image is set aside, bool (U,); None for none."""
        if image in self._failed:
            return np.ones(self._units, dtype=bool)
        if image not in self._rows:
            return None
        return np.unpackbits(self._bits[self._rows[image]], count=self._units).astype(bool)

    def images(self, unit: int) -> list[int]:
        """Images that are set aside for a unit, ascending."""
        byte, bit = divmod(unit, 8)
        bad = np.flatnonzero(self._bits[:, byte] & (128 >> bit))
        return sorted([*self._failed, *self._images[bad].tolist()])


class _Maps:
    """The maps of each unit's best images, for the interface."""

    def __init__(self, best: NDArray[np.int64]) -> None:
        self._wanted: dict[int, list[tuple[int, int]]] = {}
        for (unit, rank), index in np.ndenumerate(best):
            self._wanted.setdefault(int(index), []).append((unit, rank))
        self._shape = best.shape
        self.kept: NDArray[np.float32] = np.zeros((*best.shape, 0, 0), dtype=np.float32)

    def add(self, index: int, maps: Tensor) -> None:
        """Take in the maps of an image, (U, h, w)."""
        if self.kept.shape[2] == 0:
            self.kept = np.zeros((*self._shape, *maps.shape[1:]), dtype=np.float32)
        for unit, rank in self._wanted.get(index, ()):
            self.kept[unit, rank] = maps[unit].numpy()

    def join(self, kept: NDArray[np.float32], images: Sequence[int]) -> None:
        """Take in what was kept of the maps of some images."""
        if self.kept.shape[2] == 0:
            self.kept = np.zeros_like(kept)
        for place in (place for index in images for place in self._wanted.get(index, ())):
            self.kept[place] = kept[place]


Masks = tuple[list[int], Booleans]
"""The labelled concepts of an image, and where they are."""


class OverlapPass:
    """Second pass: overlaps of all units of a layer with all concepts."""

    def __init__(self, thresholds: Arrays, categories: Sequence[str]) -> None:
        self.neurons: Sequence[int] = range(len(thresholds["threshold"]))
        self._again = partial(OverlapPass, thresholds, categories)
        self._overlaps = Overlaps(torch.from_numpy(_usable(thresholds)), categories)
        self._maps = _Maps(thresholds["best"])
        self._aside = ExcludedImages(thresholds)

    def add(self, index: int, maps: Tensor, prepared: Masks) -> None:
        """See `Reader`."""
        aside = self._aside.units(index)
        self._overlaps.add(maps, *prepared, None if aside is None else torch.from_numpy(aside))
        self._maps.add(index, maps)

    def state(self) -> State:
        """See `Reader`."""
        counted = {name: value.numpy() for name, value in self._overlaps.state().items()}
        return {**counted, "maps": self._maps.kept}

    def load(self, state: Arrays) -> None:
        """See `Reader`."""
        names = ("common", "unit_area", "concept_area", "set_aside")
        self._overlaps.load({name: torch.from_numpy(state[name].copy()) for name in names})
        self._maps.kept = state["maps"].copy()

    def join(self, state: Arrays, images: Sequence[int]) -> None:
        """See `Reader`."""
        other = self._again()
        other.load(state)
        self._overlaps.join(other._overlaps)
        self._maps.join(other._maps.kept, images)

    def result(self) -> State:
        """`iou` (U, C) and `maps` (U, SHOWN, h, w)."""
        return {"iou": self._overlaps.ious().numpy(), "maps": self._maps.kept}


class _Counts:
    """Pixels by unit and region, of what is not 0."""

    def __init__(self) -> None:
        self._keys: list[NDArray[np.int64]] = []
        self._counts: list[NDArray[np.int64]] = []

    def add(self, unit: int, places: NDArray[np.int64], counts: NDArray[np.int64]) -> None:
        """Count pixels of some regions for a unit."""
        nonzero = np.flatnonzero(counts)
        self.join(unit * _MOST_REGIONS + places[nonzero], counts[nonzero])

    def join(self, keys: NDArray[np.int64], counts: NDArray[np.int64]) -> None:
        """Count as well what `compact` gave."""
        self._keys.append(keys)
        self._counts.append(counts.astype(np.int64))
        if sum(map(len, self._keys)) > 2 * _COMPACT:
            self.compact()

    def compact(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Add up what belongs to one unit and region: keys, ascending, and pixels."""
        keys = np.concatenate([np.zeros(0, dtype=np.int64), *self._keys])
        counts = np.concatenate([np.zeros(0, dtype=np.int64), *self._counts])
        unique_keys, inverse = np.unique(keys, return_inverse=True)
        sums = np.zeros(len(unique_keys), dtype=np.int64)
        np.add.at(sums, inverse, counts)
        self._keys, self._counts = [unique_keys], [sums]
        return unique_keys, sums

    def result(self) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        """Row of the unit, region and pixels."""
        keys, counts = self.compact()
        return keys // _MOST_REGIONS, keys % _MOST_REGIONS, counts


RegionsOfImage = tuple[list[Pattern], NDArray[np.int64], tuple[int, int]]
"""Patterns of an image, the pattern of each pixel, height and width."""


class Composition:
    """Third pass: pixels of each region inside the thresholded maps of some units.

    Regions are numbered as `patterns` are; others that are met get the numbers after these.
    """

    def __init__(
        self, neurons: Sequence[int], thresholds: Arrays, patterns: Iterable[Pattern] = ()
    ) -> None:
        self.neurons = neurons
        self._chosen = list(neurons)
        self._thresholds = torch.from_numpy(_usable(thresholds)[self._chosen])
        self._maps = _Maps(thresholds["best"][self._chosen])
        self._aside = ExcludedImages(thresholds)
        self._numbers = {pattern: number for number, pattern in enumerate(patterns)}
        self._inside, self._gone = _Counts(), _Counts()

    def add(self, index: int, maps: Tensor, prepared: RegionsOfImage) -> None:
        """See `Reader`."""
        self._maps.add(index, maps)
        patterns, pixel_patterns, size = prepared
        places = self._numbers_of(patterns)
        aside = self._aside.units(index)
        active = (maps.amax(dim=(1, 2)) > self._thresholds).numpy()
        if aside is not None:
            set_aside = aside[self._chosen]
            active &= ~set_aside
            sizes = np.bincount(pixel_patterns, minlength=len(patterns))
            for unit in np.flatnonzero(set_aside & ~self._thresholds.isnan().numpy()).tolist():
                self._gone.add(unit, places, sizes)
        for unit in np.flatnonzero(active).tolist():
            inside = thresholded(maps[unit : unit + 1], self._thresholds[unit : unit + 1], size)[0]
            counts = np.bincount(pixel_patterns[inside.numpy()], minlength=len(patterns))
            self._inside.add(unit, places, counts)

    def state(self) -> State:
        """See `Reader`."""
        (keys, counts), (gone, sizes) = self._inside.compact(), self._gone.compact()
        return {
            "keys": keys, "counts": counts, "gone": gone, "sizes": sizes,
            "maps": self._maps.kept, **packed_patterns(list(self._numbers)),
        }  # fmt: skip

    def load(self, state: Arrays) -> None:
        """See `Reader`."""
        self._add_counts(state)
        self._maps.kept = state["maps"].copy()

    def join(self, state: Arrays, images: Sequence[int]) -> None:
        """See `Reader`."""
        self._add_counts(state)
        self._maps.join(state["maps"], images)

    def result(self) -> State:
        """Pixels that are not 0, and `maps` (U, SHOWN, h, w).

        `unit` (row), `region` and `count` of those inside a unit's map; `gone_unit`, `gone_region`
        and `gone_count` of all pixels of the images that are set aside for it.
        """
        arrays: State = {}
        for start, counted in (("", self._inside), ("gone_", self._gone)):
            names = (f"{start}unit", f"{start}region", f"{start}count")
            arrays |= dict(zip(names, counted.result(), strict=True))
        return {**arrays, "maps": self._maps.kept}

    def _numbers_of(self, patterns: Sequence[Pattern]) -> NDArray[np.int64]:
        numbers = self._numbers
        found = [numbers.setdefault(pattern, len(numbers)) for pattern in patterns]
        return np.array(found, dtype=np.int64)

    def _add_counts(self, state: Arrays) -> None:
        """Count what another has counted, whose regions may have other numbers."""
        numbers = self._numbers_of(unpacked_patterns(state))
        for counted, keys, counts in (
            (self._inside, state["keys"], state["counts"]),
            (self._gone, state["gone"], state["sizes"]),
        ):
            units, regions = np.divmod(keys, _MOST_REGIONS)
            counted.join(units * _MOST_REGIONS + numbers[regions], counts)


def pixels_of(composition: Arrays, row: int, regions: int, start: str = "") -> NDArray[np.int64]:
    """Pixels by region of one row of `Composition.result`, int64 (regions,).

    Args:
        composition: the result.
        row: of the unit.
        regions: how many there are.
        start: `gone_` for those of images that are set aside.
    """
    unit_entries = composition[f"{start}unit"] == row
    pixels = np.zeros(regions, dtype=np.int64)
    pixels[composition[f"{start}region"][unit_entries]] = composition[f"{start}count"][unit_entries]
    return pixels


def _usable(thresholds: Arrays) -> NDArray[np.float32]:
    """Thresholds; NaN, which is never exceeded, for dead units: they have nothing to show."""
    dead = thresholds["low"] == thresholds["high"]
    return np.where(dead, np.nan, thresholds["threshold"]).astype(np.float32)
