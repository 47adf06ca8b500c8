"""What has to be there before anything is computed: device, room, models, servers, keys.

Only what the units that need computing use is asked for: a study that is up to date, or whose
answers are all stored, needs no server.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Final

from dnd_assets.assets.registry import stages_of
from dnd_assets.assets.resolved import ResolvedStudy
from dnd_assets.engine.context import StudyContext
from dnd_assets.engine.listed import Listed
from dnd_assets.engine.models import require_models, used_by
from dnd_assets.engine.network_inputs import check_inputs
from dnd_assets.engine.plan import Outlook, outlook
from dnd_assets.engine.resolve import Graph, stream_inputs
from dnd_assets.engine.stage import Stage, leading_to, study_assets_of
from dnd_assets.errors import StudyError, UpstreamError
from dnd_assets.lineage.records import Product
from dnd_assets.units import Unit
from dnd_assets.workflow.live_checks import answers, check_room

_CALLS: Final = ("LLM calls", "picture calls")
"""What plans count of calls to servers."""


def observe(
    context: StudyContext,
    assets: Iterable[str] | None = None,
    stages: Mapping[str, Stage] | None = None,
) -> list[Product]:
    """The products that belong to no unit, as they are now: for a plan.

    Args:
        context: the study's context.
        assets: only those that lead to some of these; None for all of the study.
        stages: the study's stages, where they are known.
    """
    stages = stages_of(context.study) if stages is None else stages
    names = list(study_assets_of(stages)) if assets is None else list(assets)
    wanted = study_assets_of(leading_to(stages, names)).keys() | set(names)
    return [
        study_asset.observe(context)
        for name, study_asset in study_assets_of(stages).items()
        if name in wanted
    ]


def check_models(resolved: ResolvedStudy, assets: Sequence[str]) -> None:
    """Refuse a run whose models are not all on this machine, before anything is computed.

    Raises:
        StudyError: naming the first that is missing and the command that gets it.
    """
    products = resolved.products
    for name in assets:
        require_models(resolved.context, name, products[name].uses)


def preflight(
    resolved: ResolvedStudy,
    units: Sequence[Unit],
    assets: Sequence[str],
    seen: Sequence[Product] | None = None,
) -> None:
    """Refuse a run that could not end well, before anything is computed.

    Args:
        resolved: the study with its resources.
        units: the units that are asked for.
        assets: names of the assets that are asked for.
        seen: the products of no unit that lead to them, where they were looked at.

    Raises:
        StudyError: naming what is missing, which asset needs it, and what to do.
    """
    context, products = resolved.context, resolved.products
    check_room(context.home)
    uses = {name: products[name].uses for name in assets}
    for name in assets:
        require_models(context, name, uses[name])
        check_device(context, uses[name])
    if any("targets" in resources for resources in uses.values()):
        check_inputs(context, assets)
    served = {
        name: [model for model in used_by(context, name, uses[name]) if model.part.server]
        for name in assets
    }
    if not any(served.values()):
        return
    for name in _assets_that_call(resolved, units, assets, seen):
        for model in served.get(name, []):
            _require_server(name, model)


def check_device(context: StudyContext, uses: Sequence[str]) -> None:
    """Look for the device and precision of each model among `uses`.

    Raises:
        StudyError: when this machine has no such device, or there is no such precision.
    """
    if context.workers.elsewhere:
        return  # other machines have it, and tell when they have not
    for field in uses:
        compute = getattr(getattr(context, field, None), "compute", None)
        for model_compute in filter(
            None, (compute, context.compute if field == "compute" else None)
        ):
            model_compute.torch_device()
            model_compute.torch_dtype()


def _require_server(asset: str, model: Listed) -> None:
    if model.part.problem:
        raise StudyError(f"{asset} needs the {model.name}. {model.part.problem}")
    if answers(model.part.server) is False:
        raise StudyError(
            f"{asset} needs the {model.name}, and nothing answers at {model.part.server}. Start "
            f"the server, or correct {model.section}.base_url; then run again. Nothing was "
            "computed, and labels are as they were."
        )


def _assets_that_call(
    resolved: ResolvedStudy,
    units: Sequence[Unit],
    assets: Sequence[str],
    seen: Sequence[Product] | None,
) -> list[str]:
    """The assets among `assets` that may call a server: what is stored is not asked for again."""
    context, stages = replace(resolved.context, promised={}), resolved.stages
    products = observe(context, assets, stages) if seen is None else seen
    by_asset = {product.asset: product for product in products}
    graph = Graph(context, leading_to(stages, assets), seen=by_asset)
    try:
        with context.lineage.connect():
            return [
                expected.stage.name
                for expected in outlook(graph, units)
                if expected.stage.name in assets and _may_call(graph, expected)
            ]
    except UpstreamError:
        return []  # the run says what is missing before it calls anyone


def _may_call(graph: Graph, expected: Outlook) -> bool:
    if expected.waiting:
        return True
    if not expected.missing:
        return False
    cost = expected.stage.cost(
        graph.context, stream_inputs(graph, expected.stage, expected.missing)
    )
    counted = [cost[name] for name in _CALLS if name in cost]
    return any(counted) if counted else any(cost.values())
