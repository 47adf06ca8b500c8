"""Autoencoders as SAELens saves them: `cfg.json` and `sae_weights.safetensors`.

`W_enc` is (width, latents). Unless `apply_b_dec_to_input` is false, `b_dec` is subtracted from the
normalised input. Settings of versions before 6 have other names (`activation_fn_str`,
`activation_fn_kwargs`), and TopK was an activation of the architecture "standard". BatchTopK is
saved as JumpReLU; a checkpoint of training has `topk_threshold` instead. A TopK encoder may rank by
`pre * norm of the decoder's row` (`rescale_acts_by_decoder_norm`).

Normalisation by an expected average (`expected_average_only_in`) is a factor that is folded into
the weights when training ends, and the setting becomes `none`; where the setting still stands, the
factor is in no file.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from dnd_assets.errors import StudyError
from dnd_assets.methods.sae.activation_functions import Activation, Gated, Relu, Threshold, TopK
from dnd_assets.methods.sae.encoder import Encoder, Normalisation
from dnd_assets.methods.sae.saved import Answers, Config, Saved, refused

LAYOUT: Final = "saelens"
_ARCHITECTURES: Final = (
    "standard", "topk", "jumprelu", "gated", "batchtopk", "matryoshka_batchtopk",
)  # fmt: skip
_NORMALISATIONS: Final[Mapping[str, Normalisation]] = {
    "none": "none",
    "layer_norm": "layer_norm",
    "constant_norm_rescale": "constant_norm",
}


def recognised(saved: Saved) -> bool:
    """Whether a checkpoint is of SAELens, by its settings."""
    config = saved.config or {}
    own_settings = {
        "sae_lens_version",
        "sae_lens_training_version",
        "apply_b_dec_to_input",
        "metadata",
    }
    names = "W_enc" in saved.tensors and "d_sae" in config
    return bool(names and not saved.header and own_settings & config.keys())


def encoder(saved: Saved, answers: Answers) -> Encoder:
    """The encoder of a checkpoint.

    Raises:
        StudyError: when something of it is not read, or is left open.
    """
    config = saved.settings("SAELens", "cfg.json")
    architecture = _architecture(saved, config)
    weight = saved.tensor("W_enc", LAYOUT)
    subtract = bool(config.get("apply_b_dec_to_input", True))
    normalisation, scale = _normalisation(saved, config, answers)
    gated = architecture == "gated"
    bias = weight.new_zeros(weight.shape[1]) if gated else saved.tensor("b_enc", LAYOUT)
    by_norm = bool(config.get("rescale_acts_by_decoder_norm", False))
    return Encoder(
        weight,
        bias,
        _activation(saved, config, architecture),
        shift=saved.tensor("b_dec", LAYOUT) if subtract else None,
        normalisation=normalisation,
        scale=scale,
        rescale=saved.tensor("W_dec", LAYOUT).norm(dim=1) if by_norm else None,
    )


def _architecture(saved: Saved, config: Config) -> str:
    name = str(config.get("architecture", "standard"))
    if name not in _ARCHITECTURES:
        raise refused(saved.source, "SAELens", f"architecture {name!r}", _ARCHITECTURES)
    activation = str(config.get("activation_fn_str", config.get("activation_fn", "relu")))
    if name == "standard" and activation == "topk":
        return "topk"
    if activation not in ("relu", "topk"):
        raise refused(saved.source, "SAELens", f"activation {activation!r}", ("relu", "topk"))
    return name


def _activation(saved: Saved, config: Config, architecture: str) -> Activation:
    if architecture == "topk":
        k = config.get("k", (config.get("activation_fn_kwargs") or {}).get("k"))
        if k is None:
            raise StudyError(f"cfg.json beside {saved.source} names TopK and no k. Add it.")
        return TopK(int(k))
    if architecture == "gated":
        names = ("b_gate", "r_mag", "b_mag")
        gate, r_mag, magnitude = (saved.tensor(name, LAYOUT) for name in names)
        return Gated(gate, r_mag.exp(), magnitude)
    if architecture == "jumprelu":
        return Threshold(saved.tensor("threshold", LAYOUT))
    if architecture in ("batchtopk", "matryoshka_batchtopk"):
        return Threshold(saved.tensor("topk_threshold", LAYOUT))
    return Relu()


def _normalisation(saved: Saved, config: Config, answers: Answers) -> tuple[Normalisation, float]:
    setting = config.get("normalize_activations") or "none"
    name = "expected_average_only_in" if setting is True else str(setting)
    if name == "expected_average_only_in":
        scale: float = answers.settled(
            "scale", None, f"{saved.source} was trained on activations that were multiplied by an "
            "expected average, which is neither folded into its weights nor in a file: SAELens "
            "takes it from its store of activations, sqrt(width) / mean norm of an activation",
        )  # fmt: skip
        return "none", scale
    if name not in _NORMALISATIONS:
        readable = (*_NORMALISATIONS, "expected_average_only_in")
        raise refused(saved.source, "SAELens", f"normalize_activations {name!r}", readable)
    return _NORMALISATIONS[name], 1.0
