"""A unit's data as a file that other programs read: all that its page says, as JSON."""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from functools import cache
from typing import Any, Final

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
    content = {
        "format": FORMAT, "version": VERSION, "study": study, "class_name": class_name or None,
        "label": card.label, **_as_json(card), "files": dict(sorted(files.items())),
    }  # fmt: skip
    return json.dumps(content, ensure_ascii=True, allow_nan=False, separators=(",", ":")).encode()


@cache
def _names(kind: type[Any]) -> tuple[str, ...]:
    """Names of a data class's fields: thousands of values are of a few classes."""
    return tuple(item.name for item in fields(kind))


def _as_json(value: Any) -> Any:
    """A value as JSON holds it; written out, since `asdict` copies all of it first."""
    kind: type[Any] = type(value)
    if value is None or kind is str or kind is int or kind is bool:
        return value
    if kind is float or isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, str | int):
        return value
    if is_dataclass(value):
        return {name: _as_json(getattr(value, name)) for name in _names(kind)}  # type: ignore[arg-type]
    if isinstance(value, list | tuple):
        return [_as_json(item) for item in value]
    if isinstance(value, Mapping):
        return {str(name): _as_json(item) for name, item in value.items()}
    if isinstance(value, bytes):
        return base64.b64encode(value).decode("ascii")
    raise TypeError(f"{type(value).__name__} is nothing that JSON holds")
