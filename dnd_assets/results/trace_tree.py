"""A trace for people: a tree in the terminal, and its pictures in a folder."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.markup import escape
from rich.tree import Tree

from dnd_assets.files.atomic import write_atomic
from dnd_assets.lineage.remarks import remarks_of
from dnd_assets.lineage.trace import Step, Trace, image_hashes
from dnd_assets.results.products.registry import upwards, view_of

if TYPE_CHECKING:
    from dnd_assets.engine.cache.stored_pictures import Pictures


def tree(trace: Trace) -> Tree:
    """The trace as a tree: label, scores, pictures, concepts, captions, crops, images, weights."""
    top_step = next(iter(trace.steps.values()))
    name = top_step.payload.get("label") or f"no label ({top_step.record['status']})"
    root = Tree(f"[bold]{escape(trace.unit)}[/bold]  {escape(str(name))}")
    for asset in upwards(trace.steps):
        _branch(root, trace, trace.steps[asset])
    _images(root, trace)
    return root


def _branch(root: Tree, trace: Trace, step: Step) -> None:
    record = step.record
    branch = root.add(
        f"[bold]{step.asset}[/bold]  {escape(record['status'])}  version "
        f"{record['data_version'][:12]}  key {record['key'][:12]}  run {record['run'][:8]}"
    )
    if record["reason"]:
        branch.add(f"reason: {escape(record['reason'])}")
    view_of(step.asset).trace(branch, trace, step.payload)
    for remark in remarks_of(step.notes):
        branch.add(f"remark: {escape(remark)}")
    parameters = ", ".join(f"{name}={value}" for name, value in step.preimage["parameters"].items())
    branch.add(
        f"[dim]parameters: {escape(parameters or 'none')}; code {step.preimage['code']}[/dim]"
    )
    for name, weights in step.weights.items():
        text = _flat(weights) if name != "truths" else f"of {len(weights.get('of', {})):,} units"
        branch.add(f"[dim]{name}: {escape(text)}[/dim]")
    for model in step.models:
        branch.add(f"[dim]model: {escape(_model(model))}[/dim]")


def _model(model: Mapping[str, Any]) -> str:
    name = ": ".join(filter(None, (model["role"], model["part"])))
    server = f" at {model['server']}" if model["server"] else ""
    details = filter(None, (model["revision"], f"licence {model['licence']}"))
    return f"{name}, {model['source']}{server} ({', '.join(details)})"


def _images(root: Tree, trace: Trace) -> None:
    branch = root.add(f"[bold]images[/bold]  {len(trace.images)} probing images behind this label")
    for name, image in trace.images.items():
        size = f"{image['width']}x{image['height']} {image['format']}"
        branch.add(f"{name}  {size}  {escape(', '.join(image['paths']))}")


def _flat(value: object, prefix: str = "") -> str:
    if isinstance(value, Mapping):
        return ", ".join(_flat(entry, f"{prefix}{key}.") for key, entry in value.items())
    return f"{prefix.rstrip('.')}={value}"


def write_pictures(trace: Trace, pictures: Pictures, folder: Path) -> int:
    """Write every picture behind a label to `folder`, named by asset and hash; returns how many."""
    count = 0
    for asset, step in trace.steps.items():
        for name in sorted(set(image_hashes(step.payload))):
            data = pictures.file(name)
            suffix = "png" if data.startswith(b"\x89PNG") else "img"
            write_atomic(folder / asset / f"{name}.{suffix}", data)
            count += 1
    return count
