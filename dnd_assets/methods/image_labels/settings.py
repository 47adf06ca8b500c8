"""The section [image_labels]."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from dnd_assets.settings import Positive, Section, Share

ImageLabelMethod = Literal["image_invert", "linear_explanation"]


class FormulaLimits(Section):
    """Which formulas of concepts INVERT looks at (Bykov et al. 2023, section 3).

    Attributes:
        length: concepts in a formula at most; 1 for single concepts.
        min_share: a formula has to hold for this share of the images at least.
        max_share: and for this share at most.
    """

    length: Annotated[int, Field(gt=0, le=10)] = 1
    min_share: Share = 0.0
    max_share: Share = 1.0

    @model_validator(mode="after")
    def _a_range(self) -> Self:
        if self.min_share >= self.max_share:
            raise ValueError(
                f"min_share = {self.min_share} is not below max_share = {self.max_share}; "
                "no concept would be left"
            )
        return self


class ImageLabelsSettings(FormulaLimits):
    """Methods that need to know which concepts each probing image shows.

    Attributes:
        file: a CSV with columns `file` and `concept`; several concepts of an image stand in several
            rows, or in one, separated by semicolons. Images that it does not name are left out.
        parents: a CSV with columns `concept` and `parent`; an image that shows a concept shows what
            it is a kind of, too.
        methods: which labels to make.
        beam: formulas kept at each step of the search.
        top: labels of INVERT kept for a unit, best first.
        significance: adjusted p-value up to which a label of INVERT counts as significant.
        terms: concepts in a linear explanation at most.
        least_gain: correlation that a further concept of it has to bring.
        held_out: share of the images that only judge it.
        seed: of their draw.
    """

    file: str = Field(min_length=1)
    parents: str | None = Field(default=None, min_length=1)
    methods: list[ImageLabelMethod] = Field(
        default=["image_invert", "linear_explanation"], min_length=1
    )
    beam: Annotated[int, Field(gt=0, le=1000)] = 10
    top: Positive = 5
    significance: Share = 0.05
    terms: Positive = 10
    least_gain: Share = 0.02
    held_out: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.5
    seed: int = 0

    @model_validator(mode="after")
    def _no_method_twice(self) -> Self:
        if len(set(self.methods)) < len(self.methods):
            raise ValueError("methods names a method twice; name each once")
        return self
