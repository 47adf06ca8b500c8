"""Which settings of a study decide a product, and which decide none."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from dnd_assets.lineage.records import (
    CONCEPT_ACTIVATIONS,
    CONCEPT_MASKS,
    HELD_OUT_IMAGES,
    METRICS_SUFFIX,
    PROBING_SET,
)
from dnd_assets.settings import Kind, Options, Section, kinds_of
from dnd_assets.study.compute_settings import Role
from dnd_assets.study.study import Study

Deciding = Mapping[str, object]
"""Settings by section and name."""


def _of_kinds() -> dict[str, str]:
    """What kinds of models say themselves of their settings."""
    return {
        f"{section}.{name}": why
        for section, field in Study.model_fields.items()
        for kind in kinds_of(field.annotation).values()
        for name, why in kind.NO_RESULT.items()
    }


NO_RESULT: Final[Mapping[str, str]] = {
    "name": "what results are recorded under; keys are shared by all studies of a state folder",
    "description": "for people",
    "folder": "where relative paths start; the files count by their content",
    "store": "where artefacts lie; they are known by their content",
    "models[].name": "the start of units' keys; the same network has the same products",
    "models[].weights_key": "where weights stand in their file; those that were loaded are in keys",
    "models[].layers[].neurons": "which units there are; each has a key of its own",
    "models[].layers[].neurons.sample": "which units there are",
    "models[].layers[].neurons.seed": "which units there are",
    "models[].layers[].neurons.file": "which units there are",
    "models[].layers[].neurons.least": "which units there are",
    "models[].layers[].neurons.most": "which units there are",
    "probing_set.max_quarantined": "when a check of the interface warns",
    **_of_kinds(),
    "evaluation.methods": "which products there are",
    "segmentation.methods": "which products there are",
    "image_labels.methods": "which products there are",
    "compute.models_gb": "which models stay in memory between stages",
    "compute.workers": "threads that prepare pictures, or who works; no result rests on it",
    "compute.batch.target": "no bit depends on it on the CPU, and none that is kept on a GPU",
    "compute.batch.captioner": "batches are filled up, so that no caption depends on others",
    "compute.batch.text_to_image": "each picture has a seed of its own",
    "compute.batch.clip": "no bit depends on it on the CPU, and none that is kept on a GPU",
    "compute.batch.auto": "which of these are looked for",
}
"""Settings that change no result, each with the reason; all others reach some product's key."""

UPSTREAM: Final[Mapping[str, tuple[str, ...]]] = {
    "activations": (PROBING_SET,),
    "crops": ("activations",),
    "captions": ("crops",),
    "candidate_concepts": ("captions",),
    "synthetic_images": ("candidate_concepts",),
    "scores": ("crops", "synthetic_images"),
    "labels": ("candidate_concepts", "scores"),
    "clip_dissect_labels": (PROBING_SET, CONCEPT_ACTIVATIONS),
    "named_directions_labels": (),
    "polysemantic_labels": (PROBING_SET,),
    "milan_labels": (PROBING_SET,),
    "network_dissection_labels": (CONCEPT_MASKS,),
    "compositions_labels": (CONCEPT_MASKS,),
    "invert_labels": (CONCEPT_MASKS,),
    "image_invert_labels": (PROBING_SET,),
    "linear_explanation_labels": (PROBING_SET,),
    "ablation_effects": (PROBING_SET,),
    "group_ablation_effects": (PROBING_SET,),
}
"""What products are made from, by name, as their stages say it."""
_BY_DETECTION: Final[Mapping[str, tuple[str, ...]]] = {
    "detection_scores": (PROBING_SET, "captions", "candidate_concepts"),
    "synthetic_images": ("detection_scores",),
    "labels": ("detection_scores", "scores"),
}
"""What differs where `dissection.select` is `detection`."""

