"""A unit's card as HTML for notebooks: no script, no outside reference, every text escaped."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from html import escape
from io import BytesIO
from typing import Final

from PIL import Image, ImageDraw

from dnd_assets.engine.cache.stored_pictures import Pictures
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
    thumbnails = _Thumbnails(pictures)
    parts = [
        _title(card),
        _evidence(card, thumbnails),
        _methods(card),
        _ablation(card),
        _exemplars(card.exemplars[:_EXEMPLARS], thumbnails),
        "".join(f"<p>{escape(remark)}</p>" for remark in card.remarks),
        _concepts(card.concepts[:_CONCEPTS], thumbnails),
        _histogram(card.distribution),
        _metrics(card),
        _lineage(card),
    ]
    return f"<div style='max-width:72em'>{''.join(parts)}</div>"


class _Thumbnails:
    """Small JPEG pictures as data URLs, each made once."""

    def __init__(self, pictures: Pictures) -> None:
        self._pictures = pictures

    def tag(self, name: str, description: str, boxes: Iterable[Box] = ()) -> str:
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
        text = escape(description, quote=True)
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


def _evidence(card: UnitCard, thumbnails: _Thumbnails) -> str:
    """How sure a label by detection is, with images that have the concept and that have not."""
    evidence = card.evidence
    if evidence is None:
        return ""
    text = (
        f"confidence {evidence.confidence:.2f} of {evidence.label!r}: "
        f"held out {evidence.held_out:.2f}, stability {evidence.stability:.0%}, "
        f"gap {evidence.gap:.2f}, {evidence.reference:,} images"
    )
    if evidence.painted is not None:
        verdict = "confirmed" if evidence.confirmed else "not confirmed"
        text += f"; {verdict}, active on {evidence.painted:.0%} of its painted pictures"
    rows = [
        (escape(band), *("".join(thumbnails.tag(image.image, _alt_text(image)) for image in images)
         for images in sides))
        for band, sides in evidence.bands.items()
    ]  # fmt: skip
    pictures = _table(("activation", "with it", "without it"), rows) if rows else ""
    return f"<p>{escape(text)}</p>{pictures}"


def _alt_text(image: ReferenceImage) -> str:
    return f"activation {image.activation:.4g}: {image.caption}"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table; cells are HTML already."""
    top = "".join(f"<th style='{_CELL}'>{escape(title)}</th>" for title in head)
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
        (escape(method.asset), escape(method.label or f"({method.status})"), _number(method.score),
         escape(", ".join(label.label for label in method.labels[1:])))
        for method in card.methods
    ]  # fmt: skip
    return _table(("method", "label", "score", "then"), rows)


def _ablation(card: UnitCard) -> str:
    """What the classes of the network lose without the unit."""
    ablation = card.ablation
    if ablation is None:
        return ""
    summary = (
        f"Without it ({ablation.how} ablation, {ablation.images:,} images) the best class "
        f"changes on {ablation.chosen:.1%} of the images"
        + (", by a linear probe" if ablation.probe else "")
    )
    rows = [
        (escape(loss.name), _number(loss.score), _number(loss.change), _range(loss.ends),
         _number(loss.accuracy), _number(loss.accuracy_change), _range(loss.accuracy_ends))
        for loss in ablation.losses
    ]  # fmt: skip
    head = ("class", "score", "change", "95 %", "accuracy", "change", "95 %")
    return f"<p>{escape(summary)}</p>{_table(head, rows)}"


def _range(ends: tuple[float, float] | None) -> str:
    return "-" if ends is None else f"{_number(ends[0])} to {_number(ends[1])}"


def _exemplars(exemplars: Sequence[Exemplar], thumbnails: _Thumbnails) -> str:
    if not exemplars:
        return ""
    cells = []
    for exemplar in exemplars:
        description = f"activation {exemplar.activation:.4g}: {exemplar.caption or 'not captioned'}"
        boxes = [crop.box for crop in exemplar.crops if crop.box is not None]
        cells.append(thumbnails.tag(exemplar.image, description, boxes))
    return f"<p><b>Most activating images</b>, crops framed</p><div>{''.join(cells)}</div>"


def _concepts(concepts: Sequence[CandidateConcept], thumbnails: _Thumbnails) -> str:
    if not concepts:
        return ""
    rows = []
    for concept in concepts:
        pictures = [picture for picture in concept.pictures if not picture.rejected][:_PICTURES]
        tags = "".join(
            thumbnails.tag(p.image, f"seed {p.seed}, activation {_number(p.activation)}")
            for p in pictures
        )
        rows.append((escape(concept.concept), _number(concept.score), tags))
    return _table(("candidate concept", "score", "synthetic pictures"), rows)


def _histogram(distribution: Distribution | None) -> str:
    if distribution is None:
        return ""
    text = (
        f"activation on {distribution.images:,} images: mean {distribution.mean:.4g}, "
        f"largest {distribution.high:.4g}, positive on {distribution.positive:.1%}"
        + (f", fires on {distribution.fires:.1%}" if distribution.fires is not None else "")
    )
    highest = max(distribution.counts, default=0)
    if not highest:
        return f"<p>{escape(text)}</p>"
    bars = "".join(
        f"<rect x='{position * 6}' y='{_BAR - _height(count, highest)}' width='5' "
        f"height='{_height(count, highest)}' fill='currentColor'/>"
        for position, count in enumerate(distribution.counts)
    )
    width = len(distribution.counts) * 6
    return (
        f"<p>{escape(text)}</p><svg width='{width}' height='{_BAR}' role='img' "
        f"aria-label='{escape(text, quote=True)}'>{bars}</svg>"
    )


def _height(count: int, highest: int) -> int:
    return max(1, round(_BAR * count / highest)) if count else 0


def _metrics(card: UnitCard) -> str:
    rows = [
        (
            escape(metric_set.asset),
            escape(name),
            _number(value),
            escape(metric_set.reasons.get(name, "")),
        )
        for metric_set in card.metrics
        for name, value in metric_set.values.items()
    ]
    if not rows:
        return ""
    inner = _table(("labels of", "metric", "value", "why none"), rows)
    return f"<details><summary>Metrics</summary>{inner}</details>"


def _lineage(card: UnitCard) -> str:
    rows = [
        (escape(step.asset), escape(step.status), f"<code>{escape(step.data_version[:12])}</code>",
         f"<code>{escape(step.key[:12])}</code>", f"<code>{escape(step.run[:8])}</code>",
         escape(step.recorded_at))
        for step in card.made
    ]  # fmt: skip
    if not rows:
        return ""
    inner = _table(("product", "status", "version", "key", "run", "recorded"), rows)
    return f"<details><summary>How it was made</summary>{inner}</details>"
