"""The command that unites state folders."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dnd_assets.cli.app import StudyOption, app, err, out, told
from dnd_assets.home import state_folder
from dnd_assets.study.study import load_study

_SHOWN = 20


@app.command()
def merge(
    states: Annotated[list[Path], typer.Argument(help="State folders that were filled apart.")],
    study: StudyOption = None,
    keep: Annotated[
        bool,
        typer.Option(
            "--keep",
            help="Where the same was made twice and differs, keep what is here and add the rest.",
        ),
    ] = False,
) -> None:
    """Add what other state folders hold, such as halves of a study that two machines labelled.

    What several folders made has to agree; otherwise it is said what differs, and nothing is
    added. The other folders are only read, and nothing here is replaced.

    Example: dnd merge /data/half-1 /data/half-2
    """
    loaded_study = load_study(study)
    from dnd_assets.engine.merge import merge as merge_states

    home = state_folder()
    merged = merge_states(
        home,
        states,
        loaded_study.store,
        keep=keep,
        log=told,
    )
    for difference in merged.differences[:_SHOWN]:
        err.print(
            f"{difference.what} {difference.of}: {difference.here[:60]} in "
            f"{difference.folders[0]}, {difference.there[:60]} in {difference.folders[1]}",
            style="yellow", markup=False,
        )  # fmt: skip
    if merged.differences:
        err.print(f"{len(merged.differences):,} made twice that differ", style="yellow")
    if not merged.done:
        err.print(
            "nothing was added. They were made on other hardware or with other libraries, or were "
            "changed: `dnd merge --keep` keeps what is here, and adds the rest.",
            style="red", markup=False,
        )  # fmt: skip
        raise typer.Exit(1)
    for name in merged.damaged[:_SHOWN]:
        err.print(f"{name} has changed in the folder that it came from; left there", markup=False)
    out.print(
        f"{home}: {merged.rows['products']:,} products, {merged.rows['materializations']:,} "
        f"announcements and {merged.files:,} files added",
        markup=False,
    )
