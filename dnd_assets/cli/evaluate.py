"""Commands that judge labels."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, cast

import typer
from rich.table import Table

from dnd_assets.cli.app import (
    StudyOption,
    advise,
    app,
    asking,
    err,
    out,
    print_json,
    show_what_stands,
    told,
)
from dnd_assets.cli.run import check_names
from dnd_assets.errors import NotFoundError
from dnd_assets.home import results_folder, state_folder
from dnd_assets.study.study import Study, load_study

if TYPE_CHECKING:
    from dnd_assets.analysis.compare import Comparison
    from dnd_assets.files.unit_texts import First
    from resources.encoders.open_clip import OpenClip
    from resources.encoders.sentence import SentenceEncoder

FirstUnits = Annotated[
    list[str] | None,
    typer.Option(
        "--first-unit",
        metavar="[NAME=]0|1",
        help="Number of a layer's first unit in --labels; NAME=1 for one of them, truths=1 for "
        "--truths. Default: found out.",
    ),
]
Form = Literal["table", "csv", "json", "markdown"]
Ablations = Annotated[
    str | None,
    typer.Option(
        "--with",
        help="Comma list: no-crops, no-selection, no-summariser, a scoring function such as "
        "mean-rank, k5, nc3, q20 (K, N_c, Q). Default: those that were run before; for the "
        "network with known answers every named one.",
    ),
]
Update = Annotated[
    Path | None, typer.Option(help="Write the scoreboard between the markers of this file.")
]
Check = Annotated[
    Path | None,
    typer.Option(help="Exit status 1 if this file's scoreboard counts other labels right."),
]
Tolerance = Annotated[
    int, typer.Option(help="Labels of a group that may differ in --check.", min=0)
]


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
    first_unit: Annotated[
        int | None,
        typer.Option(
            min=0, max=1, help="Number of the first unit in --labels; default: found out."
        ),
    ] = None,
    theory: Annotated[
        bool, typer.Option("--theory", help="What wrong labels do to each metric, in theory.")
    ] = False,
    form: Annotated[Literal["table", "json", "csv"], typer.Option("--format", "-f")] = "table",
) -> None:
    """How good labels are: a file's against the truth, or a study's by its metrics.

    Without --labels: means of the metrics that section [evaluation] of the study asks for, by
    layer and method, and whether the metrics themselves are sound.

    Example: dnd evaluate --labels labels.csv --truths imagenet_classes.txt
    """
    if theory:
        if study is not None or units or classes or labels is not None or truths is not None:
            raise typer.BadParameter("--theory goes alone, or with --format")
        _show_theory(form)
        return
    if labels is None:
        if truths is not None:
            raise typer.BadParameter("--truths goes with --labels; a study names its own truths")
        _evaluate_study(load_study(study), units or [], form, classes=classes)
        return
    if study is not None or units or classes or form == "csv":
        raise typer.BadParameter("--labels goes without --study, units, --classes and --format csv")
    _evaluate_file(labels, truths, encoder, cast("Literal[0, 1] | None", first_unit), form)


def _evaluate_file(
    labels: Path, truths: Path | None, encoder: str, first: Literal[0, 1] | None, form: str
) -> None:
    from dnd_assets.analysis.evaluate import evaluate as evaluate_file

    space = text_space(encoder)
    evaluation = evaluate_file(labels, truths, space, first_unit=first)
    if form == "json":
        report = {**evaluation.as_json(), "encoder": space.fingerprint()}
        print_json(report)
        return
    for line in evaluation.lines():
        out.print(line, markup=False)


def _show_theory(form: str) -> None:
    from dnd_assets.analysis.metric_theory import as_rows, theory_table
    from dnd_assets.methods.metrics.theoretical_sanity import theoretical_checks

    checks = theoretical_checks()
    if form == "table":
        out.print(theory_table(checks))
        return
    import pandas as pd

    from dnd_assets.results.labels import export

    rows = pd.DataFrame(as_rows(checks))
    sys.stdout.write(export(rows, cast("Literal['csv', 'json']", form)).decode())
    sys.stdout.write("\n" * (form == "json"))


def _evaluate_study(study: Study, units: list[str], form: str, *, classes: bool) -> None:
    from dnd_assets.analysis.class_prediction import predict
    from dnd_assets.analysis.metric_means import evaluate_study
    from dnd_assets.analysis.scoreboard import show_evaluation
    from dnd_assets.engine.context_builder import find_units
    from dnd_assets.results.labels import export

    context = asking(study, told)
    selected = find_units(context).select(units)
    show_what_stands(context.lineage, study)
    report = evaluate_study(context, selected)
    predicted = predict(context, selected) if classes else []
    if form == "table":
        show_evaluation(report, predicted, out)
    elif form == "json":
        document = {
            **report.as_json(),
            "classes": [prediction.as_json() for prediction in predicted],
        }
        sys.stdout.write(json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False) + "\n")
    else:
        import pandas as pd

        sys.stdout.write(export(pd.DataFrame(report.rows()), "csv").decode())


def text_space(encoder: str) -> OpenClip | SentenceEncoder:
    """A CLIP's text tower, from its folder, or a sentence encoder."""
    from resources.encoders.open_clip import OpenClip
    from resources.encoders.sentence import SentenceEncoder
    from resources.runtime.compute import Compute

    is_clip = (Path(encoder) / "open_clip_config.json").is_file()
    return (OpenClip if is_clip else SentenceEncoder)(model=encoder, compute=Compute())


