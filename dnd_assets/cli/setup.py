"""Commands to begin with: a study, its models, the interface, the demo."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from dnd_assets.cli.app import StudyOption, TableOrJson, advise, app, err, out, print_json, told
from dnd_assets.cli.completion import model_names
from dnd_assets.cli.run import run_study
from dnd_assets.home import state_folder
from dnd_assets.study.study import Study, load_study

if TYPE_CHECKING:
    from dnd_assets.methods.layer_axes import Layout
    from resources.targets.cards import LayerInfo

_NAMED = 6
"""Layers that are named of those without units."""


@app.command()
def init(
    network: Annotated[
        str, typer.Option(help="Its source, such as torchvision:resnet50@IMAGENET1K_V2.")
    ],
    images: Annotated[Path, typer.Option(help="Folder of images to probe it with.")],
    weights: Annotated[Path | None, typer.Option(help="A weights file for it.")] = None,
    output: Annotated[Path, typer.Option("--output", "-o", help="File to write.")] = Path(
        "study.toml"
    ),
) -> None:
    """Look at a network and a folder of images, and write a commented study for them.

    Example: dnd init --network efficientnet-lite:efficientnet-lite0 --images photos -o mine.toml
    """
    from dnd_assets.workflow.init import init as write_study

    told(f"looking at {network} and at the pictures of {images}")
    new_study = write_study(network, images, weights, output, state_folder())
    layers = ", ".join(f"{layer.path} ({layer.units:,} units)" for layer in new_study.chosen)
    out.print(f"{output}: {new_study.images.files:,} images, {layers}", markup=False)
    for name, choice in new_study.sections.items():
        if choice.missing:
            err.print(f"{name} is missing: {choice.missing}", style="yellow", markup=False)
    if new_study.untrained:
        err.print(f"network is missing: {new_study.untrained}", style="yellow", markup=False)
    quoted_path = shlex.quote(str(output))
    for command in ("doctor", "plan", "run", "labels", "report"):
        advise(f"  dnd {command} --study {quoted_path}")


@app.command()
def doctor(
    study: StudyOption = None,
    pin: Annotated[
        bool, typer.Option("--pin", help="Print the TOML lines that pin the models found here.")
    ] = False,
    form: TableOrJson = "table",
) -> None:
    """Check a study and list its models, with revision, size and licence, before anything runs.

    Nothing is downloaded: what is missing is listed with the command that gets it, and the exit
    status is 1.

    Example: dnd doctor --study paper-resnet50
    """
    from dnd_assets.workflow.doctor_report import examined, pins, show

    unset: dict[str, str] = {}
    report = examined(load_study(study, unset), state_folder(), unset)
    if pin:
        sys.stdout.write(pins(report))
    elif form == "json":
        sys.stdout.write(report.as_json() + "\n")
    else:
        show(report, out)
    if not report.good:
        raise typer.Exit(1)


@app.command()
def layers(
    model: Annotated[str, typer.Argument(help="A model of the study.", autocompletion=model_names)],
    study: StudyOption = None,
    form: TableOrJson = "table",
) -> None:
    """The layers of a model that can be labelled, with their units, and why others cannot.

    And what the network is given of the first pictures: their bands, or a rendering.
    """
    loaded_study = load_study(study)
    from dnd_assets.engine.remembered import Remembered

    name = loaded_study.model(model).name
    memory = Remembered.of(state_folder(), loaded_study, "layers", name)
    answer = memory.recall()
    if answer is not None:
        from pydantic import TypeAdapter

        listed = TypeAdapter(_LayerList).validate_python(answer)
    else:
        with memory.working_out() as reads:
            listed = _listed(loaded_study, name, memory.home)
        memory.keep(asdict(listed), reads)
    if form == "json":
        print_json(listed.layers)
        return
    table = Table(box=None, pad_edge=False)
    for name in ("layer", "kind", "units", "output", "axes", "known from", "crops"):
        table.add_column(name, justify="right" if name == "units" else "left", overflow="fold")
    for cells in listed.rows:
        table.add_row(*cells)
    out.print(table)
    for line in listed.given:
        out.print(line, markup=False, soft_wrap=True)
    for line in listed.assumed:
        out.print(line, style="yellow", markup=False, highlight=False)
    for line in listed.without_units:
        out.print(line, markup=False, highlight=False)


@dataclass(frozen=True)
class _LayerList:
    """What `dnd layers` tells of a network.

    Attributes:
        layers: each layer, as JSON.
        rows: cells of each layer that has units.
        given: what was done to its weights, and what it gets of the first pictures.
        assumed: what nothing proves.
        without_units: layers without units, and why.
    """

    layers: list[dict[str, object]]
    rows: list[list[str]]
    given: list[str]
    assumed: list[str]
    without_units: list[str]


def _listed(study: Study, network: str, home: Path) -> _LayerList:
    from dnd_assets.engine.context_builder import build_context
    from dnd_assets.engine.network_inputs import given_of_pictures
    from dnd_assets.study.selection import target_networks, unproven, without_units

    targets = target_networks(study, home)
    layer_infos, loading_note = targets.layers(network), targets.told(network)
    given = [f"loaded: {loading_note}"] if loading_note else []
    given += given_of_pictures(build_context(study, home), network)
    assumed = [f"assumed: {text}" for text in targets.assumptions(network)]
    for assumption, paths in unproven(layer_infos).items():
        count = "1 layer" if len(paths) == 1 else f"{len(paths):,} layers"
        assumed.append(f"assumed of {count}: {assumption}\n  {_first_few(paths)}")
    absent = []
    for reason, paths in without_units(layer_infos).items():
        count = "1 layer has" if len(paths) == 1 else f"{len(paths):,} layers have"
        absent.append(f"{count} no units: {reason}\n  {_first_few(paths)}")
    rows = [_row(info, info.layout) for info in layer_infos if info.units and info.layout]
    return _LayerList([asdict(info) for info in layer_infos], rows, given, assumed, absent)


def _row(info: LayerInfo, layout: Layout) -> list[str]:
    """The cells of a layer with units."""
    shape = " x ".join(str(size) for size in info.shape or ())
    reason = f": {info.reason}" if info.reason else ""
    crops = "yes" if info.has_map else f"no map{reason}"
    return [info.path, info.kind, f"{info.units:,}", shape, _axes(layout), info.known, crops]


def _first_few(paths: Sequence[str]) -> str:
    return ", ".join(paths[:_NAMED]) + (", …" if len(paths) > _NAMED else "")


def _axes(layout: Layout) -> str:
    """A layer's axes in a cell: their letters, the grid of tokens, and the tokens before it."""
    grid = f", {layout.grid[0]} x {layout.grid[1]}" if layout.grid else ""
    first = "class token first" if layout.class_token else "first"
    prefix = f", {layout.prefix_tokens} {first}" if layout.prefix_tokens else ""
    return f"{layout.axes}{grid}{prefix}"


@app.command()
def ui(
    study: StudyOption = None,
    port: Annotated[int, typer.Option(help="Port of the web interface.")] = 3000,
    automation: Annotated[
        bool,
        typer.Option(
            "--automation", help="Rerun by itself what is out of date, looked at every ten minutes."
        ),
    ] = False,
) -> None:
    """Open the Dagster web interface on the study, with all runs made so far."""
    loaded_study = load_study(study)
    from dnd_assets.cli.web_interface import serve

    home = state_folder()
    advise(f"starting on http://127.0.0.1:{port}  study {loaded_study.name}, state {home}")
    log = partial(err.print, markup=False)
    raise typer.Exit(serve(home, port, study, log, automation=automation))


@app.command()
def demo(
    units: Annotated[list[str] | None, typer.Argument(help="Units; default: all.")] = None,
) -> None:
    """Label the embedded network, whose truth is known, and compare.

    Exit status 1 when fewer labels are right than they should be.
    """
    from dnd_assets.analysis.demo import show_truths

    study = load_study("known-answers")
    run_study(study, units or [], ["+labels"])
    if not show_truths(study, state_folder(), out):
        raise typer.Exit(1)
