"""Commands that compute, and that look after what was computed."""

from __future__ import annotations

import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.table import Table

from dnd_assets.cli.advice import with_study
from dnd_assets.cli.app import StudyOption, advise, app, err, out, print_json, told
from dnd_assets.home import state_folder
from dnd_assets.study.study import Study, load_study

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dnd_assets.assets.resolved import ResolvedStudy
    from dnd_assets.engine.plan import StagePlan
    from dnd_assets.engine.verify import Rebuilt, VerifyReport


TextOrJson = Annotated[Literal["text", "json"], typer.Option("--format", "-f")]
_NEXT = ("labels", "trace UNIT", "ui")


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
    form: TextOrJson = "text",
) -> None:
    """Materialize assets for some units; what is up to date is reused.

    Example: dnd run worldnet/head/0-3 --assets +labels
    """
    run_study(load_study(study), units or [], [name for name in assets.split(",") if name], form)
    labels_command, trace_command, ui_command = (with_study(f"dnd {name}", study) for name in _NEXT)
    advise(
        f"See the labels: {labels_command}    Ask why: {trace_command}    Open the UI: {ui_command}"
    )


def run_study(
    study: Study, units: list[str], assets: list[str], form: Literal["text", "json"] = "text"
) -> None:
    """Materialize assets for some units, and say what it took."""
    from dnd_assets.assets.resolved import resolve_study

    resolved = resolve_study(study, state_folder(), told)
    if not assets:
        _check_models(resolved)
    check_names(resolved, units)
    from dnd_assets.workflow.run import run_resolved

    started = time.monotonic()
    finished_run = run_resolved(resolved, units, assets)
    if form == "json":
        print_json({**asdict(finished_run), "seconds": round(time.monotonic() - started, 1)})
        return
    computed, reused = sum(finished_run.computed.values()), sum(finished_run.reused.values())
    if not finished_run.id:
        out.print(
            f"All {finished_run.units:,} units are up to date ({time.monotonic() - started:.1f} s)."
        )
        return
    work = "".join(f", {count:,} {kind}" for kind, count in finished_run.work.items())
    out.print(
        f"Run {finished_run.id[:8]}: {finished_run.units:,} units, {computed:,} products computed, "
        f"{reused:,} reused{work}, {time.monotonic() - started:.1f} s."
    )


def _check_models(resolved: ResolvedStudy) -> None:
    """Check that all models are here before anything heavy is imported."""
    from dnd_assets.engine.models import require_models

    require_models(resolved.context)


def check_names(resolved: ResolvedStudy, units: list[str]) -> None:
    """Check paths and names before anything heavy is imported, so that wrong ones fail at once."""
    study = resolved.study
    from dnd_assets.study.image_concepts import check_image_labels
    from dnd_assets.study.mask_sets import check_masks
    from dnd_assets.study.probing_images import check_paths
    from dnd_assets.study.study_concepts import check_concepts

    check_paths(study)
    check_concepts(study)
    check_masks(study)
    check_image_labels(study)
    if study.evaluation is not None:
        check_paths(study, "evaluation")
    from dnd_assets.study.label_files import check_imported, sizes_of

    targets, study_units = resolved.context.targets, resolved.units
    study_units.select(units)
    evaluated = study.evaluation is not None and study.evaluation.truths is not None
    sizes = sizes_of(study, targets.units) if study.imported_labels or evaluated else {}
    messages = check_imported(study, list(study_units.values()), sizes)
    if study.evaluation is not None:
        from dnd_assets.assets.truths import check_truths

        messages.append(check_truths(study, list(study_units.values()), sizes).told)
    for line in filter(None, messages):
        err.print(line, markup=False, soft_wrap=True)


@app.command()
def plan(
    units: Annotated[
        list[str] | None, typer.Argument(help="Units: keys, prefixes or ranges. Default: all.")
    ] = None,
    study: StudyOption = None,
    assets: Annotated[str, typer.Option(help="Comma list of assets, as for run.")] = "",
    workers: Annotated[
        int | None,
        typer.Option(min=1, help="Reckon times with this many workers, not with the study's."),
    ] = None,
    form: Annotated[Literal["table", "json"], typer.Option("--format", "-f")] = "table",
) -> None:
    """What `dnd run` would compute, reuse and cost, before it starts.

    Example: dnd plan worldnet/head
    """
    loaded_study = load_study(study)
    from dnd_assets.assets.registry import chosen_from
    from dnd_assets.assets.resolved import resolve_study
    from dnd_assets.engine.plan import plan as make_plan
    from dnd_assets.workflow.preflight import observe

    resolved = resolve_study(loaded_study, state_folder())
    context, stages = resolved.context, resolved.stages
    asset_names = chosen_from(stages, [name for name in assets.split(",") if name])
    selected_units = resolved.units.select(units or [])
    observed = observe(context, asset_names, stages)
    stage_plans = make_plan(
        context, stages, selected_units, asset_names, *observed, workers=workers
    )
    if form == "json":
        print_json([asdict(stage_plan) for stage_plan in stage_plans])
        return
    out.print(_plan_table(stage_plans))
    worker_count = workers or context.workers.count
    if workers or context.workers.handed_to is not None:
        worker_text = (
            f"{worker_count:,} workers"
            if worker_count
            else "one worker (how many there are shows later)"
        )
        out.print(
            f"  times as measured here, what is handed out divided by {worker_text}", markup=False
        )
    for product in observed:
        for line in product.outcome.notes.get("told", ()):
            out.print(f"  {line}", markup=False, soft_wrap=True)
    for stage_plan in stage_plans:
        for reason, count in list(stage_plan.why.items())[:5]:
            message = reason if ":" in reason else f"{stage_plan.asset}: {reason}"
            out.print(f"  {count:,} x {message}", markup=False)
    if not any(stage_plan.compute or stage_plan.may for stage_plan in stage_plans):
        out.print("everything is up to date")


