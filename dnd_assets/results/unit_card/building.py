"""How the parts of a card come of a unit's records.

Each function gives one part: labels, exemplars, concepts, metrics, lineage and so on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from dnd_assets.lineage.records import METRICS_SUFFIX, Payload, Product, is_labels
from dnd_assets.lineage.remarks import remarks_of
from dnd_assets.results.unit_card.card import (
    ActivationRange,
    Box,
    CandidateConcept,
    Crop,
    Described,
    DetectedConcept,
    Distribution,
    Exemplar,
    Facet,
    LabelEvidence,
    Loss,
    Made,
    MethodLabel,
    MetricSet,
    ReferenceImage,
    ScoredLabel,
    Shown,
    SyntheticImage,
    UnitAblation,
    UnitCard,
)
from dnd_assets.results.unit_card.unit_records import ProductRecord, UnitRecords, own_first

BINS: Final = 40
"""Bars of an activation histogram."""


def card_of(
    one: UnitRecords,
    templates: Mapping[str, str],
    heat: Mapping[tuple[str, str], bytes],
    distribution: Distribution | None,
    ranges: tuple[ActivationRange, ...],
    ladder: tuple[Shown, ...] = (),
) -> UnitCard:
    """The card of a unit.

    Args:
        one: the unit's records.
        templates: prompt of each text-to-image provider.
        heat: stored maps of exemplars, by unit and image.
        distribution: activations on all probing images.
        ranges: samples of wider ranges of activations.
        ladder: probing images from the largest activation to the smallest.
    """
    record = one.record
    return UnitCard(
        one.unit, record.model, record.layer, record.neuron,
        methods=_methods(one),
        exemplars=_exemplars(one, heat),
        described=_described(one),
        concepts=_concepts(one, templates),
        distribution=distribution,
        ranges=ranges,
        ladder=ladder,
        metrics=_metrics(one),
        made=_lineage(one),
        remarks=_remarks(one),
        evidence=_evidence(one),
        ablation=_ablation(one),
    )  # fmt: skip


def _methods(one: UnitRecords) -> tuple[MethodLabel, ...]:
    names = sorted((name for name in one.records if is_labels(name)), key=own_first)
    return tuple(_method(one, name) for name in names)


def _method(one: UnitRecords, asset: str) -> MethodLabel:
    record, content = one.records[asset], one.content(asset)
    labels = tuple(
        ScoredLabel(str(entry["label"]), _number(entry.get("score")))
        for entry in content.get("labels", ())
    )
    label = content.get("label")
    return MethodLabel(
        asset, record.status, record.reason,
        label=None if label is None else str(label),
        score=_number(content.get("score")),
        labels=labels,
        interpretable=content.get("interpretable"),
        concepts=content.get("count"),
        facets=tuple(_facet(entry) for entry in content.get("concepts", ())),
        images=tuple(_shown(entry) for entry in content.get("images", ())),
    )  # fmt: skip


def _facet(entry: Payload) -> Facet:
    return Facet(
        str(entry["label"]), float(entry["score"]), float(entry["response"]), float(entry["mass"]),
        tuple(_shown(image) for image in entry["exemplars"]),
        tuple(str(image["image"]) for image in entry["pictures"]),
        tuple(ScoredLabel(str(o["label"]), _number(o["score"])) for o in entry["runners_up"]),
    )  # fmt: skip


def _shown(entry: Payload) -> Shown:
    return Shown(str(entry["image"]), float(entry["activation"]), entry.get("caption"))


def _number(value: float | None) -> float | None:
    return None if value is None else float(value)


def _crops(one: UnitRecords) -> list[Crop]:
    product = one.product("crops")
    if product is None:
        return []
    size = product.preimage["parameters"].get("crop_size")
    return [
        Crop(
            str(entry["image"]), str(entry["crop"]), _box(entry["box"], size),
            int(entry["threshold"]), float(entry["activation"]),
        )
        for entry in product.payload.get("crops", ())
    ]  # fmt: skip


def _box(box: Sequence[float], size: int | None) -> Box | None:
    """Boxes are in pixels of the square that the picture was resized to."""
    if not size:
        return None
    left, top, right, bottom = (min(max(float(edge) / size, 0.0), 1.0) for edge in box)
    return Box(left, top, right, bottom)


def _captions(one: UnitRecords) -> dict[str, str]:
    found = one.content("captions").get("captions", ())
    return {str(entry["image"]): str(entry["caption"]) for entry in found}


def _exemplars(one: UnitRecords, heat: Mapping[tuple[str, str], bytes]) -> tuple[Exemplar, ...]:
    crops, captions = _crops(one), _captions(one)
    return tuple(
        Exemplar(
            entry["image"], float(entry["activation"]),
            tuple(crop for crop in crops if crop.image == entry["image"]),
            captions.get(entry["image"]),
            heat.get((one.unit, entry["image"])),
        )
        for entry in one.content("activations").get("exemplars", ())
    )  # fmt: skip


def _described(one: UnitRecords) -> tuple[Described, ...]:
    crops, captions = {crop.crop: crop for crop in _crops(one)}, _captions(one)
    return tuple(
        Described(
            entry["image"], entry["kind"], float(entry["activation"]),
            captions.get(entry["image"]),
            crops.get(entry["image"]) if entry["kind"] == "crop" else None,
        )
        for entry in one.content("crops").get("activating", ())
    )  # fmt: skip


def _concepts(one: UnitRecords, templates: Mapping[str, str]) -> tuple[CandidateConcept, ...]:
    synthetic = one.product("synthetic_images")
    weights = synthetic.preimage["weights"] if synthetic else {}
    template = templates.get(str(weights.get("text_to_image", "")), "{concept}")
    painted = {
        e["concept"]: e["images"] for e in one.content("synthetic_images").get("concepts", ())
    }
    scored = {e["concept"]: e for e in one.content("scores").get("concepts", ())}
    proposed = one.content("detection_scores") or one.content("candidate_concepts")
    every = [*scored, *painted, *proposed.get("candidates", ())]
    return tuple(
        _concept(name, scored.get(name, {}), painted.get(name, ()), template)
        for name in dict.fromkeys(every)
    )


def _evidence(one: UnitRecords) -> LabelEvidence | None:
    content = one.content("detection_scores")
    if "confidence" not in content:
        return None
    found, said = content["evidence"], one.content("labels").get("evidence", {})
    return LabelEvidence(
        content["label"], content["confidence"], found["held_out"], found["stability"],
        found["gap"], found["images"],
        tuple((label, share) for label, share in found["label_set"]),
        tuple(DetectedConcept(**entry) for entry in content["concepts"]),
        tuple(ReferenceImage(**entry) for entry in content["examples"]),
        said.get("painted"), tuple(said.get("painted_without", {}).items()),
        said.get("confirmed"),
    )  # fmt: skip


def _ablation(one: UnitRecords) -> UnitAblation | None:
    content = one.content("ablation_effects")
    if not content:
        return None
    losses = tuple(_loss(entry) for entry in content["classes"])
    return UnitAblation(
        content["how"], content["images"], content["probe"], content["chosen"], losses
    )


def _loss(entry: Payload) -> Loss:
    score, accuracy = entry["logit"], entry["accuracy"]
    known = () if accuracy is None else (accuracy["before"], accuracy["change"], _ends(accuracy))
    return Loss(
        entry["class"], entry["images"], score["before"], score["change"], _ends(score), *known
    )


def _ends(change: Payload) -> tuple[float, float] | None:
    return None if change["low"] is None else (change["low"], change["high"])


def _concept(
    name: str, entry: Payload, images: Sequence[Payload], template: str
) -> CandidateConcept:
    functions = {
        key: float(value)
        for key, value in entry.items()
        if key not in ("concept", "activations", "score")
    }
    values = iter(entry.get("activations", ()))
    pictures = tuple(
        _painting(image, None if image["rejected"] else next(values, None)) for image in images
    )
    prompt = template.replace("{concept}", name)
    return CandidateConcept(name, _number(entry.get("score")), functions, prompt, pictures)


def _painting(image: Payload, activation: float | None) -> SyntheticImage:
    return SyntheticImage(
        str(image["image"]), int(image["index"]), int(image["seed"]), bool(image["rejected"]),
        activation,
    )  # fmt: skip


def _metrics(one: UnitRecords) -> tuple[MetricSet, ...]:
    names = [name for name in one.records if name.endswith(METRICS_SUFFIX)]
    found = []
    for name in sorted(names, key=lambda n: own_first(n.removesuffix(METRICS_SUFFIX))):
        content = one.content(name)
        if content:
            found.append(
                MetricSet(
                    name.removesuffix(METRICS_SUFFIX), str(content["label"]), content["truth"],
                    content["metrics"], content["reasons"],
                    int(content["images"]), int(content["shown"]),
                    tuple(_painting(image, None) for image in content["pictures"]),
                )
            )  # fmt: skip
    return tuple(found)


def _remarks(one: UnitRecords) -> tuple[str, ...]:
    product = one.product("activations")
    return tuple(remarks_of(product.outcome.notes)) if product else ()


def noted_distribution(product: Product) -> Distribution | None:
    """What was noted of the activations when they were computed."""
    noted, exemplars = product.outcome.notes.get("summary"), product.payload.get("exemplars")
    if not noted or not exemplars:
        return None
    high = float(exemplars[0]["activation"])
    return Distribution(
        noted["images"], high, high, noted["mean"], noted["std"], noted["positive"],
        fires=noted.get("fires"),
    )  # fmt: skip


def distribution_of(column: NDArray[np.float32], fires: float | None) -> Distribution:
    """A unit's activations on all images, float32 (N,), and the share on which it fires."""
    wide = column.astype(np.float64)
    counts, _ = np.histogram(wide, bins=BINS)
    return Distribution(
        len(wide), float(wide.min()), float(wide.max()), float(wide.mean()), float(wide.std()),
        float((wide > 0).mean()), tuple(int(count) for count in counts),
        fires,
    )  # fmt: skip


def _lineage(one: UnitRecords) -> tuple[Made, ...]:
    order = _upstream_first(one)
    return tuple(
        _step(one.records[name], product) for name in order if (product := one.product(name))
    )


def _upstream_first(one: UnitRecords) -> list[str]:
    done: dict[str, None] = {}

    def visit(name: str) -> None:
        product = one.product(name)
        if name in done or product is None:
            return
        for above in product.preimage["inputs"]:
            visit(above)
        done[name] = None

    for name in sorted(one.records, key=lambda n: (n != "labels", is_labels(n), n)):
        visit(name)
    return list(done)


def _step(record: ProductRecord, product: Product) -> Made:
    seen = product.preimage
    return Made(
        record.asset, record.status, record.reason, record.key, record.data_version,
        str(seen["code"]), record.run, record.recorded_at, record.reused, record.seconds,
        record.device, seen["parameters"], seen["inputs"],
        {name: str(provider) for name, provider in seen["weights"].items()},
    )  # fmt: skip
