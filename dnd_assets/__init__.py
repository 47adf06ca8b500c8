"""Describe-and-Dissect as a reproducible workflow of Dagster assets.

In a notebook:

    import dnd_assets as dnd
    results = dnd.run("known-answers", ["worldnet/head/0-3"], ["+labels"])
    results = dnd.open("known-answers")    # what was labelled before
    results.labels()
    results.unit("worldnet/head/0")
    results.layer_activations("worldnet/head")
"""

import os
import sys
import warnings
from importlib import import_module
from importlib.machinery import PathFinder
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dnd_assets.results.export.export import read_export
    from dnd_assets.results.notebook import Results, open  # noqa: A004 (`dnd.open` is what it does)
    from dnd_assets.workflow.python_api import label, run

__all__ = ["Results", "label", "open", "read_export", "run"]

# Threads of torch that wait for one another spin otherwise, which on a busy machine takes twenty
# times the processor time of the work itself. It is read when torch is first imported.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
# NumPy's own threads are more than its many small products are worth, where several units are at
# work at once: labelling a unit took 2.3 times the processor time. Read when NumPy is imported.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

_PLACES = {
    "Results": "dnd_assets.results.notebook",
    "open": "dnd_assets.results.notebook",
    "label": "dnd_assets.workflow.python_api",
    "read_export": "dnd_assets.results.export.export",
    "run": "dnd_assets.workflow.python_api",
}


_HIDDEN = (
    "{found} is another `resources` than the package that comes with dnd_assets. dnd_assets uses "
    "its own; `import resources` gives that one, too, wherever it is written from now on. Rename "
    "yours to import it."
)
_TAKEN = (
    "dnd_assets needs the package `resources` that comes with it, and another `resources` was "
    "imported before it: {found}. Rename that file or folder (and delete its __pycache__), or "
    "start Python in another folder."
)
_LOST = (
    "dnd_assets needs the package `resources` that comes with it, and {file} is not there. "
    "Install it again: pip install --force-reinstall --no-deps dnd-assets"
)


def _find_resources() -> None:
    """Import `resources` from beside this package, whatever else of that name is on the path.

    Raises:
        ImportError: when another `resources` was imported already, or ours is not there.
    """
    file = Path(__file__).parent.parent / "resources" / "__init__.py"
    known = sys.modules.get("resources")
    if known is not None:
        folders = [*getattr(known, "__path__", ())]
        found = getattr(known, "__file__", None) or next(iter(folders), "unknown")
        if Path(found).resolve() not in (file.resolve(), file.parent.resolve()):
            raise ImportError(_TAKEN.format(found=found))
        return
    spec = spec_from_file_location("resources", file, submodule_search_locations=[str(file.parent)])
    if not file.is_file() or spec is None or spec.loader is None:
        raise ImportError(_LOST.format(file=file))
    other = PathFinder.find_spec("resources")
    if other is not None and other.origin and Path(other.origin).resolve() != file.resolve():
        warnings.warn(_HIDDEN.format(found=other.origin), stacklevel=3)
    sys.modules["resources"] = module_from_spec(spec)
    spec.loader.exec_module(sys.modules["resources"])


_find_resources()


def __getattr__(name: str) -> object:
    """Names that are imported when first used: the package itself stays quick to import."""
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_PLACES[name]), name)


def __dir__() -> list[str]:
    """The names of the package, those that are imported late among them."""
    return sorted([*globals(), *__all__])
