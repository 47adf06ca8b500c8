"""The products of a study as tables: columns with their meaning, and how rows come of a product.

This is the one description of what `dnd export` writes, what `dnd_assets.open` gives as frames,
and what the data dictionary says.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, get_args

from dnd_assets.lineage.fingerprint import canonical
from dnd_assets.lineage.records import LABELS_SUFFIX, Product, is_labels
from dnd_assets.lineage.remarks import remarks_of
from dnd_assets.methods.dissection.painted import cause_of

Type = Literal[
    "text", "int", "uint", "number", "flag", "texts", "ints", "numbers", "scored", "json"
]
"""`scored` is a list of labels with scores; `json` is text that holds JSON."""
COLUMN_TYPES: Final[tuple[Type, ...]] = get_args(Type)
Row = dict[str, Any]
METRICS_SUFFIX: Final = "_metrics"


@dataclass(frozen=True)
class Column:
    """A column of a table.

    Attributes:
        name: of the column.
        type: of its values; every value may be missing.
        meaning: what it says.
        unit: what numbers count or measure; empty where they have no unit.
    """

    name: str
    type: Type
    meaning: str
    unit: str = ""


@dataclass(frozen=True, slots=True)
class Record:
    """The newest product of one asset for one unit of a study.

    Attributes:
        asset: the asset.
        unit: the unit's key; empty for products of the whole study.
        model: the unit's network.
        layer: its layer.
        neuron: its index; None for products of the whole study.
        run: the run that announced it.
        recorded_at: when.
        product: the product.
    """

    asset: str
    unit: str
    model: str
    layer: str
    neuron: int | None
    run: str
    recorded_at: str
    product: Product


@dataclass(frozen=True)
class Table:
    """A table.

    Attributes:
        name: of the table and of its file.
        meaning: what a row is.
        source: the assets that it comes from, as the data dictionary names them.
        columns: its columns.
        reads: whether it takes rows from an asset, by name; those of the whole lineage take none.
        rows: rows of one product.
    """

    name: str
    meaning: str
    source: str
    columns: tuple[Column, ...]
    reads: Callable[[str], bool] = lambda asset: False
    rows: Callable[[Record], Iterable[Row]] = lambda record: ()


_UNIT: Final = Column("unit", "text", "the unit's key, model/layer/neuron")
_POSITION: Final = Column("position", "int", "place in the list, from 1")
_IMAGE: Final = Column("image", "text", "SHA-256 of the picture's file; table pictures has it")
_ACTIVATION: Final = Column(
    "activation", "number", "the unit's pooled activation on the picture", "as the layer gives it"
)
_ASSET: Final = Column("asset", "text", "the asset that the row comes from")
_PAINTED: Final = (
    Column("index", "int", "number of the picture among those of its concept, from 0"),
    Column("seed", "uint", "seed of the painter, from the concept and the index"),
    _IMAGE,
    Column("rejected", "flag", "whether it is no evidence: refused by the safety checker, or none"),
    Column("cause", "text", "why: safety, not_finite (NaN) or constant; empty for a sound picture"),
)


def _numbered(entries: Iterable[Any], start: int = 1) -> Iterator[tuple[int, Any]]:
    return enumerate(entries, start)


def _listed(key: str, names: Sequence[str]) -> Callable[[Record], Iterator[Row]]:
    """Rows of a list in the payload, numbered from 1."""

    def rows(record: Record) -> Iterator[Row]:
        for position, entry in _numbered(record.product.payload.get(key, ())):
            yield {"position": position, **{name: entry.get(name) for name in names}}

    return rows


def _activation_summary(record: Record) -> Iterator[Row]:
    product = record.product
    largest = next((one["activation"] for one in product.payload.get("exemplars", ())), None)
    summary = product.outcome.notes.get("summary", {})
    said = {name: summary.get(name) for name in ("images", "mean", "std", "positive", "fires")}
    yield {"status": product.outcome.status, "reason": product.outcome.reason, **said,
           "largest": largest, "off": product.payload.get("off"),
           "remarks": list(remarks_of(product.outcome.notes))}  # fmt: skip


def _candidates(record: Record) -> Iterator[Row]:
    for position, concept in _numbered(record.product.payload.get("candidates", ())):
        yield {"position": position, "concept": concept}


def _painted(record: Record) -> Iterator[Row]:
    for entry in record.product.payload.get("concepts", ()):
        for image in entry["images"]:
            yield {"concept": entry["concept"], **image, "cause": cause_of(image)}


def _labels(record: Record) -> Iterator[Row]:
    product = record.product
    payload = product.payload
    ranked = [
        {"label": one["label"], "score": one.get("score")} for one in payload.get("labels", ())
    ]
    yield {
        "model": record.model, "layer": record.layer, "neuron": record.neuron,
        "label": payload.get("label"), "score": payload.get("score"), **_sureness(payload),
        "status": product.outcome.status, "reason": product.outcome.reason,
        "interpretable": payload.get("interpretable"), "concepts": payload.get("count"),
        "labels": ranked, "run": record.run, "recorded_at": record.recorded_at,
    }  # fmt: skip


def _sureness(payload: Mapping[str, Any]) -> Row:
    """The confidence of a label by detection, and what it rests on."""
    found = payload.get("evidence", {})
    names = ("held_out", "stability", "gap", "confirmed")
    return {"confidence": payload.get("confidence"), **{name: found.get(name) for name in names}}


def _detected(record: Record) -> Iterator[Row]:
    """One row for a unit: what detects best, whether it became the label or not."""
    product = record.product
    found = product.payload.get("evidence", {})
    chosen = [{"label": label, "score": share} for label, share in found.get("label_set", ())]
    yield {
        "label": product.payload.get("label"), **_sureness(product.payload),
        "images": found.get("images"), "label_set": chosen,
        "status": product.outcome.status, "reason": product.outcome.reason,
    }  # fmt: skip


_MORE_OF_LABELS: Final = ("log_given_images", "log_prior", "response", "mass")


def _ranking(record: Record) -> Iterator[Row]:
    payload = record.product.payload
    for position, entry in _numbered(payload.get("concepts") or payload.get("labels", ())):
        more = {name: entry.get(name) for name in _MORE_OF_LABELS}
        yield {
            "asset": record.asset, "position": position, "label": entry["label"],
            "score": entry.get("score"), **more,
        }  # fmt: skip


def _label_images(record: Record) -> Iterator[Row]:
    """Pictures that a method itself looked at: of each of its concepts, or of the unit."""
    payload = record.product.payload
    groups: list[tuple[str | None, Sequence[Mapping[str, Any]]]] = [
        (entry["label"], entry.get("exemplars", ())) for entry in payload.get("concepts", ())
    ]
    groups += [(None, payload.get(key, ())) for key in ("exemplars", "images", "outliers")]
    for concept, images in groups:
        for position, one in _numbered(images):
            masked = one.get("masked") or {}
            yield {
                "asset": record.asset, "concept": concept, "position": position,
                "image": one["image"], "activation": one["activation"],
                "caption": one.get("caption"), "masked": masked.get("image"),
            }  # fmt: skip


def _metrics(record: Record) -> Iterator[Row]:
    payload = record.product.payload
    for name, value in payload.get("metrics", {}).items():
        yield {
            "asset": record.asset, "label": payload["label"], "truth": payload["truth"],
            "metric": name, "value": value, "reason": payload["reasons"].get(name),
        }  # fmt: skip


def _fresh(record: Record) -> Iterator[Row]:
    for image in record.product.payload.get("pictures", ()):
        told = {**image, "cause": cause_of(image)}
        yield {"asset": record.asset, "label": record.product.payload["label"], **told}


def _lineage(record: Record) -> Iterator[Row]:
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


_STATUS: Final = (
    Column("status", "text", "ok, or the typed failure of the product"),
    Column("reason", "text", "why the status is not ok, for people"),
)
_SURENESS: Final = (
    Column("confidence", "number", "probability that a label by detection is right; the others "
           "have none", "probability"),
    Column("held_out", "number", "correlation of caption and activation on images that had no part "
           "in the choice", "Matthews' correlation, -1 to 1"),
    Column("stability", "number", "share of resamples of the images that choose the same label",
           "share"),
    Column("gap", "number", "how far it lies above the best candidate of other words",
           "Matthews' correlation"),
)  # fmt: skip
_LABEL_COLUMNS: Final = (
    _UNIT,
    Column("model", "text", "the network's name in the study"),
    Column("layer", "text", "the layer's path in named_modules()"),
    Column("neuron", "int", "index of the channel, feature or output, from 0"),
    Column("label", "text", "the best label; missing where the status says why"),
    Column("score", "number", "its score", "the method's own scale"),
    *_SURENESS,
    Column("confirmed", "flag", "whether painted pictures of the label activate the unit"),
    *_STATUS,
    Column("interpretable", "flag", "whether the method counts the unit as interpretable"),
    Column("concepts", "int", "how many concepts the method finds the unit to answer to"),
    Column("labels", "scored", "all labels that were kept, best first, with their scores"),
    Column("run", "text", "the run that announced the product"),
    Column("recorded_at", "text", "when, ISO 8601 in UTC"),
)
_SCORES: Final = ("score", "mean_rank", "topk_squared", "image_products",
                  "topk_squared_image_products")  # fmt: skip


def label_table(asset: str) -> Table:
    """The table of one method's labels; all of them have the same columns."""
    whose = "the study's own" if asset == "labels" else "another method's"
    return Table(
        asset, f"The newest label of each unit, {whose}.", f"`{asset}`", _LABEL_COLUMNS,
        _is(asset), _labels,
    )  # fmt: skip


