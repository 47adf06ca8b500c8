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
    unit: UnitRecords,
    templates: Mapping[str, str],
    heat: Mapping[tuple[str, str], bytes],
    distribution: Distribution | None,
    ranges: tuple[ActivationRange, ...],
    ladder: tuple[Shown, ...] = (),
) -> UnitCard:
    """The card of a unit.

    Args:
        unit: the unit's records.
        templates: prompt of each text-to-image provider.
        heat: stored maps of exemplars, by unit and image.
        distribution: activations on all probing images.
        ranges: samples of wider ranges of activations.
        ladder: probing images from the largest activation to the smallest.
    """
    record = unit.record
    return UnitCard(
        unit.unit, record.model, record.layer, record.neuron,
        methods=_methods(unit),
        exemplars=_exemplars(unit, heat),
        described=_described(unit),
        concepts=_concepts(unit, templates),
        distribution=distribution,
        ranges=ranges,
        ladder=ladder,
        metrics=_metrics(unit),
        made=_lineage(unit),
        remarks=_remarks(unit),
        evidence=_evidence(unit),
        ablation=_ablation(unit),
        groups=_group_ablations(unit),
    )  # fmt: skip


def _methods(unit: UnitRecords) -> tuple[MethodLabel, ...]:
    names = sorted((name for name in unit.records if is_labels(name)), key=own_first)
    return tuple(_method(unit, name) for name in names)


def _method(unit: UnitRecords, asset: str) -> MethodLabel:
    record, content = unit.records[asset], unit.content(asset)
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
        tuple(
            ScoredLabel(str(label["label"]), _number(label["score"]))
            for label in entry["runners_up"]
        ),
    )  # fmt: skip


def _shown(entry: Payload) -> Shown:
    return Shown(str(entry["image"]), float(entry["activation"]), entry.get("caption"))


def _number(value: float | None) -> float | None:
    return None if value is None else float(value)


def _crops(unit: UnitRecords) -> list[Crop]:
    product = unit.product("crops")
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


def _captions(unit: UnitRecords) -> dict[str, str]:
    entries = unit.content("captions").get("captions", ())
    return {str(entry["image"]): str(entry["caption"]) for entry in entries}


def _exemplars(unit: UnitRecords, heat: Mapping[tuple[str, str], bytes]) -> tuple[Exemplar, ...]:
    crops, captions = _crops(unit), _captions(unit)
    return tuple(
        Exemplar(
            entry["image"], float(entry["activation"]),
            tuple(crop for crop in crops if crop.image == entry["image"]),
            captions.get(entry["image"]),
            heat.get((unit.unit, entry["image"])),
        )
        for entry in unit.content("activations").get("exemplars", ())
    )  # fmt: skip


def _described(unit: UnitRecords) -> tuple[Described, ...]:
    crops, captions = {crop.crop: crop for crop in _crops(unit)}, _captions(unit)
    return tuple(
        Described(
            entry["image"], entry["kind"], float(entry["activation"]),
            captions.get(entry["image"]),
            crops.get(entry["image"]) if entry["kind"] == "crop" else None,
        )
        for entry in unit.content("crops").get("activating", ())
    )  # fmt: skip


def _concepts(unit: UnitRecords, templates: Mapping[str, str]) -> tuple[CandidateConcept, ...]:
    synthetic = unit.product("synthetic_images")
    weights = synthetic.preimage["weights"] if synthetic else {}
    template = templates.get(str(weights.get("text_to_image", "")), "{concept}")
    painted = {
        e["concept"]: e["images"] for e in unit.content("synthetic_images").get("concepts", ())
    }
    scored = {e["concept"]: e for e in unit.content("scores").get("concepts", ())}
    proposed = unit.content("detection_scores") or unit.content("candidate_concepts")
    names = [*scored, *painted, *proposed.get("candidates", ())]
    return tuple(
        _concept(name, scored.get(name, {}), painted.get(name, ()), template)
        for name in dict.fromkeys(names)
    )


def _evidence(unit: UnitRecords) -> LabelEvidence | None:
    content = unit.content("detection_scores")
    if "confidence" not in content:
        return None
    evidence, confirmation = content["evidence"], unit.content("labels").get("evidence", {})
    return LabelEvidence(
        content["label"], content["confidence"], evidence["held_out"], evidence["stability"],
        evidence["gap"], evidence["images"],
        tuple((label, share) for label, share in evidence["label_set"]),
        tuple(DetectedConcept(**entry) for entry in content["concepts"]),
        tuple(ReferenceImage(**entry) for entry in content["examples"]),
        confirmation.get("painted"), tuple(confirmation.get("painted_without", {}).items()),
        confirmation.get("confirmed"),
    )  # fmt: skip


