"""`dnd`: label the units of vision networks, and ask why."""

from __future__ import annotations

import gc as garbage
import json
import shlex
import sys
import time
from collections.abc import Hashable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from dnd_assets.completion import INSTALL, Shell, model_names, study_names
from dnd_assets.errors import DndError
from dnd_assets.files import write_atomic
from dnd_assets.home import state_folder
from dnd_assets.study import Study, load_study

if TYPE_CHECKING:
    from dnd_assets.plan import StagePlan
    from resources.clip import OpenClip
    from resources.sentence_encoder import SentenceEncoder

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


def main() -> None:
    """Entry point: errors raised on purpose become a message and exit status 2."""
    garbage.set_threshold(50_000)  # imports leave none; looking for it costs a tenth
    try:
        app(standalone_mode=True)
    except DndError as error:
        err.print(f"dnd: {error}", style="red", markup=False)
        sys.exit(2)


@app.command()
def run(
    units: Annotated[
        list[str] | None,
        typer.Argument(help="Units: keys, prefixes or ranges, such as net/fc/3-9. Default: all."),
    ] = None,
    study: StudyOption = None,
    assets: Annotated[
        str,
        typer.Option(help="Comma list of assets; +labels takes everything upstream along."),
    ] = "",
) -> None:
    """Materialize assets for some units; what is up to date is reused.

    Example: dnd run worldnet/head/0-3 --assets +labels
    """
    _run(load_study(study), units or [], [name for name in assets.split(",") if name])
    out.print("See the labels: dnd labels    Ask why: dnd trace UNIT    Open the UI: dnd ui")


def _run(study: Study, units: list[str], assets: list[str]) -> None:
    if not assets:
        _check_models(study)
    _check_names(study, units)
    from dnd_assets.run import run as run_units

    started = time.monotonic()
    done = run_units(study, state_folder(), units, assets, lambda line: out.print(f"  {line}"))
    computed, reused = sum(done.computed.values()), sum(done.reused.values())
    if not done.id:
        out.print(f"All {done.units:,} units are up to date ({time.monotonic() - started:.1f} s).")
        return
    work = "".join(f", {count:,} {what}" for what, count in done.work.items())
    out.print(
        f"Run {done.id[:8]}: {done.units:,} units, {computed:,} products computed, {reused:,} "
        f"reused{work}, {time.monotonic() - started:.1f} s."
    )


def _check_models(study: Study) -> None:
    """A model that is not here fails before anything heavy is imported."""
    from dnd_assets.bench import build_bench
    from dnd_assets.inventory import require_models

    require_models(build_bench(study, state_folder()))


def _check_names(study: Study, units: list[str]) -> None:
    """Wrong paths and names fail here, before anything heavy is imported."""
    from dnd_assets.concepts import check_concepts
    from dnd_assets.mask_sets import check_masks
    from dnd_assets.probing_set import check_paths

    check_paths(study)
    check_concepts(study)
    check_masks(study)
    if study.evaluation is not None:
        check_paths(study, "evaluation")
    from dnd_assets.label_files import check_imported
    from dnd_assets.selection import select_units, target_networks

    known = select_units(study, target_networks(study, state_folder()))
    known.select(units)
    check_imported(study, list(known.values()))
    if study.evaluation is not None:
        from dnd_assets.assets.truths import check_truths

        check_truths(study, list(known.values()))


