"""The tables that come of the lineage as a whole: units, pictures, runs, models and the like."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from dnd_assets.lineage.fingerprint import canonical
from dnd_assets.lineage.rows import Row
from dnd_assets.results.tables.columns import (
    ASSET,
    IMAGE,
    LABEL_COLUMNS,
    STATUS,
    Column,
    NewestProduct,
    Table,
)

_RUN: Final = Column("run", "text", "the run's id")

UNITS: Final = Table(
    "units",
    "A unit of the study for which anything was recorded.",
    "every asset",
    (*LABEL_COLUMNS[:4], Column("assets", "texts", "the assets that have a product of it")),
)
PICTURES: Final = Table(
    "pictures",
    "A picture that another table names.",
    "every asset with pictures",
    (
        IMAGE,
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
        _RUN,
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
        _RUN,
        ASSET,
        Column("unit", "text", "the unit's key; missing for products of the whole study"),
        Column("key", "text", "the product's key"),
        Column("data_version", "text", "SHA-256 of its content"),
        Column("code_version", "text", "version of the stage's code, settings and models"),
        *STATUS,
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
        _RUN,
        ASSET,
        Column("what", "text", "forward passes, captions, LLM calls, paintings, …"),
        Column("count", "int", "how many", "as `what` says"),
    ),
)
MODELS: Final = Table(
    "models",
    "A model that an asset was made or reused with in a run, and where its files came from.",
    "every run",
    (
        _RUN,
        ASSET,
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
        _RUN,
        ASSET,
        Column("units", "int", "units that were computed"),
        Column("seconds", "number", "for all of them", "seconds"),
        Column("device", "text", "what it ran on"),
        Column("peak_memory", "int", "of the card, or of the process on a CPU", "bytes"),
    ),
)
WORKERS: Final = Table(
    "workers",
    "Who did the parts of an asset that can be handed out.",
    "every run that computed something",
    (
        _RUN,
        ASSET,
        Column("worker", "text", "machine and process, or `this process`, which the run is in"),
        Column("device", "text", "what it ran on; missing for this process: see stage_runs"),
        Column("parts", "int", "parts that it did"),
        Column("seconds", "number", "for all of them", "seconds"),
        Column("lost", "int", "parts that any worker lost, which were handed out again"),
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


def _lineage(record: NewestProduct) -> Iterator[Row]:
    product = record.product
    preimage = product.preimage
    texts = {
        name: canonical(preimage.get(name, {})) for name in ("parameters", "inputs", "weights")
    }
    yield {
        "asset": record.asset, "key": product.key, "data_version": product.data_version,
        "status": product.outcome.status, "reason": product.outcome.reason,
        "code": preimage.get("code"), **texts, "run": record.run,
        "recorded_at": record.recorded_at, "content": canonical(product.payload),
    }  # fmt: skip


PRODUCTS: Final = Table(
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
    rows=_lineage,
)
"""Of every product; its content is given where no other table has it."""
WHOLE_TABLES: Final = (
    UNITS, PICTURES, RUNS, MATERIALIZATIONS, PROVIDERS, WORK, MODELS, STAGE_RUNS, WORKERS,
    LLM_CALLS,
)  # fmt: skip
"""Tables that come of the lineage as a whole."""
