"""Sections on target networks: which ones, and which layers and neurons of them."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self

from pydantic import BeforeValidator, Field, field_validator, model_validator

from dnd_assets.errors import StudyError, nearest
from dnd_assets.files.csv_tables import read_csv
from dnd_assets.methods.layer_axes import axes_of
from dnd_assets.methods.sae.layouts import LAYOUTS
from dnd_assets.settings import Options, Positive, Section
from dnd_assets.study.image_settings import Bands, Number, Scale, checked_scale

_HERE: Final = Path()
Pooling = Literal["auto", "mean", "max", "class_token", "token_mean", "token_max", "identity"]


class Sample(Section):
    """A seeded random sample of a layer's neurons."""

    sample: Positive
    seed: Annotated[int, Field(ge=0)] = 0


class FromTable(Section):
    """Latents chosen by how often they fire, from the table that `dnd latents` writes.

    Attributes:
        file: the table, with columns `latent` and `pictures`.
        least: pictures of the probing set on which a latent has to fire.
        most: pictures on which it may fire; None for any number.
        sample: a random sample of those; None for all of them.
        seed: of the sample.
    """

    file: str = Field(min_length=1)
    least: Positive = 1
    most: Positive | None = None
    sample: Positive | None = None
    seed: Annotated[int, Field(ge=0)] = 0

    def latents(self, folder: Path) -> list[int]:
        """The latents that the table has within the limits, ascending.

        Raises:
            StudyError: when there are none.
            TableError: when the table cannot be read.
        """
        file = folder / Path(self.file).expanduser()
        table = read_csv(file)
        names = table.column(("latent",), "latents"), table.column(("pictures",), "pictures")
        counts = []
        for line, row in table.rows:
            if not (row[names[0]].strip().isdecimal() and row[names[1]].strip().isdecimal()):
                raise StudyError(
                    f"{file}, line {line:,}: {row[names[0]]!r}, {row[names[1]]!r} are not a "
                    "latent's number and a number of pictures. Write the table with `dnd latents`."
                )
            counts.append((int(row[names[0]]), int(row[names[1]])))
        high = math.inf if self.most is None else self.most
        return sorted(latent for latent, pictures in counts if self.least <= pictures <= high)


class CodingSettings(Section):
    """What an autoencoder and directions have in common.

    Attributes:
        path: the checkpoint's file or folder, or the safetensors file of directions.
        tokens: which tokens of a transformer count: `class`, `patches` or `all`; not for layers
            without tokens, and not needed where the checkpoint says it.
    """

    path: str = Field(min_length=1)
    tokens: Literal["class", "patches", "all"] | None = None


class SaeSettings(CodingSettings):
    """A sparse autoencoder whose latents are a layer's units; see docs/sae.md.

    Attributes:
        layout: the library that wrote the checkpoint, where the checkpoint does not tell.
        activation: of a checkpoint that does not tell it.
        k: of TopK, where the checkpoint does not tell it.
        threshold: of BatchTopK at inference, where the checkpoint has lost it.
        subtract_b_dec: whether the decoder's bias is subtracted from the input, where nothing in
            the checkpoint tells.
        scale: what activations are multiplied by first, where it is not folded into the weights.
    """

    layout: str | None = None
    activation: Literal["relu", "topk", "batch_topk", "jump_relu", "gated"] | None = None
    k: Positive | None = None
    threshold: float | None = None
    subtract_b_dec: bool | None = None
    scale: Annotated[float, Field(gt=0.0, allow_inf_nan=False)] | None = None

    @field_validator("layout")
    @classmethod
    def _library_known(cls, value: str | None) -> str | None:
        if value is not None and value not in LAYOUTS:
            close = ", ".join(nearest(value, LAYOUTS))
            raise ValueError(f"{value!r} is no layout of autoencoders; nearest: {close}")
        return value


class DirectionsSettings(CodingSettings):
    """Directions in a layer's space as units: concept activation vectors, probes, PCA, NMF.

    Attributes:
        tensor: the tensor that holds them, where the file has several matrices.
        columns: whether they are its columns, where the layer's width does not tell.
        reading: how vectors are read along them; see `dnd_assets.methods.sae.directions`.
        mean: the tensor that is subtracted from vectors first.
        bias: the tensor that is added to projections.
    """

    tensor: str | None = None
    columns: bool | None = None
    reading: Literal["projection", "cosine", "non_negative"] = "projection"
    mean: str | None = None
    bias: str | None = None


class HeadsSettings(Section):
    """Attention heads as units; `path` of the layer is the projection that mixes them.

    Attributes:
        count: heads of the block.
        tokens: which tokens count: `class`, `patches` or `all`.
    """

    count: Positive
    tokens: Literal["class", "patches", "all"] = "all"