@app.command()
def plan(
    units: Annotated[
        list[str] | None, typer.Argument(help="Units: keys, prefixes or ranges. Default: all.")
    ] = None,
    study: StudyOption = None,
    assets: Annotated[str, typer.Option(help="Comma list of assets, as for run.")] = "",
) -> None:
    """What `dnd run` would compute, reuse and cost, before it starts.

    Example: dnd plan worldnet/head
    """
    from dnd_assets.assets.registry import stages_of
    from dnd_assets.bench import build_bench, find_units
    from dnd_assets.plan import plan as make
    from dnd_assets.run import chosen_assets, look

    bench = build_bench(load_study(study), state_folder())
    chosen = chosen_assets(bench.study, [name for name in assets.split(",") if name])
    wanted = find_units(bench).select(units or [])
    found = make(bench, stages_of(bench.study), wanted, chosen, *look(bench, chosen))
    table = Table(box=None, pad_edge=False)
    for name in ("asset", "compute", "reuse", "may follow", "work", "time"):
        numbers = name in ("compute", "reuse")
        table.add_column(name, justify="right" if numbers else "left", no_wrap=name == "asset")
    for one in found:
        may = f"{one.may:,}" if one.may else ""
        shown = (f"{one.compute:,}", f"{one.reuse:,}", may, _work(one), _time(one))
        table.add_row(one.asset, *shown)
    out.print(table)
    for one in found:
        for reason, count in list(one.why.items())[:5]:
            out.print(f"  {count:,} x {reason if ':' in reason else f'{one.asset}: {reason}'}")
    if not any(one.compute or one.may for one in found):
        out.print("everything is up to date")


def _work(planned: StagePlan) -> str:
    """Work that is certain, and the most that may follow."""
    sure = [f"{count:,} {what}" for what, count in planned.cost.items()]
    most = [f"{count:,} {what}" for what, count in planned.most.items()]
    return ", ".join(sure + ([f"up to {' and '.join(most)}"] if most else []))


def _time(planned: StagePlan) -> str:
    if planned.seconds is None or planned.most_seconds is None:
        return "not measured yet" if planned.compute or planned.may else ""
    if planned.may:
        return f"{planned.seconds:,.1f} to {planned.most_seconds:,.1f} s"
    return f"about {planned.seconds:,.1f} s" if planned.compute else ""


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
) -> None:
    """The newest label of every unit.

    Example: dnd labels --format csv --output labels.csv
    """
    from dnd_assets.results import export
    from dnd_assets.results import labels as read
    from resources.lineage_db import Lineage

    chosen = load_study(study)
    table = read(Lineage(root=str(state_folder())), chosen.name, asset)
    if form == "table":
        _print_labels(table.to_dict("records"), chosen)
        return
    data = export(table, form)
    if output is not None:
        write_atomic(output, data)
        out.print(f"{len(table):,} labels written to {output}")
    elif form == "parquet":
        raise typer.BadParameter("a Parquet file needs a name: --output labels.parquet")
    else:
        sys.stdout.write(data.decode())


def _print_labels(rows: list[dict[Hashable, Any]], study: Study) -> None:
    if not rows:
        out.print(f"Study {study.name!r} has no labels yet. Run: dnd run --study {study.name}")
        return
    table = Table(box=None, pad_edge=False)
    counted = "concepts" in rows[0]
    for name in ("unit", "label", "score", "status", *(["concepts"] if counted else [])):
        table.add_column(name, justify="right" if name in ("score", "concepts") else "left")
    for row in rows:
        score = row["score"]
        shown = f"{score:.3f}" if isinstance(score, float) and score == score else "-"
        label = row["label"] if isinstance(row["label"], str) else "-"  # pandas has NaN for none
        count = [str(row["concepts"]) if row["status"] == "ok" else "-"] if counted else []
        table.add_row(str(row["unit"]), escape(label), shown, str(row["status"]), *count)
    out.print(table)


