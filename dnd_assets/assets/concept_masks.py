"""Concept masks: the images with pixel labels that Network Dissection and its kin need."""

from __future__ import annotations

from dnd_assets.engine.context import StudyContext
from dnd_assets.engine.recording import record_run, record_whole
from dnd_assets.engine.stage import Settings, StudyAsset
from dnd_assets.lineage.code import code_version
from dnd_assets.lineage.fingerprint import canonical, digest, preimage
from dnd_assets.lineage.records import CONCEPT_MASKS, Outcome, Product, artefact_row
from dnd_assets.lineage.rows import Row
from dnd_assets.study.mask_sets import Scan, layout_of, mask_files, read_masks, scan_masks
from dnd_assets.study.probing_images import image_rows, inspect


class ConceptMasks(StudyAsset):
    """Images with pixel labels: which concept is where, by SHA-256 of images and masks.

    Images without a usable mask are set aside with the reason. Materialize it after images, masks
    or their table changed.
    """

    name = CONCEPT_MASKS
    group = "baselines"
    kinds = frozenset({"python", "pillow"})

    def settings(self, context: StudyContext) -> Settings:
        """The layout with absolute paths, and the largest picture."""
        return _parameters(context), {}

    def observe(self, context: StudyContext) -> Product:
        """See the module's `observe`."""
        return observe(context)

    def materialize(self, context: StudyContext, run: str) -> Product:
        """See the module's `materialize`."""
        return materialize(context, run)[0]


def materialize(context: StudyContext, run: str) -> tuple[Product, Scan]:
    """Look at every image and mask, record the manifest and return it.

    Args:
        context: the study's context.
        run: id of the run that asks.

    Returns:
        The product, whose payload names the stored manifest, and what the scan found.

    Raises:
        StudyError: when the layout cannot be read, or no image can be used.
        NotFoundError: when a table, a folder or a split is missing.
    """
    scan = _scan(context)
    with context.lineage.exclusive(context.log):
        record_run(context, run)
        product = _product(context, scan)
        record_whole(context, run, product, _records(context, product, scan))
    return product, scan


def observe(context: StudyContext) -> Product:
    """The masks as they are now, for a plan: recorded as seen, not as materialized.

    Raises:
        StudyError: as `materialize`.
        NotFoundError: as `materialize`.
    """
    scan = _scan(context)
    product = _product(context, scan)
    context.lineage.commit(_records(context, product, scan))
    return product


def _parameters(context: StudyContext) -> dict[str, object]:
    probing_set = context.study.probing_set
    return {**layout_of(context.study), "max_pixels": probing_set.max_pixels, **context.shown}


def _scan(context: StudyContext) -> Scan:
    listing = read_masks(context.study, context.home)
    progress = context.progress("masks", len(mask_files(listing)))
    limit = context.study.probing_set.max_pixels
    cache, code = context.home / "masks" / "scanned.json", code_version(inspect)
    return scan_masks(listing, limit, cache, progress.advance, code)


def _product(context: StudyContext, scan: Scan) -> Product:
    """The product of a scan; its manifest lies in the store."""
    masks = {"masks": digest(scan.masks)}
    recipe = preimage(CONCEPT_MASKS, ConceptMasks().code(), _parameters(context), {}, masks)
    payload = {
        "manifest": context.store.put(canonical(list(scan.images)).encode(), "json"),
        "masks": context.store.put(canonical(scan.masks).encode(), "json"),
        "images": len(scan.images),
        "concepts": len(scan.masks["concepts"]),
    }
    notes = {
        "files": [payload["manifest"], payload["masks"]],
        "quarantined": [{"path": path, "reason": reason} for path, reason in scan.set_aside],
        "found": scan.found,
    }
    return Product(digest(recipe), CONCEPT_MASKS, recipe, Outcome("ok", payload, notes=notes))


def _records(context: StudyContext, product: Product, scan: Scan) -> dict[str, list[Row]]:
    """Rows of the manifest's files, and of images and masks never seen at their path before."""
    sizes = {file: context.store.size(file) for file in product.outcome.notes["files"]}
    artefacts = [
        artefact_row(file.partition(".")[0], file, "manifest", size) for file, size in sizes.items()
    ]
    known_rows = context.lineage.query("SELECT hash, path FROM images")
    seen_before = {(row["hash"], row["path"]) for row in known_rows}
    new_files = [file for file in scan.files if (file.hash, file.path) not in seen_before]
    return {"artefacts": artefacts, "images": image_rows(new_files)}
