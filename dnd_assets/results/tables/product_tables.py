"""The tables whose rows come of products, each with its columns."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from dnd_assets.lineage.fingerprint import canonical
from dnd_assets.lineage.records import is_labels
from dnd_assets.results.tables.columns import (
    ASSET,
    IMAGE,
    LABEL_COLUMNS,
    METRICS_SUFFIX,
    STATUS,
    SURENESS,
    UNIT,
    Column,
    NewestProduct,
    Row,
    Table,
)
from dnd_assets.results.tables.product_rows import (
    activation_summary,
    candidates,
    detected,
    fresh_pictures,
    label_images,
    labels,
    listed,
    metrics,
    painted,
    ranking,
)

_POSITION: Final = Column("position", "int", "place in the list, from 1")
_ACTIVATION: Final = Column(
    "activation", "number", "the unit's pooled activation on the picture", "as the layer gives it"
)
_PAINTED: Final = (
    Column("index", "int", "number of the picture among those of its concept, from 0"),
    Column("seed", "uint", "seed of the painter, from the concept and the index"),
    IMAGE,
    Column("rejected", "flag", "whether it is no evidence: refused by the safety checker, or none"),
    Column("cause", "text", "why: safety, not_finite (NaN) or constant; empty for a sound picture"),
)


def _lineage(record: NewestProduct) -> Iterator[Row]:
    product = record.product
    preimage = product.preimage
    texts = {
        name: canonical(preimage.get(name, {})) for name in ("parameters", "inputs", "weights")
    }
    told = any(table.reads(record.asset) for table in TABLES if table.name != "products")
    yield {
        "asset": record.asset, "key": product.key, "data_version": product.data_version,
        "status": product.outcome.status, "reason": product.outcome.reason,
        "code": preimage.get("code"), **texts, "run": record.run,
        "recorded_at": record.recorded_at,
        "content": None if told else canonical(product.payload),
    }  # fmt: skip


def _is(*names: str) -> Callable[[str], bool]:
    return lambda asset: asset in names


def _is_metrics(asset: str) -> bool:
    return asset.endswith(METRICS_SUFFIX)


_SCORES: Final = ("score", "mean_rank", "topk_squared", "image_products",
                  "topk_squared_image_products")  # fmt: skip


def label_table(asset: str) -> Table:
    """The table of one method's labels; all of them have the same columns."""
    whose = "the study's own" if asset == "labels" else "another method's"
    return Table(
        asset, f"The newest label of each unit, {whose}.", f"`{asset}`", LABEL_COLUMNS,
        _is(asset), labels,
    )  # fmt: skip