@app.command()
def export(
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Folder to write; must not exist.")
    ] = None,
    study: StudyOption = None,
    form: Annotated[Literal["csv", "parquet", "jsonl", "hf"], typer.Option("--format", "-f")] = (
        "csv"
    ),
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
    this machine.

    Example: dnd export --format parquet --output atlas --pictures
    """
    if dictionary:
        from dnd_assets.product_tables import dictionary as describe

        sys.stdout.write(describe())
        return
    if output is None:
        raise typer.BadParameter("a folder is needed: --output atlas")
    from dnd_assets.export import export as write_tables
    from dnd_assets.pictures import Pictures
    from dnd_assets.product_rows import Source
    from resources.artefacts import ArtefactStore
    from resources.lineage_db import Lineage

    chosen, home = load_study(study), state_folder()
    source = Source(Lineage(root=str(home)), chosen.name)
    store = ArtefactStore(root=str(home / "store"))
    known = Pictures(source.lineage, store, chosen.probing_set.max_pixels)
    wanted = form == "hf" if pictures is None else pictures
    log = partial(err.print, "  ", markup=False, sep="")
    done = write_tables(source, known, output, form, with_pictures=wanted, log=log)
    told = f", {done.pictures:,} pictures" if wanted else ""
    out.print(
        f"{output}: {len(done.rows):,} tables, {sum(done.rows.values()):,} rows{told}", markup=False
    )
    if done.missing:
        err.print(f"{done.missing:,} pictures are not where they were; see table pictures")


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
    from dnd_assets.bench import build_bench, find_units
    from dnd_assets.lineage.openlineage import events
    from dnd_assets.lineage.trace import trace as follow
    from dnd_assets.run import chosen_assets
    from dnd_assets.trace_view import tree, write_pictures

    chosen = load_study(study)
    (name,) = chosen_assets(chosen, [asset])
    bench = build_bench(chosen, state_folder())
    key = find_units(bench)[unit].key
    found = follow(bench.lineage.query, chosen.name, key, name)
    if form == "text":
        out.print(tree(found))
    else:
        content = found.as_json() if form == "json" else events(found)
        sys.stdout.write(json.dumps(content, indent=1, ensure_ascii=False) + "\n")
    if pictures is not None:
        written = write_pictures(found, bench.pictures, pictures)
        err.print(f"{written:,} pictures written to {pictures}")


@app.command()
def explain(
    unit: Annotated[str, typer.Argument(help="A unit's key, such as worldnet/head/0.")],
    asset: Annotated[str, typer.Option(help="The product to explain.")] = "labels",
    against: Annotated[
        str | None, typer.Option(help="A run's id; default: the last change.")
    ] = None,
    study: StudyOption = None,
) -> None:
    """What differs between a product and its previous version, by name and value.

    Example: dnd explain worldnet/planted/0 --asset crops
    """
    from dnd_assets.bench import build_bench, find_units
    from dnd_assets.diff import changes
    from dnd_assets.lineage.explain import pair
    from dnd_assets.run import chosen_assets

    bench = build_bench(load_study(study), state_folder())
    (name,) = chosen_assets(bench.study, [asset])
    key = find_units(bench)[unit].key
    old, new = pair(bench.lineage.query, bench.study.name, name, key, against)
    out.print(f"{name} of {key}: run {old.run[:8]} → run {new.run[:8]}")
    found = changes(bench, name, key, old, new)
    for change in found:
        out.print(f"  {change}", markup=False)
    if not found:
        out.print("  made from the same code, settings, weights and inputs")
    if old.data_version == new.data_version:
        out.print("  its content came out the same")


@app.command()
def diff(
    before: Annotated[str, typer.Argument(help="A run's id, or the start of it.")],
    after: Annotated[str, typer.Argument(help="A later run's id.")],
    study: StudyOption = None,
    asset: Annotated[
        str | None, typer.Option(help="Only these labels. Default: those of every method.")
    ] = None,
) -> None:
    """Labels that differ between two runs, and why.

    Example: dnd diff 66bd116a 0f3c --asset labels
    """
    from dnd_assets.bench import build_bench
    from dnd_assets.diff import diff as compare
    from dnd_assets.diff import find_run

    bench = build_bench(load_study(study), state_folder())
    found = compare(bench, find_run(bench, before), find_run(bench, after), asset)
    for change in found:
        whose = "" if change.asset == "labels" else f" ({change.asset})"
        out.print(f"{change.unit}{whose}: {change.before} → {change.after}", markup=False)
        for cause in change.why:
            out.print(f"    {cause}", markup=False)
    out.print(f"{len(found):,} labels differ")


@app.command()
def verify(
    study: StudyOption = None,
    rebuild: Annotated[int, typer.Option(help="Also compute this many products again.")] = 0,
    repair: Annotated[
        bool, typer.Option("--repair", help="Set damaged files aside; a run makes them anew.")
    ] = False,
) -> None:
    """Hash the store and compare it with the lineage; exit status 1 if anything is wrong."""
    from dnd_assets.assets.registry import stages_of
    from dnd_assets.bench import build_bench
    from dnd_assets.verify import rebuild as again
    from dnd_assets.verify import set_aside
    from dnd_assets.verify import verify as check

    bench = build_bench(load_study(study), state_folder(), lambda line: out.print(f"  {line}"))
    report = check(bench)
    out.print(f"{report.files:,} files known to the lineage")
    for word in ("missing", "changed", "segments", "orphaned"):
        names = getattr(report, word)
        out.print(f"{len(names):,} {'journal segments changed' if word == 'segments' else word}")
        for name in names[:20]:
            out.print(f"    {name}", markup=False)
    if repair:
        count = set_aside(bench, report)
        out.print(f"{count:,} files set aside; `dnd run` computes what they held")
    elif report.missing or report.changed:
        out.print("`dnd verify --repair` sets them aside, `dnd run` computes what they held")
    products = again(bench, stages_of(bench.study), rebuild) if rebuild else []
    for one in products:
        out.print(f"{'same' if one.same else 'DIFFERENT'}  {one.asset}  {one.unit}", markup=False)
    if not report.clean or not all(one.same for one in products):
        raise typer.Exit(1)


@app.command()
def rebuild(study: StudyOption = None) -> None:
    """Make the lineage database anew from the journal, which is the record."""
    from resources.lineage_db import Lineage

    load_study(study)
    lineage = Lineage(root=str(state_folder()))
    lineage.rebuild()
    counts = lineage.query("SELECT count(*) AS n FROM segments")[0]["n"]
    products = lineage.query("SELECT count(*) AS n FROM products")[0]["n"]
    out.print(f"{lineage.database}: {products:,} products from {counts:,} journal segments")


@app.command()
def gc(
    study: StudyOption = None,
    keep: Annotated[int, typer.Option(help="Newest runs of each study to keep.", min=1)] = 1,
    remove: Annotated[
        bool, typer.Option("--remove", help="Remove; without it, only tell.")
    ] = False,
) -> None:
    """Store files that no kept run reaches. What is needed again later is computed again."""
    from dnd_assets.bench import build_bench
    from dnd_assets.gc import collect, find_garbage

    bench = build_bench(load_study(study), state_folder())
    found = find_garbage(bench, keep)
    told = f"{len(found.files):,} files, {found.bytes / 1e6:,.1f} MB; {found.kept:,} files stay"
    if remove:
        collect(bench, found)
        out.print(f"removed {told}")
    else:
        out.print(f"would remove {told}. Nothing was changed; add --remove to do it.")


@app.command()
def layers(
    model: Annotated[str, typer.Argument(help="A model of the study.", autocompletion=model_names)],
    study: StudyOption = None,
) -> None:
    """The layers of a model that can be labelled, with their units."""
    from dnd_assets.selection import layers_with_units, target_networks

    chosen = load_study(study)
    name = chosen.model(model).name
    found = layers_with_units(target_networks(chosen, state_folder()), name)
    table = Table(box=None, pad_edge=False)
    for name in ("layer", "kind", "units", "output", "crops"):
        table.add_column(name, justify="right" if name == "units" else "left")
    for path, layer in found.items():
        shape = " x ".join(str(size) for size in layer.shape or ())
        crops = "yes" if layer.has_map else "no map"
        table.add_row(path, layer.kind, f"{layer.units:,}", shape, crops)
    out.print(table)


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
    from dnd_assets.starter import init as write_study

    made = write_study(network, images, weights, output, state_folder())
    layers = ", ".join(f"{layer.path} ({layer.units:,} units)" for layer in made.chosen)
    out.print(f"{output}: {made.images.files:,} images, {layers}", markup=False)
    for name, choice in made.sections.items():
        if choice.missing:
            err.print(f"{name} is missing: {choice.missing}", style="yellow", markup=False)
    if made.untrained:
        err.print(f"network is missing: {made.untrained}", style="yellow", markup=False)
    named = shlex.quote(str(output))
    for command in ("doctor", "plan", "run", "labels"):
        out.print(f"  dnd {command} --study {named}", markup=False)


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

    from dnd_assets.bench import build_bench
    from dnd_assets.search import search_image, search_text

    log = partial(err.print, "  ", markup=False, sep="")
    bench = build_bench(load_study(study), state_folder(), log)
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
    for name in ("unit", "label", "of", "found by", "cosine"):
        table.add_column(name, justify="right" if name == "cosine" else "left", overflow="fold")
    for one in found.hits:
        score = "-" if one.score is None else f"{one.score:.3f}"
        table.add_row(one.unit, escape(one.label or "-"), one.asset or "-", one.how, score)
    out.print(table)


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
    from dnd_assets.bench import build_bench
    from dnd_assets.look import look as look_at
    from dnd_assets.look import sheet
    from dnd_assets.methods.images import encode_png

    bench = build_bench(load_study(study), state_folder())
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
    from dnd_assets.bench import build_bench
    from dnd_assets.clarity import measure
    from dnd_assets.clarity_view import show

    log = partial(err.print, "  ", markup=False, sep="")
    found = measure(build_bench(load_study(study), state_folder(), log), units or [])
    if form == "json":
        sys.stdout.write(json.dumps(found.as_json(), indent=1, ensure_ascii=False) + "\n")
    else:
        show(found, top, out)


@app.command()
def doctor(
    study: StudyOption = None,
    pin: Annotated[
        bool, typer.Option("--pin", help="Print the TOML lines that pin the models found here.")
    ] = False,
    form: Annotated[Literal["table", "json"], typer.Option("--format", "-f")] = "table",
) -> None:
    """Check a study and list its models, with revision, size and licence, before anything runs.

    Nothing is downloaded: what is missing is listed with the command that gets it, and the exit
    status is 1.

    Example: dnd doctor --study paper-resnet50
    """
    from dnd_assets.doctor import examine, pins, show

    unset: dict[str, str] = {}
    report = examine(load_study(study, unset), state_folder(), unset)
    if pin:
        sys.stdout.write(pins(report))
    elif form == "json":
        sys.stdout.write(report.as_json() + "\n")
    else:
        show(report, out)
    if not report.good:
        raise typer.Exit(1)


@app.command()
def evaluate(
    units: Annotated[
        list[str] | None, typer.Argument(help="With --study: keys, prefixes or ranges.")
    ] = None,
    labels: Annotated[
        Path | None, typer.Option(help="CSV with a column of units and one of labels.")
    ] = None,
    study: StudyOption = None,
    truths: Annotated[
        Path | None,
        typer.Option(help="CSV, or text whose line i is unit i's; default: a column beside."),
    ] = None,
    encoder: Annotated[
        str,
        typer.Option(help="A sentence encoder, as folder or hub id; or the folder of a CLIP."),
    ] = "sentence-transformers/all-mpnet-base-v2",
    classes: Annotated[
        bool, typer.Option("--classes", help="With --study: classes read off unit labels, too.")
    ] = False,
    form: Annotated[Literal["table", "json", "csv"], typer.Option("--format", "-f")] = "table",
) -> None:
    """How good labels are: a file's against the truth, or a study's by its metrics.

    Without --labels: means of the metrics that section [evaluation] of the study asks for, by
    layer and method, and whether the metrics themselves are sound.

    Example: dnd evaluate --labels labels.csv --truths imagenet_classes.txt
    """
    if labels is None:
        if truths is not None:
            raise typer.BadParameter("--truths goes with --labels; a study names its own truths")
        _evaluate_study(load_study(study), units or [], form, classes=classes)
        return
    if study is not None or units or classes or form == "csv":
        raise typer.BadParameter("--labels goes without --study, units, --classes and --format csv")
    from dnd_assets.evaluate import evaluate as compare

    space = _text_space(encoder)
    found = compare(labels, truths, space)
    if form == "json":
        report = {**found.as_json(), "encoder": space.fingerprint()}
        sys.stdout.write(json.dumps(report, indent=1, ensure_ascii=False) + "\n")
        return
    for line in found.lines():
        out.print(line, markup=False)


def _evaluate_study(study: Study, units: list[str], form: str, *, classes: bool) -> None:
    from dnd_assets.bench import build_bench, find_units
    from dnd_assets.class_prediction import predict
    from dnd_assets.metric_means import evaluate_study
    from dnd_assets.results import export
    from dnd_assets.scoreboard import show_evaluation

    bench = build_bench(study, state_folder(), partial(err.print, "  ", markup=False, sep=""))
    chosen = find_units(bench).select(units)
    report = evaluate_study(bench, chosen)
    predicted = predict(bench, chosen) if classes else []
    if form == "table":
        show_evaluation(report, predicted, out)
    elif form == "json":
        told = {**report.as_json(), "classes": [one.as_json() for one in predicted]}
        sys.stdout.write(json.dumps(told, indent=1, ensure_ascii=False, allow_nan=False) + "\n")
    else:
        import pandas as pd

        sys.stdout.write(export(pd.DataFrame(report.rows()), "csv").decode())


def _text_space(encoder: str) -> OpenClip | SentenceEncoder:
    """A CLIP's text tower, from its folder, or a sentence encoder."""
    from resources.clip import OpenClip
    from resources.compute import Compute
    from resources.sentence_encoder import SentenceEncoder

    is_clip = (Path(encoder) / "open_clip_config.json").is_file()
    return (OpenClip if is_clip else SentenceEncoder)(model=encoder, compute=Compute())


