"""Sections on methods of labelling, and on what measures labels."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from dnd_assets.settings import Positive, Section, Share, checked_name, checked_template
from dnd_assets.study.image_settings import Images

Scoring = Literal["mean_rank", "topk_squared", "image_products", "topk_squared_image_products"]
Similarity = Literal["cos", "cos_cubed", "rank_reorder", "wpmi", "soft_wpmi"]


class DissectionSettings(Section):
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
        presence: who says for `detection` that an image shows a concept: `captions` by their words;
            `both`, the captions and the image-text encoder, which weigh the same.
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
    presence: Literal["captions", "both"] = "captions"
    reference_images: Positive = 1000
    contrast_phrases: Positive = 10
    margin: Share = 0.05
    min_confidence: Share = 0.5
    labels: Positive = 3
    seed: int = 0


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
        return checked_template(value)

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


class NamedDirections(Section):
    """Names of directions in an image-text space, by the texts that point the same way.

    Attributes:
        concepts: a text file with one concept a line, or `package:module/path`.
        vectors: a .npy file with the vector of each concept, in their order; None embeds them with
            the study's image-text encoder.
        columns: whether the columns of `vectors` are the texts, where its shape does not tell.
        prompt: the text that stands for a concept before the encoder.
        top: labels kept for a unit, best first.
    """

    concepts: str = Field(min_length=1)
    vectors: str | None = Field(default=None, min_length=1)
    columns: bool | None = None
    prompt: str = "{concept}"
    top: Positive = 5

    @field_validator("prompt")
    @classmethod
    def _has_concept(cls, value: str) -> str:
        return checked_template(value)


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


class EvaluationSettings(Images):
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
        metrics: which metrics on held-out images, as docs/evaluation.md lists them; ["all"] for
            every one, None for the usual ones.
        active_share: share of the held-out images that count as active, of metrics that ask.
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
    metrics: list[str] | None = Field(default=None, min_length=1)
    active_share: Annotated[float, Field(gt=0.0, le=1.0)] = 0.05
    own_metrics: dict[str, str] = Field(default={})
    seed: int = 0

    @field_validator("metrics")
    @classmethod
    def _metrics_known(cls, value: list[str] | None) -> list[str] | None:
        if value is None:
            return None
        from dnd_assets.methods.metrics.image_level import chosen_metrics  # takes half a second

        return list(chosen_metrics(value))

    @field_validator("own_metrics")
    @classmethod
    def _metrics_named(cls, value: dict[str, str]) -> dict[str, str]:
        return {checked_name(name, "metric"): source for name, source in value.items()}