TABLES: Final[tuple[Table, ...]] = (
    Table(
        "activations",
        "How a unit answers to the probing set.",
        "`activations`",
        (
            UNIT,
            *STATUS,
            Column("images", "int", "probing images with a finite activation", "images"),
            Column("mean", "number", "mean activation over them", "as the layer gives it"),
            Column("std", "number", "standard deviation over them", "as the layer gives it"),
            Column("positive", "number", "share of images with an activation above 0", "share"),
            Column("fires", "number", "share of images on which the unit fires; missing where "
                   "nothing tells, as of logits", "share"),
            Column("largest", "number", "largest activation", "as the layer gives it"),
            Column("off", "number", "activation at or below which the unit is silent",
                   "as the layer gives it"),
            Column("remarks", "texts", "fewer exemplars than asked for; images set aside"),
        ),
        _is("activations"),
        activation_summary,
    ),
    Table(
        "exemplars",
        "One of the most activating probing images of a unit on which it fires, largest activation "
        "first.",
        "`activations`",
        (UNIT, _POSITION, IMAGE, _ACTIVATION),
        _is("activations"),
        listed("exemplars", ("image", "activation")),
    ),
    Table(
        "crops",
        "An attention crop of an exemplar.",
        "`crops`",
        (
            UNIT,
            _POSITION,
            IMAGE,
            Column("crop", "text", "SHA-256 of the crop's file; table pictures has it"),
            Column("box", "ints", "left, top, right, bottom on the picture resized to a square "
                   "of side dissection.crop_size", "pixels"),
            Column("threshold", "int", "Otsu's threshold of the heat map", "0 to 255"),
            Column("activation", "number", "the unit's pooled activation on the crop",
                   "as the layer gives it"),
        ),
        _is("crops"),
        listed("crops", ("image", "crop", "box", "threshold", "activation")),
    ),
    Table(
        "activating_images",
        "One of the K most activating pictures out of exemplars and crops: what is captioned.",
        "`crops`",
        (UNIT, _POSITION, IMAGE, Column("kind", "text", "image or crop"), _ACTIVATION),
        _is("crops"),
        listed("activating", ("image", "kind", "activation")),
    ),
    Table(
        "captions",
        "The caption of an activating picture.",
        "`captions`",
        (UNIT, _POSITION, IMAGE, Column("caption", "text", "what the captioner says of it")),
        _is("captions"),
        listed("captions", ("image", "caption")),
    ),
    Table(
        "candidate_concepts",
        "A candidate concept, in the summariser's order.",
        "`candidate_concepts`",
        (UNIT, _POSITION, Column("concept", "text", "the concept")),
        _is("candidate_concepts"),
        candidates,
    ),
    Table(
        "detection",
        "What detects best where a unit is active, also where it is too unsure to be its label.",
        "`detection_scores`",
        (
            UNIT,
            Column("label", "text", "the concept; missing where none predicts anything"),
            *SURENESS,
            Column("images", "int", "images that it rests on", "images"),
            Column("label_set", "scored", "the labels that nine tenths of the resamples choose, "
                   "with their shares"),
            *STATUS,
        ),
        _is("detection_scores"),
        detected,
    ),
    Table(
        "detection_scores",
        "How well the presence of a concept in captions predicts where a unit is active, best "
        "first.",
        "`detection_scores`",
        (
            UNIT,
            _POSITION,
            Column("concept", "text", "the concept"),
            Column("mcc", "number", "Matthews' correlation at the best threshold", "-1 to 1"),
            Column("threshold", "number", "the unit counts as active from here on",
                   "as the layer gives it"),
            Column("share", "number", "of images whose caption has the concept", "share"),
            Column("agreement", "number",
                   "correlation of the activation with the encoder's likeness of picture and "
                   "concept; empty where the encoder was not asked", "-1 to 1"),
        ),
        _is("detection_scores"),
        listed("concepts", ("concept", "mcc", "threshold", "share", "agreement")),
    ),
    Table(
        "detection_examples",
        "A reference image from the whole range of a unit's activations.",
        "`detection_scores`",
        (
            UNIT,
            _POSITION,
            IMAGE,
            _ACTIVATION,
            Column("caption", "text", "what the captioner says of it"),
            Column("shows", "flag", "whether the caption has the concept that detects best"),
            Column("band", "text", "high, middle or low third of the range of activations"),
        ),
        _is("detection_scores"),
        listed("examples", ("image", "activation", "caption", "shows", "band")),
    ),
    Table(
        "synthetic_images",
        "A picture painted of a candidate concept.",
        "`synthetic_images`",
        (UNIT, Column("concept", "text", "the candidate concept"), *_PAINTED),
        _is("synthetic_images"),
        painted,
    ),
    Table(
        "scores",
        "Every scoring function of a candidate concept, best concept first.",
        "`scores`",
        (
            UNIT,
            _POSITION,
            Column("concept", "text", "the candidate concept"),
            Column("score", "number", "of the scoring function that the study selects by"),
            Column("mean_rank", "number", "minus the mean rank of the concept's pictures"),
            Column("topk_squared", "number", "TopK squared"),
            Column("image_products", "number", "mean product of image embeddings", "cosine"),
            Column("topk_squared_image_products", "number", "TopK squared times image products"),
            Column("activations", "numbers", "the unit's activation on each picture of the "
                   "concept", "as the layer gives it"),
        ),
        _is("scores"),
        listed("concepts", ("concept", *_SCORES, "activations")),
    ),
    label_table("labels"),
    Table(
        "label_ranking",
        "A label that a method kept, best first; of polysemantic_labels, one of the concepts.",
        "`labels` and every `…_labels`",
        (
            UNIT,
            ASSET,
            _POSITION,
            Column("label", "text", "the label"),
            Column("score", "number", "its score", "the method's own scale"),
            Column("log_given_images", "number", "MILAN: log p of it given the images", "nats"),
            Column("log_prior", "number", "MILAN: log p of it by itself", "nats"),
            Column("response", "number", "polysemantic: mean activation on pictures of it",
                   "as the layer gives it"),
            Column("mass", "number", "polysemantic: sum of its exemplars' activations",
                   "as the layer gives it"),
        ),
        is_labels,
        ranking,
    ),
    Table(
        "label_images",
        "A picture that a method of labelling looked at, where it does so itself.",
        "every `…_labels` that has pictures of its own",
        (
            UNIT,
            ASSET,
            Column("concept", "text", "the concept that it shows; missing for the whole unit"),
            _POSITION,
            IMAGE,
            Column("activation", "number", "pooled activation, or the peak of the unit's map",
                   "as the layer gives it"),
            Column("caption", "text", "what a captioner says of it"),
            Column("masked", "text", "SHA-256 of the masked picture that was looked at instead"),
        ),
        is_labels,
        label_images,
    ),
    Table(
        "metrics",
        "A metric of a label; docs/evaluation.md says what each measures.",
        "every `…_metrics`",
        (
            UNIT,
            ASSET,
            Column("label", "text", "the label that is measured"),
            Column("truth", "text", "what the unit is known to answer to"),
            Column("metric", "text", "name of the metric"),
            Column("value", "number", "its value", "the metric's own scale"),
            Column("reason", "text", "why there is no value"),
        ),
        _is_metrics,
        metrics,
    ),
    Table(
        "fresh_pictures",
        "A picture painted of a finished label, to measure it.",
        "every `…_metrics`",
        (UNIT, ASSET, Column("label", "text", "the label"), *_PAINTED),
        _is_metrics,
        fresh_pictures,
    ),
    Table(
        "products",
        "What a product was made from: the newest of each asset and unit.",
        "every asset",
        (
            Column("unit", "text", "the unit's key; missing for products of the whole study"),
            ASSET,
            Column("key", "text", "SHA-256 of code, parameters, weights and inputs"),
            Column("data_version", "text", "SHA-256 of its content"),
            *STATUS,
            Column("code", "text", "version of the code that made it"),
            Column("parameters", "json", "settings that decide it"),
            Column("inputs", "json", "data version of each input, by asset"),
            Column("weights", "json", "each model by the hash that table providers explains"),
            Column("run", "text", "the run that announced it last"),
            Column("recorded_at", "text", "when, ISO 8601 in UTC"),
            Column("content", "json", "the product itself, where no other table has it"),
        ),
        lambda asset: True,
        _lineage,
    ),
)  # fmt: skip
"""The tables whose rows come of products; labels of other methods have one each besides."""