@app.command(name="human-study")
def human_study(
    folder: Annotated[Path, typer.Argument(help="Where to write; `key.json` stays at home.")],
    units: Annotated[
        list[str] | None, typer.Argument(help="Units: keys, prefixes or ranges. Default: all.")
    ] = None,
    study: StudyOption = None,
    methods: Annotated[
        str | None, typer.Option(help="Comma list, as `dnd compare` names them. Default: all.")
    ] = None,
    labels: Annotated[
        list[str] | None, typer.Option(help="NAME=FILE: a CSV of another method's labels.")
    ] = None,
    images: Annotated[int, typer.Option(help="Pictures of a unit.", min=1)] = 10,
    sample: Annotated[int | None, typer.Option(help="Only so many units.", min=1)] = None,
    seed: Annotated[int, typer.Option(help="Of the sample and of the order shown.")] = 0,
    image_url: Annotated[
        str, typer.Option(help="Where `images/` will be served; MTurk needs it.")
    ] = "",
) -> None:
    """Ask people which method describes a unit best: forms for Label Studio and MTurk.

    Ratings come back by `dnd ratings`.

    Example: dnd human-study survey --methods dnd,clip-dissect --sample 50
    """
    from dnd_assets.bench import build_bench
    from dnd_assets.compare import request, stored_ablations
    from dnd_assets.human_study import export_study
    from dnd_assets.rating_tasks import named, rating_tasks

    chosen, home = load_study(study), state_folder()
    bench = build_bench(chosen, home)
    ablations = stored_ablations(bench.lineage, chosen)
    asked = request(chosen, home, units or [], ablations, _named_files(labels or []))
    wanted = [name.strip() for name in (methods or "").split(",") if name.strip()]
    judged = named(asked.answer().methods, wanted)
    keys = [unit.key for unit in asked.units]
    found = rating_tasks(bench, judged, keys, images, sample, seed)
    files = export_study(found.tasks, folder, image_url=image_url, seed=seed)
    names = ", ".join(one.name for one in judged)
    made = f"{len(found.tasks):,} units, {names}: {len(files):,} files in {folder}"
    out.print(made, markup=False)
    for unit, reason in list(found.left_out.items())[:5]:
        out.print(f"left out: {unit} {reason}", markup=False)
    if len(found.left_out) > 5:
        out.print(f"left out: {len(found.left_out) - 5:,} more")
    out.print(f"Keep {folder / 'key.json'}: without it no rating can be read.", markup=False)


