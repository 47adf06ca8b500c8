"""`dnd`: label the units of vision networks, and ask why."""

# Imported in the order in which `dnd --help` lists their commands.
from dnd_assets.cli import begin, work, show, ask, judge  # isort: skip # noqa: F401
from dnd_assets.cli.app import app, main

__all__ = ["app", "main"]
