"""Commands that ask the network."""

from __future__ import annotations

import json
import sys
from functools import partial
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.markup import escape
from rich.table import Table

from dnd_assets.cli.app import StudyOption, app, asking, err, out
from dnd_assets.files.atomic import write_atomic
from dnd_assets.study.study import load_study


@app.command()
def search(
    text: Annotated[str | None, typer.Argument(help="What labels should say.")] = None,
    image: Annotated[
        Path | None, typer.Option(help="A picture: units whose exemplars are most like it.")
    ] = None,
    units: Annotated[
        list[str] | None, typer.Option(help="Only these: keys, prefixes or ranges.")
    ] = None,
    study: StudyOption = None,
    top: Annotated[int, typer.Option(help="Units at most.", min=1)] = 10,
    form: Annotated[Literal["table", "json"], typer.Option("--format", "-f")] = "table",
) -> None:
    """Units by what their labels say, or by a picture.

    The very label comes first, then labels with its words, then labels of like meaning.

    Example: dnd search "red circle"    or: dnd search --image photo.jpg
    """
    if (text is None) == (image is None):
        raise typer.BadParameter("give a text or --image, one of them")
    from dataclasses import asdict

    from dnd_assets.analysis.search import search_image, search_text

    log = partial(err.print, "  ", markup=False, sep="")
    bench = asking(load_study(study), log)
    if image is not None:
        found = search_image(bench, image, units or [], top)
    else:
        found = search_text(bench, text or "", units or [], top)
    if found.remark:
        err.print(found.remark, style="yellow", markup=False)
    if form == "json":
        rows = [asdict(one) for one in found.hits]
        sys.stdout.write(json.dumps(rows, indent=1, ensure_ascii=False) + "\n")
        return
    table = Table(box=None, pad_edge=False)
    numbers = ("confidence", "cosine")
    for name in ("unit", "label", "confidence", "found", "of", "found by", "cosine"):
        table.add_column(name, justify="right" if name in numbers else "left", overflow="fold")
    for one in found.hits:
        score = "-" if one.score is None else f"{one.score:.3f}"
        sure = "-" if one.confidence is None else f"{one.confidence:.2f}"
        other = "" if one.label == one.own else one.label
        table.add_row(
            one.unit, escape(one.own or "-"), sure, escape(other), one.asset or "-", one.how, score
        )
    out.print(table)


@app.command()
def latents(
    layer: Annotated[str | None, typer.Option(help="Only this layer. Default: all.")] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="CSV with a row for each latent.")
    ] = None,
    study: StudyOption = None,
) -> None:
    """How often the latents of autoencoders fire on the probing set.

    Reads what a run has stored: `dnd run --assets +activations`, of one unit of the layer.

    Example: dnd latents --layer encoder.layers.10 --output latents.csv
    """
    chosen = load_study(study)
    from dnd_assets.analysis.latents import latents as count
    from dnd_assets.analysis.latents import write_table

    found = count(asking(chosen, partial(err.print, "  ", markup=False, sep="")), layer)
    table = Table(box=None, pad_edge=False)
    for name in ("layer", "latents", "dead", "on 1 %", "on 10 %", "per picture", "pictures"):
        table.add_column(name, justify="left" if name == "layer" else "right", overflow="fold")
    for one in found:
        counted = one.firing
        often = [int((counted.pictures >= share * counted.images).sum()) for share in (0.01, 0.1)]
        numbers = (len(counted.pictures), counted.dead, *often)
        told = [f"{number:,}" for number in numbers]
        row = (f"{one.model}/{one.layer}", *told, f"{counted.per_picture:.1f}")
        table.add_row(*row, f"{counted.images:,}")
    out.print(table)
    if output is not None:
        write_table(found, output)
        out.print(f"wrote {output}", markup=False)


@app.command()
def look(
    image: Annotated[Path, typer.Argument(help="An image file.")],
    layer: Annotated[str | None, typer.Option(help="Only this layer. Default: all.")] = None,
    top: Annotated[int, typer.Option(help="Units at most.", min=1)] = 10,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="PNG that shows where the units look.")
    ] = None,
    study: StudyOption = None,
    form: Annotated[Literal["table", "json"], typer.Option("--format", "-f")] = "table",
) -> None:
    """Which units fire on an image, with their labels and where they look.

    An activation is told as the share of probing images that activate the same unit less.

    Example: dnd look photo.jpg --layer layer4 --output photo-units.png
    """
    chosen = load_study(study)
    from dnd_assets.analysis.image_query import look as look_at
    from dnd_assets.analysis.image_query import sheet
    from dnd_assets.files.images import encode_png

    bench = asking(chosen)
    found = look_at(bench, image, layer, top)
    if output is not None:
        write_atomic(output, encode_png(sheet(found)))
    if form == "json":
        sys.stdout.write(json.dumps(found.as_json(), indent=1, ensure_ascii=False) + "\n")
        return
    table = Table(box=None, pad_edge=False)
    for name in ("unit", "label", "above", "reach", "box"):
        right = name in ("above", "reach")
        table.add_column(name, justify="right" if right else "left", overflow="fold")
    for one in found.firings:
        label = escape(next(iter(one.labels.values()), "-"))
        box = " ".join(map(str, one.box)) if one.box else "-"
        table.add_row(one.unit, label, f"{one.share:.1%}", f"{one.reach:.2f}", box)
    out.print(table)
    out.print(
        f"above: share of {found.compared:,} probing images that activate the unit less; reach: 0 "
        "is the unit's mean on them, 1 its largest"
    )