@app.command()
def ratings(
    file: Annotated[Path, typer.Argument(help="Ratings: Label Studio JSON, MTurk or wide CSV.")],
    key: Annotated[Path | None, typer.Option(help="The key.json written with the study.")] = None,
    skip_uninterpretable: Annotated[
        bool, typer.Option("--skip-uninterpretable", help="Leave out units raters gave up on.")
    ] = False,
    form: Annotated[Literal["table", "csv", "json"], typer.Option("--format", "-f")] = "table",
) -> None:
    """What people said of labels, for each layer: mean, share best, agreement of the raters.

    Example: dnd ratings results.csv --key study/key.json
    """
    from dnd_assets.human_study import read_key
    from dnd_assets.rating_files import read_ratings
    from dnd_assets.ratings import as_table, by_layer
    from dnd_assets.results import export

    found = read_ratings(file, read_key(key) if key else None)
    rows = by_layer(found, skip=["uninterpretable"] if skip_uninterpretable else [])
    if form != "table":
        sys.stdout.write(export(as_table(rows), form).decode() + ("\n" * (form == "json")))
        return
    table = Table(box=None, pad_edge=False)
    table.add_column("layer")
    for name in ("units", *found.methods, "alpha"):
        table.add_column(name, justify="right", no_wrap=name == "alpha")
    for row in rows:
        cells = [f"{one.mean:.2f} {one.best:4.0%}" for one in row.methods.values()]
        table.add_row(row.layer or "-", f"{row.units:,}", *cells, f"{row.alpha:.2f}")
    out.print("Mean rating, and share of sheets in which none was rated higher (ties share it):")
    out.print(table)
    told = {**rows[-1].remarks, "unanswered": rows[-1].unanswered, "withdrawn": found.withdrawn}
    out.print(", ".join(f"{count:,} {what}" for what, count in told.items()))