TABLES: Final[tuple[Table, ...]] = (
    Table(
        "activations",
        "How a unit answers to the probing set.",
        "`activations`",
        (
            _UNIT,
            *_STATUS,
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
        _activation_summary,
    ),
    Table(
        "exemplars",
        "One of the most activating probing images of a unit on which it fires, largest activation "
        "first.",
        "`activations`",
        (_UNIT, _POSITION, _IMAGE, _ACTIVATION),
        _is("activations"),
        _listed("exemplars", ("image", "activation")),
    ),
    Table(
        "crops",
        "An attention crop of an exemplar.",
        "`crops`",
        (
            _UNIT,
            _POSITION,
            _IMAGE,
            Column("crop", "text", "SHA-256 of the crop's file; table pictures has it"),
            Column("box", "ints", "left, top, right, bottom on the picture resized to a square "
                   "of side dissection.crop_size", "pixels"),
            Column("threshold", "int", "Otsu's threshold of the heat map", "0 to 255"),
            Column("activation", "number", "the unit's pooled activation on the crop",
                   "as the layer gives it"),
        ),
        _is("crops"),
        _listed("crops", ("image", "crop", "box", "threshold", "activation")),
    ),
    Table(
        "activating_images",
        "One of the K most activating pictures out of exemplars and crops: what is captioned.",
        "`crops`",
        (_UNIT, _POSITION, _IMAGE, Column("kind", "text", "image or crop"), _ACTIVATION),
        _is("crops"),
        _listed("activating", ("image", "kind", "activation")),
    ),
    Table(
        "captions",
        "The caption of an activating picture.",
        "`captions`",
        (_UNIT, _POSITION, _IMAGE, Column("caption", "text", "what the captioner says of it")),
        _is("captions"),
        _listed("captions", ("image", "caption")),
    ),
    Table(
        "candidate_concepts",
        "A candidate concept, in the summariser's order.",
        "`candidate_concepts`",
        (_UNIT, _POSITION, Column("concept", "text", "the concept")),
        _is("candidate_concepts"),
        _candidates,
    ),
    Table(
        "detection",
        "What detects best where a unit is active, also where it is too unsure to be its label.",
        "`detection_scores`",
        (
            _UNIT,
            Column("label", "text", "the concept; missing where none predicts anything"),
            *_SURENESS,
            Column("images", "int", "images that it rests on", "images"),
            Column("label_set", "scored", "the labels that nine tenths of the resamples choose, "
                   "with their shares"),
            *_STATUS,
        ),
        _is("detection_scores"),
        _detected,
    ),
    Table(
        "detection_scores",
        "How well the presence of a concept in captions predicts where a unit is active, best "
        "first.",
        "`detection_scores`",
        (
            _UNIT,
            _POSITION,
            Column("concept", "text", "the concept"),
            Column("mcc", "number", "Matthews' correlation at the best threshold", "-1 to 1"),
            Column("threshold", "number", "the unit counts as active from here on",
                   "as the layer gives it"),
            Column("share", "number", "of images whose caption has the concept", "share"),
        ),
        _is("detection_scores"),
        _listed("concepts", ("concept", "mcc", "threshold", "share")),
    ),
    Table(
        "detection_examples",
        "A reference image from the whole range of a unit's activations.",
        "`detection_scores`",
        (
            _UNIT,
            _POSITION,
            _IMAGE,
            _ACTIVATION,
            Column("caption", "text", "what the captioner says of it"),
            Column("shows", "flag", "whether the caption has the concept that detects best"),
            Column("band", "text", "high, middle or low third of the range of activations"),
        ),
        _is("detection_scores"),
        _listed("examples", ("image", "activation", "caption", "shows", "band")),
    ),
    Table(
        "synthetic_images",
        "A picture painted of a candidate concept.",
        "`synthetic_images`",
        (_UNIT, Column("concept", "text", "the candidate concept"), *_PAINTED),
        _is("synthetic_images"),
        _painted,
    ),
    Table(
        "scores",
        "Every scoring function of a candidate concept, best concept first.",
        "`scores`",
        (
            _UNIT,
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
        _listed("concepts", ("concept", *_SCORES, "activations")),
    ),
    label_table("labels"),
    Table(
        "label_ranking",
        "A label that a method kept, best first; of polysemantic_labels, one of the concepts.",
        "`labels` and every `…_labels`",
        (
            _UNIT,
            _ASSET,
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
        _ranking,
    ),
    Table(
        "label_images",
        "A picture that a method of labelling looked at, where it does so itself.",
        "every `…_labels` that has pictures of its own",
        (
            _UNIT,
            _ASSET,
            Column("concept", "text", "the concept that it shows; missing for the whole unit"),
            _POSITION,
            _IMAGE,
            Column("activation", "number", "pooled activation, or the peak of the unit's map",
                   "as the layer gives it"),
            Column("caption", "text", "what a captioner says of it"),
            Column("masked", "text", "SHA-256 of the masked picture that was looked at instead"),
        ),
        is_labels,
        _label_images,
    ),
    Table(
        "metrics",
        "A metric of a label; docs/evaluation.md says what each measures.",
        "every `…_metrics`",
        (
            _UNIT,
            _ASSET,
            Column("label", "text", "the label that is measured"),
            Column("truth", "text", "what the unit is known to answer to"),
            Column("metric", "text", "name of the metric"),
            Column("value", "number", "its value", "the metric's own scale"),
            Column("reason", "text", "why there is no value"),
        ),
        _is_metrics,
        _metrics,
    ),
    Table(
        "fresh_pictures",
        "A picture painted of a finished label, to measure it.",
        "every `…_metrics`",
        (_UNIT, _ASSET, Column("label", "text", "the label"), *_PAINTED),
        _is_metrics,
        _fresh,
    ),
    Table(
        "products",
        "What a product was made from: the newest of each asset and unit.",
        "every asset",
        (
            Column("unit", "text", "the unit's key; missing for products of the whole study"),
            _ASSET,
            Column("key", "text", "SHA-256 of code, parameters, weights and inputs"),
            Column("data_version", "text", "SHA-256 of its content"),
            *_STATUS,
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

UNITS: Final = Table(
    "units",
    "A unit of the study for which anything was recorded.",
    "every asset",
    (*_LABEL_COLUMNS[:4], Column("assets", "texts", "the assets that have a product of it")),
)
PICTURES: Final = Table(
    "pictures",
    "A picture that another table names.",
    "every asset with pictures",
    (
        _IMAGE,
        Column("tables", "texts", "the tables that name it"),
        Column("paths", "texts", "where a probing image was seen on the machine of the run"),
        Column("width", "int", "of a probing image", "pixels"),
        Column("height", "int", "of a probing image", "pixels"),
        Column("mode", "text", "Pillow's mode of a probing image"),
        Column("format", "text", "file format of a probing image"),
        Column("bytes", "int", "size of the file", "bytes"),
        Column("file", "text", "the file in this export; missing where pictures are left out"),
        Column("missing", "text", "why it could not be exported"),
    ),
)
RUNS: Final = Table(
    "runs",
    "A run of the study.",
    "every run",
    (
        Column("run", "text", "the run's id"),
        Column("recorded_at", "text", "when it began, ISO 8601 in UTC"),
        Column("definition", "json", "the study as it was"),
        Column("versions", "json", "versions of the libraries"),
    ),
)
MATERIALIZATIONS: Final = Table(
    "materializations",
    "A product announced for a unit by a run, every time.",
    "every asset",
    (
        Column("run", "text", "the run's id"),
        _ASSET,
        Column("unit", "text", "the unit's key; missing for products of the whole study"),
        Column("key", "text", "the product's key"),
        Column("data_version", "text", "SHA-256 of its content"),
        Column("code_version", "text", "version of the stage's code, settings and models"),
        *_STATUS,
        Column("reused", "flag", "whether it was taken from the store"),
        Column("device", "text", "where it was computed"),
        Column("seconds", "number", "share of the computing time", "seconds"),
        Column("recorded_at", "text", "when, ISO 8601 in UTC"),
    ),
)
PROVIDERS: Final = Table(
    "providers",
    "A model with its settings, by the hash that weights of products name.",
    "every asset that uses a model",
    (
        Column("provider", "text", "hash of the fingerprint"),
        Column("fingerprint", "json", "everything that may change a result"),
    ),
)
WORK: Final = Table(
    "work",
    "What a run really did to compute an asset.",
    "every run",
    (
        Column("run", "text", "the run's id"),
        _ASSET,
        Column("what", "text", "forward passes, captions, LLM calls, paintings, …"),
        Column("count", "int", "how many", "as `what` says"),
    ),
)
MODELS: Final = Table(
    "models",
    "A model that an asset was made or reused with in a run, and where its files came from.",
    "every run",
    (
        Column("run", "text", "the run's id"),
        _ASSET,
        Column("role", "text", "what the model does: captioner, image-text encoder, …"),
        Column("part", "text", "what the files are within the model, where there are several"),
        Column("source", "text", "its name in the study"),
        Column("revision", "text", "commit of the hub, or `sha256:` and the hash of the files"),
        Column("bytes", "int", "size of the files", "bytes"),
        Column("licence", "text", "as its card or package says"),
        Column("server", "text", "address of the server that it runs at"),
    ),
)
STAGE_RUNS: Final = Table(
    "stage_runs",
    "How long a run took to compute an asset, and the most memory in use meanwhile.",
    "every run that computed something",
    (
        Column("run", "text", "the run's id"),
        _ASSET,
        Column("units", "int", "units that were computed"),
        Column("seconds", "number", "for all of them", "seconds"),
        Column("device", "text", "what it ran on"),
        Column("peak_memory", "int", "of the card, or of the process on a CPU", "bytes"),
    ),
)
LLM_CALLS: Final = Table(
    "llm_calls",
    "A request to a language model that a product of the study rests on, and its answer.",
    "`candidate_concepts`",
    (
        Column("request_hash", "text", "SHA-256 of the request"),
        Column("request", "json", "model, messages and settings"),
        Column("response", "json", "the answer, verbatim"),
        Column("prompt_tokens", "int", "of the request", "tokens"),
        Column("completion_tokens", "int", "of the answer", "tokens"),
        Column("cost", "number", "of the call, where it is known", "US dollars"),
        Column("seconds", "number", "until the answer", "seconds"),
        Column("status", "text", "how it ended"),
    ),
)
WHOLE_TABLES: Final = (
    UNITS, PICTURES, RUNS, MATERIALIZATIONS, PROVIDERS, WORK, MODELS, STAGE_RUNS, LLM_CALLS,
)  # fmt: skip
"""Tables that come of the lineage as a whole."""


def tables_for(assets: Iterable[str]) -> list[Table]:
    """The tables of a study that has products of these assets, in their order."""
    known = set(assets)
    others = sorted(name for name in known if name.endswith(LABELS_SUFFIX))
    found = [t for t in TABLES if any(t.reads(name) for name in known)]
    return [UNITS, *found, *map(label_table, others), *WHOLE_TABLES[1:]]


def rows_of(table: Table, record: Record) -> Iterator[Row]:
    """Rows of one product: each with the unit, and every column."""
    for row in table.rows(record):
        unit = {"unit": record.unit or None}
        full = {**unit, **row}
        yield {column.name: full.get(column.name) for column in table.columns}


def dictionary() -> str:
    """The data dictionary: every table and column, as Markdown."""
    parts = [_DICTIONARY_HEAD]
    for table in (UNITS, *TABLES, *WHOLE_TABLES[1:]):
        parts.append(f"## {table.name}\n\n{table.meaning} From {table.source}.\n")
        if table.name == "labels":
            parts.append(_DICTIONARY_LABELS)
        rows = [
            f"| `{c.name}` | {_TYPES[c.type]} | {c.unit or '-'} | {c.meaning} |"
            for c in table.columns
        ]
        head = ["| column | type | unit | meaning |", "| --- | --- | --- | --- |"]
        parts.append("\n".join([*head, *rows]) + "\n")
    return "\n".join(parts)


_TYPES: Final[Mapping[Type, str]] = {
    "text": "text",
    "int": "integer",
    "uint": "integer, 64 bit without sign",
    "number": "number, float64",
    "flag": "true or false",
    "texts": "list of texts",
    "ints": "list of integers",
    "numbers": "list of numbers",
    "scored": "list of {label, score}",
    "json": "JSON text",
}
_DICTIONARY_HEAD: Final = """\
# Data dictionary

Written by `dnd export --dictionary`; do not edit. These are the tables of `dnd export` in every
format and of `dnd_assets.open(study)` as frames. Any value may be missing. Pictures are named by
the SHA-256 of their bytes.

In CSV files lists are JSON, a missing value is an empty field without quotes, and text that a
spreadsheet would run as a formula has an apostrophe before it, which `read_export` takes off.
"""
_DICTIONARY_LABELS: Final = """\
Each other method has a table of its own with the same columns, named by its asset:
`clip_dissect_labels`, `milan_labels`, and so on. The CSV files can be imported again:
`[imported_labels]` with `mine = "FOLDER/labels.csv"`.
"""
