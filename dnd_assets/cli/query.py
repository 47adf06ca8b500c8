"""Commands that ask the network."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.markup import escape
from rich.table import Table

from dnd_assets.cli.app import StudyOption, TableOrJson, app, asking, err, out, print_json, told
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
    form: TableOrJson = "table",
) -> None:
    """Units by what their labels say, or by a picture.

    The very label comes first, then labels with its words, then labels of like meaning.

    Example: dnd search "red circle"    or: dnd search --image photo.jpg
    """
    if (text is None) == (image is None):
        raise typer.BadParameter("give a text or --image, one of them")
    from dataclasses import asdict

    from dnd_assets.analysis.search import search_image, search_text

    context = asking(load_study(study), told)
    if image is not None:
        result = search_image(context, image, units or [], top)
    else:
        result = search_text(context, text or "", units or [], top)
    if result.remark:
        err.print(result.remark, style="yellow", markup=False)
    if form == "json":
        rows = [asdict(hit) for hit in result.hits]
        print_json(rows)
        return
    table = Table(box=None, pad_edge=False)
    numbers = ("confidence", "cosine")
    for name in ("unit", "label", "confidence", "found", "of", "found by", "cosine"):
        table.add_column(name, justify="right" if name in numbers else "left", overflow="fold")
    for hit in result.hits:
        score = "-" if hit.score is None else f"{hit.score:.3f}"
        confidence = "-" if hit.confidence is None else f"{hit.confidence:.2f}"
        found_label = "" if hit.label == hit.own else hit.label
        table.add_row(
            hit.unit,
            escape(hit.own or "-"),
            confidence,
            escape(found_label),
            hit.asset or "-",
            hit.how,
            score,
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
    from dnd_assets.analysis.latent_frequencies import latents as count
    from dnd_assets.analysis.latent_frequencies import write_table

    layers = count(asking(chosen, told), layer)
    table = Table(box=None, pad_edge=False)
    for name in ("layer", "latents", "dead", "on 1 %", "on 10 %", "per picture", "pictures"):
        table.add_column(name, justify="left" if name == "layer" else "right", overflow="fold")
    for counts in layers:
        firing = counts.firing
        often = [int((firing.pictures >= share * firing.images).sum()) for share in (0.01, 0.1)]
        numbers = (len(firing.pictures), firing.dead, *often)
        figures = [f"{number:,}" for number in numbers]
        row = (f"{counts.model}/{counts.layer}", *figures, f"{firing.per_picture:.1f}")
        table.add_row(*row, f"{firing.images:,}")
    out.print(table)
    if output is not None:
        write_table(layers, output)
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
    form: TableOrJson = "table",
) -> None:
    """Which units fire on an image, with their labels and where they look.

    An activation is told as the share of probing images that activate the same unit less.

    Example: dnd look photo.jpg --layer layer4 --output photo-units.png
    """
    chosen = load_study(study)
    from dnd_assets.analysis.image_query import look as look_at
    from dnd_assets.analysis.image_query import sheet
    from dnd_assets.files.images import encode_png

    context = asking(chosen)
    result = look_at(context, image, layer, top)
    if output is not None:
        write_atomic(output, encode_png(sheet(result)))
    if form == "json":
        print_json(result.as_json())
        return
    table = Table(box=None, pad_edge=False)
    for name in ("unit", "label", "above", "reach", "box"):
        right = name in ("above", "reach")
        table.add_column(name, justify="right" if right else "left", overflow="fold")
    for firing in result.firings:
        label = escape(next(iter(firing.labels.values()), "-"))
        box = " ".join(map(str, firing.box)) if firing.box else "-"
        table.add_row(firing.unit, label, f"{firing.share:.1%}", f"{firing.reach:.2f}", box)
    out.print(table)
    out.print(
        f"above: share of {result.compared:,} probing images that activate the unit less; reach: 0 "
        "is the unit's mean on them, 1 its largest"
    )


@app.command()
def clarity(
    units: Annotated[
        list[str] | None, typer.Argument(help="Units: keys, prefixes or ranges. Default: all.")
    ] = None,
    study: StudyOption = None,
    top: Annotated[int, typer.Option(help="Clearest and least clear units shown.", min=0)] = 5,
    form: TableOrJson = "table",
) -> None:
    """How clear, polysemantic and redundant units are, by layer (Dreyer et al. 2025).

    Clarity: mean cosine of a unit's exemplars. Polysemanticity: how little two groups of them have
    in common. Redundancy: cosine with the most similar unit of the layer.

    Example: dnd clarity resnet50/layer4 --format json
    """
    chosen = load_study(study)
    from dnd_assets.analysis.clarity import measure
    from dnd_assets.analysis.clarity_view import show

    result = measure(asking(chosen, told), units or [])
    if form == "json":
        print_json(result.as_json())
    else:
        show(result, top, out)


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

        grouping = group_file(labels, text_space(encoder), similarity)
    else:
        context = asking(load_study(study), told)
        grouping = group_study(context, units or [], asset, similarity)
    if form != "table":
        import pandas as pd

        rows = pd.DataFrame(grouping.rows(least), columns=["unit", "group", "name", "size"])
        sys.stdout.write(export(rows, form).decode() + ("\n" * (form == "json")))
        return
    table = Table(box=None, pad_edge=False)
    for name in ("units", "labels", "group", "most like all", "most common"):
        table.add_column(name, justify="right" if name in ("units", "labels") else "left")
    large = [group for group in grouping.groups if len(group.units) >= least]
    for group in large:
        common = ", ".join(f"{text} ({count:,})" for text, count in group.labels[:3])
        numbers = (f"{len(group.units):,}", f"{len(group.labels):,}")
        table.add_row(*numbers, escape(group.name), escape(group.label), escape(common))
    out.print(table)
    remaining = sum(len(group.units) for group in grouping.groups if len(group.units) < least)
    counts = {"units in smaller groups": remaining, "units without a label": grouping.unlabelled}
    for kind, count in counts.items():
        if count:
            out.print(f"{count:,} {kind}")
