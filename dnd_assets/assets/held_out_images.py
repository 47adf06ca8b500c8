"""Held-out images: what labels are measured on, none of which had a part in them."""

from __future__ import annotations

from dnd_assets.assets.image_sets import ImageSet, ScannedImages
from dnd_assets.assets.probing_set import PROBING_IMAGES
from dnd_assets.engine.context import StudyContext
from dnd_assets.engine.stage import Settings, StudyAsset
from dnd_assets.errors import StudyError
from dnd_assets.lineage.records import HELD_OUT_IMAGES, Product
from dnd_assets.study.method_settings import EvaluationSettings
from dnd_assets.study.study import needed

LEAST = 2
"""A correlation takes two images."""
_IMAGES = ImageSet(HELD_OUT_IMAGES, "evaluation", "held-out images", "held_out.json")


class HeldOutImages(StudyAsset):
    """The images that labels are measured on, by SHA-256 of their bytes.

    Images that are in the probing set, too, are left out, since labels were made from them.
    Unreadable files are set aside with path and reason. Materialize it after the folders changed.
    """

    name = HELD_OUT_IMAGES
    group = "evaluation"
    kinds = frozenset({"python", "pillow"})

    def settings(self, context: StudyContext) -> Settings:
        """Folders as absolute paths, and the largest picture."""
        evaluation_of(context)
        return _IMAGES.parameters(context), {}

    def observe(self, context: StudyContext) -> Product:
        """The held-out images as they are now, for a plan.

        Raises:
            StudyError: as `materialize`.
        """
        return _scan_images(context).observe(context)

    def materialize(self, context: StudyContext, run: str) -> Product:
        """Look at every image file again and record what there is.

        Raises:
            StudyError: when a folder is missing, or fewer than two images are left.
        """
        return _scan_images(context).materialize(context, run)


def evaluation_of(context: StudyContext) -> EvaluationSettings:
    """The study's section `evaluation`.

    Raises:
        StudyError: when it has none.
    """
    example = "folders = ['held-out images']"
    return needed(context.study.evaluation, "evaluation", context.study, example)


def _scan_images(context: StudyContext) -> ScannedImages:
    evaluation_of(context)
    manifest = _IMAGES.scan(context)
    # A second look, in which no unchanged file is read again: this product stands by itself, also
    # where the probing set is not asked for, and to hand it another's look would be other code.
    probing = PROBING_IMAGES.scan(context, tell=False).images
    both = set(probing).intersection(manifest.images)
    remaining = len(manifest.images) - len(both)
    if remaining < LEAST:
        raise StudyError(
            f"of {len(manifest.images):,} held-out images {len(both):,} are in the probing set, "
            f"too, which leaves {remaining}; metrics take {LEAST} at least. Name other images "
            "under [evaluation]: labels must not be judged by the pictures that "
            "they were made from."
        )
    return ScannedImages(
        _IMAGES, manifest, HeldOutImages().code(), both, {"in_probing_set": len(both)}
    )
