"""Labels of MILAN: the caption that a unit's exemplars have most mutual information with."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from PIL import Image

from dnd_assets.assets.activations import (
    on_probing_images,
    passed,
    probing_images,
    probing_passes,
    remarks_on,
    silent_or_none,
)
from dnd_assets.assets.exemplar_parts import (
    exemplar_item,
    exemplar_part,
    units_of_images,
    units_of_part,
)
from dnd_assets.assets.probing_set import ProbingSet
from dnd_assets.engine.cache.caption_likelihoods import (
    Pair,
    beams,
    known_beams,
    likelihoods_to_make,
    log_given,
    log_prior,
    prior_model,
    priors_to_make,
)
from dnd_assets.engine.cache.shared_results import cached, layer_provider, shared_row
from dnd_assets.engine.cache.vector_blocks import in_parts
from dnd_assets.engine.context import StudyContext
from dnd_assets.engine.stage import Results, Stage, Work
from dnd_assets.engine.workers.handing_out import hand_out
from dnd_assets.engine.workers.parts import Part, PartResult
from dnd_assets.errors import StudyError
from dnd_assets.lineage.code import code_version
from dnd_assets.lineage.records import PROBING_SET, Outcome
from dnd_assets.lineage.rows import Row
from dnd_assets.methods.dissection import attention_crops, exemplars
from dnd_assets.methods.milan import mutual_information
from dnd_assets.study.method_settings import Milan
from dnd_assets.study.study import needed
from dnd_assets.units import Unit, by_layer
from resources.captioners.likelihood import CaptionLikelihood
from resources.runtime.progress import Progress

Shown = dict[Unit, dict[str, Row]]
"""What the captioner sees of each exemplar: `image` and `file` by unit and exemplar."""


@dataclass(frozen=True)
class _Probabilities:
    """Candidate captions and their probabilities, for all units at work.

    Attributes:
        beams: captions of each picture.
        given: log p(caption|picture).
        prior: log p(caption).
    """

    beams: Mapping[str, list[str]]
    given: Mapping[Pair, float]
    prior: Mapping[str, float]


class MilanLabels(Stage):
    """MILAN: captions of a unit's exemplars, ranked by mutual information with all of them.

    A baseline beside Describe-and-Dissect. The study's captioner, which sees one picture at a time,
    stands for MILAN's, which sees the set; a caption that is likely anyway counts less. Exemplars
    are shown whole, or with `masked` only where the unit's own map stands out (Otsu's threshold, as
    for crops; MILAN's is a quantile over all images).
    """

    name = "milan_labels"
    upstream = (PROBING_SET,)
    wholes = (ProbingSet(),)
    group = "baselines"
    kinds = frozenset({"huggingface"})
    uses = ("targets", "captioner", "compute")
    by_neuron = True

    def parameters(self, context: StudyContext) -> dict[str, object]:
        """The section's settings; the language model is known by its content."""
        settings = milan_of(context).all_but("language_model")
        return settings | (
            {"mask_size": context.study.dissection.crop_size} if settings["masked"] else {}
        )

    def weights(self, context: StudyContext, unit: Unit) -> dict[str, str]:
        """The layer of the target network, the captioner and the language model."""
        prior = prior_model(context, milan_of(context).language_model)
        captioner = CaptionLikelihood(context.captioner)
        return {
            "target": layer_provider(context, unit),
            "captioner": context.lineage.provider(context.known_by(captioner)),
            "language_model": context.lineage.provider(prior.fingerprint()),
        }

    def cost(self, context: StudyContext, work: Iterable[Work]) -> dict[str, int]:
        """Passes, maps and captions by beam search; probabilities once the captions are known."""
        items, setting = list(work), milan_of(context)
        passes, images = probing_passes(context, items)
        if not items:
            return {}
        if not passed(context, items, images):
            return {"forward passes": passes, **_upper_bounds(setting, len(items), len(images))}
        best, _ = _exemplars(context, items, images)
        activations = {unit: unit_best.active for unit, unit_best in best.items()}
        masks = _unmasked(context, activations)
        if masks:
            maps = len({image for _, image in masks})
            return {
                "activation maps": maps,
                **_upper_bounds(setting, len(activations), len(images)),
            }
        shown = _shown(context, activations)
        names = {
            entry["image"] for unit_entries in shown.values() for entry in unit_entries.values()
        }
        beam_captions = known_beams(context, names, setting.candidates)
        if len(beam_captions) < len(names):
            upper_bound = _upper_bounds(setting, len(activations), len(images))
            return {**upper_bound, "caption beams": len(names) - len(beam_captions)}
        texts = {text for image_captions in beam_captions.values() for text in image_captions}
        return {
            "caption likelihoods": likelihoods_to_make(context, _pairs(shown, beam_captions)),
            "caption priors": priors_to_make(context, texts, setting.language_model),
        }

    def compute(self, context: StudyContext, work: Sequence[Work]) -> Results:
        """Outcomes with `label`, `score`, `labels`, `candidates` and `exemplars`.

        Each of `labels` has `label`, `score` (mutual information), `log_given_images` and
        `log_prior`; `candidates` is how many captions were ranked.
        """
        setting = milan_of(context)
        images = probing_images(context, work[0])
        best, silenced = _exemplars(context, work, images)
        activations = {unit: unit_best.active for unit, unit_best in best.items()}
        shown = _shown(context, activations)
        names = {
            entry["image"] for unit_entries in shown.values() for entry in unit_entries.values()
        }
        beam_captions = beams(context, names, setting.candidates)
        texts = {text for image_captions in beam_captions.values() for text in image_captions}
        given = log_given(context, _pairs(shown, beam_captions))
        probabilities = _Probabilities(
            beam_captions, given, log_prior(context, texts, setting.language_model)
        )
        for item in work:
            if item.unit in silenced:
                yield item, silenced[item.unit]
            else:
                unit = item.unit
                outcome = _outcome(setting, activations[unit], shown[unit], probabilities)
                yield item, replace(outcome, notes={**outcome.notes, "remarks": best[unit].remarks})


