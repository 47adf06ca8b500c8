"""Activations: the K probing images that activate each unit most (DnD, step 1)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dnd_assets.assets.image_sets import images_of
from dnd_assets.assets.probing_set import ProbingSet
from dnd_assets.errors import StudyError
from dnd_assets.lineage.records import PROBING_SET, Outcome
from dnd_assets.methods import exemplars, pooling
from dnd_assets.sharing import activations as activations_of
from dnd_assets.sharing import layer_provider, passes_to_make
from dnd_assets.stage import Results, Stage, Work
from dnd_assets.units import Unit, by_layer
from dnd_assets.vectors import Matrix
from dnd_assets.workbench import Workbench


class Activations(Stage):
    """Pooled activations of every unit on every probing image; keeps the K largest.

    One pass of the network over the images serves all layers and units. A unit whose activation
    is the same on every image is `dead`; one with NaN or infinity anywhere is `not_finite`.
    """

    name = "activations"
    upstream = (PROBING_SET,)
    wholes = (ProbingSet(),)
    group = "step_1_probing"
    kinds = frozenset({"pytorch"})
    uses = ("targets", "compute")
    sources = (exemplars, pooling)
    by_neuron = True

    def parameters(self, bench: Workbench) -> dict[str, Any]:
        """K."""
        return {"exemplars": bench.study.dissection.exemplars}

    def weights(self, bench: Workbench, unit: Unit) -> dict[str, str]:
        """The layer of the target network, with its pooling."""
        return {"target": layer_provider(bench, unit)}

    def cost(self, bench: Workbench, work: Iterable[Work]) -> dict[str, int]:
        """Probing images that have to go through the networks."""
        passes, _ = probing_passes(bench, work)
        return {"forward passes": passes}

    def compute(self, bench: Workbench, work: Sequence[Work]) -> Results:
        """Outcomes with `exemplars` [{image, activation}] and a summary of the distribution."""
        images = probing_images(bench, work[0])
        count = bench.study.dissection.exemplars
        if count > len(images):
            raise StudyError(
                f"dissection.exemplars asks for the {count} most activating images; the probing "
                f"set holds {len(images)}. Add images, or lower dissection.exemplars."
            )
        lookup = {one.unit: one for one in work}
        for units, values in on_probing_images(bench, list(lookup), images):
            for unit, outcome in _summarise(units, images, values, count):
                yield lookup[unit], outcome


def probing_images(bench: Workbench, work: Work) -> list[str]:
    """Hashes of the probing set's images, ascending."""
    return images_of(bench, work.inputs[PROBING_SET])


def probing_passes(bench: Workbench, work: Iterable[Work]) -> tuple[int, list[str]]:
    """How many probing images have to go through the networks for some units, and which there are.

    `work` is gone through once; of no units, no images.
    """
    return passes_over(bench, work, probing_images)


def passes_over(
    bench: Workbench, work: Iterable[Work], read: Callable[[Workbench, Work], list[str]]
) -> tuple[int, list[str]]:
    """As `probing_passes`, of the images that `read` tells for any of the units."""
    layers: dict[str, dict[str, list[str]]] = {}
    images: list[str] = []
    for one in work:
        images = images or read(bench, one)
        layers.setdefault(one.unit.model, {})[one.unit.layer] = images
    return sum(passes_to_make(bench, model, needs) for model, needs in layers.items()), images


def on_probing_images(
    bench: Workbench, units: Sequence[Unit], images: Sequence[str]
) -> Iterator[tuple[list[Unit], Matrix]]:
    """See `on_images`."""
    return on_images(bench, units, images, "probing images")


def on_images(
    bench: Workbench, units: Sequence[Unit], images: Sequence[str], what: str
) -> Iterator[tuple[list[Unit], Matrix]]:
    """Layer by layer: the units of it, and the layer's activations, float32 (images, neurons).

    Each network sees the images once for all its layers; `what` is what progress calls them.
    """
    for model in dict.fromkeys(unit.model for unit in units):
        if told := bench.targets.told(model):
            bench.log(f"{model}: {told}")
        groups = by_layer(unit for unit in units if unit.model == model)
        needs = {layer: images for _, layer in groups}
        found = activations_of(bench, model, needs, f"{model}: {what}")
        for (_, layer), some in groups.items():
            rows, values = found[layer]
            yield some, values[[rows[name] for name in images]]


def _summarise(
    units: Sequence[Unit], images: Sequence[str], values: Matrix, count: int
) -> list[tuple[Unit, Outcome]]:
    columns = values[:, [unit.neuron for unit in units]]
    broken, dead = exemplars.not_finite(columns), exemplars.is_dead(columns)
    top = exemplars.top_k_columns(np.nan_to_num(columns, nan=-np.inf), images, count)
    return [
        (unit, _outcome(columns[:, i], images, top[:, i], bool(broken[i]), bool(dead[i])))
        for i, unit in enumerate(units)
    ]


def _outcome(
    values: Matrix, images: Sequence[str], top: NDArray[np.int64], broken: bool, dead: bool
) -> Outcome:
    if broken or dead:
        return silent(values)
    kept = [{"image": images[i], "activation": float(values[i])} for i in top]
    summary = {
        "images": len(values),
        "mean": float(values.mean(dtype=np.float64)),
        "std": float(values.std(dtype=np.float64)),
        "positive": float((values > 0).mean()),
    }
    return Outcome("ok", {"exemplars": kept}, notes={"summary": summary})


def silent_or_none(values: Matrix) -> Outcome | None:
    """The outcome of a unit that tells no image from another; None for the others."""
    column = values[:, None]
    broken = exemplars.not_finite(column)[0] or exemplars.is_dead(column)[0]
    return silent(values) if broken else None


def silent(values: Matrix) -> Outcome:
    """The outcome of a unit that is not finite, or else dead; `values` is float32 (images,)."""
    bad = int((~np.isfinite(values)).sum())
    if bad:
        return Outcome("not_finite", {}, f"NaN or infinite on {bad:,} of {len(values):,} images")
    reason = f"its activation is {float(values[0]):g} on every one of {len(values):,} images"
    return Outcome("dead", {}, reason)
