"""Linear explanations: a unit as a weighted sum of the concepts that images show."""

from __future__ import annotations

from math import isfinite

import numpy as np

from dnd_assets.assets.image_level_labels import ImageLevelLabels, LabelledImages
from dnd_assets.engine.cache.vectors import Matrix
from dnd_assets.engine.context import StudyContext
from dnd_assets.lineage.records import Outcome
from dnd_assets.methods.linear_explanation import linear_explanation
from dnd_assets.study.image_concepts import image_labels_of

_LEAST = 4
"""Images at least, two to fit to and two to judge on."""


class LinearExplanationLabels(ImageLevelLabels):
    """A unit as a weighted sum of concepts (Oikarinen & Weng 2024).

    Concepts are chosen by how well they predict the activation over all images of known concepts,
    not by the peak; the score is the correlation of predicted and true activations on images that
    had no part in the choice.
    """

    name = "linear_explanation_labels"

    def parameters(self, context: StudyContext) -> dict[str, object]:
        """Terms, least gain, images that judge, seed, and the tables."""
        names = ("terms", "least_gain", "held_out", "seed")
        return {**image_labels_of(context.study).chosen(*names), **self.tables(context)}

    def outcome(self, context: StudyContext, images: LabelledImages, values: Matrix) -> Outcome:
        """`label`, `score`, `fitted`, `intercept`, and `labels`: concepts with their weights."""
        setting = image_labels_of(context.study)
        if len(values) < _LEAST:
            reason = f"{len(values)} images of known concepts; a sum is fitted to {_LEAST} or more"
            return Outcome("no_concepts", {}, reason)
        explanation = linear_explanation(
            values.astype(np.float64), images.presence.astype(np.float64), images.names,
            most=setting.terms, least_gain=setting.least_gain, held_out=setting.held_out,
            seed=setting.seed,
        )  # fmt: skip
        if not explanation.concepts or not isfinite(explanation.simulated):
            return Outcome("no_concepts", {}, "no concept predicts its activation")
        terms = zip(explanation.concepts, explanation.weights, strict=True)
        payload = {
            "label": str(explanation),
            "score": explanation.simulated,
            "fitted": explanation.fitted if isfinite(explanation.fitted) else None,
            "intercept": explanation.intercept,
            "labels": [{"label": concept, "score": weight} for concept, weight in terms],
        }
        return Outcome("ok", payload)
