"""Sections on the models that describe: captioner, summariser, text-to-image, image-text encoder.

A section that has kinds lists which of its settings belong to each.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, field_validator, model_validator

from dnd_assets.study.settings import (
    Money,
    Positive,
    Section,
    check_options,
    check_prices,
    checked_template,
)

_LeftOut = BeforeValidator(lambda value: None if value == "none" else value)
"""Of an option of a request to a server: "none" leaves it out."""
Temperature = Annotated[Annotated[float, Field(ge=0.0, le=2.0)] | None, _LeftOut]
TopP = Annotated[Annotated[float, Field(gt=0.0, le=1.0)] | None, _LeftOut]
Api = Literal["chat", "responses"]


class CaptionerSettings(Section):
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
    extra: dict[str, Any] = Field(default={})
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
        check_options(self, _CAPTIONER_OPTIONS)
        if self.kind == "own" and not self.source:
            raise ValueError("kind = 'own' needs a function: source = 'my_captioner:caption'")
        if self.kind == "concepts":
            if not self.concepts:
                raise ValueError("kind = 'concepts' needs a file: concepts = 'concepts.txt'")
            checked_template(self.prompt or "{concept}")
        examples = {"blip2": "Salesforce/blip2-opt-2.7b", "vlm": "HuggingFaceTB/SmolVLM-Instruct"}
        if self.kind in examples and "blip-image-captioning" in self.checkpoint:
            raise ValueError(
                f"kind = {self.kind!r} needs a checkpoint of its own, such as "
                f"{examples[self.kind]!r}; {self.checkpoint!r} is of kind = 'blip'"
            )
        check_prices(self, "price_prompt", "price_completion")
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


class SummariserSettings(Section):
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
        prompt: what is asked for a label, in place of the paper's words; how to answer is added.
        shorten_prompt: what is asked for captions in short, likewise.
        domain: words on what the pictures are, said before both: "Satellite pictures of land use."
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
    prompt: str | None = Field(default=None, min_length=1)
    shorten_prompt: str | None = Field(default=None, min_length=1)
    domain: str | None = Field(default=None, min_length=1)
    reasoning_effort: str | None = None
    extra: dict[str, Any] = Field(default={})
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
        check_prices(self, "price_prompt", "price_completion")
        return self


class TextToImageSettings(Section):
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
        check_options(self, _PAINTER_OPTIONS)
        check_prices(self, "price_per_picture")
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
        check_options(self, _CLIP_OPTIONS)
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
