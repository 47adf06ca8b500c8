"""Packages that read what the core cannot: which extra installs each."""

from __future__ import annotations

import importlib
from importlib.util import find_spec
from types import ModuleType
from typing import Final

from dnd_assets.errors import install_command
from dnd_assets.files.unreadable import UnreadableImage

EXTRAS: Final = {"rasterio": "raster", "pydicom": "dicom"}
"""Extra of this package, by the package that it installs."""


def installed(package: str) -> bool:
    """Whether a package is there; it is not imported."""
    return find_spec(package) is not None


def how_to_install(package: str) -> str:
    """What to run to have a package."""
    return install_command(EXTRAS[package])


def needed(package: str, what: str) -> ModuleType:
    """A package that reads some files.

    Raises:
        UnreadableImage: when it is not installed; says what installs it.
    """
    try:
        return importlib.import_module(package)
    except ImportError as error:
        raise UnreadableImage(
            f"{what} is not decoded without the package {package}; run `{how_to_install(package)}`"
        ) from error
