"""Activations: the K probing images that activate each unit most (DnD, step 1)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dnd_assets.assets.image_sets import images_of
from dnd_assets.assets.probing_set import ProbingSet
from dnd_assets.engine.cache.shared_results import activations as activations_of
from dnd_assets.engine.cache.shared_results import have_passed, layer_provider, passes_to_make
from dnd_assets.engine.cache.vectors import Matrix, Values
from dnd_assets.engine.context import StudyContext
from dnd_assets.engine.stage import Results, Stage, Work
from dnd_assets.errors import StudyError
from dnd_assets.lineage.records import PROBING_SET, Outcome
from dnd_assets.lineage.remarks import NAMED, Remark, few_exemplars, set_aside
from dnd_assets.methods.dissection import exemplars
from dnd_assets.methods.sparse_matrix import SparseMatrix
from dnd_assets.study.deciding import parameters_of_dissection
from dnd_assets.units import Unit, by_layer


class Activations(Stage):
    """Pooled activations of every unit on every probing image; keeps the K largest.

    One pass of the network over the images serves all layers and units. Only images on which the
    unit fires are kept (see `methods.exemplars`); fewer than K of them are a remark of the product.
    A unit whose activation is the same on every image is `dead`; one with NaN or infinity on most
    images is `not_finite`, and where it is so on a few, these are set aside and named in a remark.
    """

    name = "activations"
    upstream = (PROBING_SET,)
    wholes = (ProbingSet(),)
    group = "step_1_probing"
    kinds = frozenset({"pytorch"})
    uses = ("targets", "compute")
    by_neuron = True

    def parameters(self, context: StudyContext) -> dict[str, object]:
        """K."""
        return parameters_of_dissection(self.name, context.study)

    def weights(self, context: StudyContext, unit: Unit) -> dict[str, str]:
        """The layer of the target network, with its pooling."""
        return {"target": layer_provider(context, unit)}

    def cost(self, context: StudyContext, work: Iterable[Work]) -> dict[str, int]:
        """Probing images that have to go through the networks."""
        passes, _ = probing_passes(context, work)
        return {"forward passes": passes}

    def compute(self, context: StudyContext, work: Sequence[Work]) -> Results:
        """Outcomes with `exemplars` [{image, activation}], `off`, and a summary of the rest.

        `off` is the activation at or below which the unit is silent; None where nothing tells.
        """
        images = probing_images(context, work[0])
        count = context.study.dissection.exemplars
        if count > len(images):
            raise StudyError(
                f"dissection.exemplars asks for the {count} most activating images; the probing "
                f"set holds {len(images)}. Add images, or lower dissection.exemplars."
            )
        lookup = {item.unit: item for item in work}
        for layer in on_probing_images(context, list(lookup), images):
            for unit in layer.units:
                yield lookup[unit], _outcome(layer, unit, count)


def probing_images(context: StudyContext, work: Work) -> list[str]:
    """Hashes of the probing set's images, ascending."""
    return images_of(context, work.inputs[PROBING_SET])


def probing_passes(context: StudyContext, work: Iterable[Work]) -> tuple[int, list[str]]:
    """How many probing images have to go through the networks for some units, and which there are.

    `work` is gone through once; of no units, no images.
    """
    return passes_over(context, work, probing_images)


def passed(context: StudyContext, work: Iterable[Work], images: Sequence[str]) -> bool:
    """Whether all probing images have gone through the networks for some units, and are stored."""
    return have_passed(
        context, sorted({(item.unit.model, item.unit.layer) for item in work}), images
    )


def passes_over(
    context: StudyContext, work: Iterable[Work], read: Callable[[StudyContext, Work], list[str]]
) -> tuple[int, list[str]]:
    """As `probing_passes`, of the images that `read` tells for any of the units."""
    layers: dict[str, dict[str, list[str]]] = {}
    images: list[str] = []
    for item in work:
        images = images or read(context, item)
        layers.setdefault(item.unit.model, {})[item.unit.layer] = images
    return sum(passes_to_make(context, model, needs) for model, needs in layers.items()), images


@dataclass(frozen=True)
class OfLayer:
    """Units of one layer, and how the layer answers to images.

    Attributes:
        units: the units that were asked for.
        images: hashes of the images, in the order asked for, without those that are set aside.
        values: activations of the whole layer, float32 (images, neurons); of latents what is not
            zero.
        failed: hashes of the images on which the layer is NaN or infinite, set aside.
    """

    units: list[Unit]
    images: list[str]
    values: Values
    failed: list[str]


def on_probing_images(
    context: StudyContext, units: Sequence[Unit], images: Sequence[str]
) -> Iterator[OfLayer]:
    """See `on_images`."""
    return on_images(context, units, images, "probing images")


