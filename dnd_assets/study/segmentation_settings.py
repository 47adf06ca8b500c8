"""Sections on methods that need pixel labels, and on where these lie."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from dnd_assets.methods.image_labels.settings import FormulaLimits
from dnd_assets.settings import Positive, Section, Share
from dnd_assets.study.image_settings import Scenes, World

SegmentationMethod = Literal["network_dissection", "compositions", "invert"]


class MaskTable(Section):
    """Binary masks with a table of columns `file`, `mask` and concepts (see `masks.mask_table`)."""

    file: str = Field(min_length=1)
    images: str = Field(min_length=1)
    masks: str = Field(min_length=1)
    concepts: list[str] = Field(default=["caption"], min_length=1)


class BrodenFolder(Section):
    """A folder in Broden's layout, and the split to take; all where None."""

    folder: str = Field(min_length=1)
    split: str | None = None


class IndexMasks(Section):
    """A folder of images, one of PNGs whose pixels number concepts, and a file of their names."""

    images: str = Field(min_length=1)
    masks: str = Field(min_length=1)
    names: str = Field(min_length=1)
    category: str = Field(default="object", min_length=1)


class MaskedWorld(World):
    """Generated pictures of the embedded image world, with exact masks of what they show."""

    count: Positive = 1024


class Invert(FormulaLimits):
    """What INVERT on pixel labels alone needs."""


class Segmentation(Section):
    """Methods that need pixel labels; exactly one of the layouts says where these lie.

    Attributes:
        table: masks with a table.
        broden: Broden's layout.
        index: index masks, as of ADE20K.
        world: generated pictures with exact masks.
        scenes: tiles of land-cover scenes, whose pixels say what covers the land.
        methods: which labels to make.
        share: of all positions, those that exceed a unit's threshold.
        cutoff: the IoU above which a unit counts as interpretable.
        beam: formulas kept at each step of the search.
        length: concepts in a formula of `compositions` at most.
        exact_budget: formulas that an exact search of `compositions` may score after the beam;
            0 for none. It finds the best formula of all, or a bound that none exceeds.
        top: labels kept for a unit, best first.
        invert: what INVERT alone needs.
    """

    table: MaskTable | None = None
    broden: BrodenFolder | None = None
    index: IndexMasks | None = None
    world: MaskedWorld | None = None
    scenes: Scenes | None = None
    methods: list[SegmentationMethod] = Field(
        default=["network_dissection", "compositions", "invert"], min_length=1
    )
    share: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.005
    cutoff: Share = 0.04
    beam: Annotated[int, Field(gt=0, le=1000)] = 10
    length: Annotated[int, Field(gt=0, le=10)] = 3
    exact_budget: Annotated[int, Field(ge=0)] = 0
    top: Positive = 5
    invert: Invert = Invert()

    @model_validator(mode="after")
    def _one_layout(self) -> Self:
        layouts = ("table", "broden", "index", "world", "scenes")
        given_layouts = [name for name in layouts if getattr(self, name) is not None]
        if len(given_layouts) != 1:
            problem = (
                f"{' and '.join(given_layouts)} were given" if given_layouts else "none was given"
            )
            raise ValueError(f"takes exactly one of {', '.join(layouts)}; {problem}")
        if len(set(self.methods)) < len(self.methods):
            raise ValueError("methods names a method twice; name each once")
        return self
