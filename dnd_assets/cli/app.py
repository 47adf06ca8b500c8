"""The command `dnd`: what all its commands share."""

from __future__ import annotations

import gc as garbage
import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from dnd_assets.cli.advice import asked_study, for_study
from dnd_assets.cli.completion import study_names
from dnd_assets.cli.console import Console
from dnd_assets.errors import DndError
from dnd_assets.home import results_folder
from dnd_assets.study.study import Study
from dnd_assets.workflow import stopping

if TYPE_CHECKING:
    from dnd_assets.engine.context import StudyContext
    from dnd_assets.results.recorded import Recorded
    from resources.lineage_db.database import Lineage

app = typer.Typer(
    help="Plain-language labels for the neurons of vision networks, after Describe-and-Dissect.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
out = Console()
err = Console(stderr=True)
_progress = Console(stderr=True)
"""For what `--quiet` leaves out."""

StudyOption = Annotated[
    str | None,
    typer.Option(
        "--study",
        "-s",
        help="An embedded study or a TOML file; default: DND_STUDY.",
        autocompletion=study_names,
    ),
]

Form = Literal["text", "json"]
TextOrJson = Annotated[Form, typer.Option("--format", "-f")]
TableOrJson = Annotated[Literal["table", "json"], typer.Option("--format", "-f")]


def _show_version(requested: bool) -> None:
    if requested:
        from importlib.metadata import version

        out.print(f"dnd {version('dnd-assets')}", markup=False)
        raise typer.Exit


def print_json(content: object) -> None:
    """What a script reads: JSON on stdout, every letter as it is."""
    sys.stdout.write(json.dumps(content, indent=1, ensure_ascii=False) + "\n")


def told(line: str) -> None:
    """A line of progress, beside the results: on stderr, and not with `--quiet`."""
    _progress.print(f"  {line}", markup=False)


def advise(line: str) -> None:
    """What to do next, beside the results: on stderr, and not with `--quiet`."""
    _progress.print(line, markup=False)


def keep_quiet(quiet: bool) -> None:
    """Leave out progress and advice from here on; once asked for, it holds for the command."""
    _progress.quiet |= quiet


@app.callback()
def _common(
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Only results, warnings and errors.")
    ] = False,
    _version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_show_version, is_eager=True, help="Print the version and end."
        ),
    ] = False,
) -> None:
    _progress.quiet = quiet


@contextmanager
def reading(
    study: Study, assets: Sequence[str] | None = None, log: Callable[[str], None] = lambda _: None
) -> Iterator[StudyContext]:
    """A study context that only reads, and that sees one state of the results in the whole block.

    What stands under the present settings comes first; the rest is announced, see
    `show_what_stands`.

    Args:
        study: the study as it is now.
        assets: those that are shown; None for all.
        log: where progress goes.

    Raises:
        NotFoundError: when there are no results; no folder is made.
    """
    from dnd_assets.engine.context_builder import build_context

    context = build_context(study, results_folder(), log, reading=True)
    with context.lineage.connect():
        show_what_stands(context.lineage, study, assets)
        yield context


@contextmanager
def records_of(study: Study, assets: Sequence[str] | None = None) -> Iterator[Recorded]:
    """The records of a study in one state, as `reading`, without its models.

    Raises:
        NotFoundError: when there are no results; no folder is made.
    """
    from dnd_assets.results.recorded import Recorded

    recorded = Recorded.at(study, results_folder())
    with recorded.lineage.connect():
        show_what_stands(recorded.lineage, study, assets)
        yield recorded


def recorded_key(recorded: Recorded, asset: str, unit: str) -> tuple[str, str]:
    """An asset's name and a unit's key, of which the study has a product or could have one.

    What is recorded tells without methods and networks, which take seconds to import and look at.

    Raises:
        NotFoundError: with the nearest names.
    """
    study, sql = recorded.study, "SELECT 1 FROM latest WHERE study = ? AND asset = ? AND unit = ?"
    if recorded.lineage.query(sql, [study.name, asset, unit]):
        return asset, unit
    from dnd_assets.assets.registry import chosen_assets
    from dnd_assets.study.selection import select_units, target_networks

    (name,) = chosen_assets(study, [asset])
    networks = target_networks(study, results_folder(), reading=True)
    return name, select_units(study, networks)[unit].key


def asking(study: Study, log: Callable[[str], None] = lambda _: None) -> StudyContext:
    """A study context that keeps what it computes, where the state folder may be written.

    Raises:
        NotFoundError: when there are no results; no folder is made.
    """
    from dnd_assets.engine.context_builder import build_context

    home = results_folder()
    context = build_context(study, home, log, reading=not os.access(home, os.W_OK))
    show_what_stands(context.lineage, study)
    return context


def show_what_stands(lineage: Lineage, study: Study, assets: Sequence[str] | None = None) -> None:
    """Have a lineage give what the present settings lead to, and say what was made under others.

    Args:
        lineage: what is read from.
        study: the study as it is now.
        assets: those that are shown; None for all.
    """
    from dnd_assets.results.standing import stand_by

    notice = stand_by(lineage, study).notice(assets)
    if notice:
        err.print(notice, style="yellow", markup=False)


def main() -> None:
    """Entry point: errors raised on purpose become a message and exit status 2 or 3.

    Ctrl-C, SIGTERM and a closed terminal end any command with exit status 130.
    """
    stopping.install()
    garbage.set_threshold(50_000)  # imports leave none; looking for it costs a tenth
    if "duckdb" not in sys.modules:  # it would complain of what is not cleared away at the end
        garbage.freeze()  # nor is it worth while to look through all of them when the process ends
    try:
        app(standalone_mode=True)
    except DndError as error:
        _end_if_stopped()
        message = for_study(str(error), asked_study(sys.argv[1:]))
        err.print(f"dnd: {message}", style="red", markup=False)
        sys.exit(error.exit_status)
    except SystemExit as error:
        if error.code:
            _end_if_stopped()
        raise
    except BaseException:
        _end_if_stopped()
        raise


def _end_if_stopped() -> None:
    """What ends in any wrong way after a signal ends because of it."""
    if stopping.was_stopped():
        stopping.finish()