@app.command()
def compare(
    units: Annotated[
        list[str] | None, typer.Argument(help="Units: keys, prefixes or ranges. Default: all.")
    ] = None,
    study: StudyOption = None,
    ablations: Annotated[
        str | None,
        typer.Option(
            "--with",
            help="Comma list: no-crops, no-selection, no-summariser, a scoring function such as "
            "mean-rank, k5, nc3, q20 (K, N_c, Q). Default: those that were run before; for the "
            "network with known answers every named one.",
        ),
    ] = None,
    labels: Annotated[
        list[str] | None, typer.Option(help="NAME=FILE: a CSV of another method's labels.")
    ] = None,
    truths: Annotated[
        Path | None, typer.Option(help="CSV, or text whose line i is unit i's, to judge by.")
    ] = None,
    encoder: Annotated[
        str | None, typer.Option(help="Sentence encoder or CLIP folder, to compare texts in.")
    ] = None,
    materialize: Annotated[
        bool, typer.Option("--run/--no-run", help="First run what is missing.")
    ] = True,
    form: Annotated[
        Literal["table", "csv", "json", "markdown"], typer.Option("--format", "-f")
    ] = "table",
    update: Annotated[
        Path | None, typer.Option(help="Write the scoreboard between the markers of this file.")
    ] = None,
    check: Annotated[
        Path | None,
        typer.Option(help="Exit status 1 if this file's scoreboard counts other labels right."),
    ] = None,
    tolerance: Annotated[
        int, typer.Option(help="Labels of a group that may differ in --check.", min=0)
    ] = 0,
) -> None:
    """Methods and ablations side by side: share labelled, share right, agreement.

    An ablation is the study with one setting changed; it shares every product that the setting
    does not touch.

    Example: dnd compare --with no-crops,no-selection,k5 --labels milan=milan.csv
    """
    from dnd_assets.compare import request
    from dnd_assets.scoreboard import as_text, differences, require_place, show, write

    chosen = load_study(study)
    names, files = _ablation_names(chosen, ablations), _named_files(labels or [])
    for document in filter(None, (update, check)):
        require_place(document)
    asked = request(chosen, state_folder(), units or [], names, files, truths)
    if materialize:
        _run_ablations(chosen, names, units or [])
    found = asked.answer(_text_space(encoder) if encoder else None)
    wrong = differences(found, check, tolerance) if check is not None else []
    if update is not None:
        write(found, update)
    if form == "table":
        show(found, out)
    else:
        sys.stdout.write(as_text(found, form))
    for line in wrong:
        err.print(line, style="red", markup=False)
    if wrong:
        raise typer.Exit(1)


