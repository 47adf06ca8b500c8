"""A study: the validated TOML file that says what to label and how.

Every parameter of Describe-and-Dissect stands here with the paper's value as its default
(DnD, section 3 and appendix; K = 10, alpha = 4, eta = 0.5, N_c = 5, Q = 10, t = 10, beta = 5).
Paths are relative to the study file; `package:module/path` names a file shipped in a package;
`${DND_NAME}` in any text is read from the environment. Models of the Hugging Face hub may be pinned
to a commit (`revision`, or `org/name@revision`); why defaults are not: `resources.checkpoints`.
"""

from __future__ import annotations

import importlib.resources
import os
import re
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar
from urllib.parse import urlsplit

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from dnd_assets.errors import StudyError, nearest, not_found
from dnd_assets.files.concept_sets import check_template
from dnd_assets.methods.layer_axes import axes_of
from resources.servers.addresses import is_loopback

Pooling = Literal["auto", "mean", "max", "class_token", "token_mean", "token_max", "identity"]
Scoring = Literal["mean_rank", "topk_squared", "image_products", "topk_squared_image_products"]
Similarity = Literal["cos", "cos_cubed", "rank_reorder", "wpmi", "soft_wpmi"]
_VARIABLE = re.compile(r"\$\{(DND_\w+)\}")
SegmentationMethod = Literal["network_dissection", "compositions", "invert"]
Positive = Annotated[int, Field(gt=0)]
Share = Annotated[float, Field(ge=0.0, le=1.0)]
Money = Annotated[float, Field(ge=0.0, allow_inf_nan=False)]
_LeftOut = BeforeValidator(lambda value: None if value == "none" else value)
"""Of an option of a request to a server: "none" leaves it out."""
Temperature = Annotated[Annotated[float, Field(ge=0.0, le=2.0)] | None, _LeftOut]
TopP = Annotated[Annotated[float, Field(gt=0.0, le=1.0)] | None, _LeftOut]
Api = Literal["chat", "responses"]


class Section(BaseModel):
    """A table of the study: unknown keys are refused, values never change after loading."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    def chosen(self, *names: str) -> dict[str, Any]:
        """Some settings by name.

        Raises:
            ValueError: when there is no such setting; pydantic would leave it out in silence.
        """
        for name in names:
            if name not in type(self).model_fields:
                close = ", ".join(nearest(name, list(type(self).model_fields)))
                what = type(self).__name__
                raise ValueError(f"{what} has no setting {name!r}; nearest: {close}")
        return self.model_dump(include=set(names))

    def all_but(self, *names: str) -> dict[str, Any]:
        """All settings without some.

        Raises:
            ValueError: when there is no such setting.
        """
        left = self.chosen(*names).keys()
        return self.model_dump(exclude=set(left))


_Section = TypeVar("_Section", bound=Section)


def _checked_name(name: str, what: str) -> str:
    """A name of the user's that becomes part of an asset's or a column's.

    Raises:
        ValueError: when it is no such name.
    """
    if not re.fullmatch(r"[a-z][a-z0-9_]{0,40}", name) or name.endswith("_labels"):
        raise ValueError(
            f"{name!r} names no {what}; write small letters, digits and underscores, without "
            "`_labels` at the end, as in milan_published"
        )
    return name


def _check_options(section: Any, options: Mapping[str, Sequence[str]]) -> None:
    """Refuse settings that say nothing to the chosen kind of a section."""
    usual = type(section).model_fields
    given = {name for name in usual if getattr(section, name) != usual[name].default}
    foreign = sorted(given - {*options[section.kind], "kind"})
    if foreign:
        owners = [kind for kind, names in options.items() if foreign[0] in names]
        belongs = f" (it belongs to {', '.join(owners)})" if owners else ""
        raise ValueError(
            f"{foreign[0]} is no option of kind = {section.kind!r}{belongs}; leave it out"
        )


def _check_template(value: str) -> str:
    try:
        check_template(value)
    except StudyError as error:
        raise ValueError(str(error)) from error
    return value


def _check_prices(section: Any, *prices: str) -> None:
    """Refuse a limit of cost without the prices that it takes."""
    missing = [name for name in prices if getattr(section, name) is None]
    if section.max_cost is not None and missing:
        raise ValueError(f"max_cost needs {' and '.join(missing)} too, as your server charges them")


class Sample(Section):
    """A seeded random sample of a layer's neurons."""

    sample: Positive
    seed: Annotated[int, Field(ge=0)] = 0


class Layer(Section):
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


