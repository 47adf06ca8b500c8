"""A unit's data as a file that other programs read: all that its page says, as JSON."""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from functools import cache
from typing import Final

from dnd_assets.results.unit_card.card import UnitCard

FORMAT: Final = "dnd-unit"
VERSION: Final = 1


def unit_data(card: UnitCard, study: str, class_name: str, files: Mapping[str, str]) -> bytes:
    """A card as JSON, ASCII; numbers that are not finite are null, heat maps base64 of PNG.

    Args:
        card: the unit.
        study: name of the study.
        class_name: the class that the unit stands for; empty where it is none.
        files: names of the files of probing images, by SHA-256.
    """
    content: dict[str, object] = {
        "format": FORMAT, "version": VERSION, "study": study, "class_name": class_name or None,
        "label": card.label, **_fields(card), "files": dict(sorted(files.items())),
    }  # fmt: skip
    try:
        return _dumped(content)
    except ValueError:  # a number that is not finite, which few cards have
        return _dumped(_finite(content))


def _dumped(content: object) -> bytes:
    return json.dumps(
        content, ensure_ascii=True, allow_nan=False, separators=(",", ":"), default=_plain
    ).encode()


@cache
def _names(kind: type) -> tuple[str, ...]:
    """Names of a data class's fields: thousands of values are of a few classes."""
    return tuple(item.name for item in fields(kind))


def _fields(value: object) -> dict[str, object]:
    """A data class's fields by name, none copied."""
    kind: type = type(value)
    return {name: getattr(value, name) for name in _names(kind)}


def _plain(value: object) -> object:
    """What JSON does not hold as something that it does, its parts as they are."""
    if is_dataclass(value):
        return _fields(value)
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, bytes):
        return base64.b64encode(value).decode("ascii")
    raise TypeError(f"{type(value).__name__} is nothing that JSON holds")


def _finite(value: object) -> object:
    """A value with None for each number in it that is not finite."""
    if value is None or isinstance(value, str | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    if isinstance(value, dict):
        return {name: _finite(item) for name, item in value.items()}
    return _finite(_plain(value))
