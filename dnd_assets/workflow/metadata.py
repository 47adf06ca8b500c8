"""What the interface shows of each materialization: pictures, tables, the label."""

from __future__ import annotations

import base64
from bisect import bisect_left
from collections.abc import Callable, Sequence
from io import BytesIO
from typing import Any

import dagster as dg
from PIL import Image

from dnd_assets.engine.context import StudyContext
from dnd_assets.engine.recording import MaterializationEvent
from dnd_assets.errors import StoreError
from dnd_assets.files.images import strip
from dnd_assets.lineage.records import Product
from dnd_assets.lineage.remarks import remarks_of
from dnd_assets.results.products.product_view import Grid, Shown, Strip, column_of
from dnd_assets.results.products.registry import view_of

_THUMBNAILS = 6
_HEIGHT = 40
_QUALITIES = (60, 40, 25, 15, 8)
_STRIP_BYTES = 900
"""Of one strip of thumbnails: events are kept and read by the thousand, so pictures in them stay
small; the page in the atlas has them whole."""
_Metadata = dict[str, Any]


def unit_metadata(
    context: StudyContext,
    asset: str,
    announcement: MaterializationEvent,
    exemplars: Sequence[str] = (),
    *,
    pictures: bool = True,
) -> _Metadata:
    """Metadata of one product of one unit: what it says first, how it came about last.

    The unit is the event's partition, so it is not said again.

    Args:
        context: the study with its stores.
        asset: what was materialized.
        announcement: of which unit, with what result.
        exemplars: pictures of the unit to show beside a label.
        pictures: whether to draw pictures, which takes longer than all the rest.
    """
    product, record = announcement.product, announcement.record
    metadata: _Metadata = {"reason": record.reason} if record.reason else {}
    if product.ok:
        view = view_of(asset)
        metadata |= _rendered(context, view.shown(context, product), pictures)
        if product.outcome.notes.get("dropped"):
            # Their pictures are no part of the product, as nothing was concluded from them.
            dropped = column_of("concept", product.outcome.notes["dropped"])
            metadata["dropped for rejected pictures"] = _table(dropped)
        remarks = list(remarks_of(product.outcome.notes))
        if remarks:
            metadata["remarks"] = "; ".join(remarks)
        draw = view.drawn
        if draw is not None and pictures:
            metadata |= _strip("best images", lambda: draw(context, record.model, product))
    if exemplars:
        metadata |= _rendered(context, {"exemplars": Strip(tuple(exemplars))}, pictures)
    if announcement.peak_memory:
        metadata["peak memory (MB)"] = round(announcement.peak_memory / 1e6)
    if announcement.parts:
        metadata["parts"] = announcement.parts
    return metadata | {
        "status": record.status,
        "reused": record.reused,
        "seconds": record.seconds,
        "device": record.device,
        "key": product.key,
    }


def whole_metadata(context: StudyContext, product: Product) -> _Metadata:
    """Metadata of a product of the whole study."""
    shown = view_of(product.asset).shown(context, product)
    return _rendered(context, shown, pictures=True)


def _rendered(context: StudyContext, shown: Shown, pictures: bool) -> _Metadata:
    """What is shown of a product, in the values of the interface."""
    metadata: _Metadata = {}
    for name, value in shown.items():
        if isinstance(value, Strip):
            metadata |= _pictures(context, name, value.images, pictures and bool(value.images))
        else:
            metadata[name] = _table(value) if isinstance(value, Grid) else _short(value)
    return metadata


def _table(grid: Grid) -> dg.MetadataValue[Any]:
    rows = [dg.TableRecord({name: _short(row[name]) for name in grid.columns}) for row in grid.rows]
    columns = [
        dg.TableColumn(column_name, "string" if column_name in grid.texts else "float")
        for column_name in grid.columns
    ]
    return dg.MetadataValue.table(rows, dg.TableSchema(columns))


def _short(value: Any) -> Any:
    """A number as people read it; the whole of it is in exports and traces."""
    return float(f"{value:.4g}") if isinstance(value, float) else value


def _pictures(context: StudyContext, name: str, hashes: Sequence[str], wanted: bool) -> _Metadata:
    """A strip of thumbnails as Markdown with the pictures inside, 1.2 kB at most as a rule."""
    if not wanted:
        return {}
    return _strip(name, lambda: context.pictures.small(hashes[:_THUMBNAILS], _HEIGHT))


def _strip(name: str, load: Callable[[], Sequence[Image.Image]]) -> _Metadata:
    try:
        images = load()
    except StoreError as error:
        return {name: str(error)}
    data = base64.b64encode(_thumbnails(images)).decode()
    return {name: dg.MetadataValue.md(f"![{name}](data:image/webp;base64,{data})")}


def _thumbnails(images: Sequence[Image.Image]) -> bytes:
    """A strip as WebP, of the best quality that fits, or of the least."""
    row = strip(images, _HEIGHT)
    encodings: dict[int, bytes] = {}

    def encoded(quality: int) -> bytes:
        buffer = BytesIO()
        row.save(buffer, "WEBP", quality=quality)
        return encodings.setdefault(quality, buffer.getvalue())

    # Worse ones are smaller, so half of the trials are enough.
    first = bisect_left(
        _QUALITIES, 1, key=lambda quality: int(len(encoded(quality)) <= _STRIP_BYTES)
    )
    chosen = _QUALITIES[min(first, len(_QUALITIES) - 1)]
    return encodings[chosen] if chosen in encodings else encoded(chosen)
