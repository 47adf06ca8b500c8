"""Commands that compute, and that look after what was computed."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from dnd_assets.cli.advice import with_study
from dnd_assets.cli.app import (
    Form,
    StudyOption,
    TableOrJson,
    TextOrJson,
    advise,
    app,
    err,
    out,
    print_json,
    told,
)
from dnd_assets.engine.stage_plan import StagePlan
from dnd_assets.home import state_folder
from dnd_assets.study.study import Study, load_study

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from dnd_assets.assets.resolved import ResolvedStudy
    from dnd_assets.engine.remembered import Remembered
    from dnd_assets.engine.verify import Rebuilt, VerifyReport
    from dnd_assets.lineage.records import Product
    from dnd_assets.workflow.due import Due, Run


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


def run_study(study: Study, units: list[str], assets: list[str], form: Form = "text") -> None:
    """Materialize assets for some units, and say what it took."""
    from dnd_assets.engine.remembered import Remembered

    started, memory = time.monotonic(), Remembered.of(state_folder(), study, "run", units, assets)
    idle = _recalled_idle(memory)
    if idle is not None:
        for line in idle.messages:
            err.print(line, markup=False, soft_wrap=True)
        for line in idle.told:
            told(line)
        _say_idle(idle, started, form)
        return
    from dnd_assets.assets.resolved import resolve_study

    with memory.working_out() as reads:
        resolved = resolve_study(study, memory.home, told)
        due, messages = _due(resolved, units, assets)
    if due is not None and not due.assets:
        idle = _Idle.of(resolved, due, messages)
        memory.keep(asdict(idle), reads)
        _say_idle(idle, started, form)
        return
    from dnd_assets.workflow.run import run_resolved

    _say_finished(run_resolved(resolved, units, assets, due), started, form)


def _say_finished(finished: Run, started: float, form: Form) -> None:
    if form == "json":
        print_json({**asdict(finished), "seconds": round(time.monotonic() - started, 1)})
        return
    computed, reused = sum(finished.computed.values()), sum(finished.reused.values())
    if not finished.id:
        _say_up_to_date(finished.units, reused, started)
        return
    work = "".join(f", {count:,} {kind}" for kind, count in finished.work.items())
    out.print(
        f"Run {finished.id[:8]}: {finished.units:,} units, {computed:,} products computed, "
        f"{reused:,} reused{work}, {time.monotonic() - started:.1f} s."
    )


def _say_idle(idle: _Idle, started: float, form: Form) -> None:
    """That there is nothing to do, as `_say_finished` says it."""
    if form == "json":
        _say_finished(idle.run(), started, form)
    else:
        _say_up_to_date(idle.units, idle.reused, started)


def _say_up_to_date(units: int, reused: int, started: float) -> None:
    out.print(
        f"All {units:,} units are up to date: 0 products computed, {reused:,} reused, "
        f"{time.monotonic() - started:.1f} s."
    )


def _due(
    resolved: ResolvedStudy, units: list[str], assets: list[str]
) -> tuple[Due | None, list[str]]:
    """What a run has to do, once all that it names is there, and what to say of its files.

    None where only Dagster can tell.
    """
    if not assets:
        _check_models(resolved)
    messages = check_names(resolved, units)
    from dnd_assets.workflow.due import confirm, decide_from_files

    due = decide_from_files(resolved, units, assets)
    if due is not None and not due.assets:
        confirm(resolved.context, due.chosen, due.asked)
    return due, messages


@dataclass(frozen=True)
class _Idle:
    """A run that has nothing to do.

    Attributes:
        keys: of the units that were asked for.
        assets: products by unit that were asked for.
        wholes: products of no unit that were asked for.
        told: what a reader has to know of the study's images.
        messages: the same of files of labels and truths.
    """

    keys: list[str]
    assets: list[str]
    wholes: list[str]
    told: list[str]
    messages: list[str]

    @classmethod
    def of(cls, resolved: ResolvedStudy, due: Due, messages: list[str]) -> _Idle:
        """Of a run for which there is nothing due."""
        return cls(
            [unit.key for unit in due.chosen],
            [name for name in due.asked if name in resolved.stages],
            [name for name in due.asked if name not in resolved.stages],
            _told_of(due.seen.products),
            messages,
        )

    def run(self) -> Run:
        """The run that was not made."""
        from dnd_assets.workflow.due import Run

        by_unit = dict.fromkeys(self.assets, len(self.keys))
        return Run("", self.units, {}, by_unit | dict.fromkeys(self.wholes, 1))

    @property
    def units(self) -> int:
        """How many units there are."""
        return len(self.keys)

    @property
    def reused(self) -> int:
        """How many products stand."""
        return len(self.keys) * len(self.assets) + len(self.wholes)


def _told_of(products: Iterable[Product]) -> list[str]:
    """What a reader has to know of the study's images, as they were observed."""
    return [str(line) for product in products for line in product.outcome.notes.get("told", ())]


