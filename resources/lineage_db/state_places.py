"""Where the DuckDB index lies: beside the journal, or on a disk of this machine."""

from __future__ import annotations

import os
from pathlib import Path

from dnd_assets.files.atomic import sha256

INDEX = "DND_INDEX"
"""Environment variable: a folder of this machine for indexes of journals that lie elsewhere."""


def index_folder(root: Path) -> Path:
    """The folder of the index of a state folder: itself, or one of its own below `DND_INDEX`.

    A shared file system serves DuckDB badly, and its index is no record: each machine may have one.
    """
    folder = os.environ.get(INDEX)
    if not folder:
        return root
    return Path(folder).expanduser() / sha256(str(root.resolve()).encode())[:16]
