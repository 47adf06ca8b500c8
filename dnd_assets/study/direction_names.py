"""What the directions of a study are called, as their files say it; no network is looked at."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

from dnd_assets.study.network_settings import DirectionsSettings
from dnd_assets.study.study import Study
from dnd_assets.units import Unit

_NAMES: Final = "names"


def direction_names(study: Study) -> dict[str, str]:
    """Name of each direction of a study, by its unit's key; none where files have none.

    Files that are not there or cannot be read give none: a run says what is wrong with them.
    """
    names: dict[str, str] = {}
    for model in study.models:
        for layer in model.layers:
            if isinstance(layer.coding, DirectionsSettings):
                for number, name in enumerate(_names(study.path(layer.coding.path))):
                    names[Unit(model.name, layer.path, number).key] = name
    return names


def _names(file: Path) -> list[str]:
    """The JSON list under `names` in a safetensors file's header, which is all that is read."""
    from safetensors import SafetensorError, safe_open

    if file.is_dir():
        file = next(iter(sorted(file.glob("*.safetensors"))), file)
    try:
        with safe_open(file, framework="np") as handle:
            names: object = json.loads((handle.metadata() or {}).get(_NAMES, "[]"))
    except (OSError, ValueError, SafetensorError):
        return []
    return [str(name) for name in names] if isinstance(names, list) else []
