"""The command `dnd`: what all its commands share."""

from __future__ import annotations

import gc as garbage
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from dnd_assets.cli.console import Console
from dnd_assets.completion import study_names
from dnd_assets.errors import DndError
from dnd_assets.home import results_folder

if TYPE_CHECKING:
    from dnd_assets.study import Study
    from dnd_assets.workbench import Workbench

app = typer.Typer(
    help="Plain-language labels for the neurons of vision networks, after Describe-and-Dissect.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
out = Console()
err = Console(stderr=True)

StudyOption = Annotated[
    str | None,
    typer.Option(
        "--study",
        "-s",
        help="An embedded study or a TOML file; default: DND_STUDY.",
        autocompletion=study_names,
    ),
]


@contextmanager
def reading(study: Study, log: Callable[[str], None] = lambda _: None) -> Iterator[Workbench]:
    """A workbench that only reads, and that sees one state of the results in the whole block.

    Raises:
        NotFoundError: when there are no results; no folder is made.
    """
    from dnd_assets.bench import build_bench

    bench = build_bench(study, results_folder(), log, reading=True)
    with bench.lineage.connect():
        yield bench


def asking(study: Study, log: Callable[[str], None] = lambda _: None) -> Workbench:
    """A workbench that keeps what it computes, where the state folder may be written.

    Raises:
        NotFoundError: when there are no results; no folder is made.
    """
    from dnd_assets.bench import build_bench

    home = results_folder()
    return build_bench(study, home, log, reading=not os.access(home, os.W_OK))


def main() -> None:
    """Entry point: errors raised on purpose become a message and exit status 2."""
    garbage.set_threshold(50_000)  # imports leave none; looking for it costs a tenth
    try:
        app(standalone_mode=True)
    except DndError as error:
        err.print(f"dnd: {error}", style="red", markup=False)
        sys.exit(2)
