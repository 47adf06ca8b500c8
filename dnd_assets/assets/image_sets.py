"""Sets of images that a section of the study names: scanned, recorded, known by their content."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any

from dnd_assets.engine.context import StudyContext
from dnd_assets.engine.recording import record_run, record_whole
from dnd_assets.errors import StudyError
from dnd_assets.files.image_folders import shown_name
from dnd_assets.lineage.code import code_version
from dnd_assets.lineage.fingerprint import canonical, digest, preimage
from dnd_assets.lineage.records import Outcome, Product, artefact_row
from dnd_assets.lineage.rows import Row
from dnd_assets.study.image_settings import DatasetColumns, Scenes
from dnd_assets.study.probing_images import Manifest, image_files, image_rows, inspect, scan_listing

_FIRST = 100
_RECORDED = """
SELECT 1 FROM artefacts WHERE file = ?
AND NOT EXISTS (SELECT 1 FROM removed WHERE removed.file = artefacts.file
                AND removed.recorded_at >= artefacts.recorded_at)
"""
"""Whether a stored file is recorded, and has not been removed on purpose since."""


@dataclass(frozen=True)
class ImageSet:
    """Where the images of an unpartitioned asset come from.

    Attributes:
        asset: the asset's key.
        section: the section of the study that names the images.
        what: what they are called in progress lines and errors.
        cache: file in the state folder that remembers unchanged files.
    """

    asset: str
    section: str
    what: str
    cache: str

    def parameters(self, context: StudyContext) -> dict[str, object]:
        """Folders as absolute paths, and the largest picture."""
        settings = getattr(context.study, self.section)
        return {
            "folders": [str(context.study.path(name)) for name in settings.folders],
            "image_list": str(context.study.path(settings.image_list))
            if settings.image_list
            else None,
            "world": settings.world.model_dump() if settings.world else None,
            **({"hard_world": settings.hard_world.model_dump()} if settings.hard_world else {}),
            **({"scenes": _scenes(context, settings.scenes)} if settings.scenes else {}),
            **({"tiles": settings.tiles.model_dump()} if settings.tiles else {}),
            **({"columns": columns} if (columns := _column_settings(settings.columns)) else {}),
            "max_pixels": context.study.probing_set.max_pixels,
            **({"reading": rendering} if (rendering := context.study.probing_set.seen) else {}),
        }

    def scan(self, context: StudyContext, *, tell: bool = True) -> Manifest:
        """Look at every image file, and say in the log what is set aside or skipped.

        Args:
            context: the study's context.
            tell: whether to say it; another asset may look at the same files again.

        Raises:
            StudyError: when a folder is missing, or no image in it can be read.
        """
        listing = image_files(context.study, context.home, self.section)
        progress = context.progress(self.what, len(listing.files))
        limit = context.study.probing_set.max_pixels
        cache, code = context.home / "probing" / self.cache, code_version(inspect)
        reading = context.study.probing_set.reading
        manifest = scan_listing(listing, limit, cache, progress.advance, code, reading)
        if not manifest.images:
            example = manifest.quarantined[0]
            skipped = f" Besides, {listing.told()}." if listing.skipped else ""
            raise StudyError(
                f"none of {len(listing.files):,} {self.what} can be read, for example "
                f"{example.path}: {example.quarantined}. In all: {manifest.reasons()}.{skipped} "
                f"Name folders with sound images under [{self.section}]."
            )
        for line in manifest.told() if tell else ():
            context.log(f"{self.what}: {line}")
        return manifest


@dataclass(frozen=True)
class ScannedImages:
    """A scanned set, and what of it counts.

    Attributes:
        source: where the images come from.
        manifest: what the scan found.
        code: version of the code that found it.
        left_out: hashes of sound images that do not count.
        notes: what else to note of the set.
    """

    source: ImageSet
    manifest: Manifest
    code: str
    left_out: Collection[str] = ()
    notes: dict[str, Any] = field(default_factory=dict)

    def product(self, context: StudyContext) -> Product:
        """The product; its list of images lies in the store."""
        left_out = set(self.left_out)
        images = [name for name in self.manifest.images if name not in left_out]
        parameters = self.source.parameters(context)
        recipe = preimage(self.source.asset, self.code, parameters, {}, {"images": digest(images)})
        file = context.store.put(canonical(images).encode(), "json")
        set_aside = [
            {"path": image.path, "hash": image.hash, "reason": image.quarantined}
            for image in self.manifest.quarantined
        ]
        scan_notes = {
            "files": [file],
            "quarantined": set_aside,
            "found": len(self.manifest.files),
            "skipped": dict(
                sorted(Counter(skipped.kind for skipped in self.manifest.skipped).items())
            ),
            "skipped_first": [
                shown_name(skipped.path) for skipped in self.manifest.skipped[:_FIRST]
            ],
            "told": [f"{self.source.what}: {line}" for line in self.manifest.told()],
        }
        payload = {"manifest": file, "images": len(images)}
        outcome = Outcome("ok", payload, notes={**scan_notes, **self.notes})
        return Product(digest(recipe), self.source.asset, recipe, outcome)

    def materialize(self, context: StudyContext, run: str) -> Product:
        """Record the set in the name of a run."""
        with context.lineage.exclusive(context.log):
            record_run(context, run)
            product = self.product(context)
            record_whole(context, run, product, self._rows(context, product))
        return product

    def observe(self, context: StudyContext) -> Product:
        """Record the set as seen, not as materialized: for a plan; once, as long as it is there."""
        product = self.product(context)
        rows = self._rows(context, product)
        if rows["images"] or not context.lineage.query(_RECORDED, [product.payload["manifest"]]):
            context.lineage.commit(rows)
        return product

    def _rows(self, context: StudyContext, product: Product) -> dict[str, list[Row]]:
        file = product.payload["manifest"]
        size = context.store.size(file)
        artefact = artefact_row(file.partition(".")[0], file, "manifest", size)
        return {"artefacts": [artefact], "images": _new_image_rows(context, self.manifest)}


def _column_settings(columns: DatasetColumns) -> dict[str, str]:
    return columns.model_dump(exclude_none=True)


def _scenes(context: StudyContext, scenes: Scenes) -> dict[str, object]:
    return {"folder": str(context.study.path(scenes.folder)), "side": scenes.side}


def images_of(context: StudyContext, product: Product) -> list[str]:
    """Hashes of the images of a set, ascending."""
    hashes: list[str] = json.loads(context.store.get(product.payload["manifest"]))
    return hashes


def _new_image_rows(context: StudyContext, manifest: Manifest) -> list[dict[str, object]]:
    """Rows of the images that were never seen at their path in their state."""
    known_rows = context.lineage.query("SELECT hash, path, quarantined FROM images")
    seen_before = {(row["hash"], row["path"], row["quarantined"]) for row in known_rows}
    new_files = [
        file
        for file in manifest.files
        if (file.hash, file.path, file.quarantined) not in seen_before
    ]
    return image_rows(new_files)