def on_images(
    context: StudyContext, units: Sequence[Unit], images: Sequence[str], label: str
) -> Iterator[OfLayer]:
    """Layer by layer: the units of it, and the layer's activations.

    Each network sees the images once for all its layers; `label` is what progress calls them. An
    image on which most units of a layer are NaN or infinite is set aside for it, and named in the
    log, unless that is so of most images.
    """
    for model in dict.fromkeys(unit.model for unit in units):
        if remark := context.targets.told(model):
            context.log(f"{model}: {remark}")
        groups = by_layer(unit for unit in units if unit.model == model)
        needs = {layer: images for _, layer in groups}
        tables = activations_of(context, model, needs, f"{model}: {label}")
        for (_, layer), layer_units in groups.items():
            rows, values = tables[layer]
            ordered = values[[rows[name] for name in images]]
            failed_rows = failed_images(ordered)
            failed = [
                name for name, is_failed in zip(images, failed_rows, strict=True) if is_failed
            ]
            if not failed:
                yield OfLayer(layer_units, list(images), ordered, [])
                continue
            tell_failed(context, f"{model}/{layer}", failed, len(images))
            usable_images = [
                name for name, is_failed in zip(images, failed_rows, strict=True) if not is_failed
            ]
            yield OfLayer(layer_units, usable_images, ordered[~failed_rows], failed)


def failed_images(values: Values) -> NDArray[np.bool_]:
    """As `exemplars.failed_images`, of activations in full or of what is not zero in them."""
    if isinstance(values, SparseMatrix):
        return exemplars.failing(values.not_finite())
    return exemplars.failed_images(values)


def tell_failed(context: StudyContext, layer: str, failed: Sequence[str], images: int) -> None:
    """Say in the log on which images a layer fails."""
    shown_paths = ", ".join(_paths(context, failed[:NAMED]))
    more = f" and {len(failed) - NAMED:,} more" if len(failed) > NAMED else ""
    context.log(
        f"{layer} gives NaN or infinity on {len(failed):,} of {images:,} images, which are set "
        f"aside for it: {shown_paths}{more}"
    )


def _paths(context: StudyContext, images: Sequence[str]) -> list[str]:
    """Where images lie; their hashes where that is not known."""
    sql = (
        "SELECT hash, min(path) AS path FROM images "
        "WHERE hash IN (SELECT unnest(?::VARCHAR[])) GROUP BY hash"
    )
    paths = {row["hash"]: str(row["path"]) for row in context.lineage.query(sql, [list(images)])}
    return [paths.get(name, name) for name in images]


def _outcome(layer: OfLayer, unit: Unit, count: int) -> Outcome:
    values = layer.values[:, unit.neuron]
    silent_outcome = silent_or_none(values)
    if silent_outcome is not None:
        return silent_outcome
    chosen = exemplars.exemplars_of(values, layer.images, count)
    entries = [{"image": layer.images[i], "activation": float(values[i])} for i in chosen.rows]
    finite = values[np.isfinite(values)]
    summary = {
        "images": chosen.images,
        "mean": float(finite.mean(dtype=np.float64)),
        "std": float(finite.std(dtype=np.float64)),
        "positive": float((finite > 0).mean()),
        "fires": None if chosen.fires_on is None else chosen.fires_on / chosen.images,
    }
    remarks = [remark.as_json() for remark in remarks_on(chosen, layer, count)]
    return Outcome(
        "ok",
        {"exemplars": entries, "off": chosen.off},
        notes={"summary": summary, "remarks": remarks},
    )


def remarks_on(chosen: exemplars.Exemplars, layer: OfLayer, count: int) -> list[Remark]:
    """What is to be said of a unit's exemplars: too few of them, images set aside.

    Args:
        chosen: the exemplars.
        layer: what they were chosen from.
        count: how many exemplars were asked for.
    """
    remarks = []
    if len(chosen.rows) < count:
        remarks.append(few_exemplars(len(chosen.rows), count, chosen.fires_on, chosen.images))
    excluded = sorted([*layer.failed, *(layer.images[row] for row in chosen.set_aside)])
    if excluded:
        remarks.append(set_aside(excluded, len(layer.images) + len(layer.failed)))
    return remarks


def silent_or_none(values: Matrix) -> Outcome | None:
    """The outcome of a unit that tells no image from another; None for the others.

    `values` is its activations, float32 (images,). NaN and infinities on a few images do not
    count: these images are set aside.
    """
    not_finite = exemplars.is_lost(values)
    dead = not not_finite and bool(exemplars.is_dead(values[np.isfinite(values)][:, None])[0])
    return silent(values) if not_finite or dead else None


def silent(values: Matrix) -> Outcome:
    """The outcome of a unit that is not finite, or else dead; `values` is float32 (images,)."""
    finite = values[np.isfinite(values)]
    bad_count = len(values) - len(finite)
    if bad_count:
        constant = 2 * bad_count <= len(values) and finite.min() == finite.max()
        rest = f", and {float(finite[0]):g} on all others" if constant else ""
        reason = f"NaN or infinite on {bad_count:,} of {len(values):,} images{rest}"
        return Outcome("not_finite", {}, reason)
    reason = f"its activation is {float(values[0]):g} on every one of {len(values):,} images"
    return Outcome("dead", {}, reason)
