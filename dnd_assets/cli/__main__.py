"""`python -m dnd_assets.cli`, the same as `dnd`."""

from dnd_assets.cli import main

main()