@app.command()
def compare(
    units: Annotated[
        list[str] | None, typer.Argument(help="Units: keys, prefixes or ranges. Default: all.")
    ] = None,
    study: StudyOption = None,
    ablations: Ablations = None,
    labels: Annotated[
        list[str] | None, typer.Option(help="NAME=FILE: a CSV of another method's labels.")
    ] = None,
    truths: Annotated[
        Path | None, typer.Option(help="CSV, or text whose line i is unit i's, to judge by.")
    ] = None,
    first_unit: FirstUnits = None,
    encoder: Annotated[
        str | None, typer.Option(help="Sentence encoder or CLIP folder, to compare texts in.")
    ] = None,
    materialize: Annotated[
        bool, typer.Option("--run/--no-run", help="First run what is missing.")
    ] = True,
    form: Annotated[Form, typer.Option("--format", "-f")] = "table",
    update: Update = None,
    check: Check = None,
    tolerance: Tolerance = 0,
) -> None:
    """Methods and ablations side by side: share labelled, share right, agreement.

    An ablation is the study with one setting changed; it shares every product that the setting
    does not touch.

    Example: dnd compare --with no-crops,no-selection,k5 --labels milan=milan.csv
    """
    loaded_study = load_study(study)
    from dnd_assets.analysis.compare_request import request
    from dnd_assets.analysis.kept_scoreboard import differences, require_place, write

    names, files = _ablation_names(loaded_study, ablations), _named_files(labels or [])
    for document in filter(None, (update, check)):
        require_place(document, loaded_study.name)
    home = state_folder() if materialize else results_folder()
    firsts = _first_units(first_unit or [], files, truths)
    comparison_request = request(loaded_study, home, units or [], names, files, truths, firsts)
    for line in comparison_request.told:
        err.print(line, markup=False, soft_wrap=True)
    if materialize:
        _run_ablations(loaded_study, names, units or [])
    show_what_stands(comparison_request.lineage, loaded_study)
    comparison = comparison_request.answer(text_space(encoder) if encoder else None)
    mismatches = (
        differences(comparison, check, tolerance, loaded_study.name) if check is not None else []
    )
    if update is not None:
        write(comparison, update, loaded_study.name)
    _write_comparison(comparison, form, mismatches)


def _write_comparison(comparison: Comparison, form: Form, mismatches: Sequence[str]) -> None:
    """Write a comparison, and what is wrong with a scoreboard; exit status 1 if anything is."""
    from dnd_assets.analysis.scoreboard import as_text, show

    if form == "table":
        show(comparison, out)
    else:
        sys.stdout.write(as_text(comparison, form))
    for line in mismatches:
        err.print(line, style="red", markup=False)
    if mismatches:
        raise typer.Exit(1)


def _ablation_names(study: Study, ablation_list: str | None) -> list[str]:
    """The ablations named on the command line, checked, each once; else the default ones."""
    from dnd_assets.analysis.compare_request import has_known_answers, stored_ablations
    from dnd_assets.study.ablations import differing, variants
    from resources.lineage_db.reader import LineageReader

    if ablation_list is not None:
        return list(
            variants(study, [name.strip() for name in ablation_list.split(",") if name.strip()])
        )
    if has_known_answers(study):
        return differing(study)
    try:
        return stored_ablations(LineageReader(root=str(results_folder())), study)
    except NotFoundError:  # nothing was run so far
        return []


def _named_files(pairs: list[str]) -> dict[str, Path]:
    """Files by the names given to them, NAME=FILE."""
    files: dict[str, Path] = {}
    for pair in pairs:
        name, equals, file = pair.partition("=")
        if not (name.strip() and equals and file):
            raise typer.BadParameter(f"{pair!r} is no NAME=FILE, such as milan=milan.csv")
        if name.strip() in files:
            raise typer.BadParameter(f"two files are called {name.strip()!r}")
        files[name.strip()] = Path(file)
    return files


