"""The probing set: the manifest of images that every unit is shown."""

from __future__ import annotations

from dnd_assets.assets.image_sets import ImageSet, ScannedImages
from dnd_assets.engine.context import Workbench
from dnd_assets.engine.stage import Settings, Whole
from dnd_assets.lineage.records import PROBING_SET, Product
from dnd_assets.study.probing_images import PROBING, Manifest

PROBING_IMAGES = ImageSet(PROBING_SET, PROBING, "probing images", "scanned.json")
"""The images of section [probing_set]."""


class ProbingSet(Whole):
    """The images that units are probed with, by SHA-256 of their bytes.

    Unreadable files are set aside with path and reason. Materialize it after the folders changed.
    """

    name = PROBING_SET
    group = "step_1_probing"
    kinds = frozenset({"python", "pillow"})

    def settings(self, bench: Workbench) -> Settings:
        """Folders as absolute paths, and the largest picture."""
        return PROBING_IMAGES.parameters(bench), {}

    def look(self, bench: Workbench) -> Product:
        """See `look`."""
        return look(bench)

    def materialize(self, bench: Workbench, run: str) -> Product:
        """See `materialize`."""
        return materialize(bench, run)[0]


def materialize(bench: Workbench, run: str) -> tuple[Product, Manifest]:
    """Look at every image file, record the manifest and return it.

    Args:
        bench: the workbench.
        run: id of the run that asks.

    Returns:
        The product, whose payload names the stored list of hashes, and what the scan found.

    Raises:
        StudyError: when a folder is missing, or no image in it can be read.
    """
    manifest = PROBING_IMAGES.scan(bench)
    found = ScannedImages(PROBING_IMAGES, manifest, ProbingSet().code())
    return found.materialize(bench, run), manifest


def look(bench: Workbench) -> Product:
    """The probing set as it is now, for a plan: recorded as seen, not as materialized.

    Raises:
        StudyError: as `materialize`.
    """
    return ScannedImages(PROBING_IMAGES, PROBING_IMAGES.scan(bench), ProbingSet().code()).look(
        bench
    )
