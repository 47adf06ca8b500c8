"""The probing set: the manifest of images that every unit is shown."""

from __future__ import annotations

from dnd_assets.assets.image_sets import ImageSet, ScannedImages
from dnd_assets.engine.context import StudyContext
from dnd_assets.engine.stage import Settings, StudyAsset
from dnd_assets.lineage.records import PROBING_SET, Product
from dnd_assets.study.probing_images import PROBING, Manifest

PROBING_IMAGES = ImageSet(PROBING_SET, PROBING, "probing images", "scanned.json")
"""The images of section [probing_set]."""


class ProbingSet(StudyAsset):
    """The images that units are probed with, by SHA-256 of their bytes.

    Unreadable files are set aside with path and reason. Materialize it after the folders changed.
    """

    name = PROBING_SET
    group = "step_1_probing"
    kinds = frozenset({"python", "pillow"})

    def settings(self, context: StudyContext) -> Settings:
        """Folders as absolute paths, and the largest picture."""
        return PROBING_IMAGES.parameters(context), {}

    def observe(self, context: StudyContext) -> Product:
        """See the module's `observe`."""
        return observe(context)

    def materialize(self, context: StudyContext, run: str) -> Product:
        """See the module's `materialize`."""
        return materialize(context, run)[0]


def materialize(context: StudyContext, run: str) -> tuple[Product, Manifest]:
    """Look at every image file, record the manifest and return it.

    Args:
        context: the study's context.
        run: id of the run that asks.

    Returns:
        The product, whose payload names the stored list of hashes, and what the scan found.

    Raises:
        StudyError: when a folder is missing, or no image in it can be read.
    """
    manifest = PROBING_IMAGES.scan(context)
    scanned = ScannedImages(PROBING_IMAGES, manifest, ProbingSet().code())
    return scanned.materialize(context, run), manifest


def observe(context: StudyContext) -> Product:
    """The probing set as it is now, for a plan: recorded as seen, not as materialized.

    Raises:
        StudyError: as `materialize`.
    """
    return ScannedImages(PROBING_IMAGES, PROBING_IMAGES.scan(context), ProbingSet().code()).observe(
        context
    )