def _recalled_idle(memory: Remembered) -> _Idle | None:
    """What was found of the same run before, if Dagster knows of all products still."""
    answer = memory.recall()
    if answer is None:
        return None
    from pydantic import TypeAdapter

    from dnd_assets.workflow.announced import FileHistory

    idle = TypeAdapter(_Idle).validate_python(answer)
    history = FileHistory.of(memory.home)
    if history is None or history.goes_on():
        return None
    return idle if history.knows(idle.assets, idle.wholes, idle.keys) else None


def _check_models(resolved: ResolvedStudy) -> None:
    """Check that all models are here before anything heavy is imported."""
    from dnd_assets.engine.models import require_models

    require_models(resolved.context)


def check_names(resolved: ResolvedStudy, units: list[str]) -> list[str]:
    """Check paths and names before anything heavy is imported, so that wrong ones fail at once.

    Returns:
        What was said of files of labels and truths.
    """
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
    lines = [line for line in messages if line]
    for line in lines:
        err.print(line, markup=False, soft_wrap=True)
    return lines


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
    form: TableOrJson = "table",
) -> None:
    """What `dnd run` would compute, reuse and cost, before it starts.

    Example: dnd plan worldnet/head
    """
    loaded_study = load_study(study)
    from dnd_assets.engine.remembered import Remembered

    home = state_folder()
    names = [name for name in assets.split(",") if name]
    memory = Remembered.of(home, loaded_study, "plan", units or [], names, workers)
    recalled = memory.recall()
    if recalled is not None:
        planned = _Planned.of_json(recalled)
    else:
        with memory.working_out() as reads:
            planned = _make_plan(loaded_study, home, units or [], names, workers)
        memory.keep(asdict(planned), reads)
    if form == "json":
        print_json([asdict(stage_plan) for stage_plan in planned.stages])
        return
    _show_plan(planned)


@dataclass(frozen=True)
class _Planned:
    """What `dnd plan` tells.

    Attributes:
        stages: the row of each asset.
        told: what a reader has to know of the images.
        workers: how many workers times are reckoned with; None where that shows later only.
        handed_out: whether there are workers, or are reckoned with.
    """

    stages: list[StagePlan]
    told: list[str]
    workers: int | None
    handed_out: bool

    @classmethod
    def of_json(cls, answer: object) -> _Planned:
        """The plan that `asdict` made plain."""
        from pydantic import TypeAdapter

        return TypeAdapter(_Planned).validate_python(answer)


def _make_plan(
    study: Study, home: Path, units: list[str], assets: list[str], workers: int | None
) -> _Planned:
    from dnd_assets.assets.registry import chosen_from
    from dnd_assets.assets.resolved import resolve_study
    from dnd_assets.engine.plan import plan as plan_stages
    from dnd_assets.workflow.preflight import observe

    resolved = resolve_study(study, home)
    context, stages = resolved.context, resolved.stages
    asset_names = chosen_from(stages, assets)
    selected_units = resolved.units.select(units)
    observed = observe(context, asset_names, stages)
    stage_plans = plan_stages(
        context, stages, selected_units, asset_names, *observed, workers=workers
    )
    handed_out = workers is not None or context.workers.handed_to is not None
    return _Planned(stage_plans, _told_of(observed), workers or context.workers.count, handed_out)


def _show_plan(planned: _Planned) -> None:
    out.print(_plan_table(planned.stages))
    if planned.handed_out:
        worker_text = (
            f"{planned.workers:,} workers"
            if planned.workers
            else "one worker (how many there are shows later)"
        )
        out.print(
            f"  times as measured here, what is handed out divided by {worker_text}", markup=False
        )
    for line in planned.told:
        out.print(f"  {line}", markup=False, soft_wrap=True)
    for stage_plan in planned.stages:
        for reason, count in list(stage_plan.why.items())[:5]:
            message = reason if ":" in reason else f"{stage_plan.asset}: {reason}"
            out.print(f"  {count:,} x {message}", markup=False)
    if not any(stage_plan.compute or stage_plan.may for stage_plan in planned.stages):
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
