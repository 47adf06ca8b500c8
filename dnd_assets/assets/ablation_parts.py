"""Parts of ablations: what a network gives for some of the images, with and without its units."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from dnd_assets.engine.cache.shared_results import layer_provider
from dnd_assets.engine.context import StudyContext
from dnd_assets.engine.workers.at_work import agree
from dnd_assets.engine.workers.handing_out import hand_out
from dnd_assets.engine.workers.parts import Job, Part, PartResult
from dnd_assets.lineage.code import method_version
from dnd_assets.lineage.fingerprint import Json
from dnd_assets.methods.ablation.replacing import Group
from dnd_assets.units import Unit
from resources.runtime.progress import Progress

_ABLATED: Final = 16
"""Images in a part of ablations."""
_PASSED: Final = 64
"""Images in a part of single passes, about: whole batches up to this many."""
Scores = NDArray[np.floating]


def passes_code(context: StudyContext) -> str:
    """Version of the code of ablation's passes, which no activation depends on."""
    return method_version(type(context.targets), "outputs_without", "values_replaced")


def network_outputs(context: StudyContext, model: str, images: Sequence[str]) -> Scores:
    """What a network returns for images, (images, outputs)."""
    provider = _network_provider(context, model)
    about = {"model": model}
    parts = _parts(images, _whole_batches(context), about, provider)
    return np.concatenate(_in_order(context, outputs_of, parts))


def outputs_of(context: StudyContext, part: Part, _: Progress) -> PartResult:
    """What a network returns for a part's images."""
    model = part.about["model"]
    agree(context, part, lambda: _network_provider(context, model))
    pictures = context.seen_by(model, part.items)
    values = context.targets.outputs(model, pictures, context.study.compute.batch.target)
    return PartResult(arrays={"values": values})


def means_of_units(
    context: StudyContext, model: str, layer: str, images: Sequence[str]
) -> NDArray[np.float64]:
    """Mean of each unit over images, as ablation replaces it; see `values_replaced`."""
    provider = _passes_provider(context, model, layer)
    about = {"model": model, "layer": layer}
    parts = _parts(images, _whole_batches(context), about, provider)
    values = np.concatenate(_in_order(context, replaced_values_of, parts))
    return np.asarray(values.astype(np.float64, copy=False).mean(axis=0))


def replaced_values_of(context: StudyContext, part: Part, _: Progress) -> PartResult:
    """What ablation replaces in a layer, as means over places of a part's images."""
    model, layer = part.about["model"], part.about["layer"]
    agree(context, part, lambda: _passes_provider(context, model, layer))
    pictures, batch = context.seen_by(model, part.items), context.study.compute.batch.target
    values = context.targets.values_replaced(model, layer, pictures, batch)
    return PartResult(arrays={"values": values})


def outputs_without(
    context: StudyContext,
    layer: tuple[str, str],
    groups: Sequence[Group],
    images: Sequence[str],
    fill: NDArray[np.float64] | None,
    donors: Mapping[str, str] | None,
    progress: Progress,
) -> Scores:
    """What a network returns without each of some groups, (groups, images, outputs).

    Args:
        context: the study's context.
        layer: network and path.
        groups: neurons that are ablated together.
        images: hashes of the images.
        fill: what stands in the place of units; see `TargetNetworks.outputs_without`.
        donors: the image whose values stand there, by image; None where `fill` gives them.
        progress: counts images.
    """
    about = {
        "model": layer[0], "layer": layer[1], "groups": [list(group) for group in groups],
        "fill": None if fill is None else fill.tolist(),
    }  # fmt: skip
    provider = _passes_provider(context, *layer)
    parts = _parts(images, _ABLATED, about, provider, donors)
    found = _in_order(context, outputs_without_of, parts, progress)
    return np.concatenate(found, axis=1)


def outputs_without_of(context: StudyContext, part: Part, progress: Progress) -> PartResult:
    """What a network returns for a part's images without each of some groups."""
    about = part.about
    model, layer, donors = about["model"], about["layer"], about["donors"]
    agree(context, part, lambda: _passes_provider(context, model, layer))
    names = [*part.items, *(donors or ())]
    values = context.targets.outputs_without(
        model, layer, [tuple(group) for group in about["groups"]], context.seen_by(model, names),
        None if about["fill"] is None else np.array(about["fill"], dtype=np.float64),
        None if donors is None else range(len(part.items), len(names)), progress,
    )  # fmt: skip
    return PartResult(arrays={"values": values})


def _parts(
    images: Sequence[str],
    size: int,
    about: Mapping[str, Json],
    provider: str,
    donors: Mapping[str, str] | None = None,
) -> list[Part]:
    parts = []
    for start in range(0, len(images), size):
        block = images[start : start + size]
        block_donors = None if donors is None else [donors[name] for name in block]
        pictures = list(dict.fromkeys([*block, *(block_donors or ())]))
        told = {**about, "start": start, "donors": block_donors}
        parts.append(Part(block, pictures, told, provider))
    return parts


def _in_order(
    context: StudyContext, job: Job, parts: Sequence[Part], progress: Progress | None = None
) -> list[Scores]:
    """The values of all parts, in the order of their images."""
    found = {
        part.about["start"]: result.arrays["values"]
        for part, result in hand_out(context, job, parts, progress)
    }
    return [found[start] for start in sorted(found)]  # type: ignore[misc]


def _whole_batches(context: StudyContext) -> int:
    batch = context.study.compute.batch.target
    return max(batch, _PASSED // batch * batch)


def _network_provider(context: StudyContext, model: str) -> str:
    fingerprint = context.targets.fingerprint(model)
    return context.lineage.provider({"target": fingerprint, **context.shown})


def _passes_provider(context: StudyContext, model: str, layer: str) -> str:
    target = layer_provider(context, Unit(model, layer, 0))
    return context.lineage.provider({"target": target, "passes": passes_code(context)})
