"""A unit's data as a file that other programs read: all that its page says, as JSON."""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Mapping
from dataclasses import asdict
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
    told = {
        "format": FORMAT, "version": VERSION, "study": study, "class_name": class_name or None,
        "label": card.label, **asdict(card), "files": dict(sorted(files.items())),
    }  # fmt: skip
    return json.dumps(_plain(told), ensure_ascii=True, indent=1, allow_nan=False).encode("ascii")


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(name): _plain(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    if isinstance(value, bytes):
        return base64.b64encode(value).decode("ascii")
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
