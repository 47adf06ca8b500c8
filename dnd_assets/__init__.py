"""Describe-and-Dissect as a reproducible workflow of Dagster assets.

In a notebook:

    import dnd_assets as dnd
    results = dnd.open("known-answers")
    results.labels()
    results.unit("worldnet/head/0")
"""

import sys
from importlib import import_module
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dnd_assets.results.export.export import read_export
    from dnd_assets.results.notebook import Results, open  # noqa: A004 (`dnd.open` is what it does)

__all__ = ["Results", "open", "read_export"]

_PLACES = {
    "Results": "dnd_assets.results.notebook",
    "open": "dnd_assets.results.notebook",
    "read_export": "dnd_assets.results.export.export",
}


def _find_resources() -> None:
    """Import `resources` from beside this package, whatever else of that name is on the path."""
    file = Path(__file__).parent.parent / "resources" / "__init__.py"
    spec = spec_from_file_location("resources", file, submodule_search_locations=[str(file.parent)])
    if "resources" in sys.modules or not file.is_file() or spec is None or spec.loader is None:
        return
    sys.modules["resources"] = module_from_spec(spec)
    spec.loader.exec_module(sys.modules["resources"])


_find_resources()


def __getattr__(name: str) -> Any:
    """Names that are imported when first used: the package itself stays quick to import."""
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_PLACES[name]), name)


def __dir__() -> list[str]:
    """The names of the package, those that are imported late among them."""
    return sorted([*globals(), *__all__])
