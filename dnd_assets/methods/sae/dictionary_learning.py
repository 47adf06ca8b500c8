"""Autoencoders of dictionary_learning: `ae.pt`, and `config.json` whose trainer names the class.

`encoder.weight` is (latents, width), `W_enc` of JumpReLU and Matryoshka (width, latents). The bias
of the decoder (`bias`, `b_dec` or `decoder_bias`) is subtracted from the input, except by
`AutoEncoderNew` and JumpReLU. Codes are as from release 0.1.0 on; before, those of gated and
JumpReLU encoders were multiplied by the norm of the decoder's row. TopK keeps k; BatchTopK and
Matryoshka compare with `threshold`, which is -1 until it was learned, so that all that is positive
passes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from dnd_assets.methods.sae.activation_functions import Gated, Relu, Threshold, TopK
from dnd_assets.methods.sae.encoder import Encoder
from dnd_assets.methods.sae.saved import Answers, Config, Saved, refused

LAYOUT: Final = "dictionary_learning"
_NAMES: Final[Mapping[str, frozenset[str]]] = {
    "AutoEncoder": frozenset({"encoder.weight", "encoder.bias", "decoder.weight", "bias"}),
    "AutoEncoderNew": frozenset(
        {"encoder.weight", "encoder.bias", "decoder.weight", "decoder.bias"}
    ),
    "GatedAutoEncoder": frozenset(
        {"encoder.weight", "decoder.weight", "decoder_bias", "r_mag", "gate_bias", "mag_bias"}
    ),
    "MatryoshkaBatchTopKSAE": frozenset(
        {"W_enc", "b_enc", "W_dec", "b_dec", "threshold", "k", "group_sizes"}
    ),
}
"""Classes that the names of their tensors tell."""
_TOPK: Final = frozenset(
    {"encoder.weight", "encoder.bias", "decoder.weight", "b_dec", "k", "threshold"}
)
_CLASSES: Final = (*_NAMES, "AutoEncoderTopK", "BatchTopKSAE", "JumpReluAutoEncoder")


def recognised(saved: Saved) -> bool:
    """Whether a checkpoint is of dictionary_learning, by its settings or the names of tensors."""
    if isinstance((saved.config or {}).get("trainer"), Mapping):
        return True
    return saved.config is None and set(saved.tensors) in (*_NAMES.values(), _TOPK)


def encoder(saved: Saved, answers: Answers) -> Encoder:
    """The encoder of a checkpoint.

    Raises:
        StudyError: when something of it is not read, or is left open.
    """
    kind = _class(saved, answers)
    if kind in ("JumpReluAutoEncoder", "MatryoshkaBatchTopKSAE"):
        weight, bias = saved.tensor("W_enc", LAYOUT), saved.tensor("b_enc", LAYOUT)
    else:
        weight = saved.tensor("encoder.weight", LAYOUT).T
        has_bias = kind != "GatedAutoEncoder"
        bias = (
            saved.tensor("encoder.bias", LAYOUT) if has_bias else weight.new_zeros(weight.shape[1])
        )
    if kind in ("AutoEncoder", "AutoEncoderNew"):
        shift = saved.tensor("bias", LAYOUT) if kind == "AutoEncoder" else None
        return Encoder(weight, bias, Relu(), shift=shift)
    if kind == "GatedAutoEncoder":
        names = ("gate_bias", "r_mag", "mag_bias")
        gate, r_mag, magnitude = (saved.tensor(name, LAYOUT) for name in names)
        return Encoder(
            weight,
            bias,
            Gated(gate, r_mag.exp(), magnitude),
            shift=saved.tensor("decoder_bias", LAYOUT),
        )
    if kind == "JumpReluAutoEncoder":
        return Encoder(weight, bias, Threshold(saved.tensor("threshold", LAYOUT)))
    if kind == "AutoEncoderTopK":
        k = int(saved.tensor("k", LAYOUT))
        config_k = _trainer(saved).get("k")
        if config_k is not None and int(config_k) != k:
            problem = f"k = {k}, and {config_k} in its config"
            raise refused(saved.source, "dictionary_learning", problem, ("one k",))
        return Encoder(weight, bias, TopK(k), shift=saved.tensor("b_dec", LAYOUT))
    passes = Threshold(saved.tensor("threshold", LAYOUT).clamp(min=0.0))
    return Encoder(weight, bias, passes, shift=saved.tensor("b_dec", LAYOUT))


def _trainer(saved: Saved) -> Config:
    trainer = (saved.config or {}).get("trainer")
    return trainer if isinstance(trainer, Mapping) else {}


def _class(saved: Saved, answers: Answers) -> str:
    """The class that the settings name, or else the tensors, or else the study."""
    class_name = _trainer(saved).get("dict_class")
    if class_name is not None:
        if class_name not in _CLASSES:
            raise refused(saved.source, "dictionary_learning", f"class {class_name!r}", _CLASSES)
        return str(class_name)
    for kind, names in _NAMES.items():
        if set(saved.tensors) == names:
            return kind
    kinds = {
        "relu": "AutoEncoder",
        "topk": "AutoEncoderTopK",
        "batch_topk": "BatchTopKSAE",
        "jump_relu": "JumpReluAutoEncoder",
        "gated": "GatedAutoEncoder",
    }
    why = (
        f"{saved.source} comes without the config.json of dictionary_learning, and its tensors are "
        "those of several classes (a TopK and a BatchTopK look alike): 'topk', 'batch_topk' or "
        "'jump_relu'"
    )
    return kinds[answers.settled("activation", None, why)]
