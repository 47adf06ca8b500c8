"""`dnd`: label the units of vision networks, and ask why.

One file for a group of commands. A file that is put here is imported, so that its commands are
there; nothing else names it.
"""

import gc
import pkgutil
from importlib import import_module
from typing import Final

from dnd_assets.workflow import stopping

stopping.from_the_start()
_THRESHOLD: Final = gc.get_threshold()
gc.set_threshold(50_000)  # imports leave no garbage, and looking for it takes time
from dnd_assets.cli.app import app, main  # noqa: E402
from dnd_assets.cli.common_options import add_common_options  # noqa: E402

_FIRST: Final = ("setup", "run", "results", "query", "evaluate")
"""Groups in the order in which `dnd --help` lists their commands; others follow by name."""
_NO_COMMANDS: Final = frozenset(
    {
        "__main__",
        "advice",
        "app",
        "common_options",
        "completion",
        "console",
        "readiness",
        "web_interface",
    }
)


def _command_modules() -> list[str]:
    """The modules with commands, in the order in which `dnd --help` lists these."""
    modules = {module.name for module in pkgutil.iter_modules(__path__)} - _NO_COMMANDS
    return [*_FIRST, *sorted(modules.difference(_FIRST))]


for _group in _command_modules():
    import_module(f"{__name__}.{_group}")
add_common_options()
gc.set_threshold(*_THRESHOLD)

__all__ = ["app", "main"]
