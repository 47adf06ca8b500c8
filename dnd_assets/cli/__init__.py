"""`dnd`: label the units of vision networks, and ask why."""

from dnd_assets.workflow import stopping

stopping.from_the_start()
# Imported in the order in which `dnd --help` lists their commands.
from dnd_assets.cli import setup, run, results, query, evaluate  # isort: skip # noqa: E402, F401
from dnd_assets.cli.app import app, main  # noqa: E402

__all__ = ["app", "main"]
