"""Autoencoders as ViT-Prisma saves them: `config.json` and `weights.pt`.

Weights are named as in SAELens. The input is normalised as `normalize_activations` says, which is
`layer_norm` by default, and `b_dec` is always subtracted from what comes out of that. (For some
months of 2024 its code subtracted it from the input before normalisation and threw the
normalisation away; files of that time hold settings as pickled objects and are not read.)
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal

from dnd_assets.methods.sae.activation_functions import Activation, Gated, Relu, TopK
from dnd_assets.methods.sae.encoder import Encoder, Normalisation
from dnd_assets.methods.sae.saved import Answers, Config, Saved, refused

LAYOUT: Final = "vit_prisma"
_OWN: Final = frozenset({"cls_token_only", "use_patches_only", "layer_subtype", "vit_model_cfg"})
_NORMALISATIONS: Final[Mapping[str, Normalisation]] = {
    "none": "none",
    "None": "none",
    "layer_norm": "layer_norm",
    "constant_norm_rescale": "constant_norm",
}


def recognised(saved: Saved) -> bool:
    """Whether a checkpoint is of ViT-Prisma, by its settings."""
    return bool("W_enc" in saved.tensors and _OWN & (saved.config or {}).keys())


def encoder(saved: Saved, answers: Answers) -> Encoder:
    """The encoder of a checkpoint.

    Raises:
        StudyError: when something of it is not read.
    """
    config = saved.settings("ViT-Prisma", "config.json")
    if config.get("is_transcoder"):
        raise refused(saved.source, "ViT-Prisma", "is_transcoder", ("autoencoders",))
    weight = saved.tensor("W_enc", LAYOUT)
    architecture = str(config.get("architecture", "standard"))
    gated = architecture == "gated"
    setting = str(config.get("normalize_activations", "none"))
    if setting not in _NORMALISATIONS:
        problem = f"normalize_activations {setting!r}"
        raise refused(saved.source, "ViT-Prisma", problem, tuple(_NORMALISATIONS))
    return Encoder(
        weight,
        weight.new_zeros(weight.shape[1]) if gated else saved.tensor("b_enc", LAYOUT),
        _activation(saved, config, architecture),
        shift=saved.tensor("b_dec", LAYOUT),
        normalisation=_NORMALISATIONS[setting],
    )


def tokens(config: Config) -> Literal["class", "patches", "all"] | None:
    """Which tokens it was trained on: `class`, `patches` or `all`; None where it does not say."""
    if config.get("cls_token_only"):
        return "class"
    if config.get("use_patches_only"):
        return "patches"
    return "all" if {"cls_token_only", "use_patches_only"} <= config.keys() else None


def _activation(saved: Saved, config: Config, architecture: str) -> Activation:
    activation = str(config.get("activation_fn_str", "relu"))
    if architecture == "gated":
        if activation != "relu":
            raise refused(saved.source, "ViT-Prisma", f"a gated {activation!r}", ("relu",))
        names = ("b_gate", "r_mag", "b_mag")
        gate, r_mag, magnitude = (saved.tensor(name, LAYOUT) for name in names)
        return Gated(gate, r_mag.exp(), magnitude)
    if architecture != "standard":
        problem = f"architecture {architecture!r}"
        raise refused(saved.source, "ViT-Prisma", problem, ("standard", "gated"))
    if activation == "relu":
        return Relu()
    if activation == "topk" and (config.get("activation_fn_kwargs") or {}).get("k"):
        return TopK(int(config["activation_fn_kwargs"]["k"]))
    raise refused(
        saved.source, "ViT-Prisma", f"activation {activation!r}", ("relu", "topk with its k")
    )