def _ablation_names(study: Study, asked: str | None) -> list[str]:
    """The ablations asked for, checked, each once; or the default."""
    from dnd_assets.ablations import differing, variants
    from dnd_assets.compare import has_known_answers, stored_ablations
    from resources.lineage_db import Lineage

    if asked is not None:
        return list(variants(study, [name.strip() for name in asked.split(",") if name.strip()]))
    if has_known_answers(study):
        return differing(study)
    return stored_ablations(Lineage(root=str(state_folder())), study)


def _named_files(asked: list[str]) -> dict[str, Path]:
    """Files by the names given to them, NAME=FILE."""
    found: dict[str, Path] = {}
    for pair in asked:
        name, equals, file = pair.partition("=")
        if not (name.strip() and equals and file):
            raise typer.BadParameter(f"{pair!r} is no NAME=FILE, such as milan=milan.csv")
        if name.strip() in found:
            raise typer.BadParameter(f"two files are called {name.strip()!r}")
        found[name.strip()] = Path(file)
    return found


def _run_ablations(study: Study, names: list[str], units: list[str]) -> None:
    """Label the units by every method of the study, and by each ablation; stdout stays clean."""
    from dnd_assets.ablations import variants

    _check_names(study, units)
    from dnd_assets.assets.registry import stages_of
    from dnd_assets.lineage.records import is_labels
    from dnd_assets.run import run as run_units

    # The study comes last: after a first comparison the web interface shows its own labels.
    methods = [f"+{name}" for name in stages_of(study) if is_labels(name)]
    ways = [(one, ["+labels"]) for one in variants(study, names).values()]
    for one, assets in (*ways, (study, methods)):
        started = time.monotonic()
        log = partial(err.print, "  ", markup=False, sep="")
        done = run_units(one, state_folder(), units, assets, log)
        work = "".join(f", {count:,} {what}" for what, count in done.work.items())
        made = f"{sum(done.computed.values()):,} products computed{work}"
        told = made if done.id else "up to date"
        err.print(f"{one.name}: {told} ({time.monotonic() - started:.1f} s)", markup=False)


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
    from dnd_assets.atlas_address import atlas_folder
    from dnd_assets.bench import build_bench
    from dnd_assets.report.build import build_report

    bench = build_bench(load_study(study), state_folder(), lambda line: out.print(f"  {line}"))
    folder = output or atlas_folder(bench.home, bench.study.name)
    made = build_report(bench, folder, units or [], against, heat_maps, bench.log)
    for line in made.told:
        out.print(f"  {line}", markup=False)
    out.print(
        f"{made.units:,} units, {made.rendered:,} pages made anew, {made.pictures:,} pictures, "
        f"{made.written:,} files written, {made.removed:,} removed, {made.seconds:.1f} s"
    )
    out.print(str(made.index.resolve()), markup=False)


