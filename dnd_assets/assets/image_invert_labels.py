"""Labels of INVERT from image-level truth: concepts with their hierarchy, and p-values."""

from __future__ import annotations

import numpy as np

from dnd_assets.assets.compositions_labels import text_of
from dnd_assets.assets.image_level_labels import ImageLevelLabels, LabelledImages
from dnd_assets.engine.cache.vectors import Matrix
from dnd_assets.engine.context import StudyContext
from dnd_assets.lineage.records import Outcome
from dnd_assets.methods.image_labels.image_level_labelling import invert_labels
from dnd_assets.study.image_concepts import image_labels_of

SHOWN = 5
"""The most activating images that are kept with the labels."""


class ImageInvertLabels(ImageLevelLabels):
    """INVERT: the concept whose images a unit's activation tells best from all others (AUC).

    A concept is shown by the images of all that it implies. Each label has the p-value of its AUC
    (Mann-Whitney), alone and adjusted for the number of formulas that were compared.
    """

    name = "image_invert_labels"

    def parameters(self, context: StudyContext) -> dict[str, object]:
        """Length of formulas, the shares they may hold for, beam, labels, significance, tables."""
        names = ("length", "min_share", "max_share", "beam", "top", "significance")
        return {**image_labels_of(context.study).chosen(*names), **self.tables(context)}

    def outcome(self, context: StudyContext, images: LabelledImages, values: Matrix) -> Outcome:
        """`label`, `score`, `significant`, `labels` with p-values, and `images`."""
        setting = image_labels_of(context.study)
        options = setting.chosen("length", "beam", "top", "min_share", "max_share")
        results = invert_labels(values.astype(np.float64), images.presence, images.names, **options)
        if not results:
            reason = "no concept is on a share of the images between {min_share} and {max_share}"
            return Outcome("no_concepts", {}, reason.format(**options))
        labels = [
            {"label": text_of(result.formula), "score": result.auc, "p_value": result.p_value,
             "adjusted": result.adjusted, "images": result.images}
            for result in results
        ]  # fmt: skip
        order = np.argsort(-values, kind="stable")[:SHOWN].tolist()
        best_images = [{"image": images.images[i], "activation": float(values[i])} for i in order]
        payload = {
            "label": labels[0]["label"],
            "score": labels[0]["score"],
            "significant": results[0].adjusted <= setting.significance,
            "labels": labels,
            "images": best_images,
        }
        return Outcome("ok", payload)
