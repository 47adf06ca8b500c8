"""Commands that show what was found, and why."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.markup import escape
from rich.table import Table

from dnd_assets.cli.advice import with_study
from dnd_assets.cli.app import (
    StudyOption,
    TableOrJson,
    TextOrJson,
    app,
    asking,
    err,
    out,
    print_json,
    reading,
    recorded_key,
    records_of,
    show_what_stands,
    told,
)
from dnd_assets.files.atomic import write_atomic
from dnd_assets.home import results_folder
from dnd_assets.lineage.rows import Row
from dnd_assets.methods.lazy import extra
from dnd_assets.study.study import Study, load_study

if TYPE_CHECKING:
    from dnd_assets.engine.context import StudyContext
    from dnd_assets.lineage.trace import Trace
    from dnd_assets.report.build import Built

ExportForm = Literal["csv", "parquet", "jsonl", "hf", "neuronpedia", "saedashboard", "maia"]


@app.command()
def labels(
    study: StudyOption = None,
    form: Annotated[
        Literal["table", "csv", "json", "parquet"], typer.Option("--format", "-f")
    ] = "table",
    output: Annotated[Path | None, typer.Option("--output", "-o", help="File to write.")] = None,
    asset: Annotated[
        str, typer.Option(help="Whose labels, such as clip_dissect_labels.")
    ] = "labels",
    confidence: Annotated[
        float | None,
        typer.Option(min=0.0, max=1.0, help="Only labels that are right with this probability."),
    ] = None,
) -> None:
    """The newest label of every unit.

    Example: dnd labels --format csv --output labels.csv
    """
    loaded_study = load_study(study)
    from dnd_assets.results.labels import export, label_rows
    from dnd_assets.results.labels import labels as label_table
    from resources.lineage_db.reader import LineageReader

    lineage = LineageReader(root=str(results_folder()))
    with lineage.connect():
        show_what_stands(lineage, loaded_study, [asset])
        if form == "table":
            rows = label_rows(lineage, loaded_study.name, asset, confidence)
            if not rows and confidence is not None:
                out.print(f"No label has a confidence of {confidence:g} or more.", markup=False)
                return
            _print_labels(rows, loaded_study, study)
            return
        table = label_table(lineage, loaded_study.name, asset, confidence)
    data = export(table, form)
    if output is not None:
        write_atomic(output, data)
        out.print(f"{len(table):,} labels written to {output}", markup=False)
    elif form == "parquet":
        raise typer.BadParameter("a Parquet file needs a name: --output labels.parquet")
    else:
        sys.stdout.write(data.decode())


def _print_labels(rows: list[Row], study: Study, study_option: str | None) -> None:
    if not rows:
        command = with_study("dnd run", study_option)
        out.print(f"Study {study.name!r} has no labels yet. Run: {command}", markup=False)
        return
    table = Table(box=None, pad_edge=False)
    counted = "concepts" in rows[0]
    text_columns = [name for name in ("nearest", "remarks") if name in rows[0]]
    extra_columns = [*(["concepts"] if counted else []), *text_columns]
    for name in ("unit", "label", "score", "status", *extra_columns):
        table.add_column(name, justify="right" if name in ("score", "concepts") else "left")
    for row in rows:
        score = row["score"]
        score_text = f"{score:.3f}" if isinstance(score, float) and score == score else "-"
        label = row["label"] or "-"
        count = [str(row["concepts"]) if row["status"] == "ok" else "-"] if counted else []
        extra_cells = [escape(row[name] or "") for name in text_columns]
        table.add_row(
            str(row["unit"]), escape(label), score_text, str(row["status"]), *count, *extra_cells
        )
    out.print(table)


@app.command()
def trace(
    unit: Annotated[str, typer.Argument(help="A unit's key, such as worldnet/head/0.")],
    study: StudyOption = None,
    form: Annotated[
        Literal["text", "json", "openlineage"], typer.Option("--format", "-f")
    ] = "text",
    pictures: Annotated[
        Path | None, typer.Option(help="Folder to write every picture to, named by its hash.")
    ] = None,
    asset: Annotated[str, typer.Option(help="The product to trace.")] = "labels",
) -> None:
    """Why a unit has its label: scores, pictures, prompts, captions, crops, images, weights.

    Example: dnd trace worldnet/planted/0 --pictures why/
    """
    loaded_study = load_study(study)
    from dnd_assets.lineage.trace import trace as trace_product
    from dnd_assets.results.trace_tree import tree, write_pictures

    with records_of(loaded_study, [asset]) as recorded:
        name, key = recorded_key(recorded, asset, unit)
        product_trace = trace_product(recorded.lineage.query, loaded_study.name, key, name)
        if form == "text":
            out.print(tree(product_trace))
        else:
            content = product_trace.as_json() if form == "json" else _events(product_trace)
            print_json(content)
        if pictures is not None:
            count = write_pictures(product_trace, recorded.pictures, pictures)
            err.print(f"{count:,} pictures written to {pictures}", markup=False)


def _events(product_trace: Trace) -> list[dict[str, object]]:
    """A trace as OpenLineage events.

    Raises:
        MissingError: when the package of OpenLineage is not installed.
    """
    extra("openlineage", "`--format openlineage`")
    from dnd_assets.lineage.openlineage import events

    return events(product_trace)


@app.command()
def explain(
    unit: Annotated[str, typer.Argument(help="A unit's key, such as worldnet/head/0.")],
    asset: Annotated[str, typer.Option(help="The product to explain.")] = "labels",
    against: Annotated[
        str | None, typer.Option(help="A run's id; default: the last change.")
    ] = None,
    study: StudyOption = None,
    form: TextOrJson = "text",
) -> None:
    """What differs between a product and its previous version, by name and value.

    Example: dnd explain worldnet/planted/0 --asset crops
    """
    loaded_study = load_study(study)
    from dnd_assets.lineage.explain import pair
    from dnd_assets.results.diff import changes

    with records_of(loaded_study, [asset]) as recorded:
        name, key = recorded_key(recorded, asset, unit)
        old, new = pair(recorded.lineage.query, loaded_study.name, name, key, against)
        differences = changes(recorded, name, key, old, new)
    if form == "json":
        print_json(
            {
                "asset": name,
                "unit": key,
                "before": old.run,
                "after": new.run,
                "changes": [change.as_json() for change in differences],
                "same_content": old.data_version == new.data_version,
            }
        )
        return
    out.print(f"{name} of {key}: run {old.run[:8]} → run {new.run[:8]}")
    for change in differences:
        out.print(f"  {change}", markup=False)
    if not differences:
        out.print("  made from the same code, settings, weights and inputs")
    if old.data_version == new.data_version:
        out.print("  its content came out the same")


@app.command()
def runs(
    study: StudyOption = None,
    form: TableOrJson = "table",
) -> None:
    """The runs of a study, the newest last: ids for `dnd diff` and `dnd explain --against`.

    Example: dnd runs --json
    """
    loaded_study = load_study(study)
    from dnd_assets.results.runs import recorded_runs

    with records_of(loaded_study, []) as recorded:
        found = recorded_runs(recorded.lineage.query, loaded_study.name)
    if form == "json":
        print_json([one.as_json() for one in found])
        return
    table = Table(box=None, pad_edge=False)
    for name in ("run", "began", "ended", "units", "computed", "reused"):
        numbers = name in ("units", "computed", "reused")
        table.add_column(name, justify="right" if numbers else "left")
    for one in found:
        counts = (f"{one.units:,}", f"{one.computed:,}", f"{one.reused:,}")
        table.add_row(one.run[:8], one.began, one.ended, *counts)
    out.print(table)


@app.command()
def diff(
    before: Annotated[str, typer.Argument(help="A run's id, or the start of it.")],
    after: Annotated[str, typer.Argument(help="A later run's id.")],
    study: StudyOption = None,
    asset: Annotated[
        str | None, typer.Option(help="Only these labels. Default: those of every method.")
    ] = None,
    form: TextOrJson = "text",
) -> None:
    """Labels that differ between two runs, and why; `dnd runs` lists them.

    Example: dnd diff 66bd116a 0f3c --asset labels
    """
    loaded_study = load_study(study)
    from dnd_assets.results.diff import diff as label_changes
    from dnd_assets.results.diff import find_run

    with records_of(loaded_study) as recorded:
        differences = label_changes(
            recorded, find_run(recorded, before), find_run(recorded, after), asset
        )
    if form == "json":
        print_json([change.as_json() for change in differences])
        return
    for change in differences:
        asset_note = "" if change.asset == "labels" else f" ({change.asset})"
        out.print(f"{change.unit}{asset_note}: {change.before} → {change.after}", markup=False)
        for cause in change.why:
            out.print(f"    {cause}", markup=False)
    out.print(f"{len(differences):,} labels differ")


@app.command()
def export(
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Folder to write; must not exist.")
    ] = None,
    study: StudyOption = None,
    form: Annotated[ExportForm, typer.Option("--format", "-f")] = "csv",
    pictures: Annotated[
        bool | None,
        typer.Option(
            "--pictures/--no-pictures", help="Write pictures, too. Default: only for hf, inside."
        ),
    ] = None,
    dictionary: Annotated[
        bool, typer.Option("--dictionary", help="Print what every table and column means.")
    ] = False,
) -> None:
    """Labels and every product as tables: CSV, Parquet, JSON lines or a Hugging Face data set.

    `hf` is a folder for datasets.load_dataset("FOLDER", "labels"). Tables of lineage name paths of
    this machine. `neuronpedia`, `saedashboard` and `maia` are files of those tools.

    Example: dnd export --format parquet --output atlas --pictures
    """
    if dictionary:
        from dnd_assets.results.tables.dictionary import dictionary as describe

        sys.stdout.write(describe())
        return
    if output is None:
        raise typer.BadParameter("a folder is needed: --output atlas")
    _write_export(load_study(study), output, form, pictures)


def _write_export(study: Study, output: Path, form: ExportForm, pictures: bool | None) -> None:
    from dnd_assets.engine.cache.stored_pictures import Pictures
    from dnd_assets.results.export.export import export as write_tables
    from dnd_assets.results.export.for_others.cards_export import export_cards
    from dnd_assets.results.tables.table_source import TableSource
    from dnd_assets.results.unit_card.card_reader import Cards
    from resources.artefact_store import store_of
    from resources.lineage_db.reader import LineageReader

    home = results_folder()
    lineage = LineageReader(root=str(home))
    show_what_stands(lineage, study)
    source = TableSource(lineage, study.name)
    store = store_of(home, study.store, reading=True)
    probing = study.probing_set
    stored_pictures = Pictures(source.lineage, store, probing.max_pixels, probing.reading)
    include_pictures = form == "hf" if pictures is None else pictures
    with source.lineage.connect():
        if form == "neuronpedia" or form == "saedashboard" or form == "maia":
            include_pictures = True
            written = export_cards(
                Cards(lineage, store, study.name), stored_pictures, output, form, told
            )
        else:
            written = write_tables(
                source, stored_pictures, output, form, with_pictures=include_pictures, log=told
            )
    picture_note = f", {written.pictures:,} pictures" if include_pictures else ""
    out.print(
        f"{output}: {len(written.rows):,} {_called(form)}, "
        f"{sum(written.rows.values()):,} rows{picture_note}",
        markup=False,
    )
    if written.missing:
        err.print(f"{written.missing:,} pictures are not where they were; see table pictures")


def _called(form: str) -> str:
    return "layers" if form in ("neuronpedia", "saedashboard", "maia") else "tables"


@app.command()
def report(
    units: Annotated[
        list[str] | None, typer.Argument(help="Units: keys, prefixes or ranges. Default: all.")
    ] = None,
    study: StudyOption = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help="Folder: new, empty, or of an earlier report. Default: where `dnd ui` shows it.",
        ),
    ] = None,
    against: Annotated[
        str | None,
        typer.Option(help="A run's id, or the folder of another report, to compare labels with."),
    ] = None,
    heat_maps: Annotated[
        bool,
        typer.Option(
            "--heat-maps",
            help="First compute heat maps of exemplars with the network; they are kept.",
        ),
    ] = False,
) -> None:
    """Write an atlas of the units: a folder of pages that opens without a server.

    Only what changed since the folder's last report is written.

    Example: dnd report --study known-answers --output atlas --heat-maps
    """
    loaded_study = load_study(study)
    from dnd_assets.report.build import build_report
    from dnd_assets.workflow.atlas_address import atlas_folder

    def write(context: StudyContext) -> Built:
        folder = output or atlas_folder(context.home, context.study.name)
        return build_report(context, folder, units or [], against, heat_maps, context.log)

    if heat_maps:  # they are kept in the state folder
        atlas = write(asking(loaded_study, told))
    else:
        with reading(loaded_study, log=told) as context:
            atlas = write(context)
    for line in atlas.told:
        told(line)
    out.print(
        f"{atlas.units:,} units, {atlas.rendered:,} pages made anew, {atlas.pictures:,} pictures, "
        f"{atlas.written:,} files written, {atlas.removed:,} removed, {atlas.seconds:.1f} s"
    )
    out.print(str(atlas.index.resolve()), markup=False)
