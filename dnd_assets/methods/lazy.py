"""Libraries that take seconds to import, imported when something of them is first asked for.

Plans and tables name the methods without running them, so the methods import PyTorch from here.
"""

from __future__ import annotations

from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any


class LazyModule(ModuleType):
    """A module that is imported when one of its names is asked for.

    >>> LazyModule("math").floor(2.5)
    2
    """

    def __getattr__(self, name: str) -> Any:
        return getattr(import_module(self.__name__), name)


if TYPE_CHECKING:
    import torch
else:
    torch = LazyModule("torch")

__all__ = ["LazyModule", "torch"]
