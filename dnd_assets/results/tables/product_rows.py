"""How rows of tables come of one product."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from dnd_assets.lineage.remarks import remarks_of
from dnd_assets.methods.dissection.painted import cause_of
from dnd_assets.results.tables.columns import NewestProduct, Row


def _numbered(entries: Iterable[Any], start: int = 1) -> Iterator[tuple[int, Any]]:
    return enumerate(entries, start)


def listed(key: str, names: Sequence[str]) -> Callable[[NewestProduct], Iterator[Row]]:
    """Rows of a list in the payload, numbered from 1."""

    def rows(record: NewestProduct) -> Iterator[Row]:
        for position, entry in _numbered(record.product.payload.get(key, ())):
            yield {"position": position, **{name: entry.get(name) for name in names}}

    return rows


def activation_summary(record: NewestProduct) -> Iterator[Row]:
    """One row for a unit: how it answers to the probing set."""
    product = record.product
    largest = next((one["activation"] for one in product.payload.get("exemplars", ())), None)
    summary = product.outcome.notes.get("summary", {})
    said = {name: summary.get(name) for name in ("images", "mean", "std", "positive", "fires")}
    yield {"status": product.outcome.status, "reason": product.outcome.reason, **said,
           "largest": largest, "off": product.payload.get("off"),
           "remarks": list(remarks_of(product.outcome.notes))}  # fmt: skip


def candidates(record: NewestProduct) -> Iterator[Row]:
    """Candidate concepts, in their order."""
    for position, concept in _numbered(record.product.payload.get("candidates", ())):
        yield {"position": position, "concept": concept}


def painted(record: NewestProduct) -> Iterator[Row]:
    """Pictures painted of candidate concepts."""
    for entry in record.product.payload.get("concepts", ()):
        for image in entry["images"]:
            yield {"concept": entry["concept"], **image, "cause": cause_of(image)}


def labels(record: NewestProduct) -> Iterator[Row]:
    """One row for a unit: a method's label, or why there is none."""
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


def detected(record: NewestProduct) -> Iterator[Row]:
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


def ranking(record: NewestProduct) -> Iterator[Row]:
    """The labels that a method kept, best first."""
    payload = record.product.payload
    for position, entry in _numbered(payload.get("concepts") or payload.get("labels", ())):
        more = {name: entry.get(name) for name in _MORE_OF_LABELS}
        yield {
            "asset": record.asset, "position": position, "label": entry["label"],
            "score": entry.get("score"), **more,
        }  # fmt: skip


def label_images(record: NewestProduct) -> Iterator[Row]:
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


def metrics(record: NewestProduct) -> Iterator[Row]:
    """The metrics of a label."""
    payload = record.product.payload
    for name, value in payload.get("metrics", {}).items():
        yield {
            "asset": record.asset, "label": payload["label"], "truth": payload["truth"],
            "metric": name, "value": value, "reason": payload["reasons"].get(name),
        }  # fmt: skip


def fresh_pictures(record: NewestProduct) -> Iterator[Row]:
    """Pictures painted of a finished label."""
    for image in record.product.payload.get("pictures", ()):
        told = {**image, "cause": cause_of(image)}
        yield {"asset": record.asset, "label": record.product.payload["label"], **told}