class Model(Section):
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
        layers: what to label in it.
    """

    name: str = Field(min_length=1)
    source: str
    weights: str | None = None
    weights_key: str | None = Field(default=None, min_length=1)
    categories: str | None = Field(default=None, min_length=1)
    layers: list[Layer] = Field(min_length=1)

    @field_validator("source")
    @classmethod
    def _known_kind(cls, value: str) -> str:
        kinds = ["torchvision", "timm", "hf", "module", "efficientnet-lite"]
        kind = value.partition(":")[0]
        if kind not in kinds or ":" not in value:
            close = ", ".join(f"{k}:…" for k in nearest(kind, kinds))
            raise ValueError(f"{value!r} names no source of networks; nearest: {close}")
        return value


class World(Section):
    """Probing images of the embedded image world, made on the fly from a seed."""

    count: Positive = 4096
    seed: int = 0


class Images(Section):
    """Where images lie.

    Attributes:
        folders: folders searched for images, recursively.
        image_list: a text file with one image path a line.
        world: generated images with known truths instead of files.
    """

    folders: list[str] = []
    image_list: str | None = None
    world: World | None = None

    @model_validator(mode="after")
    def _something(self) -> Self:
        if not (self.folders or self.image_list or self.world):
            raise ValueError("names no images; give `folders`, `image_list` or `world`")
        return self


class ProbingSet(Images):
    """The images that units are probed with.

    Attributes:
        max_quarantined: share of unreadable images above which the asset check fails.
        max_pixels: images with more are set aside before they are decoded.
    """

    max_quarantined: Share = 0.01
    max_pixels: Positive = 89_000_000


class Dissection(Section):
    """The parameters of Describe-and-Dissect, with the paper's defaults.

    Attributes:
        exemplars: K, the most activating images kept for a unit.
        crop: whether attention crops join the probing images (step 1).
        crops_per_image: alpha, crops taken from one image at most.
        crop_overlap: eta, largest IoU of two crops of one image.
        whole_image: a box with this IoU with the whole image or more is no crop.
        crop_size: side in pixels of the resized image and of its crops.
        candidates: N_c, candidate concepts asked of the summariser.
        images_per_concept: Q, synthetic images painted for a concept.
        top_images: t, synthetic images that count in the image products.
        beta: beta, best ranks that count in TopK squared.
        scoring: the scoring function.
        select: `detection` takes the concept whose words in captions predict best where the unit
            is active; `scores` picks the best-scored concept, as the paper does; `first` takes the
            first candidate (the paper's ablation without concept selection).
        reference_images: random probing images that are captioned for `detection`, once for all
            units.
        contrast_phrases: candidates of `detection` from words that set captions of exemplars apart.
        margin: `detection` takes a shorter concept that is less than this below the best.
        min_confidence: probability of being right below which `detection` gives no label.
        labels: labels kept for a unit, best first.
        seed: seed of caption orders and of synthetic images.
    """

    exemplars: Positive = 10
    crop: bool = True
    crops_per_image: Positive = 4
    crop_overlap: Share = 0.5
    whole_image: Share = 0.8
    crop_size: Positive = 375
    candidates: Positive = 5
    images_per_concept: Positive = 10
    top_images: Positive = 10
    beta: Positive = 5
    scoring: Scoring = "topk_squared_image_products"
    select: Literal["scores", "first", "detection"] = "scores"
    reference_images: Positive = 1000
    contrast_phrases: Positive = 10
    margin: Share = 0.05
    min_confidence: Share = 0.5
    labels: Positive = 3
    seed: int = 0


class Collection(Section):
    """Captioned pictures that captions and pictures may be retrieved from.

    Attributes:
        tables: CSV files with columns `file` and `caption`.
        folders: where each table's files lie; none: beside the table.
    """

    tables: list[str] = Field(min_length=1)
    folders: list[str] = []

    @model_validator(mode="after")
    def _as_many(self) -> Self:
        if self.folders and len(self.folders) != len(self.tables):
            raise ValueError(
                f"{len(self.folders)} folders do not fit {len(self.tables)} tables; name one for "
                "each table, or none"
            )
        return self


class Captioner(Section):
    """The image-to-text model (paper: BLIP base).

    Attributes:
        kind: `blip`; `blip2`; `vlm`, any image-text-to-text model of transformers, asked with
            `prompt`; `chat`, any OpenAI-compatible server that sees pictures; `concepts`, the
            nearest of a fixed set by the study's image-text encoder (the paper's ablation);
            `retrieval`, the caption of the nearest picture of the study's `[collection]`; `own`, a
            function of yours (docs/extend.md).
        source: that function, `package.module:function`.
        checkpoint: folder, `package:…` or hub id of the model.
        revision: branch, tag or commit of a hub checkpoint.
        max_new_tokens: longest caption, in tokens.
        min_length: shortest caption of `blip`, in tokens.
        prompt: what `vlm`, `chat` and `blip2` are asked; of `concepts`, the text that stands for
            a concept, with `{concept}`. None takes the kind's own.
        concepts: a text file with one concept a line, or `package:module/path`.
        top: concepts in a caption of `concepts`, nearest first.
        base_url: as of the summariser, and so are the options of the server that follow it.
        max_tokens: tokens that a run may use, pictures included.
        detail: how closely the server looks at a picture (`low`, `high`); None does not say.
        max_side: pictures are sent with this many pixels at most along the longer side.
        picture_tokens: tokens of a picture, by estimate, before the server has counted them.
    """

    kind: Literal["blip", "blip2", "vlm", "chat", "concepts", "retrieval", "own"] = "blip"
    source: str | None = None
    checkpoint: str = "Salesforce/blip-image-captioning-base"
    revision: str | None = None
    max_new_tokens: Positive = 32
    min_length: Positive = 5
    prompt: str | None = None
    concepts: str | None = None
    top: Positive = 1
    base_url: str = "https://api.openai.com/v1"
    model: str = "gpt-5.4-mini"
    api_key_env: str = "OPENAI_API_KEY"
    api: Api = "chat"
    temperature: Temperature = 0.0
    top_p: TopP = None
    send_seed: bool = True
    send_limit: bool = True
    reasoning_effort: str | None = None
    extra: dict[str, Any] = {}
    timeout_s: Annotated[float, Field(gt=0)] = 60.0
    max_retries: Annotated[int, Field(ge=0, le=10)] = 2
    max_concurrency: Positive = 4
    max_tokens: Positive | None = None
    max_cost: Money | None = None
    price_prompt: Money | None = None
    price_completion: Money | None = None
    allow_insecure_http: bool = False
    detail: Literal["low", "high", "auto"] | None = None
    max_side: Positive = 768
    picture_tokens: Positive = 1_500

    @model_validator(mode="after")
    def _options_fit(self) -> Self:
        _check_options(self, _CAPTIONER_OPTIONS)
        if self.kind == "own" and not self.source:
            raise ValueError("kind = 'own' needs a function: source = 'my_captioner:caption'")
        if self.kind == "concepts":
            if not self.concepts:
                raise ValueError("kind = 'concepts' needs a file: concepts = 'concepts.txt'")
            _check_template(self.prompt or "{concept}")
        examples = {"blip2": "Salesforce/blip2-opt-2.7b", "vlm": "HuggingFaceTB/SmolVLM-Instruct"}
        if self.kind in examples and "blip-image-captioning" in self.checkpoint:
            raise ValueError(
                f"kind = {self.kind!r} needs a checkpoint of its own, such as "
                f"{examples[self.kind]!r}; {self.checkpoint!r} is of kind = 'blip'"
            )
        _check_prices(self, "price_prompt", "price_completion")
        return self

    @property
    def options(self) -> dict[str, Any]:
        """The settings of the chosen kind."""
        return self.chosen(*_CAPTIONER_OPTIONS[self.kind])


_SERVER = (
    "base_url", "model", "api_key_env", "timeout_s", "max_retries", "max_concurrency", "max_cost",
    "allow_insecure_http",
)  # fmt: skip
_CHAT = (
    *_SERVER, "api", "temperature", "top_p", "send_seed", "send_limit", "reasoning_effort",
    "extra", "max_tokens", "price_prompt", "price_completion",
)  # fmt: skip
_CAPTIONER_OPTIONS: dict[str, tuple[str, ...]] = {
    "blip": ("checkpoint", "revision", "max_new_tokens", "min_length"),
    "blip2": ("checkpoint", "revision", "max_new_tokens", "prompt"),
    "vlm": ("checkpoint", "revision", "max_new_tokens", "prompt"),
    "chat": (
        *_CHAT, "max_new_tokens", "prompt", "detail", "max_side", "picture_tokens",
    ),
    "concepts": ("concepts", "prompt", "top"),
    "retrieval": (),
    "own": ("source",),
}  # fmt: skip


class Summariser(Section):
    """What turns captions into candidate concepts (paper: GPT-3.5 Turbo, temperature 0.3).

    `consensus` needs no LLM; `chat` is any OpenAI-compatible server; `none` takes the captions
    themselves as candidates (the paper's ablation). The key is read from the environment variable
    `api_key_env` when a call is made and is stored nowhere.

    A run stops before the call that would exceed `max_tokens`, or `max_cost` by the prices of a
    million tokens that the study names. What a server refuses of a request is left out or renamed
    for the rest of the run.

    Attributes:
        api: `chat` for `/chat/completions`, `responses` for OpenAI's `/responses`.
        temperature: sampling temperature; "none" leaves it to the server.
        top_p: share of the likeliest tokens that are drawn from; left to the server unless given.
        send_seed: whether a seed is sent.
        send_limit: whether a token limit is sent.
        max_new_tokens: token limit of an answer, reasoning included; None takes what short answers
            need.
        response_format: how JSON is asked for first; a server that refuses is asked less strictly.
        reasoning_effort: how much a reasoning model thinks, as the server names it.
        extra: further options of a request, sent as they are.
    """

    kind: Literal["consensus", "chat", "none"] = "consensus"
    base_url: str = "https://api.openai.com/v1"
    model: str = "gpt-5.4-mini"
    api_key_env: str = "OPENAI_API_KEY"
    api: Api = "chat"
    temperature: Temperature = 0.3
    top_p: TopP = None
    send_seed: bool = True
    send_limit: bool = True
    max_new_tokens: Positive | None = None
    response_format: Literal["json_schema", "json_object", "text"] = "json_schema"
    reasoning_effort: str | None = None
    extra: dict[str, Any] = {}
    timeout_s: Annotated[float, Field(gt=0)] = 60.0
    max_retries: Annotated[int, Field(ge=0, le=10)] = 2
    max_concurrency: Positive = 4
    max_tokens: Positive | None = None
    max_cost: Money | None = None
    price_prompt: Money | None = None
    price_completion: Money | None = None
    allow_insecure_http: bool = False

    @model_validator(mode="after")
    def _prices_known(self) -> Self:
        _check_prices(self, "price_prompt", "price_completion")
        return self


class TextToImage(Section):
    """The text-to-image pipeline (paper: Stable Diffusion v1-4, DPM-Solver++, 50 steps).

    `kind = "world"` draws with the generated world's own renderer and needs no checkpoint;
    `kind = "retrieval"` takes the pictures of the study's `[collection]` whose captions are
    nearest to the concept; `kind = "images"` is any OpenAI-compatible server that makes pictures.

    Attributes:
        variant: precision of a checkpoint's files, such as `fp16`; None takes those without one.
        few_step: whether the checkpoint was distilled to few steps (LCM, Turbo, Lightning), and so
            refuses DPM-Solver++, many steps and guidance; None looks at the checkpoint.
        base_url: as of the summariser, and so are the options of the server that follow it.
        size: of a picture in pixels, as the server writes it (`1024x1024`); None does not say.
        quality: as the server names it; None does not say.
        response_format: how the server is asked to send pictures; `auto` asks all models but
            OpenAI's GPT image models, which refuse to be asked; empty asks none.
        send_seed: whether the server takes a seed. Without, pictures differ by themselves.
        max_pictures: pictures that may be paid for; a run stops before the next one.
        max_cost: money that may be spent, by `price_per_picture`.
    """

    kind: Literal["diffusers", "world", "retrieval", "images"] = "diffusers"
    checkpoint: str = "CompVis/stable-diffusion-v1-4"
    revision: str | None = None
    variant: str | None = None
    scheduler: Literal["dpmsolver++", "checkpoint"] = "dpmsolver++"
    steps: Positive = 50
    guidance: Annotated[float, Field(ge=0.0)] = 7.5
    width: Positive | None = None
    height: Positive | None = None
    prompt: str = "One realistic image of {concept}"
    few_step: bool | None = None
    base_url: str = "https://api.openai.com/v1"
    model: str = "gpt-image-1-mini"
    api_key_env: str = "OPENAI_API_KEY"
    timeout_s: Annotated[float, Field(gt=0)] = 180.0
    max_retries: Annotated[int, Field(ge=0, le=10)] = 2
    max_concurrency: Positive = 4
    size: str | None = None
    quality: str | None = None
    response_format: Literal["auto", "b64_json", ""] = "auto"
    send_seed: bool = False
    max_pictures: Positive | None = None
    max_cost: Money | None = None
    price_per_picture: Money | None = None
    allow_insecure_http: bool = False

    @field_validator("prompt")
    @classmethod
    def _has_concept(cls, value: str) -> str:
        if value.count("{concept}") != 1 or "{" in value.replace("{concept}", ""):
            raise ValueError(f"{value!r} must contain {{concept}} once and no other braces")
        return value

    @model_validator(mode="after")
    def _options_fit(self) -> Self:
        _check_options(self, _PAINTER_OPTIONS)
        _check_prices(self, "price_per_picture")
        return self

    @property
    def options(self) -> dict[str, Any]:
        """The settings of the chosen kind."""
        return self.chosen(*_PAINTER_OPTIONS[self.kind])


_PAINTER_OPTIONS: dict[str, tuple[str, ...]] = {
    "diffusers": (
        "checkpoint", "revision", "variant", "scheduler", "steps", "guidance", "width", "height",
        "prompt", "few_step",
    ),
    "images": (
        *_SERVER, "prompt", "size", "quality", "response_format", "send_seed", "max_pictures",
        "price_per_picture",
    ),
    "retrieval": (),
    "world": (),
}  # fmt: skip


class Clip(Section):
    """The image-text encoder: an open_clip model (paper: CLIP ViT-B/16), or ConSE.

    Attributes:
        kind: `open_clip`; or `conse`, a space of pictures and texts that is made of a classifier
            and a sentence encoder (Norouzi et al. 2014).
        model: an architecture of open_clip, or a model's folder.
        pretrained: tag of the architecture's weights, or a weights file.
        weights: a weights file in place of the tag's own, trained with the tag's settings.
        revision: branch, tag or commit of the hub model that open_clip's weights, or ConSE's
            sentence encoder, come from.
        classifier: ConSE's source of networks, such as `efficientnet-lite:efficientnet-lite2`.
        classifier_weights: its weights file, where the source needs one.
        sentences: ConSE's sentence encoder, a folder or hub id.
        top: how many predicted classes stand for a picture in ConSE.
    """

    kind: Literal["open_clip", "conse"] = "open_clip"
    model: str = "ViT-B-16"
    pretrained: str = "openai"
    weights: str | None = None
    revision: str | None = None
    classifier: str | None = None
    classifier_weights: str | None = None
    sentences: str = "sentence-transformers/all-mpnet-base-v2"
    top: Positive = 10

    @model_validator(mode="after")
    def _options_fit(self) -> Self:
        _check_options(self, _CLIP_OPTIONS)
        if self.kind == "conse" and not self.classifier:
            raise ValueError(
                "kind = 'conse' needs a classifier, such as 'efficientnet-lite:efficientnet-lite2'"
            )
        return self

    @property
    def options(self) -> dict[str, Any]:
        """The settings of the chosen kind."""
        return self.chosen(*_CLIP_OPTIONS[self.kind])


_CLIP_OPTIONS: dict[str, tuple[str, ...]] = {
    "open_clip": ("model", "pretrained", "weights", "revision"),
    "conse": ("classifier", "classifier_weights", "sentences", "revision", "top"),
}


class ClipDissect(Section):
    """CLIP-Dissect, a baseline: the most similar concepts of a fixed set (paper's defaults).

    Attributes:
        concepts: a text file with one concept a line, or `package:module/path`.
        prompt: the text that stands for a concept before the image-text encoder.
        similarity: the similarity function (CLIP-Dissect, section 3.2).
        top: labels kept for a unit, best first.
        cutoff: tau, a unit whose best similarity is above it counts as interpretable; the
            default belongs to `soft_wpmi` (section A.8).
        pairs: concepts of a unit that are combined into "a and b" (section A.4); 0 for none.
        top_images: images that stand for a unit in `wpmi` and `soft_wpmi`; None takes the
            paper's, 28 and 100.
    """

    concepts: str = Field(min_length=1)
    prompt: str = "{concept}"
    similarity: Similarity = "soft_wpmi"
    top: Positive = 5
    cutoff: float = Field(default=0.16, allow_inf_nan=False)
    pairs: Annotated[int, Field(ge=0, le=100)] = 0
    top_images: Positive | None = None

    @field_validator("prompt")
    @classmethod
    def _has_concept(cls, value: str) -> str:
        return _check_template(value)

    @model_validator(mode="after")
    def _options_fit(self) -> Self:
        if self.pairs == 1:
            raise ValueError("pairs = 1 makes no pair; write 2 or more, or 0 for none")
        if self.top_images is not None and "wpmi" not in self.similarity:
            raise ValueError(
                f"top_images is no option of {self.similarity!r}; leave it out, or choose "
                "similarity = 'wpmi' or 'soft_wpmi'"
            )
        return self


class Polysemantic(Section):
    """How many concepts a unit answers to, with a label for each.

    Attributes:
        exemplars: images that a unit's concepts are looked for in, drawn from all that activate it
            clearly.
        reach: how clearly: share of the way from the mean activation to the largest.
        shared: mean cosine, beyond the average picture, up to which exemplars are grouped apart.
        smallest: exemplars of a group at least.
        response: groups are one concept if the unit answers to what their labels have in common at
            least this share of what it answers to the labels.
        seed: seed of the draw.
    """

    exemplars: Positive = 40
    reach: Share = 0.25
    shared: float = Field(default=0.4, ge=-1.0, lt=1.0)
    smallest: Positive = 4
    response: Share = 0.5
    seed: int = 0


class Milan(Section):
    """MILAN's labels: the caption that a unit's exemplars have most mutual information with.

    Attributes:
        exemplars: K, images of a unit, the most activating (authors: 15).
        candidates: captions of each image that are candidates, by beam search.
        lam: lambda, weight of how likely a caption is anyway (authors: 0.2).
        how: how single images make the set: `product` favours what is true of all of them,
            `mixture` what is very likely on some.
        masked: blacken in an exemplar what the unit does not look at.
        language_model: folder or hub id of a causal language model that tells how likely a caption
            is; None asks the captioner itself about a picture without content.
        top: labels kept for a unit, best first.
    """

    exemplars: Positive = 15
    candidates: Annotated[int, Field(gt=0, le=50)] = 5
    lam: float = Field(default=0.2, ge=0.0, allow_inf_nan=False)
    how: Literal["product", "mixture"] = "product"
    masked: bool = False
    language_model: str | None = Field(default=None, min_length=1)
    top: Positive = 5


class LabelFile(Section):
    """A CSV file of labels that were made elsewhere.

    Attributes:
        file: path; columns as for `dnd evaluate`.
        layer: `model/layer` as in units' keys, of a file that numbers the units of one layer.
        first_unit: the number that the file gives the first unit of a layer, 0 or 1; None finds it
            out where it can be told, and says where it cannot.
    """

    file: str = Field(min_length=1)
    layer: str | None = None
    first_unit: Literal[0, 1] | None = None


class Evaluation(Images):
    """Metrics of finished labels, on images that had no part in the labels.

    The images are held out: those that are in the probing set, too, are left out.

    Attributes:
        methods: assets whose labels are measured; None for every asset of labels of the study.
        images_per_label: Q', fresh pictures painted of each label (CoSy, section 3.3).
        truths: a CSV file with columns of units and truths, a text file whose line i is unit i's,
            or `categories`: the network's own class names, for the layer that gives its output.
        first_unit: the number that a table of truths gives the first unit of a layer, 0 or 1; None
            finds it out where it can be told.
        sentence_encoder: a folder or hub id (`org/name@revision` pins it), for the cosine and
            BERTScore of label and truth (paper: all-mpnet-base-v2).
        own_metrics: metrics of your own on held-out images, as `name = "package.module:function"`;
            the function takes a unit's activations and its label's presence (both (N,), float64)
            and returns a number, NaN where there is none.
        seed: seed of the fresh pictures.
    """

    methods: list[str] | None = Field(default=None, min_length=1)
    images_per_label: Positive = 10
    truths: str | None = Field(default=None, min_length=1)
    first_unit: Literal[0, 1] | None = None
    sentence_encoder: str | None = Field(default=None, min_length=1)
    own_metrics: dict[str, str] = {}
    seed: int = 0

    @field_validator("own_metrics")
    @classmethod
    def _metrics_named(cls, value: dict[str, str]) -> dict[str, str]:
        return {_checked_name(name, "metric"): source for name, source in value.items()}


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


class Invert(Section):
    """What INVERT alone needs (Bykov et al. 2023, section 3).

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


class Segmentation(Section):
    """Methods that need pixel labels; exactly one of the layouts says where these lie.

    Attributes:
        table: masks with a table.
        broden: Broden's layout.
        index: index masks, as of ADE20K.
        world: generated pictures with exact masks.
        methods: which labels to make.
        share: of all positions, those that exceed a unit's threshold.
        cutoff: the IoU above which a unit counts as interpretable.
        beam: formulas kept at each step of the search.
        length: concepts in a formula of `compositions` at most.
        top: labels kept for a unit, best first.
        invert: what INVERT alone needs.
    """

    table: MaskTable | None = None
    broden: BrodenFolder | None = None
    index: IndexMasks | None = None
    world: MaskedWorld | None = None
    methods: list[SegmentationMethod] = Field(
        default=["network_dissection", "compositions", "invert"], min_length=1
    )
    share: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.005
    cutoff: Share = 0.04
    beam: Annotated[int, Field(gt=0, le=1000)] = 10
    length: Annotated[int, Field(gt=0, le=10)] = 3
    top: Positive = 5
    invert: Invert = Invert()

    @model_validator(mode="after")
    def _one_layout(self) -> Self:
        layouts = ("table", "broden", "index", "world")
        named = [name for name in layouts if getattr(self, name) is not None]
        if len(named) != 1:
            said = f"{' and '.join(named)} were given" if named else "none was given"
            raise ValueError(f"takes exactly one of {', '.join(layouts)}; {said}")
        if len(set(self.methods)) < len(self.methods):
            raise ValueError("methods names a method twice; name each once")
        return self


Role = Literal["target", "captioner", "text_to_image", "clip"]
"""What a model is to the study."""
Precision = Literal["float32", "bfloat16", "float16"]


class BatchSizes(Section):
    """Images per batch in each stage; halved by itself when memory runs out.

    `"auto"` looks for the size with the most images a second, once for each model and device, and
    begins with the usual one; on the CPU, where nothing is gained, the usual one stays.

    Attributes:
        auto: the stages that were given as `"auto"`; need not be written.
    """

    target: Positive = 64
    captioner: Positive = 16
    text_to_image: Positive = 8
    clip: Positive = 64
    auto: list[Role] = []

    @model_validator(mode="before")
    @classmethod
    def _auto_noted(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        named = [name for name, size in value.items() if size == "auto"]
        odd = [size for size in value.values() if isinstance(size, str) and size != "auto"]
        if odd:
            raise ValueError(f'{odd[0]!r} is no size of a batch; write a number, or "auto"')
        given = {name: size for name, size in value.items() if size != "auto"}
        auto = [*given.get("auto", []), *named]
        return {**given, "auto": list(dict.fromkeys(auto))} if named else given


class Precisions(Section):
    """Precision of single models; None is `compute.dtype`."""

    target: Precision | None = None
    captioner: Precision | None = None
    text_to_image: Precision | None = None
    clip: Precision | None = None


class Compute(Section):
    """Where the models run.

    Attributes:
        device: `auto` is the best one that is there.
        dtype: precision of all models.
        precision: of single ones.
        compile: let torch compile text-to-image, which takes minutes once and is faster then; the
            last bits of pictures change.
        models_gb: memory that models may take, in 10^9 bytes, before those that were not used for
            the longest leave it; None is half of a CUDA card, and no limit elsewhere.
        workers: threads that decode and transform pictures ahead; None for as many as help.
        batch: images per batch.
    """

    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    dtype: Precision = "float32"
    precision: Precisions = Precisions()
    compile: bool = False
    models_gb: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    workers: Annotated[int, Field(ge=0, le=256)] | None = None
    batch: BatchSizes = BatchSizes()

    def dtype_of(self, role: Role | None) -> Precision:
        """Precision of a model; without a role, of those that have none of their own."""
        found: Precision | None = getattr(self.precision, role) if role else None
        return found or self.dtype


class Study(Section):
    """Everything a run needs to know. See the module docstring for the file format."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]*$")
    description: str = ""
    models: list[Model] = Field(min_length=1)
    probing_set: ProbingSet
    dissection: Dissection = Dissection()
    captioner: Captioner = Captioner()
    summariser: Summariser = Summariser()
    text_to_image: TextToImage = TextToImage()
    clip: Clip = Clip()
    collection: Collection | None = None
    clip_dissect: ClipDissect | None = None
    polysemantic: Polysemantic | None = None
    milan: Milan | None = None
    imported_labels: dict[str, LabelFile] = {}
    own_methods: dict[str, str] = {}
    evaluation: Evaluation | None = None
    segmentation: Segmentation | None = None
    compute: Compute = Compute()
    folder: Path = Field(default=Path(), exclude=True, repr=False)

    @field_validator("imported_labels", mode="before")
    @classmethod
    def _files_named(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        files = {n: {"file": one} if isinstance(one, str) else one for n, one in value.items()}
        return {_checked_name(str(name), "method"): file for name, file in files.items()}

    @field_validator("own_methods")
    @classmethod
    def _methods_named(cls, value: dict[str, str]) -> dict[str, str]:
        return {_checked_name(name, "method"): source for name, source in value.items()}

    @model_validator(mode="after")
    def _names_unique(self) -> Self:
        names = [model.name for model in self.models]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"two models are called {twice[0]!r}; names must differ")
        for model in self.models:
            paths = [layer.path for layer in model.layers]
            again = sorted({path for path in paths if paths.count(path) > 1})
            if again:
                raise ValueError(f"model {model.name!r} lists layer {again[0]!r} twice")
        return self

    @model_validator(mode="after")
    def _parts_fit(self) -> Self:
        kinds = {"captioner": self.captioner.kind, "text_to_image": self.text_to_image.kind}
        for section, kind in kinds.items():
            if kind == "retrieval" and self.collection is None:
                raise ValueError(
                    f"{section}.kind = 'retrieval' needs a section [collection] with tables = "
                    "['captions.csv'], columns file and caption"
                )
        if self.milan is not None and self.captioner.kind != "blip":
            raise ValueError(
                f"[milan] needs a captioner that tells how likely a caption is, not kind = "
                f"{self.captioner.kind!r}; use captioner.kind = 'blip', or leave out [milan]"
            )
        return self

    def model(self, name: str) -> Model:
        """The model called `name`.

        Raises:
            NotFoundError: with the nearest names.
        """
        for model in self.models:
            if model.name == name:
                return model
        raise not_found("model", name, [model.name for model in self.models])

    def servers(self) -> list[str]:
        """Addresses outside this machine that a run may call, which may cost money."""
        sections = (self.captioner, self.summariser, self.text_to_image)
        asked = [one.base_url for one in sections if one.kind in ("chat", "images")]
        return [url for url in asked if not is_loopback(urlsplit(url).hostname or "")]

    def path(self, name: str) -> Path:
        """A path written in the study, made absolute from the study file's folder."""
        return (self.folder / Path(name).expanduser()).resolve()


def needed(section: _Section | None, name: str, study: Study, example: str = "") -> _Section:
    """A section of a study that something cannot do without.

    Args:
        section: the section.
        name: what it is called.
        study: whose it is.
        example: what it may hold at least.

    Raises:
        StudyError: when the study has none.
    """
    if section is None:
        held = f" with {example}" if example else ""
        raise StudyError(f"study {study.name!r} has no section [{name}]; add one{held}.")
    return section


def embedded_studies() -> dict[str, Path]:
    """The studies that ship with the package, by name."""
    folder = Path(str(importlib.resources.files("dnd_assets"))) / "studies"
    return {path.stem: path for path in sorted(folder.glob("*.toml"))}


def load_study(
    name_or_path: str | Path | None = None, unset: dict[str, str] | None = None
) -> Study:
    """Read and check a study.

    Args:
        name_or_path: the name of an embedded study, or a TOML file. None reads the environment
            variable `DND_STUDY`, and without one takes the embedded study `known-answers`.
        unset: collects the variables `${DND_…}` that are not set, with the key that reads each;
            they stay as they are written. None refuses a study that reads one.

    Raises:
        StudyError: naming every wrong key and value with the nearest valid ones.
    """
    asked = str(name_or_path or os.environ.get("DND_STUDY") or "known-answers")
    path = embedded_studies().get(asked, Path(asked).expanduser())
    if not path.is_file():
        beside = [str(p) for p in Path().glob("*.toml") if p.name != "pyproject.toml"]
        close = ", ".join(nearest(asked, [*embedded_studies(), *beside]))
        raise StudyError(
            f"no study {asked!r}: it is neither a file nor an embedded study; nearest: {close}. "
            "Set DND_STUDY or --study to one of them."
        )
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise StudyError(f"{path} is not valid TOML: {error}. Correct that line.") from error
    expanded = _expanded(table, str(path), unset)
    return parse_study(expanded, path.resolve().parent, str(path))


def _expanded(value: Any, origin: str, unset: dict[str, str] | None, where: str = "") -> Any:
    """`${DND_…}` in any text of a study, by the environment.

    Other variables are left alone: the study is recorded with each run, and keys lie in some.
    """
    if isinstance(value, dict):
        within = f"{where}." if where else ""
        return {
            key: _expanded(inner, origin, unset, f"{within}{key}") for key, inner in value.items()
        }
    if isinstance(value, list):
        return [_expanded(inner, origin, unset, where) for inner in value]
    if not isinstance(value, str):
        return value

    def known(found: re.Match[str]) -> str:
        if found[1] not in os.environ and unset is not None:
            unset.setdefault(found[1], where)
            return found[0]
        if found[1] not in os.environ:
            raise StudyError(
                f"{origin} reads the environment variable {found[1]}, which is not set. Run "
                f"`export {found[1]}=…` first, or write the value into the study."
            )
        return os.environ[found[1]]

    return _VARIABLE.sub(known, value)


def parse_study(table: dict[str, Any], folder: Path, origin: str = "study") -> Study:
    """Check a study that was read from TOML already; `folder` anchors its relative paths."""
    if "folder" in table:
        raise StudyError(f"{origin}: unknown key 'folder'; images go under [probing_set].")
    try:
        return Study.model_validate({**table, "folder": folder})
    except ValidationError as error:
        lines = [_explain(table, dict(problem)) for problem in error.errors()]
        raise StudyError(
            f"{origin} is not valid:\n" + "\n".join(f"  {x}" for x in lines)
        ) from error


def _explain(table: dict[str, Any], problem: dict[str, Any]) -> str:
    """One line on one thing pydantic found: where, what was asked, what would be valid."""
    where = ".".join(str(part) for part in problem["loc"])
    if problem["type"] == "extra_forbidden":
        keys = _valid_keys(problem["loc"][:-1])
        return f"{where}: unknown key; nearest: {', '.join(nearest(str(problem['loc'][-1]), keys))}"
    message = str(problem["msg"]).removeprefix("Value error, ")
    if problem["type"] == "missing":
        return f"{where}: is missing"
    if problem["type"] == "literal_error":
        choices = re.findall(r"'([^']+)'", str(problem["ctx"]["expected"]))
        close = ", ".join(nearest(str(problem["input"]), choices))
        return f"{where}: {problem['input']!r} is not known; nearest: {close}"
    if problem["type"] == "value_error":
        return f"{where}: {message}" if where else message
    return f"{where}: {problem['input']!r} is wrong: {message}"


def _valid_keys(location: tuple[str | int, ...]) -> list[str]:
    """Keys that the table at `location` takes."""
    section: Any = Study
    for part in location:
        if isinstance(part, int):
            continue
        annotation = section.model_fields[part].annotation if part in section.model_fields else None
        section = _section_in(annotation) or section
    return [key for key in section.model_fields if key != "folder"]


def _section_in(annotation: Any) -> Any:
    """The Section class inside an annotation such as `list[Model]` or `World | None`."""
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return annotation
    for inner in getattr(annotation, "__args__", ()):
        found = _section_in(inner)
        if found:
            return found
    return None