@app.command()
def clarity(
    units: Annotated[
        list[str] | None, typer.Argument(help="Units: keys, prefixes or ranges. Default: all.")
    ] = None,
    study: StudyOption = None,
    top: Annotated[int, typer.Option(help="Clearest and least clear units shown.", min=0)] = 5,
    form: Annotated[Literal["table", "json"], typer.Option("--format", "-f")] = "table",
) -> None:
    """How clear, polysemantic and redundant units are, by layer (Dreyer et al. 2025).

    Clarity: mean cosine of a unit's exemplars. Polysemanticity: how little two groups of them have
    in common. Redundancy: cosine with the most similar unit of the layer.

    Example: dnd clarity resnet50/layer4 --format json
    """
    chosen = load_study(study)
    from dnd_assets.analysis.clarity import measure
    from dnd_assets.analysis.clarity_view import show

    log = partial(err.print, "  ", markup=False, sep="")
    found = measure(asking(chosen, log), units or [])
    if form == "json":
        sys.stdout.write(json.dumps(found.as_json(), indent=1, ensure_ascii=False) + "\n")
    else:
        show(found, top, out)


@app.command()
def groups(
    units: Annotated[
        list[str] | None, typer.Argument(help="Units: keys, prefixes or ranges. Default: all.")
    ] = None,
    study: StudyOption = None,
    labels: Annotated[
        Path | None, typer.Option(help="A CSV of labels in place of a study's own.")
    ] = None,
    asset: Annotated[str, typer.Option(help="Whose labels of the study.")] = "labels",
    encoder: Annotated[
        str, typer.Option(help="With --labels: a sentence encoder or the folder of a CLIP.")
    ] = "sentence-transformers/all-mpnet-base-v2",
    similarity: Annotated[
        float, typer.Option(help="Mean cosine from which two groups are one.", min=-0.99, max=1.0)
    ] = 0.45,
    least: Annotated[int, typer.Option(help="Only groups of so many units.", min=1)] = 2,
    form: Annotated[Literal["table", "csv", "json"], typer.Option("--format", "-f")] = "table",
) -> None:
    """Units grouped by what their labels have in common.

    Labels are compared in the study's sentence encoder, else its image-text encoder.

    Example: dnd groups --labels labels.csv    or: dnd groups resnet50/layer4
    """
    from dnd_assets.analysis.label_grouping import group_file, group_study
    from dnd_assets.results.labels import export

    if labels is not None:
        if study is not None or units:
            raise typer.BadParameter("--labels goes without --study and units")
        from dnd_assets.cli.evaluate import text_space

        found = group_file(labels, text_space(encoder), similarity)
    else:
        bench = asking(load_study(study), partial(err.print, "  ", markup=False, sep=""))
        found = group_study(bench, units or [], asset, similarity)
    if form != "table":
        import pandas as pd

        rows = pd.DataFrame(found.rows(least), columns=["unit", "group", "name", "size"])
        sys.stdout.write(export(rows, form).decode() + ("\n" * (form == "json")))
        return
    table = Table(box=None, pad_edge=False)
    for name in ("units", "labels", "group", "most like all", "most common"):
        table.add_column(name, justify="right" if name in ("units", "labels") else "left")
    shown = [one for one in found.groups if len(one.units) >= least]
    for one in shown:
        common = ", ".join(f"{text} ({count:,})" for text, count in one.labels[:3])
        numbers = (f"{len(one.units):,}", f"{len(one.labels):,}")
        table.add_row(*numbers, escape(one.name), escape(one.label), escape(common))
    out.print(table)
    alone = sum(len(one.units) for one in found.groups) - sum(len(one.units) for one in shown)
    told = {"units in smaller groups": alone, "units without a label": found.unlabelled}
    for what, count in told.items():
        if count:
            out.print(f"{count:,} {what}")
