"""Where the atlas of a study lies, and the page of a unit in it."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Final
from urllib.parse import quote

from dnd_assets.files.atomic import sha256

_LONGEST_SLUG: Final = 60
_NOT_PLAIN: Final = re.compile(r"[^a-z0-9]+")
_VARIABLE: Final = "DND_ATLAS_URL"
USUAL_PORT: Final = 3001
"""Port that `dnd ui` serves atlases at when the interface itself has its usual one."""


def atlas_folder(home: Path, study: str) -> Path:
    """The folder that a study's atlas is written to unless another is named."""
    return home / "atlas" / study


def page_address(study: str, unit: str) -> str:
    """Address of a unit's page while `dnd ui` is running."""
    root = os.environ.get(_VARIABLE) or f"http://127.0.0.1:{USUAL_PORT}"
    return f"{root.rstrip('/')}/{quote(study)}/units/{page_name(unit)}"


def page_name(unit: str) -> str:
    """File name of a unit's page: letters, digits and dashes, with a hash of the whole key.

    >>> page_name("net/layer4.2/17").rpartition("-")[0]
    'net-layer4-2-17'
    """
    slug = _NOT_PLAIN.sub("-", unit.lower()).strip("-")[-_LONGEST_SLUG:].strip("-") or "unit"
    return f"{slug}-{sha256(unit.encode('utf-8', 'surrogatepass'))[:10]}.html"