def milan_of(context: StudyContext) -> Milan:
    """The study's section `milan`.

    Raises:
        StudyError: when it has none.
    """
    return needed(context.study.milan, "milan", context.study)


def _upper_bounds(setting: Milan, units: int, images: int) -> dict[str, int]:
    count = min(setting.exemplars, images)
    texts = units * count * setting.candidates
    return {
        "caption beams at most": units * count,
        "caption likelihoods at most": texts * count,
        "caption priors at most": texts,
    }


@dataclass(frozen=True)
class _Best:
    """The exemplars of a unit.

    Attributes:
        active: activation on each, most activating first.
        remarks: what is to be said of them.
    """

    active: dict[str, float]
    remarks: list[Row]


def _exemplars(
    context: StudyContext, work: Sequence[Work], images: Sequence[str]
) -> tuple[dict[Unit, _Best], dict[Unit, Outcome]]:
    """The K most activating images on which each unit fires, and outcomes of silent units."""
    count = milan_of(context).exemplars
    if count > len(images):
        raise StudyError(
            f"milan.exemplars asks for the {count} most activating images; the probing set holds "
            f"{len(images)}. Add images, or lower milan.exemplars."
        )
    best_by_unit: dict[Unit, _Best] = {}
    silenced: dict[Unit, Outcome] = {}
    for layer in on_probing_images(context, [item.unit for item in work], images):
        for unit in layer.units:
            column = layer.values[:, unit.neuron]
            outcome = silent_or_none(column)
            if outcome is not None:
                silenced[unit] = outcome
                continue
            best = exemplars.exemplars_of(column, layer.images, count)
            activations = {layer.images[row]: float(column[row]) for row in best.rows}
            best_by_unit[unit] = _Best(
                activations, [remark.as_json() for remark in remarks_on(best, layer, count)]
            )
    return best_by_unit, silenced


def _shown(context: StudyContext, activations: Mapping[Unit, Mapping[str, float]]) -> Shown:
    """The picture that the captioner sees of each exemplar: itself, or masked."""
    unmasked = {"image": None, "file": None}
    shown: Shown = {
        unit: {image: {**unmasked, "image": image} for image in unit_images}
        for unit, unit_images in activations.items()
    }
    if milan_of(context).masked:
        _mask(context, _unmasked(context, activations))
        for (unit, image), entry in _known_masks(context, activations).items():
            shown[unit][image] = entry
    return shown


def _pairs_with_maps(
    context: StudyContext, activations: Mapping[Unit, Mapping[str, float]]
) -> list[tuple[Unit, str]]:
    """Exemplars of units that have a map."""
    layers = {
        (model, layer.path)
        for model in {unit.model for unit in activations}
        for layer in context.targets.layers(model)
        if layer.has_map
    }
    units = [unit for unit in activations if (unit.model, unit.layer) in layers]
    return [(unit, image) for unit in units for image in activations[unit]]


def _known_masks(
    context: StudyContext, activations: Mapping[Unit, Mapping[str, float]]
) -> dict[tuple[Unit, str], Row]:
    masks: dict[tuple[Unit, str], Row] = {}
    pairs = _pairs_with_maps(context, activations)
    for layer_units in by_layer(unit for unit, _ in pairs).values():
        layer = set(layer_units)
        items = {exemplar_item(*pair): pair for pair in pairs if pair[0] in layer}
        stored = cached(
            context, "masked exemplar", _provider(context, layer_units[0]), sorted(items)
        )
        masks |= {items[item]: value for item, value in stored.items()}
    return masks


def _unmasked(
    context: StudyContext, activations: Mapping[Unit, Mapping[str, float]]
) -> list[tuple[Unit, str]]:
    """Exemplars that have to be masked and have not been."""
    if not milan_of(context).masked:
        return []
    masks = _known_masks(context, activations)
    return [pair for pair in _pairs_with_maps(context, activations) if pair not in masks]


