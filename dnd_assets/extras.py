"""Packages that only some commands and models need: which extra of this package installs each.

Those that read files stand in `files.rasters.extras`, since a file that cannot be read ends no run.
"""

from __future__ import annotations

import importlib
from types import ModuleType
from typing import Final

from dnd_assets.errors import MissingError

EXTRAS: Final = {"openlineage": "openlineage"}
"""Extra of this package, by the package that it installs."""


def extra(package: str, what: str) -> ModuleType:
    """A package of an extra, imported.

    Args:
        package: its name.
        what: what needs it, for people.

    Raises:
        MissingError: when it is not installed; says what installs it.
    """
    try:
        return importlib.import_module(package)
    except ImportError as error:
        command = f"pip install 'dnd-assets[{EXTRAS[package]}]'"
        raise MissingError(
            f"{what} needs the package {package}, which is not installed; run `{command}`", command
        ) from error
