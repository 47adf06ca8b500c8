"""The images of `concept_masks` at work: masks cut to what a network sees, and their regions."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dnd_assets.engine.cache.shared_results import cached, shared_row
from dnd_assets.engine.context import StudyContext
from dnd_assets.engine.stage import Work
from dnd_assets.engine.workers.at_work import agree
from dnd_assets.engine.workers.handing_out import hand_out
from dnd_assets.engine.workers.parts import Part, PartResult, Plain
from dnd_assets.errors import StoreError
from dnd_assets.files.atomic import sha256
from dnd_assets.files.segmentation_masks import MaskSet
from dnd_assets.lineage.code import method_version
from dnd_assets.lineage.fingerprint import Json, canonical, digest
from dnd_assets.lineage.records import CONCEPT_MASKS, artefact_row
from dnd_assets.methods.segmentation.compositions import Booleans
from dnd_assets.methods.segmentation.input_region import View, view
from dnd_assets.methods.segmentation.regions import (
    Pattern,
    Regions,
    joined,
    packed_patterns,
    regions_of,
    unpacked_patterns,
)
from dnd_assets.settings import Options
from dnd_assets.study.mask_sets import display_names, from_manifest
from resources.runtime.progress import Progress

_BLOCK = 1024
"""Images whose regions are counted and committed together."""
Views = Mapping[tuple[int, int], View]
"""What a network sees of a picture, by width and height."""


@dataclass(frozen=True)
class MaskSurvey:
    """What the masks of all images hold, as far as a network sees them.

    Attributes:
        regions: the regions of all images together.
        presence: whether a concept has a pixel on an image, bool, (N, C).
        files: store files that both were read from.
    """

    regions: Regions
    presence: Booleans
    files: tuple[str, ...]


@dataclass(frozen=True)
class MaskedImages:
    """The images of one state of `concept_masks`.

    Attributes:
        context: the study's context.
        hashes: of the images, ascending, (N,).
        manifest: what `found` was read from; see `study.mask_sets.manifest_of`.
        found: the set, its images in that order.
        listed: store file of the list of hashes: names the images, whatever their masks.
        version: store file of the manifest: names images and masks.
        places: where each mask file was seen, by hash.
    """

    context: StudyContext
    hashes: tuple[str, ...]
    manifest: Options
    found: MaskSet
    listed: str
    version: str
    places: Mapping[str, Sequence[str]]

    @cached_property
    def names(self) -> list[str]:
        """What the concepts are called in labels, (C,)."""
        return display_names(self.found.concepts)

    def views(self, model: str) -> Views:
        """What a network sees of each picture."""
        transform = self.context.targets.transforms(model)
        sizes = sorted({image.picture for image in self.found.images})
        return {size: view(transform, *size) for size in sizes}

    def masks(self, index: int, views: Views) -> tuple[list[int], Booleans]:
        """Where the concepts are on what a network sees of an image.

        Args:
            index: of the image.
            views: of the network.

        Returns:
            Labelled concepts, ascending, (n,), and bool masks, (n, height, width).

        Raises:
            StoreError: when a mask is gone or has changed since it was scanned.
        """
        image = self.found.images[index]
        concepts, full_masks = self.found.masks(image, self._verified)
        left, top, right, bottom = views[image.picture].box(*image.size)
        return concepts, full_masks[:, top:bottom, left:right]

    def told(self, indices: Sequence[int], views: Views) -> dict[str, Json]:
        """What a worker has to be told of some images to read their masks; see `told_images`.

        Args:
            indices: of the images.
            views: of the network.
        """
        images = [self.found.images[index] for index in indices]
        layers = [layer for image in images for layer in image.layers]
        masks = sorted({layer.path.name for layer in layers if layer.path})
        return {
            "manifest": {
                **self.manifest, "images": [self.manifest["images"][index] for index in indices]
            },
            "places": {name: list(self.places.get(name, ())) for name in masks},
            "views": _told_views({image.picture: views[image.picture] for image in images}),
        }  # fmt: skip

    def survey(self, views: Views) -> MaskSurvey:
        """Regions and presence of all concepts, counted once and stored by content."""
        context = self.context
        code = method_version(MaskedImages, "counted", "views")
        provider = context.lineage.provider({"views": _told_views(views), "code": code})
        starts = range(0, len(self.hashes), _BLOCK)
        items = {canonical([self.version, start, _BLOCK]): start for start in starts}
        stored = cached(context, "mask_regions", provider, list(items))
        missing = [item for item in items if item not in stored]
        progress = context.progress("masks read", len(missing) * _BLOCK if missing else 0)
        parts = (self._block(item, items[item], views) for item in missing)
        for part, result in hand_out(context, mask_regions_of, parts):
            (item,) = part.items
            file = context.store.put_arrays(result.arrays)
            size = context.store.size(file)
            row = shared_row("mask_regions", provider, item, {"file": file})
            artefact = artefact_row(file.partition(".")[0], file, "mask_regions", size)
            context.lineage.commit({"artefacts": [artefact], "shared": [row]})
            stored[item] = {"file": file}
            progress.advance(_BLOCK)
        return self.read_survey([str(stored[item]["file"]) for item in items])

    def _block(self, item: str, start: int, views: Views) -> Part:
        """The part that counts the regions of a block of images."""
        indices = range(start, min(start + _BLOCK, len(self.hashes)))
        return Part([item], (), self.told(indices, views), _regions_code())

    def counted(self, views: Views) -> dict[str, NDArray[np.generic]]:
        """Regions and presence of the images, as arrays."""
        sizes: dict[Pattern, int] = {}
        presence = np.zeros((len(self.found.images), len(self.names)), dtype=bool)
        for index in range(len(self.found.images)):
            patterns, pixel_patterns = regions_of(*self.masks(index, views))
            counts = np.bincount(pixel_patterns, minlength=len(patterns)).tolist()
            for pattern, count in zip(patterns, counts, strict=True):
                sizes[pattern] = sizes.get(pattern, 0) + count
                presence[index, list(pattern)] = True
        return {
            **packed_patterns(list(sizes)),
            "sizes": np.array(list(sizes.values()), dtype=np.int64),
            "presence": np.packbits(presence, axis=1),
        }

    def read_survey(self, files: Sequence[str]) -> MaskSurvey:
        """A survey from its store files, one for each block of images."""
        parts, presence = [], []
        for block in map(self.context.store.arrays, files):
            patterns = tuple(unpacked_patterns(block))
            parts.append(Regions(patterns, block["sizes"].astype(np.int64, copy=False)))
            packed = np.unpackbits(
                block["presence"].astype(np.uint8, copy=False), axis=1, count=len(self.names)
            )
            presence.append(packed.astype(bool))
        return MaskSurvey(joined(parts), np.concatenate(presence), tuple(files))

    def _verified(self, path: Path) -> bytes:
        """The bytes of a mask, if they are those that were scanned."""
        places = self.places.get(path.name, ())
        for place in places:
            try:
                data = Path(place).read_bytes()
            except OSError:
                continue
            if sha256(data) == path.name:
                return data
        locations = ", ".join(places) or path.name
        raise StoreError(
            f"mask {locations} has changed or gone since it was scanned. Materialize "
            f"{CONCEPT_MASKS} again (`dnd run --assets {CONCEPT_MASKS}`), then this."
        )


def masked_images(context: StudyContext, work: Work) -> MaskedImages:
    """The images that a unit's labels come from."""
    payload = work.inputs[CONCEPT_MASKS].payload
    images = stored_images(context, payload["manifest"], payload["masks"])
    layers = [layer for image in images.found.images for layer in image.layers]
    mask_hashes = {str(layer.path) for layer in layers if layer.path}
    sql = (
        "SELECT hash, path FROM images WHERE hash IN (SELECT unnest(?::VARCHAR[])) "
        "AND quarantined = '' ORDER BY hash, path"
    )
    places: dict[str, list[str]] = {}
    for row in context.lineage.query(sql, [sorted(mask_hashes)]):
        places.setdefault(row["hash"], []).append(row["path"])
    return replace(images, places=places)


