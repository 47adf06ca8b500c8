"""What the interface shows of each materialization: pictures, tables, the label."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable, Mapping, Sequence
from io import BytesIO
from typing import Any

import dagster as dg
from PIL import Image

from dnd_assets.assets.concept_activations import texts_of
from dnd_assets.assets.label_metrics import SUFFIX, in_order
from dnd_assets.assets.segmentation.map_pictures import drawn_maps
from dnd_assets.engine.context import Workbench
from dnd_assets.engine.recording import Announcement
from dnd_assets.errors import StoreError
from dnd_assets.files.images import strip
from dnd_assets.lineage.records import (
    CONCEPT_ACTIVATIONS,
    CONCEPT_MASKS,
    HELD_OUT_IMAGES,
    PROBING_SET,
    Product,
)
from dnd_assets.lineage.remarks import remarks_of

_SHOWN = 10
_THUMBNAILS = 6
_HEIGHT = 40
_QUALITIES = (60, 40, 25, 15, 8)
_STRIP_BYTES = 1_200
"""Of one strip of thumbnails: events are kept and read by the thousand, so pictures in them stay
small; the page in the atlas has them whole."""
_Metadata = dict[str, Any]


def unit_metadata(
    bench: Workbench,
    asset: str,
    announcement: Announcement,
    exemplars: Sequence[str] = (),
    *,
    pictures: bool = True,
) -> _Metadata:
    """Metadata of one product of one unit: what it says first, how it came about last.

    Args:
        bench: the study with its stores.
        asset: what was materialized.
        announcement: of which unit, with what result.
        exemplars: pictures of the unit to show beside a label.
        pictures: whether to draw pictures, which takes longer than all the rest.
    """
    product, record = announcement.product, announcement.record
    shown: _Metadata = {"reason": record.reason} if record.reason else {}
    if product.ok:
        describe = _metrics if asset.endswith(SUFFIX) else _DESCRIBED.get(asset, _imported)
        shown |= describe(bench, product.payload, pictures)
        if product.outcome.notes.get("dropped"):
            # Their pictures are no part of the product, as nothing was concluded from them.
            dropped = _list("concept", product.outcome.notes["dropped"])
            shown["dropped for rejected pictures"] = dropped
        remarks = list(remarks_of(product.outcome.notes))
        if remarks:
            shown["remarks"] = "; ".join(remarks)
        if asset in _PIXEL_LABELS and pictures:
            shown |= _strip("best images", lambda: drawn_maps(bench, record.model, product))
    if exemplars:
        shown |= _pictures(bench, "exemplars", exemplars, pictures)
    if announcement.peak_memory:
        shown["peak memory (MB)"] = round(announcement.peak_memory / 1e6)
    return shown | {
        "status": record.status,
        "reused": record.reused,
        "seconds": record.seconds,
        "device": record.device,
        "model": record.model,
        "layer": record.layer,
        "neuron": record.neuron,
        "key": product.key,
    }


def whole_metadata(bench: Workbench, product: Product) -> _Metadata:
    """Metadata of a product of the whole study."""
    return _WHOLE[product.asset](bench, product)


def _probing_set(bench: Workbench, product: Product) -> _Metadata:
    notes = product.outcome.notes
    skipped = [{"kind": kind, "files": count} for kind, count in notes.get("skipped", {}).items()]
    return _set_aside(product) | {
        "skipped": _table(skipped, ("kind", "files"), ("kind", "files")),
        "first skipped": ", ".join(notes.get("skipped_first", ())[:_SHOWN]),
        "images": product.payload["images"],
        "files": product.outcome.notes["found"],
        "manifest": product.payload["manifest"],
    }


def _set_aside(product: Product) -> _Metadata:
    """What a scan did not use, with the reasons."""
    aside = product.outcome.notes["quarantined"]
    return {
        "quarantined": len(aside),
        "quarantine": _table(aside[:100], ("path", "reason"), ("path", "reason")),
    }


def _held_out(bench: Workbench, product: Product) -> _Metadata:
    left_out = product.outcome.notes["in_probing_set"]
    return _probing_set(bench, product) | {"in the probing set, left out": left_out}


def _concept_activations(bench: Workbench, product: Product) -> _Metadata:
    return {
        "concepts": product.payload["count"],
        "duplicates": product.outcome.notes["duplicates"],
        "blank lines": product.outcome.notes["blanks"],
        "first texts": _list("text", texts_of(bench, product)[:_SHOWN]),
        "encoder": product.payload["encoder"],
    }


def _activations(bench: Workbench, payload: Mapping[str, Any], pictures: bool) -> _Metadata:
    found = payload["exemplars"]
    shown = _pictures(bench, "exemplars", [e["image"] for e in found], pictures)
    return shown | {"largest activation": found[0]["activation"]}


def _crops(bench: Workbench, payload: Mapping[str, Any], pictures: bool) -> _Metadata:
    found = payload["activating"]
    kinds = [entry["kind"] for entry in found]
    shown = _pictures(bench, "activating set", [e["image"] for e in found], pictures)
    return shown | {"crops": len(payload["crops"]), "crops among them": kinds.count("crop")}


def _captions(bench: Workbench, payload: Mapping[str, Any], pictures: bool) -> _Metadata:
    names = [entry["image"] for entry in payload["captions"]]
    shown = _pictures(bench, "captioned", names, pictures)
    return shown | {"captions": _list("caption", (one["caption"] for one in payload["captions"]))}


def _candidates(bench: Workbench, payload: Mapping[str, Any], pictures: bool) -> _Metadata:
    return {"candidate concepts": _list("concept", payload["candidates"])}


def _synthetic(bench: Workbench, payload: Mapping[str, Any], pictures: bool) -> _Metadata:
    first = [entry["images"][0]["image"] for entry in payload["concepts"] if entry["images"]]
    shown = _pictures(bench, "first picture of each", first, pictures and bool(first))
    shown |= {"painted": _list("concept", (one["concept"] for one in payload["concepts"]))}
    every = [image for entry in payload["concepts"] for image in entry["images"]]
    rejected = sum(image["rejected"] for image in every)
    return shown | {"concepts": len(payload["concepts"]), "rejected pictures": rejected}


def _scores(bench: Workbench, payload: Mapping[str, Any], pictures: bool) -> _Metadata:
    columns = ["concept", "score", *_FUNCTIONS]
    return {"scores": _table(payload["concepts"], columns, ("concept",))}


def _detection(bench: Workbench, payload: Mapping[str, Any], pictures: bool) -> _Metadata:
    names = ("concept", "mcc", "threshold", "share")
    chosen = [{"label": one, "share": share} for one, share in payload["evidence"]["label_set"]]
    shown: _Metadata = {
        "label": payload["label"],
        "confidence": payload["confidence"],
        **{name: payload["evidence"][name] for name in _SUPPORT},
        "detection scores": _table(payload["concepts"], names, ("concept",)),
        "resamples choose": _table(chosen, ("label", "share"), ("label",)),
    }
    for shows, name in ((True, "images with it"), (False, "images without it")):
        some = [one["image"] for one in payload["examples"] if one["shows"] is shows]
        shown |= _pictures(bench, name, some, pictures and bool(some))
    return shown


def _labels(bench: Workbench, payload: Mapping[str, Any], pictures: bool) -> _Metadata:
    found = payload.get("evidence")
    sure: _Metadata = {}
    if found is not None:
        sure = {name: found[name] for name in (*_SUPPORT, "confirmed")}
        sure |= {} if found["painted"] is None else {"painted pictures active": found["painted"]}
        sure = {"confidence": payload["confidence"], **sure}
    return {
        "label": payload["label"],
        "score": payload["score"],
        **sure,
        "labels": _table(payload["labels"], ("label", "score"), ("label",)),
    }


def _imported(bench: Workbench, payload: Mapping[str, Any], pictures: bool) -> _Metadata:
    top = payload.get("labels", [])
    shown: _Metadata = {"label": payload["label"]}
    if all("score" in entry for entry in top):
        shown["labels"] = _table(top, ("label", "score"), ("label",))
    return shown


def _clip_dissect(bench: Workbench, payload: Mapping[str, Any], pictures: bool) -> _Metadata:
    return {
        "label": payload["label"],
        "score": payload["score"],
        "interpretable": payload["interpretable"],
        "top concepts": _concepts(payload["labels"], "similarity"),
    }


def _milan(bench: Workbench, payload: Mapping[str, Any], pictures: bool) -> _Metadata:
    names = ("label", "score", "log_given_images", "log_prior")
    seen = [(entry["masked"] or entry)["image"] for entry in payload["exemplars"]]
    return {
        "label": payload["label"],
        "score": payload["score"],
        "candidates": payload["candidates"],
        "top captions": _table(payload["labels"], names, ("label",)),
        **_pictures(bench, "exemplars", seen, pictures),
    }


def _polysemantic(bench: Workbench, payload: Mapping[str, Any], pictures: bool) -> _Metadata:
    shown: _Metadata = {"label": payload["label"], "concepts": payload["count"]}
    found = [{**one, "exemplars": len(one["exemplars"])} for one in payload["concepts"]]
    names = ("label", "score", "response", "mass", "exemplars")
    shown["by concept"] = _table(found, names, ("label",))
    for number, entry in enumerate(payload["concepts"], 1):
        names_of = [image["image"] for image in entry["exemplars"]]
        shown |= _pictures(bench, f"{number}: {entry['label']}", names_of, pictures)
    return shown | {"outliers": len(payload["outliers"])}


def _metrics(bench: Workbench, payload: Mapping[str, Any], pictures: bool) -> _Metadata:
    found = payload["metrics"]
    rows = [
        {"metric": name, "value": found[name], "why none": payload["reasons"].get(name, "")}
        for name in in_order(found)
    ]
    numbers = {name: value for name, value in found.items() if value is not None}
    names = [one["image"] for one in payload["pictures"] if not one["rejected"]]
    return {
        "label": payload["label"],
        **({} if payload["truth"] is None else {"truth": payload["truth"]}),
        **numbers,
        "metrics": _table(rows, ("metric", "value", "why none"), ("metric", "why none")),
        "held-out images that show it": payload["shown"],
        **_pictures(bench, "fresh pictures", names, pictures and bool(names)),
    }


def _pixel_labels(bench: Workbench, payload: Mapping[str, Any], pictures: bool) -> _Metadata:
    names = ("label", "score", "interpretable", "threshold")
    return {
        **{name: payload[name] for name in names if name in payload},
        "top concepts": _concepts(payload["labels"], "score"),
    }


def _concept_masks(bench: Workbench, product: Product) -> _Metadata:
    notes = product.outcome.notes
    skipped = [{"kind": kind, "files": count} for kind, count in notes.get("skipped", {}).items()]
    return _set_aside(product) | {
        "skipped": _table(skipped, ("kind", "files"), ("kind", "files")),
        "first skipped": ", ".join(notes.get("skipped_first", ())[:_SHOWN]),
        "images": product.payload["images"],
        "concepts": product.payload["concepts"],
        "manifest": product.payload["masks"],
    }


_SUPPORT = ("held_out", "stability", "gap", "images")
_FUNCTIONS = ("mean_rank", "topk_squared", "image_products", "topk_squared_image_products")
_DESCRIBED = {
    "activations": _activations,
    "crops": _crops,
    "captions": _captions,
    "candidate_concepts": _candidates,
    "detection_scores": _detection,
    "synthetic_images": _synthetic,
    "scores": _scores,
    "labels": _labels,
    "clip_dissect_labels": _clip_dissect,
    "polysemantic_labels": _polysemantic,
    "milan_labels": _milan,
    "network_dissection_labels": _pixel_labels,
    "compositions_labels": _pixel_labels,
    "invert_labels": _pixel_labels,
}
_PIXEL_LABELS = ("network_dissection_labels", "compositions_labels", "invert_labels")


_WHOLE = {
    PROBING_SET: _probing_set,
    CONCEPT_ACTIVATIONS: _concept_activations,
    HELD_OUT_IMAGES: _held_out,
    CONCEPT_MASKS: _concept_masks,
}


def _list(name: str, texts: Iterable[str]) -> dg.MetadataValue[Any]:
    """Texts below each other; a table shows them as they are, where Markdown would read them."""
    return _table([{name: text} for text in texts], (name,), (name,))


def _table(
    rows: Iterable[Mapping[str, Any]], columns: Sequence[str], texts: Sequence[str]
) -> dg.MetadataValue[Any]:
    """Rows as a table with numbers of four digits.

    Args:
        rows: one mapping a row.
        columns: what to show of it.
        texts: those of the columns that hold text.
    """
    records = [dg.TableRecord({name: _short(row[name]) for name in columns}) for row in rows]
    kinds = [dg.TableColumn(name, "string" if name in texts else "float") for name in columns]
    return dg.MetadataValue.table(records, dg.TableSchema(kinds))


def _concepts(labels: Iterable[Mapping[str, Any]], score: str) -> dg.MetadataValue[Any]:
    """Labels that were chosen from a fixed set of concepts, with what their score is called."""
    rows = [{"concept": entry["label"], score: entry["score"]} for entry in labels]
    return _table(rows, ("concept", score), ("concept",))


def _short(value: Any) -> Any:
    return float(f"{value:.4g}") if isinstance(value, float) else value


def _pictures(bench: Workbench, name: str, hashes: Sequence[str], wanted: bool) -> _Metadata:
    """A strip of thumbnails as Markdown with the pictures inside, about 2 kB."""
    if not wanted:
        return {}
    return _strip(name, lambda: bench.pictures.load(hashes[:_THUMBNAILS]))


def _strip(name: str, load: Callable[[], Sequence[Image.Image]]) -> _Metadata:
    try:
        images = load()
    except StoreError as error:
        return {name: str(error)}
    data = base64.b64encode(_thumbnails(images)).decode()
    return {name: dg.MetadataValue.md(f"![{name}](data:image/webp;base64,{data})")}


def _thumbnails(images: Sequence[Image.Image]) -> bytes:
    """A strip as WebP, of the best quality that fits, or of the least."""
    row, data = strip(images, _HEIGHT), b""
    for quality in _QUALITIES:
        buffer = BytesIO()
        row.save(buffer, "WEBP", quality=quality)
        data = buffer.getvalue()
        if len(data) <= _STRIP_BYTES:
            break
    return data