def _ablation(unit: UnitRecords) -> UnitAblation | None:
    content = unit.content("ablation_effects")
    if not content:
        return None
    return _losses(content)


def _group_ablations(unit: UnitRecords) -> tuple[tuple[str, UnitAblation], ...]:
    return tuple(
        (f"{group['name']} ({group['units']:,} unit{'s' * (group['units'] != 1)})", _losses(group))
        for group in unit.content("group_ablation_effects").get("groups", ())
    )


def _losses(content: Payload) -> UnitAblation:
    losses = tuple(_loss(entry) for entry in content["classes"])
    return UnitAblation(
        content["how"], content["images"], content["probe"], content["chosen"], losses
    )


def _loss(entry: Payload) -> Loss:
    score, accuracy = entry["logit"], entry["accuracy"]
    accuracy_fields = (
        () if accuracy is None else (accuracy["before"], accuracy["change"], _ends(accuracy))
    )
    return Loss(
        entry["class"],
        entry["images"],
        score["before"],
        score["change"],
        _ends(score),
        *accuracy_fields,
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


def _metrics(unit: UnitRecords) -> tuple[MetricSet, ...]:
    names = [name for name in unit.records if name.endswith(METRICS_SUFFIX)]
    metric_sets = []
    for name in sorted(names, key=lambda n: own_first(n.removesuffix(METRICS_SUFFIX))):
        content = unit.content(name)
        if content:
            metric_sets.append(
                MetricSet(
                    name.removesuffix(METRICS_SUFFIX), str(content["label"]), content["truth"],
                    content["metrics"], content["reasons"],
                    int(content["images"]), int(content["shown"]),
                    tuple(_painting(image, None) for image in content["pictures"]),
                )
            )  # fmt: skip
    return tuple(metric_sets)


def _remarks(unit: UnitRecords) -> tuple[str, ...]:
    product = unit.product("activations")
    return tuple(remarks_of(product.outcome.notes)) if product else ()


def noted_distribution(product: Product) -> Distribution | None:
    """What was noted of the activations when they were computed."""
    summary, exemplars = product.outcome.notes.get("summary"), product.payload.get("exemplars")
    if not summary or not exemplars:
        return None
    high = float(exemplars[0]["activation"])
    return Distribution(
        summary["images"], high, high, summary["mean"], summary["std"], summary["positive"],
        fires=summary.get("fires"),
    )  # fmt: skip


def distribution_of(column: NDArray[np.float32], fires: float | None) -> Distribution:
    """A unit's activations on all images, float32 (N,), and the share on which it fires."""
    values = column.astype(np.float64)
    counts, _ = np.histogram(values, bins=BINS)
    return Distribution(
        len(values), float(values.min()), float(values.max()), float(values.mean()),
        float(values.std()), float((values > 0).mean()), tuple(int(count) for count in counts),
        fires,
    )  # fmt: skip


def _lineage(unit: UnitRecords) -> tuple[Made, ...]:
    order = _upstream_first(unit)
    return tuple(
        _step(unit.records[name], product) for name in order if (product := unit.product(name))
    )


def _upstream_first(unit: UnitRecords) -> list[str]:
    """The assets of a unit, each after those that it was made from."""
    ordered: dict[str, None] = {}

    def visit(name: str) -> None:
        product = unit.product(name)
        if name in ordered or product is None:
            return
        for source in product.preimage["inputs"]:
            visit(source)
        ordered[name] = None

    for name in sorted(unit.records, key=lambda n: (n != "labels", is_labels(n), n)):
        visit(name)
    return list(ordered)


def _step(record: ProductRecord, product: Product) -> Made:
    preimage = product.preimage
    return Made(
        record.asset, record.status, record.reason, record.key, record.data_version,
        str(preimage["code"]), record.run, record.recorded_at, record.reused, record.seconds,
        record.device, preimage["parameters"], preimage["inputs"],
        {name: str(provider) for name, provider in preimage["weights"].items()},
    )  # fmt: skip
