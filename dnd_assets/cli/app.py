"""The command `dnd`: what all its commands share."""

from __future__ import annotations

import gc as garbage
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from dnd_assets.completion import study_names
from dnd_assets.errors import DndError
from dnd_assets.study import Study

if TYPE_CHECKING:
    from resources.lineage_db import Lineage

app = typer.Typer(
    help="Plain-language labels for the neurons of vision networks, after Describe-and-Dissect.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
out = Console(highlight=False, soft_wrap=True)
err = Console(stderr=True, highlight=False, soft_wrap=True)

StudyOption = Annotated[
    str | None,
    typer.Option(
        "--study",
        "-s",
        help="An embedded study or a TOML file; default: DND_STUDY.",
        autocompletion=study_names,
    ),
]


def show_what_stands(lineage: Lineage, study: Study, assets: Sequence[str] | None = None) -> None:
    """Have a lineage give what the present settings lead to, and say what was made under others.

    Args:
        lineage: what is read from.
        study: the study as it is now.
        assets: those that are shown; None for all.
    """
    from dnd_assets.standing import stand_by

    notice = stand_by(lineage, study).notice(assets)
    if notice:
        err.print(notice, style="yellow", markup=False)


def main() -> None:
    """Entry point: errors raised on purpose become a message and exit status 2."""
    garbage.set_threshold(50_000)  # imports leave none; looking for it costs a tenth
    try:
        app(standalone_mode=True)
    except DndError as error:
        err.print(f"dnd: {error}", style="red", markup=False)
        sys.exit(2)
