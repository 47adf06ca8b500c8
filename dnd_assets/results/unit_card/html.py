"""A unit's card as HTML for notebooks: no script, no outside reference, every text escaped."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from html import escape
from io import BytesIO
from typing import Final

from PIL import Image, ImageDraw

from dnd_assets.engine.cache.images import Pictures
from dnd_assets.errors import StoreError
from dnd_assets.files.images import UnreadableImage
from dnd_assets.results.unit_card.card import (
    Box,
    CandidateConcept,
    Distribution,
    Exemplar,
    ReferenceImage,
    UnitCard,
)

_SIDE: Final = 96
_QUALITY: Final = 75
_EXEMPLARS: Final = 10
_PICTURES: Final = 3
_CONCEPTS: Final = 5
_BAR: Final = 40
_CELL: Final = "padding:2px 8px;text-align:left;vertical-align:top"


def card_html(card: UnitCard, pictures: Pictures) -> str:
    """The card as one block of HTML, some hundred kilobytes at most.

    Args:
        card: everything known of the unit.
        pictures: where its pictures lie; one that is gone is told in its place.
    """
    drawn = _Thumbnails(pictures)
    parts = [
        _title(card),
        _evidence(card, drawn),
        _methods(card),
        _ablation(card),
        _exemplars(card.exemplars[:_EXEMPLARS], drawn),
        "".join(f"<p>{escape(one)}</p>" for one in card.remarks),
        _concepts(card.concepts[:_CONCEPTS], drawn),
        _histogram(card.distribution),
        _metrics(card),
        _lineage(card),
    ]
    return f"<div style='max-width:72em'>{''.join(parts)}</div>"


class _Thumbnails:
    """Small JPEG pictures as data URLs, each made once."""

    def __init__(self, pictures: Pictures) -> None:
        self._pictures = pictures

    def tag(self, name: str, told: str, boxes: Iterable[Box] = ()) -> str:
        """An image element, or a few words where the picture is gone."""
        try:
            picture = self._pictures.shown(name)
        except (StoreError, UnreadableImage):
            return f"<i title='{escape(name)}'>picture is gone</i>"
        pen = ImageDraw.Draw(picture)
        for box in boxes:
            corners = (
                box.left * picture.width, box.top * picture.height,
                box.right * picture.width - 1, box.bottom * picture.height - 1,
            )  # fmt: skip
            pen.rectangle(corners, outline=(255, 220, 0), width=max(1, picture.width // 64))
        text = escape(told, quote=True)
        return f"<img alt='{text}' title='{text}' src='{_data_url(picture)}' style='margin:2px'>"


def _data_url(picture: Image.Image) -> str:
    scale = _SIDE / max(picture.size)
    size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
    buffer = BytesIO()
    picture.resize(size).save(buffer, "JPEG", quality=_QUALITY)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def _title(card: UnitCard) -> str:
    said = card.main
    key = escape(card.unit) + (f", direction: {escape(card.name)}" if card.name else "")
    if said is None:
        return f"<h3>{key}</h3>"
    name = escape(said.label or f"no label ({said.status})")
    reason = f"<p>{escape(said.reason)}</p>" if said.reason else ""
    return f"<h3>{name} <small>{key}</small></h3>{reason}"


def _evidence(card: UnitCard, drawn: _Thumbnails) -> str:
    """How sure a label by detection is, with images that have the concept and that have not."""
    found = card.evidence
    if found is None:
        return ""
    told = (
        f"confidence {found.confidence:.2f} of {found.label!r}: held out {found.held_out:.2f}, "
        f"stability {found.stability:.0%}, gap {found.gap:.2f}, {found.reference:,} images"
    )
    if found.painted is not None:
        word = "confirmed" if found.confirmed else "not confirmed"
        told += f"; {word}, active on {found.painted:.0%} of its painted pictures"
    rows = [
        (escape(band), *("".join(drawn.tag(one.image, _told(one)) for one in some)
         for some in sides))
        for band, sides in found.bands.items()
    ]  # fmt: skip
    pictures = _table(("activation", "with it", "without it"), rows) if rows else ""
    return f"<p>{escape(told)}</p>{pictures}"


def _told(one: ReferenceImage) -> str:
    return f"activation {one.activation:.4g}: {one.caption}"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table; cells are HTML already."""
    top = "".join(f"<th style='{_CELL}'>{escape(one)}</th>" for one in head)
    body = "".join(
        f"<tr>{''.join(f'<td style={_CELL!r}>{cell}</td>' for cell in row)}</tr>" for row in rows
    )
    return f"<table><tr>{top}</tr>{body}</table>"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"


