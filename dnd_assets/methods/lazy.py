"""Libraries that take seconds to import, imported when something of them is first asked for.

Plans and tables name the methods without running them, so the methods import PyTorch from here.
Packages that only some commands need, and that an extra of this package installs, come from here,
too; those that read files stand in `files.rasters.extras`, since an unreadable file ends no run.
"""

from __future__ import annotations

from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Final

from dnd_assets.errors import MissingError, install_command

EXTRAS: Final = {"obstore": "s3", "openlineage": "openlineage"}
"""Extra of this package, by the package that it installs."""


class LazyModule(ModuleType):
    """A module that is imported when one of its names is asked for.

    >>> LazyModule("math").floor(2.5)
    2
    """

    def __getattr__(self, name: str) -> object:
        return getattr(import_module(self.__name__), name)


if TYPE_CHECKING:
    import torch
else:
    torch = LazyModule("torch")

__all__ = ["EXTRAS", "LazyModule", "extra", "torch"]


def extra(package: str, what: str) -> ModuleType:
    """A package of an extra, imported.

    Args:
        package: its name.
        what: what needs it, for people.

    Raises:
        MissingError: when it is not installed; says what installs it.
    """
    try:
        return import_module(package)
    except ImportError as error:
        command = install_command(EXTRAS[package])
        raise MissingError(
            f"{what} needs the package {package}, which is not installed; run `{command}`", command
        ) from error
