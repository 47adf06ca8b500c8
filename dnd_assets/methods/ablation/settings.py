"""The section [ablation]."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from dnd_assets.settings import Positive, Section

How = Literal["zero", "mean", "resample"]
"""What stands in a unit's place: nothing, its mean, or what it gives for another picture."""


class AblationSettings(Section):
    """What the classes of a network lose without a unit.

    Attributes:
        how: `zero`; `mean`, the unit's mean over the images and places; `resample`, the unit's
            output for another of the images, drawn by content.
        images: probing images that effects are measured on; the first by their hashes, of those
            that have a class where `classes` is given.
        classes: a CSV with columns `file` and `class` that says what images show; `folders`: the
            name of the folder that each lies in; `labels`: what shards and tables of the
            probing set say of their pictures; or `scenes`: what covers most of each tile of
            `probing_set.scenes`. None: no accuracies, scores alone.
        probe: whether the classes are those of `classes`, read off the network's output by a linear
            probe: for networks that are no classifiers.
        top: classes kept for a unit, those of the largest change first.
        groups: units that are ablated together, by a name: keys, prefixes or ranges of units; those
            of each layer by themselves.
        random_groups: random groups of as many units that each group is compared with.
    """

    how: How = "mean"
    images: Annotated[int, Field(ge=2)] = 256
    classes: str | None = Field(default=None, min_length=1)
    probe: bool = False
    top: Positive = 10
    groups: dict[str, Annotated[list[str], Field(min_length=1)]] = Field(default={})
    random_groups: Annotated[int, Field(ge=0, le=1000)] = 20

    @model_validator(mode="after")
    def _probe_of_classes(self) -> Self:
        if self.probe and self.classes is None:
            raise ValueError(
                "probe = true needs `classes`, a CSV with columns file and class, which the probe "
                "is fitted to"
            )
        return self
