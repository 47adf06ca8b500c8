"""Describe-and-Dissect as a reproducible workflow of Dagster assets.

In a notebook:

    import dnd_assets as dnd
    results = dnd.open("known-answers")
    results.labels()
    results.unit("worldnet/head/0")
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dnd_assets.export import read_export
    from dnd_assets.notebook import Results, open  # noqa: A004 (`dnd.open` is what it does)

__all__ = ["Results", "open", "read_export"]

_PLACES = {
    "Results": "dnd_assets.notebook",
    "open": "dnd_assets.notebook",
    "read_export": "dnd_assets.export",
}


def __getattr__(name: str) -> Any:
    """Names that are imported when first used: the package itself stays quick to import."""
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_PLACES[name]), name)


def __dir__() -> list[str]:
    """The names of the package, those that are imported late among them."""
    return sorted([*globals(), *__all__])
