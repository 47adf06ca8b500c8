"""A trace for people: a tree in the terminal, and its pictures in a folder."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.markup import escape
from rich.tree import Tree

from dnd_assets.engine.cache.images import Pictures
from dnd_assets.files.atomic import write_atomic
from dnd_assets.lineage.records import UNPARTITIONED
from dnd_assets.lineage.remarks import remarks_of
from dnd_assets.lineage.trace import Step, Trace, image_hashes
from dnd_assets.methods.dissection.painted import told


def tree(trace: Trace) -> Tree:
    """The trace as a tree: label, scores, pictures, concepts, captions, crops, images, weights."""
    first = next(iter(trace.steps.values()))
    name = first.payload.get("label") or f"no label ({first.record['status']})"
    root = Tree(f"[bold]{escape(trace.unit)}[/bold]  {escape(str(name))}")
    others = {
        asset: _metrics if asset.endswith("_metrics") else _other
        for asset in trace.steps
        if asset not in _DESCRIBE and asset not in UNPARTITIONED
    }
    for asset, describe in (others | _DESCRIBE).items():
        if asset in trace.steps:
            _branch(root, trace, trace.steps[asset], describe)
    _images(root, trace)
    return root


def _branch(root: Tree, trace: Trace, step: Step, describe: Any) -> None:
    record = step.record
    branch = root.add(
        f"[bold]{step.asset}[/bold]  {escape(record['status'])}  version "
        f"{record['data_version'][:12]}  key {record['key'][:12]}  run {record['run'][:8]}"
    )
    if record["reason"]:
        branch.add(f"reason: {escape(record['reason'])}")
    describe(branch, trace, step.payload)
    for remark in remarks_of(_notes(step)):
        branch.add(f"remark: {escape(remark)}")
    parameters = ", ".join(f"{name}={value}" for name, value in step.preimage["parameters"].items())
    branch.add(
        f"[dim]parameters: {escape(parameters or 'none')}; code {step.preimage['code']}[/dim]"
    )
    for name, weights in step.weights.items():
        told = _flat(weights) if name != "truths" else f"of {len(weights.get('of', {})):,} units"
        branch.add(f"[dim]{name}: {escape(told)}[/dim]")
    for model in step.models:
        branch.add(f"[dim]model: {escape(_model(model))}[/dim]")


def _notes(step: Step) -> Mapping[str, Any]:
    found: Mapping[str, Any] = json.loads(step.record.get("notes") or "{}")
    return found


def _model(model: Mapping[str, Any]) -> str:
    name = ": ".join(filter(None, (model["role"], model["part"])))
    where = f" at {model['server']}" if model["server"] else ""
    told = filter(None, (model["revision"], f"licence {model['licence']}"))
    return f"{name}, {model['source']}{where} ({', '.join(told)})"


def _labels(branch: Tree, trace: Trace, payload: Mapping[str, Any]) -> None:
    found = payload.get("evidence")
    if found is not None:
        branch.add(f"confidence {payload['confidence']:.2f}: {escape(_evidence(found))}")
        branch.add(escape(_painted_evidence(found)))
    for entry in payload.get("labels", []):
        branch.add(f"{entry['score']:9.4f}  {escape(entry['label'])}")


def _evidence(found: Mapping[str, Any]) -> str:
    return (
        f"held out {found['held_out']:.2f}, stability {found['stability']:.2f}, gap "
        f"{found['gap']:.2f}, {found['images']:,} images"
    )


def _painted_evidence(found: Mapping[str, Any]) -> str:
    """What painted pictures say of the label, and of it without a word."""
    painted = found["painted"]
    if painted is None:
        return "not confirmed: no picture of it was painted"
    told = "confirmed" if found["confirmed"] else "not confirmed"
    rest = "".join(f", {share:.0%} of {name}" for name, share in found["painted_without"].items())
    return f"{told}: active on {painted:.0%} of its painted pictures{rest}"


def _detection(branch: Tree, trace: Trace, payload: Mapping[str, Any]) -> None:
    if "confidence" not in payload:
        return
    found = payload["evidence"]
    branch.add(
        f"{escape(payload['label'])}: confidence {payload['confidence']:.2f}, "
        f"{escape(_evidence(found))}"
    )
    chosen = ", ".join(f"{label} {share:.0%}" for label, share in found["label_set"])
    branch.add(f"resamples choose: {escape(chosen)}")
    for entry in payload["concepts"]:
        branch.add(
            f"{entry['mcc']:9.4f}  {escape(entry['concept'])}: active from "
            f"{entry['threshold']:.4g}, in {entry['share']:.1%} of images"
        )
    for entry in payload["examples"]:
        word = "with" if entry["shows"] else "without"
        branch.add(
            f"{entry['activation']:10.4f}  {entry['image'][:16]}…  {entry['band']}, {word}: "
            f"{escape(entry['caption'])}"
        )


def _other(branch: Tree, trace: Trace, payload: Mapping[str, Any]) -> None:
    for entry in payload.get("labels", []):
        branch.add(escape(entry["label"]))


def _milan(branch: Tree, trace: Trace, payload: Mapping[str, Any]) -> None:
    for entry in payload.get("labels", []):
        branch.add(
            f"{entry['score']:9.4f}  {escape(entry['label'])}: log p given the images "
            f"{entry['log_given_images']:.4g}, by itself {entry['log_prior']:.4g}"
        )
    for image in payload.get("exemplars", []):
        branch.add(f"{image['activation']:10.4f}  {image['image'][:16]}…")


def _concepts(branch: Tree, trace: Trace, payload: Mapping[str, Any]) -> None:
    for entry in payload.get("concepts", []):
        inner = branch.add(
            f"{entry['score']:9.4f}  {escape(entry['label'])}: response {entry['response']:.4g}, "
            f"{len(entry['exemplars'])} exemplars, mass {entry['mass']:.4g}"
        )
        for other in entry["runners_up"]:
            inner.add(f"[dim]{other['score']:9.4f}  {escape(other['label'])}[/dim]")
        for image in entry["exemplars"]:
            inner.add(_exemplar(image))
    for image in payload.get("outliers", []):
        branch.add(f"outlier {_exemplar(image)}")


def _exemplar(image: Mapping[str, Any]) -> str:
    return f"{image['activation']:10.4f}  {image['image'][:16]}…  {escape(image['caption'])}"


def _metrics(branch: Tree, trace: Trace, payload: Mapping[str, Any]) -> None:
    if not payload:
        return
    branch.add(f"label: {escape(payload['label'])}, truth: {escape(payload['truth'] or 'unknown')}")
    for name, value in payload["metrics"].items():
        shown = f"{value:9.4f}" if value is not None else f"{'-':>9}"
        reason = payload["reasons"].get(name, "")
        branch.add(escape(f"{shown}  {name}{': ' * bool(reason)}{reason}"))
    for image in payload["pictures"]:
        word = f" {told(image)}".rstrip()
        branch.add(f"{image['index']:3d}  seed {image['seed']}  {image['image'][:16]}…{word}")


def _mask_set(branch: Tree, trace: Trace, payload: Mapping[str, Any]) -> None:
    branch.add(f"{payload['images']:,} images with masks of {payload['concepts']:,} concepts")


def _held_out(branch: Tree, trace: Trace, payload: Mapping[str, Any]) -> None:
    branch.add(f"{payload['images']:,} images")


def _scores(branch: Tree, trace: Trace, payload: Mapping[str, Any]) -> None:
    for entry in payload.get("concepts", []):
        branch.add(
            f"{entry['score']:9.4f}  {escape(entry['concept'])}: TopK squared "
            f"{entry['topk_squared']:.3g}, image products {entry['image_products']:.4f}, "
            f"mean rank {entry['mean_rank']:.3g}"
        )


def _synthetic(branch: Tree, trace: Trace, payload: Mapping[str, Any]) -> None:
    for entry in payload.get("concepts", []):
        inner = branch.add(f"prompt: {escape(trace.prompt(entry['concept']))!r}")
        for image in entry["images"]:
            word = f" {told(image)}".rstrip()
            inner.add(f"{image['index']:3d}  seed {image['seed']}  {image['image'][:16]}…{word}")

    notes = _notes(trace.steps["synthetic_images"])
    for concept in notes.get("dropped", []):
        branch.add(f"dropped: too many pictures of {escape(concept)!r} were rejected")


def _candidates(branch: Tree, trace: Trace, payload: Mapping[str, Any]) -> None:
    for concept in payload.get("candidates", []):
        branch.add(escape(concept))


def _captions(branch: Tree, trace: Trace, payload: Mapping[str, Any]) -> None:
    for entry in payload.get("captions", []):
        told = entry["caption"] or entry.get("raw", "")
        read = f"  (read as: {entry['read']})" if "read" in entry else ""
        if "status" in entry:
            read = f"  ({entry['status']}: {entry['reason']})"
        branch.add(f"{entry['image'][:16]}…  {escape(f'{told}{read}')}")


def _crops(branch: Tree, trace: Trace, payload: Mapping[str, Any]) -> None:
    made = {crop["crop"]: crop for crop in payload.get("crops", [])}
    for entry in payload.get("activating", []):
        line = f"{entry['activation']:10.4f}  {entry['kind']:5}  {entry['image'][:16]}…"
        if entry["image"] in made:
            crop = made[entry["image"]]
            line += f"  box {crop['box']} of {crop['image'][:16]}… (Otsu {crop['threshold']})"
        branch.add(escape(line))


def _activations(branch: Tree, trace: Trace, payload: Mapping[str, Any]) -> None:
    for entry in payload.get("exemplars", []):
        branch.add(f"{entry['activation']:10.4f}  {entry['image'][:16]}…")
    summary = _notes(trace.steps["activations"]).get("summary", {})
    if summary.get("fires") is not None:
        told = f"fires on {summary['fires']:.1%} of {summary['images']:,} images"
        branch.add(f"{told}: activation above {payload['off']:.4g}")


def _concept_set(branch: Tree, trace: Trace, payload: Mapping[str, Any]) -> None:
    branch.add(f"{payload['count']:,} concepts")


_DESCRIBE = {
    "labels": _labels,
    "clip_dissect_labels": _labels,
    "named_directions_labels": _labels,
    "polysemantic_labels": _concepts,
    "milan_labels": _milan,
    "network_dissection_labels": _labels,
    "compositions_labels": _labels,
    "invert_labels": _labels,
    "concept_masks": _mask_set,
    "concept_activations": _concept_set,
    "held_out_images": _held_out,
    "scores": _scores,
    "synthetic_images": _synthetic,
    "detection_scores": _detection,
    "candidate_concepts": _candidates,
    "captions": _captions,
    "crops": _crops,
    "activations": _activations,
}


def _images(root: Tree, trace: Trace) -> None:
    branch = root.add(f"[bold]images[/bold]  {len(trace.images)} probing images behind this label")
    for name, image in trace.images.items():
        size = f"{image['width']}x{image['height']} {image['format']}"
        branch.add(f"{name}  {size}  {escape(', '.join(image['paths']))}")


def _flat(value: Any, prefix: str = "") -> str:
    if isinstance(value, Mapping):
        return ", ".join(_flat(inner, f"{prefix}{key}.") for key, inner in value.items())
    return f"{prefix.rstrip('.')}={value}"


def write_pictures(trace: Trace, pictures: Pictures, folder: Path) -> int:
    """Write every picture behind a label to `folder`, named by asset and hash; returns how many."""
    count = 0
    for asset, step in trace.steps.items():
        for name in sorted(set(image_hashes(step.payload))):
            data = pictures.file(name)
            kind = "png" if data.startswith(b"\x89PNG") else "img"
            write_atomic(folder / asset / f"{name}.{kind}", data)
            count += 1
    return count