def _plan_table(stage_plans: Sequence[StagePlan]) -> Table:
    """A row for each asset: products to compute and to reuse, work, and time."""
    table = Table(box=None, pad_edge=False)
    for name in ("asset", "compute", "reuse", "may follow", "work", "time"):
        numbers = name in ("compute", "reuse")
        table.add_column(name, justify="right" if numbers else "left", no_wrap=name == "asset")
    for stage_plan in stage_plans:
        possible = f"{stage_plan.may:,}" if stage_plan.may else ""
        counts = (f"{stage_plan.compute:,}", f"{stage_plan.reuse:,}", possible)
        table.add_row(stage_plan.asset, *counts, _work(stage_plan), _time(stage_plan))
    return table


def _work(planned: StagePlan) -> str:
    """Work of an asset in a cell: what is certain, then the most that may follow."""
    certain = [f"{count:,} {kind}" for kind, count in planned.cost.items()]
    possible = [f"{count:,} {kind}" for kind, count in planned.most.items()]
    return ", ".join(certain + ([f"up to {' and '.join(possible)}"] if possible else []))


def _time(planned: StagePlan) -> str:
    if planned.seconds is None or planned.most_seconds is None:
        return "not measured yet" if planned.compute or planned.may else ""
    if planned.may:
        return f"{planned.seconds:,.1f} to {planned.most_seconds:,.1f} s"
    return f"about {planned.seconds:,.1f} s" if planned.compute else ""


@app.command()
def verify(
    study: StudyOption = None,
    rebuild: Annotated[int, typer.Option(help="Also compute this many products again.")] = 0,
    repair: Annotated[
        bool, typer.Option("--repair", help="Set damaged files aside; a run makes them anew.")
    ] = False,
    form: TextOrJson = "text",
) -> None:
    """Hash the store and compare it with the lineage; exit status 1 if anything is wrong."""
    loaded_study = load_study(study)
    from dnd_assets.assets.registry import stages_of
    from dnd_assets.engine.context_builder import build_context
    from dnd_assets.engine.verify import rebuild as rebuild_products
    from dnd_assets.engine.verify import set_aside
    from dnd_assets.engine.verify import verify as verify_store
    from resources.runtime.progress import Progress

    context = build_context(loaded_study, state_folder(), told)
    report = verify_store(context, Progress("files", len(context.store.names()), told).advance)
    aside = set_aside(context, report) if repair else None
    products = rebuild_products(context, stages_of(context.study), rebuild) if rebuild else []
    sound = report.clean and all(product.same for product in products)
    if form == "json":
        rebuilt = [{**asdict(product), "same": product.same} for product in products]
        print_json({**asdict(report), "set_aside": aside, "rebuilt": rebuilt, "sound": sound})
    else:
        _show_verified(report, aside, products)
    if not sound:
        raise typer.Exit(1)


def _show_verified(report: VerifyReport, aside: int | None, products: Sequence[Rebuilt]) -> None:
    """What was found, what was set aside (None: nothing was to be), what was made again."""
    out.print(f"{report.files:,} files known to the lineage")
    for word in ("missing", "changed", "segments", "orphaned"):
        names = getattr(report, word)
        out.print(f"{len(names):,} {'journal segments changed' if word == 'segments' else word}")
        for name in names[:20]:
            out.print(f"    {name}", markup=False)
    if aside is not None:
        out.print(f"{aside:,} files set aside; `dnd run` computes what they held")
    elif report.missing or report.changed:
        out.print("`dnd verify --repair` sets them aside, `dnd run` computes what they held")
    for product in products:
        out.print(
            f"{'same' if product.same else 'DIFFERENT'}  {product.asset}  {product.unit}",
            markup=False,
        )


@app.command()
def rebuild(study: StudyOption = None) -> None:
    """Make the lineage database anew from the journal, which is the record."""
    load_study(study)  # a wrong name is told
    from resources.lineage_db.database import Lineage

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
    loaded_study = load_study(study)
    from dnd_assets.engine.context_builder import build_context
    from dnd_assets.engine.gc import collect, find_garbage

    context = build_context(loaded_study, state_folder())
    garbage = find_garbage(context, keep)
    amount = (
        f"{len(garbage.files):,} files, {garbage.bytes / 1e6:,.1f} MB; {garbage.kept:,} files stay"
    )
    if remove:
        collect(context, garbage)
        out.print(f"removed {amount}")
    else:
        out.print(f"would remove {amount}. Nothing was changed; add --remove to do it.")