@app.command()
def ui(
    study: StudyOption = None,
    port: Annotated[int, typer.Option(help="Port of the web interface.")] = 3000,
) -> None:
    """Open the Dagster web interface on the study, with all runs made so far."""
    from dnd_assets.web_interface import serve

    home = state_folder()
    chosen = load_study(study)
    out.print(f"http://127.0.0.1:{port}  study {chosen.name}, state {home}")
    raise typer.Exit(serve(home, port, study))


@app.command()
def completion(
    shell: Annotated[Shell, typer.Argument(help="bash, zsh or fish.")],
) -> None:
    """The script that completes commands, options, studies and models in a shell.

    Example: eval "$(dnd completion bash)"
    """
    from typer.testing import CliRunner

    # With this variable the command line answers with its script and does nothing else.
    script = CliRunner().invoke(app, [], prog_name="dnd", env={"_DND_COMPLETE": f"source_{shell}"})
    out.print(script.stdout, markup=False)
    err.print(f"# to keep it: {INSTALL[shell]}", markup=False)


@app.command()
def demo(
    units: Annotated[list[str] | None, typer.Argument(help="Units; default: all.")] = None,
) -> None:
    """Label the embedded network, whose truth is known, and compare.

    Exit status 1 when fewer labels are right than they should be.
    """
    from dnd_assets.demo import show_truths

    study = load_study("known-answers")
    _run(study, units or [], ["+labels"])
    if not show_truths(study, state_folder(), out):
        raise typer.Exit(1)


if __name__ == "__main__":
    main()