def stored_images(context: StudyContext, listed: str, version: str) -> MaskedImages:
    """The images of store files, without the places of their masks; see `MaskedImages`."""
    manifest = json.loads(context.store.get(version))
    hashes, mask_set = from_manifest(manifest)
    return MaskedImages(context, tuple(hashes), manifest, mask_set, listed, version, {})


def told_images(context: StudyContext, about: Mapping[str, Plain]) -> tuple[MaskedImages, Views]:
    """The images that a part was told of, see `MaskedImages.told`, and what a network sees."""
    manifest = about["manifest"]
    hashes, mask_set = from_manifest(manifest)
    views = {(width, height): View(*box) for width, height, *box in about["views"]}
    return MaskedImages(context, tuple(hashes), manifest, mask_set, "", "", about["places"]), views


def mask_regions_of(context: StudyContext, part: Part, _: Progress) -> PartResult:
    """Regions and presence of a part's images."""
    agree(context, part, _regions_code)
    images, views = told_images(context, part.about)
    return PartResult(arrays=images.counted(views))


def _regions_code() -> str:
    return digest(method_version(MaskedImages, "counted"))


def _told_views(views: Views) -> list[list[float]]:
    """Width and height of pictures, and the box that is seen of each."""
    return [[*size, *vars(box).values()] for size, box in views.items()]