def _provider(context: StudyContext, unit: Unit) -> str:
    """Hash of what decides the masked exemplars of a layer."""
    made_by = {
        "layer": layer_provider(context, unit),
        "size": context.study.dissection.crop_size,
        "code": code_version(_masked_batch),
    }
    return context.lineage.provider(made_by)


def _mask(context: StudyContext, pairs: Sequence[tuple[Unit, str]]) -> None:
    """Blacken what units do not look at in their exemplars, picture by picture, and store it."""
    batch = context.study.compute.batch.target
    for model in dict.fromkeys(unit.model for unit, _ in pairs):
        by_image = units_of_images(pair for pair in pairs if pair[0].model == model)
        names = context.pictures.in_order(by_image)
        progress = context.progress(f"{model}: activation maps of exemplars", len(names))
        parts = (
            exemplar_part(context, model, part, by_image, _provider)
            for part in in_parts(names, batch)
        )
        for part, result in hand_out(context, masked_of, parts):
            context.lineage.commit({"shared": result.values})
            context.count("activation maps", len(part.items))
            progress.advance(len(part.items))


def masked_of(context: StudyContext, part: Part, _: Progress) -> PartResult:
    """Rows of the masked exemplars of a part's images, which are stored in one pack."""
    model, by_image = units_of_part(context, part, _provider)
    return PartResult(_masked_batch(context, model, part.items, by_image))


def _masked_batch(
    context: StudyContext, model: str, names: Sequence[str], by_image: Mapping[str, Sequence[Unit]]
) -> list[Row]:
    side = context.study.dissection.crop_size
    squares, network_views = context.squares_of(model, names, side)
    image_units = [{(unit.layer, unit.neuron) for unit in by_image[name]} for name in names]
    neurons = sorted(set().union(*image_units))
    maps = context.targets.maps(
        model, neurons, network_views, context.study.compute.batch.target, image_units
    )
    index_units = [(index, unit) for index, name in enumerate(names) for unit in by_image[name]]
    masked = [
        masked_image(squares[index], maps[unit.layer, unit.neuron][index])
        for index, unit in index_units
    ]
    file, hashes = context.pictures.keep(masked)
    return [
        shared_row(
            "masked exemplar",
            _provider(context, unit),
            exemplar_item(unit, names[index]),
            {"image": name, "file": file},
        )
        for (index, unit), name in zip(index_units, hashes, strict=True)
    ]


def masked_image(image: Image.Image, heatmap: Any) -> Image.Image:
    """A square image, black where a unit's map is at most Otsu's threshold of it.

    Args:
        image: RGB, square.
        heatmap: the unit's activation map of it, float (H, W).
    """
    scaled = attention_crops.heatmap_bytes(heatmap, image.width)
    inside = scaled > attention_crops.otsu_threshold(scaled)
    return Image.fromarray(np.asarray(image.convert("RGB")) * inside[..., None].astype(np.uint8))


def _pairs(shown: Shown, captions: Mapping[str, list[str]]) -> set[Pair]:
    """Every picture of a unit with every candidate caption of it."""
    pairs: set[Pair] = set()
    for unit_entries in shown.values():
        names = [entry["image"] for entry in unit_entries.values()]
        texts = {text for name in names for text in captions[name]}
        pairs.update((name, text) for name in names for text in texts)
    return pairs


def _outcome(
    setting: Milan,
    active: Mapping[str, float],
    shown: Mapping[str, Mapping[str, Any]],
    probabilities: _Probabilities,
) -> Outcome:
    pictures = [shown[image]["image"] for image in active]
    texts = list(dict.fromkeys(text for name in pictures for text in probabilities.beams[name]))
    if not texts:
        reason = f"the captioner returned nothing for all {len(pictures)} activating images"
        return Outcome("no_captions", {}, reason)
    single = np.array([[probabilities.given[name, text] for name in pictures] for text in texts])
    prior = np.array([probabilities.prior[text] for text in texts])
    usable = np.isfinite(single).all(axis=1) & np.isfinite(prior)
    if not usable.any():
        reason = "the captioner or the language model gave no finite probability of any caption"
        return Outcome("not_finite", {}, reason)
    usable_texts = [text for text, is_usable in zip(texts, usable, strict=True) if is_usable]
    given = mutual_information.log_given_set(single[usable], setting.how)
    ranked = mutual_information.rerank(usable_texts, given, prior[usable], setting.lam)
    rows = {text: row for row, text in enumerate(usable_texts)}
    labels = [
        {
            "label": text,
            "score": score,
            "log_given_images": float(given[rows[text]]),
            "log_prior": float(prior[usable][rows[text]]),
        }
        for text, score in ranked[: setting.top]
    ]
    entries = [
        {
            "image": image,
            "activation": value,
            "masked": {"image": name} if (name := shown[image]["image"]) != image else None,
        }
        for image, value in active.items()
    ]
    best = {name: labels[0][name] for name in ("label", "score")}
    payload = {**best, "labels": labels, "candidates": len(usable_texts), "exemplars": entries}
    files = sorted({entry["file"] for entry in shown.values() if entry["file"]})
    return Outcome("ok", payload, notes={"files": files})