def _first_units(
    answers: Sequence[str], files: Mapping[str, Path], truths: Path | None
) -> dict[str, First]:
    """The first unit's number by file, from 0 or 1, or NAME=0 or NAME=1."""
    from dnd_assets.analysis.compare_request import TRUTHS
    from dnd_assets.errors import not_found

    names = [*files, *([TRUTHS] if truths is not None else [])]
    if answers and len(set(names)) < len(names):
        raise typer.BadParameter(
            f"{TRUTHS!r} is the file of --truths; give the method another name"
        )
    numbers: dict[str, First] = {}
    for answer in answers:
        name, _, number = answer.rpartition("=")
        if number.strip() not in ("0", "1"):
            raise typer.BadParameter(
                f"--first-unit {answer!r} is neither 0 nor 1, nor NAME=0 or NAME=1, such as milan=1"
            )
        if "=" in answer and name.strip() not in names:
            raise not_found("file", name.strip(), names, "--labels NAME=FILE names them.")
        if name.strip() in numbers:
            raise typer.BadParameter(f"--first-unit {answer!r} is the second answer for one file")
        numbers[name.strip()] = 1 if number.strip() == "1" else 0
    if numbers and not names:
        raise typer.BadParameter("--first-unit goes with --labels or --truths")
    return numbers


def _run_ablations(study: Study, names: list[str], units: list[str]) -> None:
    """Label the units by every method of the study, and by each ablation; stdout stays clean."""
    from dnd_assets.assets.resolved import resolve_study
    from dnd_assets.study.ablations import variants

    resolved = resolve_study(study, state_folder(), told)
    check_names(resolved, units)
    from dnd_assets.lineage.records import is_labels
    from dnd_assets.workflow.run import run_resolved

    # The study comes last: after a first comparison the web interface shows its own labels.
    methods = [f"+{name}" for name in resolved.stages if is_labels(name)]
    variant_assets = [(variant, ["+labels"]) for variant in variants(study, names).values()]
    for variant, assets in (*variant_assets, (study, methods)):
        started = time.monotonic()
        variant_resolved = (
            resolved if variant is study else resolve_study(variant, state_folder(), told)
        )
        finished_run = run_resolved(variant_resolved, units, assets)
        work = "".join(f", {count:,} {kind}" for kind, count in finished_run.work.items())
        computed = f"{sum(finished_run.computed.values()):,} products computed{work}"
        outcome = computed if finished_run.id else "up to date"
        advise(f"{variant.name}: {outcome} ({time.monotonic() - started:.1f} s)")


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
    first_unit: FirstUnits = None,
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
    loaded_study = load_study(study)
    from dnd_assets.analysis.compare_request import request, stored_ablations
    from dnd_assets.analysis.human_study.questionnaire import export_study
    from dnd_assets.analysis.human_study.tasks import named, rating_tasks
    from dnd_assets.engine.context_builder import build_context

    home = results_folder()
    context = build_context(loaded_study, home, reading=True)
    ablations = stored_ablations(context.lineage, loaded_study)
    files = _named_files(labels or [])
    firsts = _first_units(first_unit or [], files, None)
    study_request = request(loaded_study, home, units or [], ablations, files, firsts=firsts)
    for line in study_request.told:
        err.print(line, markup=False, soft_wrap=True)
    method_names = [name.strip() for name in (methods or "").split(",") if name.strip()]
    show_what_stands(context.lineage, loaded_study)
    judged = named(study_request.answer().methods, method_names)
    keys = [unit.key for unit in study_request.units]
    survey = rating_tasks(context, judged, keys, images, sample, seed)
    written_files = export_study(survey.tasks, folder, image_url=image_url, seed=seed)
    names = ", ".join(method.name for method in judged)
    summary = f"{len(survey.tasks):,} units, {names}: {len(written_files):,} files in {folder}"
    out.print(summary, markup=False)
    for unit, reason in list(survey.left_out.items())[:5]:
        out.print(f"left out: {unit} {reason}", markup=False)
    if len(survey.left_out) > 5:
        out.print(f"left out: {len(survey.left_out) - 5:,} more")
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
    from dnd_assets.analysis.human_study.questionnaire import read_key
    from dnd_assets.analysis.human_study.rating_files import read_ratings
    from dnd_assets.analysis.human_study.ratings import as_table, by_layer
    from dnd_assets.results.labels import export

    study_ratings = read_ratings(file, read_key(key) if key else None)
    rows = by_layer(study_ratings, skip=["uninterpretable"] if skip_uninterpretable else [])
    if form != "table":
        sys.stdout.write(export(as_table(rows), form).decode() + ("\n" * (form == "json")))
        return
    table = Table(box=None, pad_edge=False)
    table.add_column("layer")
    for name in ("units", *study_ratings.methods, "alpha"):
        table.add_column(name, justify="right", no_wrap=name == "alpha")
    for row in rows:
        cells = [f"{rating.mean:.2f} {rating.best:4.0%}" for rating in row.methods.values()]
        table.add_row(row.layer or "-", f"{row.units:,}", *cells, f"{row.alpha:.2f}")
    out.print("Mean rating, and share of sheets in which none was rated higher (ties share it):")
    out.print(table)
    totals = {
        **rows[-1].remarks,
        "unanswered": rows[-1].unanswered,
        "withdrawn": study_ratings.withdrawn,
    }
    out.print(", ".join(f"{count:,} {title}" for title, count in totals.items()))