def _methods(card: UnitCard) -> str:
    if not card.methods:
        return ""
    rows = [
        (escape(one.asset), escape(one.label or f"({one.status})"), _number(one.score),
         escape(", ".join(other.label for other in one.labels[1:])))
        for one in card.methods
    ]  # fmt: skip
    return _table(("method", "label", "score", "then"), rows)


def _ablation(card: UnitCard) -> str:
    """What the classes of the network lose without the unit."""
    found = card.ablation
    if found is None:
        return ""
    told = (
        f"Without it ({found.how} ablation, {found.images:,} images) the best class changes on "
        f"{found.chosen:.1%} of the images" + (", by a linear probe" if found.probe else "")
    )
    rows = [
        (escape(one.name), _number(one.score), _number(one.change), _range(one.ends),
         _number(one.accuracy), _number(one.accuracy_change), _range(one.accuracy_ends))
        for one in found.losses
    ]  # fmt: skip
    head = ("class", "score", "change", "95 %", "accuracy", "change", "95 %")
    return f"<p>{escape(told)}</p>{_table(head, rows)}"


def _range(ends: tuple[float, float] | None) -> str:
    return "-" if ends is None else f"{_number(ends[0])} to {_number(ends[1])}"


def _exemplars(exemplars: Sequence[Exemplar], drawn: _Thumbnails) -> str:
    if not exemplars:
        return ""
    cells = []
    for one in exemplars:
        told = f"activation {one.activation:.4g}: {one.caption or 'not captioned'}"
        boxes = [crop.box for crop in one.crops if crop.box is not None]
        cells.append(drawn.tag(one.image, told, boxes))
    return f"<p><b>Most activating images</b>, crops framed</p><div>{''.join(cells)}</div>"


def _concepts(concepts: Sequence[CandidateConcept], drawn: _Thumbnails) -> str:
    if not concepts:
        return ""
    rows = []
    for one in concepts:
        kept = [picture for picture in one.pictures if not picture.rejected][:_PICTURES]
        shown = "".join(
            drawn.tag(p.image, f"seed {p.seed}, activation {_number(p.activation)}") for p in kept
        )
        rows.append((escape(one.concept), _number(one.score), shown))
    return _table(("candidate concept", "score", "synthetic pictures"), rows)


def _histogram(found: Distribution | None) -> str:
    if found is None:
        return ""
    told = (
        f"activation on {found.images:,} images: mean {found.mean:.4g}, largest {found.high:.4g}, "
        f"positive on {found.positive:.1%}"
        + (f", fires on {found.fires:.1%}" if found.fires is not None else "")
    )
    highest = max(found.counts, default=0)
    if not highest:
        return f"<p>{escape(told)}</p>"
    bars = "".join(
        f"<rect x='{place * 6}' y='{_BAR - _height(count, highest)}' width='5' "
        f"height='{_height(count, highest)}' fill='currentColor'/>"
        for place, count in enumerate(found.counts)
    )
    width = len(found.counts) * 6
    return (
        f"<p>{escape(told)}</p><svg width='{width}' height='{_BAR}' role='img' "
        f"aria-label='{escape(told, quote=True)}'>{bars}</svg>"
    )


def _height(count: int, highest: int) -> int:
    return max(1, round(_BAR * count / highest)) if count else 0


def _metrics(card: UnitCard) -> str:
    rows = [
        (escape(one.asset), escape(name), _number(value), escape(one.reasons.get(name, "")))
        for one in card.metrics
        for name, value in one.values.items()
    ]
    if not rows:
        return ""
    inner = _table(("labels of", "metric", "value", "why none"), rows)
    return f"<details><summary>Metrics</summary>{inner}</details>"


def _lineage(card: UnitCard) -> str:
    rows = [
        (escape(one.asset), escape(one.status), f"<code>{escape(one.data_version[:12])}</code>",
         f"<code>{escape(one.key[:12])}</code>", f"<code>{escape(one.run[:8])}</code>",
         escape(one.recorded_at))
        for one in card.made
    ]  # fmt: skip
    if not rows:
        return ""
    inner = _table(("product", "status", "version", "key", "run", "recorded"), rows)
    return f"<details><summary>How it was made</summary>{inner}</details>"
