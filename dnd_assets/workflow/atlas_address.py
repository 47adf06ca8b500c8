"""Where the atlas of a study lies, and the page of a unit in it."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Final
from urllib.parse import quote

from dnd_assets.files.atomic import sha256, write_atomic

_LONGEST_SLUG: Final = 60
_NOT_PLAIN: Final = re.compile(r"[^a-z0-9]+")
_VARIABLE: Final = "DND_ATLAS_URL"
_NOTED: Final = "atlas-address"
"""File of the state folder that holds the address where atlases were last shown."""


def atlas_folder(home: Path, study: str) -> Path:
    """The folder that a study's atlas is written to unless another is named."""
    return home / "atlas" / study


def note_address(home: Path, root: str) -> str:
    """Note where `dnd ui` shows atlases, for runs of the command line, too; returns it."""
    write_atomic(home / _NOTED, f"{root}\n".encode())
    return root


def noted_address(home: Path) -> str:
    """Where atlases are shown, or were last; empty where none was shown yet."""
    try:
        noted = (home / _NOTED).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        noted = ""
    return (os.environ.get(_VARIABLE) or noted).strip().rstrip("/")


def page_address(home: Path, study: str, unit: str) -> str:
    """Address of a unit's page while `dnd ui` is running; empty where it never was."""
    root = noted_address(home)
    return f"{root}/{quote(study)}/units/{page_name(unit)}" if root else ""


def page_link(home: Path, study: str, unit: str) -> tuple[str, bool]:
    """What an event says of a unit's page, and whether it is an address that opens now."""
    address = page_address(home, study, unit)
    file = atlas_folder(home, study) / "units" / page_name(unit)
    if address and file.is_file():
        return address, True
    when = "once the asset `atlas` is materialized"
    return (f"{address}, {when}" if address else f"shown by `dnd ui` {when}"), False


def page_name(unit: str) -> str:
    """File name of a unit's page: letters, digits and dashes, with a hash of the whole key.

    >>> page_name("net/layer4.2/17").rpartition("-")[0]
    'net-layer4-2-17'
    """
    slug = _NOT_PLAIN.sub("-", unit.lower()).strip("-")[-_LONGEST_SLUG:].strip("-") or "unit"
    return f"{slug}-{sha256(unit.encode('utf-8', 'surrogatepass'))[:10]}.html"