_STEPS: Final = (
    "candidates", "images_per_concept", "seed", "beta", "top_images", "scoring", "select", "labels",
)  # fmt: skip
_DISSECTION: Final[Mapping[str, tuple[str, ...]]] = {
    "activations": ("exemplars",),
    "crops": (
        "exemplars", "crop", "crops_per_image", "crop_overlap", "whole_image", "crop_size",
    ),
    "candidate_concepts": ("candidates", "seed"),
    "detection_scores": (
        "exemplars", "candidates", "reference_images", "contrast_phrases", "margin",
        "min_confidence", "presence", "seed",
    ),
    "synthetic_images": ("images_per_concept", "seed"),
    "scores": ("beta", "top_images", "scoring"),
    "labels": ("labels", "select"),
    "polysemantic_labels": _STEPS,
    "milan_labels": ("crop_size",),
}  # fmt: skip
"""Settings of [dissection] that are parameters of a product."""
_MODELS: Final[Mapping[str, tuple[str, ...]]] = {
    "activations": ("target",),
    "crops": ("target",),
    "captions": ("captioner",),
    "candidate_concepts": ("summariser",),
    "detection_scores": ("target", "captioner", "clip"),  # the last where it judges presence
    "synthetic_images": ("text_to_image",),
    "scores": ("target", "clip"),
    "clip_dissect_labels": ("target", "clip"),
    "named_directions_labels": ("target", "clip"),
    CONCEPT_ACTIVATIONS: ("clip",),
    "polysemantic_labels": ("target", "captioner", "summariser", "text_to_image", "clip"),
    "milan_labels": ("target", "captioner"),
    "network_dissection_labels": ("target",),
    "compositions_labels": ("target",),
    "invert_labels": ("target",),
    "image_invert_labels": ("target",),
    "linear_explanation_labels": ("target",),
    "ablation_effects": ("target",),
    "group_ablation_effects": ("target",),
}
"""Models that compute a product."""
_SECTIONS: Final[Mapping[str, tuple[str, ...]]] = {
    "clip_dissect_labels": ("clip_dissect",),
    "named_directions_labels": ("named_directions",),
    CONCEPT_ACTIVATIONS: ("clip_dissect",),
    "polysemantic_labels": ("polysemantic",),
    "milan_labels": ("milan",),
    "network_dissection_labels": ("segmentation",),
    "compositions_labels": ("segmentation",),
    "invert_labels": ("segmentation",),
    "image_invert_labels": ("image_labels",),
    "linear_explanation_labels": ("image_labels",),
    "ablation_effects": ("ablation",),
    "group_ablation_effects": ("ablation",),
    CONCEPT_MASKS: ("segmentation",),
}
"""Sections of the study whose settings a product takes, besides [dissection]."""
_PATHS: Final = (
    "folders", "image_list", "weights", "categories", "concepts", "tables", "file", "images",
    "masks", "names", "folder", "truths", "classifier_weights",
    "vectors", "classes", "parents",
)  # fmt: skip
"""Settings that name files, wherever they stand."""
_NAMES_OR_PATHS: Final = (
    "checkpoint", "model", "pretrained", "source", "classifier", "sentences", "scenes",
)  # fmt: skip
"""Settings that name a file where there is one of that name."""


def parameters_of_dissection(asset: str, study: Study, *more: str) -> dict[str, object]:
    """The settings of [dissection] that are parameters of a product."""
    return study.dissection.chosen(*_DISSECTION[asset], *more)


def upstream_of(study: Study) -> Mapping[str, tuple[str, ...]]:
    """What products of a study are made from, by name."""
    return {**UPSTREAM, **_BY_DETECTION} if study.dissection.select == "detection" else UPSTREAM


def deciding(study: Study, asset: str, model: str = "", layer: str = "") -> dict[str, object]:
    """The settings that decide a product of some layer, those of all it is made from among them.

    Rather one too many than one too few: some decide a product only for some values of others.

    Args:
        study: the study.
        asset: the product's name.
        model: the network's name in the study; empty for products of no unit.
        layer: the layer's path.
    """
    settings: dict[str, object] = {}
    for name in _with_upstream(asset, upstream_of(study)):
        _add_deciding(settings, study, name, model, layer)
    return settings


def _with_upstream(asset: str, upstream: Mapping[str, tuple[str, ...]]) -> list[str]:
    """A product and all it is made from."""
    if asset.endswith(METRICS_SUFFIX):
        return [
            *_with_upstream(asset.removesuffix(METRICS_SUFFIX), upstream),
            HELD_OUT_IMAGES,
            asset,
        ]
    ancestors = [
        ancestor for name in upstream.get(asset, ()) for ancestor in _with_upstream(name, upstream)
    ]
    return list(dict.fromkeys([*ancestors, asset]))


def _add_deciding(settings: Options, study: Study, asset: str, model: str, layer: str) -> None:
    """Add the settings that decide a product itself, without those of what it is made from."""
    names = _DISSECTION.get(asset, ())
    if names:
        settings["dissection"] = settings.get("dissection", {}) | study.dissection.chosen(*names)
    for part in _MODELS.get(asset, ()):
        _ADD[part](settings, study, model, layer)
    for section in _SECTIONS.get(asset, ()):
        _add_section(settings, study, section)
    if asset == PROBING_SET:
        _add_section(settings, study, "probing_set")
    elif asset == HELD_OUT_IMAGES:
        _add_section(settings, study, "evaluation")
    elif asset.endswith(METRICS_SUFFIX):
        for part in ("target", "text_to_image", "clip"):
            _ADD[part](settings, study, model, layer)
    elif asset.endswith("_labels") and asset not in UPSTREAM:
        _add_labels(settings, study, asset.removesuffix("_labels"), model, layer)


