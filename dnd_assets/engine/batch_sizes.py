"""`compute.batch.* = "auto"`: the fastest batch size of each model, looked for once and kept."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from dnd_assets.engine.context import StudyContext
from dnd_assets.files.atomic import write_atomic
from dnd_assets.files.rasters.raster import Raster
from dnd_assets.lineage.fingerprint import canonical, digest
from dnd_assets.study.compute_settings import Role
from resources.runtime.batch_size import fastest
from resources.runtime.memory import PeakMemory
from resources.text_to_image.base import PaintRequest

_ROLES: dict[str, Role] = {
    "targets": "target",
    "captioner": "captioner",
    "text_to_image": "text_to_image",
    "clip": "clip",
}
"""Role of each resource."""
_SIDE = 256
_MOST_BANDS = 16
Trial = Callable[[int], object]


def with_batch_sizes(context: StudyContext, uses: Iterable[str]) -> StudyContext:
    """The study's context with the fastest batch sizes of the models that a stage uses.

    Only sizes that the study leaves open (`"auto"`) change, and only beside an accelerator: on the
    CPU pictures run one by one. A size that was found is kept in the state folder, for the same
    model, device and precision; no result rests on it.

    Args:
        context: the study's context.
        uses: names of resources.
    """
    batch_settings = context.study.compute.batch
    open_roles = [_ROLES[name] for name in uses if _ROLES.get(name) in batch_settings.auto]
    if not open_roles or context.workers.elsewhere or not context.compute.accelerated:
        return context
    sizes: dict[str, int] = {role: _size(context, role) for role in open_roles}
    batch = batch_settings.model_copy(update=sizes)
    compute = context.study.compute.model_copy(update={"batch": batch})
    return replace(context, study=context.study.model_copy(update={"compute": compute}))


def _size(context: StudyContext, role: Role) -> int:
    """The size for a role: the smallest of those of its models."""
    default_size: int = getattr(context.study.compute.batch, role)
    return min(
        (_kept_size(context, role, *trial, default_size) for trial in _trials(context, role)),
        default=default_size,
    )


def _kept_size(
    context: StudyContext, role: Role, made_by: object, trial: Trial, default_size: int
) -> int:
    """The batch size that the state folder keeps, or else one that is measured now."""
    file = context.home / "batch_sizes.json"
    description = {
        "role": role,
        "model": made_by,
        "device": context.compute.name(),
        "dtype": context.study.compute.dtype_of(role),
    }
    key, sizes = digest(description), _read(file)
    if key not in sizes:
        context.log(f"looking for the fastest batch size of {role}")
        sizes[key] = fastest(trial, default_size, in_use=_in_use(context))
        context.log(f"batch size of {role}: {sizes[key]:,} on {description['device']}")
        write_atomic(file, canonical({**_read(file), key: sizes[key]}).encode())
    return sizes[key]


def _trials(context: StudyContext, role: Role) -> list[tuple[Any, Trial]]:
    """Of each model of a role that runs here: what its size is kept under, and a trial batch."""
    if role == "target":
        return [_target(context, model.name) for model in context.study.models]
    model: Any = getattr(context, role)
    if getattr(model, "compute", None) is None:  # a service, or a collection of pictures
        return []
    trials: dict[Role, Trial] = {
        "captioner": lambda size: context.captioner.caption(_pictures(size), size),
        "clip": lambda size: context.clip.embed_images(_pictures(size), size),
        "text_to_image": lambda size: context.text_to_image.paint(
            [PaintRequest("photograph", seed, seed) for seed in range(size)], size
        ),
    }
    return [(model.fingerprint(), trials[role])]


def _target(context: StudyContext, name: str) -> tuple[object, Trial]:
    layers = {layer.path: layer.pooling for layer in context.study.model(name).layers}
    made_by = [context.targets.fingerprint(name), sorted(layers)]
    picture = _bands(context, name) if context.targets.takes_bands(name) else _pictures(1)[0]
    return made_by, lambda size: context.targets.activations(name, layers, [picture] * size, size)


def _bands(context: StudyContext, name: str) -> Raster:
    input_settings = context.study.model(name).input
    count = max(
        (input_settings.bands if input_settings else None)
        or context.study.probing_set.bands
        or [_MOST_BANDS]
    )
    noise = np.random.default_rng(0).integers(0, 256, (count, _SIDE, _SIDE), dtype=np.uint8)
    return Raster(noise, "noise")


def _pictures(count: int) -> list[Image.Image]:
    noise = np.random.default_rng(0).integers(0, 256, (_SIDE, _SIDE, 3), dtype=np.uint8)
    return [Image.fromarray(noise)] * count


def _in_use(context: StudyContext) -> Callable[[], float]:
    """A function: the largest share of the GPU's memory in use since this call; 0 off CUDA."""
    device = context.compute.torch_device()
    if device.type != "cuda":
        return lambda: 0.0
    import torch

    total, peak = torch.cuda.get_device_properties(device).total_memory, PeakMemory(cuda=True)
    return lambda: peak.bytes / total


def _read(file: Path) -> dict[str, int]:
    """The sizes in the file; none when it is not there or torn, since they can be found again."""
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    entries = content.items() if isinstance(content, dict) else ()
    return {key: size for key, size in entries if isinstance(size, int) and size > 0}