class LayerSettings(Section):
    """One layer of a network.

    Attributes:
        path: the layer's name in `named_modules()`.
        neurons: `"all"`, a list of indices and ranges (`[3, "10-19"]`),
            `{sample = 20, seed = 0}`, or `{file = "latents.csv", least = 10}`.
        pooling: how a map or token grid becomes one number; `auto` is the mean over space for
            maps, the class token for tokens (their mean where there is none), the value itself for
            vectors.
        layout: what the axes of the layer's output are, where that is not known or not found:
            `vectors`, `maps`, `channels_last`, `tokens`, or a letter for each axis, such as
            `nxtc`; see `dnd_assets.methods.layer_axes`.
        grid: rows and columns that its tokens make, row by row.
        prefix_tokens: tokens before those: class, distillation and register tokens.
        sae: an autoencoder whose latents are the units, instead of neurons.
        directions: directions that are the units, instead of neurons.
        heads: attention heads that are the units, instead of neurons.
    """

    path: str
    neurons: Literal["all"] | list[int | str] | Sample | FromTable = "all"
    pooling: Pooling = "auto"
    layout: str | None = None
    grid: tuple[Positive, Positive] | None = None
    prefix_tokens: Annotated[int, Field(ge=0)] | None = None
    sae: SaeSettings | None = None
    directions: DirectionsSettings | None = None
    heads: HeadsSettings | None = None

    @model_validator(mode="after")
    def _one_coding(self) -> Self:
        if sum(coding is not None for coding in (self.sae, self.directions, self.heads)) > 1:
            raise ValueError(
                "a layer has one of `sae`, `directions` and `heads`; list the network twice under "
                "two names to have two"
            )
        if self.coding and self.pooling in ("class_token", "identity"):
            raise ValueError(
                f"pooling = {self.pooling!r} is not for latents, which are pooled by their maximum "
                "('auto'); which tokens count, `tokens` says"
            )
        return self

    @property
    def coding(self) -> SaeSettings | DirectionsSettings | HeadsSettings | None:
        """What makes its units, where they are no neurons."""
        return self.sae or self.directions or self.heads

    @field_validator("layout")
    @classmethod
    def _layout_read(cls, value: str | None) -> str | None:
        if value is not None:
            axes_of(value)
        return value

    @property
    def declared(self) -> Options:
        """What it says of its axes, without what it leaves open."""
        names = {"layout", "grid", "prefix_tokens"}
        return self.model_dump(mode="json", include=names, exclude_none=True)

    @field_validator("neurons")
    @classmethod
    def _ranges_read(cls, value: object) -> object:
        for item in value if isinstance(value, list) else []:
            if isinstance(item, str) and not re.fullmatch(r"\d+-\d+", item):
                raise ValueError(f"{item!r} is no range of neurons; write '10-19'")
        return value

    def indices(self, count: int, folder: Path = _HERE) -> list[int]:
        """The selected neuron indices of a layer that has `count` of them, ascending.

        Args:
            count: how many there are.
            folder: where a table's path starts.

        Raises:
            StudyError: when an index does not exist or none is selected; says how many there are.
        """
        if isinstance(self.neurons, FromTable):
            return self._of_table(self.neurons, count, folder)
        if self.neurons == "all":
            return list(range(count))
        if isinstance(self.neurons, Sample):
            return self._sampled(self.neurons, count)
        numbers: set[int] = set()
        for item in self.neurons:
            low, high = (int(x) for x in item.split("-")) if isinstance(item, str) else (item, item)
            if low < 0 or high >= count:  # before a range of a billion is written out
                raise self._no_neuron(str(low if low < 0 else max(low, count)), count)
            numbers.update(range(low, high + 1))
        if not numbers:
            raise self._no_neuron(f"in {self.neurons}", count)
        return sorted(numbers)

    def _of_table(self, selection: FromTable, count: int, folder: Path) -> list[int]:
        latents = selection.latents(folder)
        if not latents:
            raise StudyError(
                f"{selection.file} has no latent that fires on {selection.least:,} pictures or more"
                f"{f' and {selection.most:,} at most' if selection.most else ''}. Widen the limits."
            )
        if latents[-1] >= count:
            raise self._no_neuron(str(latents[-1]), count)
        if selection.sample is None:
            return latents
        positions = self._sampled(
            Sample(sample=selection.sample, seed=selection.seed), len(latents)
        )
        return [latents[position] for position in positions]

    def _no_neuron(self, missing: str, count: int) -> StudyError:
        return StudyError(
            f"layer {self.path!r} has no neuron {missing}; it has {count:,}, "
            f"numbered 0 to {count - 1:,}. Correct `neurons` of that layer."
        )

    def _sampled(self, sample: Sample, count: int) -> list[int]:
        import numpy as np

        if sample.sample > count:
            raise StudyError(
                f"layer {self.path!r} has {count:,} neurons; a sample of {sample.sample:,} was "
                "asked for. Lower `sample` or write neurons = 'all'."
            )
        indices = np.random.default_rng(sample.seed).choice(count, sample.sample, replace=False)
        return sorted(int(i) for i in indices)


def _as_list(value: object) -> object:
    return [value] if isinstance(value, (int, float)) else value


Numbers = Annotated[list[Number], Field(min_length=1), BeforeValidator(_as_list)]


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
    def _scale_fits(cls, value: object) -> object:
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
