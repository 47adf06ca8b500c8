"""How near labels of a final layer come to the names of its classes.

`python -m benchmarks.offline_photos [STUDY]` reads what `dnd run --study offline-photos` left in
the state folder. Only classes count that some picture of the collection's first table, its
captioned objects, has with a probability above one half: of others the captions cannot speak.
Figures are mean cosines of the study's sentence encoder with 95 % bootstrap intervals. Class names
are looked at here alone.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, Final

import numpy as np
import typer
from numpy.typing import NDArray
from scipy.special import softmax

from benchmarks.labels import share
from dnd_assets.engine.context import StudyContext
from dnd_assets.engine.context_builder import build_context
from dnd_assets.files.images import decode
from dnd_assets.home import results_folder
from dnd_assets.methods.metrics.bootstrap import mean_interval
from dnd_assets.methods.seeds import content_seed
from dnd_assets.study.study import load_study
from resources.captioners.retrieval import RetrievalCaptioner

Floats = NDArray[np.float64]
Payloads = Mapping[str, dict[str, Any]]
CERTAIN: Final = 0.5
"""Probability above which a picture shows a class."""
_LAYER: Final = "_fc"
_NEWEST: Final = "SELECT unit, payload FROM latest WHERE study = ? AND asset = ? AND layer = ?"


def main(
    study: Annotated[str, typer.Argument(help="The study.")] = "offline-photos",
    shown: Annotated[int, typer.Option(help="Units whose labels are printed.")] = 20,
) -> None:
    """Print the figures, and the labels of some units drawn by their keys."""
    context = build_context(load_study(study), results_folder(), typer.echo, reading=True)
    model = context.study.models[0].name
    names = context.targets.categories(model) or []
    classes = {f"{model}/{_LAYER}/{index}": names[index] for index in _classes(context, model)}
    found = _payloads(context, "detection_scores")
    typer.echo(f"{len(classes):,} classes\n\n| label | cosine with the class name |\n|---|---|")
    for name, values in _rows(context, found, classes).items():
        low, high = mean_interval(values.tolist())
        typer.echo(f"| {name} | {values.mean():.3f} ({low:.3f} to {high:.3f}) of {len(values)} |")
    least = context.study.dissection.min_confidence
    told = [float(found[unit]["confidence"] >= least) for unit in classes]
    typer.echo(f"\nlabelled: {share(told)}\n\n| class | label | confidence |\n|---|---|---|")
    for unit in sorted(classes, key=lambda unit: content_seed("shown", unit))[:shown]:
        one = found[unit]
        label = one["label"] if one["confidence"] >= least else f"none; nearest is {one['label']}"
        typer.echo(f"| {classes[unit]} | {label} | {one['confidence']:.2f} |")


def _classes(context: StudyContext, model: str) -> list[int]:
    """Classes that some picture of the collection's first table has for certain."""
    captioner = context.captioner
    assert isinstance(captioner, RetrievalCaptioner)
    objects = captioner.collection.model_copy(
        update={
            "tables": captioner.collection.tables[:1],
            "folders": captioner.collection.folders[:1],
        }
    )
    pictures = [decode(one.file.read_bytes()) for one in objects.entries()]
    outputs = context.targets.outputs(model, pictures)
    certain = softmax(outputs.astype(np.float64), axis=1) > CERTAIN
    return [int(index) for index in np.flatnonzero(certain.any(axis=0))]


def _payloads(context: StudyContext, asset: str) -> Payloads:
    rows = context.lineage.query(_NEWEST, [context.study.name, asset, _LAYER])
    return {row["unit"]: json.loads(row["payload"]) for row in rows if row["payload"]}


def _rows(context: StudyContext, found: Payloads, classes: Mapping[str, str]) -> dict[str, Floats]:
    """Cosines of class names with labels, and with what else could have been said."""
    captions = {unit: one["captions"] for unit, one in _payloads(context, "captions").items()}
    proposed = {u: one["candidates"] for u, one in _payloads(context, "candidate_concepts").items()}
    vectors: dict[str, Floats] = {}

    def cosines(unit: str, texts: Sequence[str]) -> Floats:
        every = [classes[unit], *texts]
        missing = sorted({*every}.difference(vectors))
        if missing:
            made = np.asarray(context.clip.embed_texts(missing), dtype=np.float64)
            vectors.update(zip(missing, made, strict=True))
        return np.array([vectors[text] @ vectors[every[0]] for text in texts])

    def mean(
        of: Callable[[str], Sequence[str]], units: Sequence[str], best: bool = False
    ) -> Floats:
        each = (cosines(unit, of(unit)) for unit in units)
        return np.array([values.max() if best else values.mean() for values in each])

    units = list(classes)
    least = context.study.dissection.min_confidence
    sure = [unit for unit in units if found[unit]["confidence"] >= least]
    texts = [one["caption"] for some in captions.values() for one in some]
    return {
        "caption of a random picture": mean(
            lambda unit: [texts[content_seed("random caption", unit) % len(texts)]], units
        ),
        "the summariser's candidates, on average": mean(lambda unit: proposed[unit], units),
        "caption of the single best picture": mean(
            lambda unit: [captions[unit][0]["caption"]], units
        ),
        "**the label, or what came nearest**": mean(lambda unit: [found[unit]["label"]], units),
        "**the label, where there is one**": mean(lambda unit: [found[unit]["label"]], sure),
        "best of the summariser's candidates, if one knew": mean(
            lambda unit: proposed[unit], units, best=True
        ),
    }


if __name__ == "__main__":
    typer.run(main)