def _add_labels(
    settings: dict[str, object], study: Study, method: str, model: str, layer: str
) -> None:
    """Labels of a file, or of a method that may look at any product.

    That is one of the user's own, or one of a section that is not named here.
    """
    if method in study.imported_labels:
        file = _deciding_settings(study, study.imported_labels[method], "imported_labels.*")
        settings["imported_labels"] = {method: file}
    elif method in study.own_methods or method in type(study).model_fields:
        for name in ("labels", "candidate_concepts"):
            for part in _with_upstream(name, upstream_of(study)):
                _add_deciding(settings, study, part, model, layer)
        if method in study.own_methods:
            settings["own_methods"] = {method: study.own_methods[method]}
        else:
            _add_section(settings, study, method)


def _target(settings: Options, study: Study, model: str, layer: str) -> None:
    network = next((candidate for candidate in study.models if candidate.name == model), None)
    layers = {entry.path: entry for entry in network.layers} if network else {}
    chosen = {} if network is None else _deciding_settings(study, network, leave=("layers",))
    layer_settings = layers.get(layer)
    if network is not None and network.input is not None:
        chosen |= {"probing_set.scale": study.probing_set.scale, **_image_reading(study)}
    settings["models"] = chosen | (
        {"pooling": layer_settings.pooling, **layer_settings.declared} if layer_settings else {}
    )
    if layer_settings and layer_settings.coding is not None:
        coding = _deciding_settings(study, layer_settings.coding, "models[].layers[].coding")
        file = getattr(layer_settings.coding, "path", None)
        settings["models"]["coding"] = coding | ({"path": str(study.path(file))} if file else {})
    _add_compute(settings, study, "target")


def _captioner(settings: dict[str, object], study: Study, model: str, layer: str) -> None:
    _add_section(settings, study, "captioner")
    _add_compute(settings, study, "captioner")
    _add_retrieval(settings, study, study.captioner)


def _summariser(settings: dict[str, object], study: Study, model: str, layer: str) -> None:
    _add_section(settings, study, "summariser")


def _painter(settings: Options, study: Study, model: str, layer: str) -> None:
    _add_section(settings, study, "text_to_image")
    _add_compute(settings, study, "text_to_image")
    settings["compute"]["compile"] = study.compute.compile
    _add_retrieval(settings, study, study.text_to_image)


def _encoder(settings: Options, study: Study, model: str, layer: str) -> None:
    _add_section(settings, study, "clip")
    settings["clip"].update(_image_reading(study))
    _add_compute(settings, study, "clip")


def _add_retrieval(settings: dict[str, object], study: Study, chosen: Kind) -> None:
    """Add the encoder and the collection where captions or pictures are retrieved with them."""
    if "clip" in chosen.RESTS_ON:
        _encoder(settings, study, "", "")
    if "collection" in chosen.RESTS_ON:
        _add_section(settings, study, "collection")


_ADD: Final[Mapping[str, Callable[[dict[str, object], Study, str, str], None]]] = {
    "target": _target,
    "captioner": _captioner,
    "summariser": _summariser,
    "text_to_image": _painter,
    "clip": _encoder,
}


def _add_compute(settings: Options, study: Study, role: Role) -> None:
    # Which of several cards it is decides nothing.
    compute = settings.setdefault("compute", {"device": study.compute.device.partition(":")[0]})
    compute[f"precision.{role}"] = study.compute.dtype_of(role)


def _image_reading(study: Study) -> dict[str, object]:
    """Settings of the probing set on how files become pictures, where the study gives them."""
    return {f"probing_set.{name}": value for name, value in study.probing_set.seen.items()}


def _add_section(settings: Options, study: Study, section: str) -> None:
    chosen = getattr(study, section)
    if isinstance(chosen, Section):
        settings[section] = _deciding_settings(study, chosen, section)
    if section in ("evaluation", "segmentation") and chosen is not None:
        # How large pictures may be counts for them as for the probing set.
        settings[section]["max_pixels"] = study.probing_set.max_pixels
        settings[section].update(_image_reading(study))


def _deciding_settings(
    study: Study, section: Section, name: str = "models[]", leave: tuple[str, ...] = ()
) -> dict[str, object]:
    """A section's settings that decide results, those that name files as absolute paths."""
    settings: dict[str, object] = {}
    for key in type(section).model_fields:
        value = getattr(section, key)
        if key in leave or f"{name}.{key}" in NO_RESULT:
            continue
        if isinstance(value, Section):
            settings[key] = _deciding_settings(study, value, f"{name}.{key}")
        else:
            settings[key] = _absolute(study, value) if _names_file(study, key, value) else value
    return settings


def _names_file(study: Study, key: str, value: object) -> bool:
    if key in _NAMES_OR_PATHS:
        return bool(value) and isinstance(value, str) and (study.folder / value).exists()
    return key in _PATHS


def _absolute(study: Study, value: object) -> object:
    if isinstance(value, list):
        return [_absolute(study, item) for item in value]
    if not isinstance(value, str) or value.startswith("package:"):
        return value
    return str(study.path(value))
