"""Autoencoders of overcomplete: the state dict of a `SAE`, which tells little.

Encoders are modules: `encoder.final_block.0` is linear, (latents, width), with batch
normalisation after it in `mlp_bn_1`; an untied encoder has `encoder.weight`. Nothing is subtracted
and nothing normalised. A state dict says which activation there is only for JumpReLU, whose
`thresholds` are logarithms; a code equal to its threshold passes. The running threshold of
BatchTopK is an attribute of the Python object and is lost in a state dict.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from dnd_assets.methods.sae.activation_functions import Activation, Relu, Threshold, TopK
from dnd_assets.methods.sae.encoder import Encoder
from dnd_assets.methods.sae.saved import Answers, Saved, refused

if TYPE_CHECKING:
    from torch import Tensor

LAYOUT: Final = "overcomplete"
_LINEAR: Final = "encoder.final_block.0.weight"
_NORM: Final = "encoder.final_block.1"
_EPSILON: Final = 1e-5
_READ: Final = ("linear", "mlp_bn_1", "untied")


def recognised(saved: Saved) -> bool:
    """Whether a checkpoint is of overcomplete, by the names of its tensors."""
    return "dictionary._weights" in saved.tensors or _LINEAR in saved.tensors


def encoder(saved: Saved, answers: Answers) -> Encoder:
    """The encoder of a checkpoint.

    Raises:
        StudyError: when something of it is not read, or is left open.
    """
    weight, bias = _linear(saved)
    return Encoder(weight, bias, _activation(saved, answers))


def _linear(saved: Saved) -> tuple[Tensor, Tensor]:
    """Weights (width, latents) and bias of a linear encoder, batch normalisation folded in."""
    deep = ("encoder.mlp_blocks", "encoder.attention", "encoder.resnet")
    deep_names = [name for name in saved.tensors if name.startswith(deep)]
    if deep_names:
        raise refused(
            saved.source, "overcomplete", f"an encoder of several layers ({deep_names[0]})", _READ
        )
    if "Q" in saved.tensors:
        raise refused(saved.source, "overcomplete", "quantised codes (Q)", ("relu", "topk", "jump"))
    if "encoder.weight" in saved.tensors:
        weight = saved.tensor("encoder.weight", LAYOUT).T
        has_bias = "encoder.bias" in saved.tensors
        return weight, (
            saved.tensor("encoder.bias", LAYOUT) if has_bias else weight.new_zeros(weight.shape[1])
        )
    if not any(name.startswith("encoder.") for name in saved.tensors):
        problem = "no encoder of its own (tied to its dictionary, or matching pursuit)"
        raise refused(saved.source, "overcomplete", problem, _READ)
    weight = saved.tensor(_LINEAR, LAYOUT).T
    bias = saved.tensor("encoder.final_block.0.bias", LAYOUT)
    if not saved.has(f"{_NORM}.weight"):
        return weight, bias
    if not saved.has(f"{_NORM}.running_mean", f"{_NORM}.running_var"):
        raise refused(saved.source, "overcomplete", "layer normalisation of codes", _READ)
    parts = ("weight", "bias", "running_mean", "running_var")
    gain, offset, mean, variance = (saved.tensor(f"{_NORM}.{part}", LAYOUT) for part in parts)
    factor = gain / (variance + _EPSILON).sqrt()
    return weight * factor, (bias - mean) * factor + offset


def _activation(saved: Saved, answers: Answers) -> Activation:
    jump = "thresholds" in saved.tensors
    name = answers.settled(
        "activation", "jump_relu" if jump else None, f"{saved.source} is a state dict of "
        "overcomplete, which does not say whether it is a SAE ('relu'), a TopKSAE ('topk', with k) "
        "or a BatchTopKSAE ('batch_topk', with threshold)",
    )  # fmt: skip
    if name == "jump_relu" and jump:
        return Threshold(saved.tensor("thresholds", LAYOUT).exp(), inclusive=True)
    if name == "relu":
        return Relu()
    if name == "topk":
        why = f"{saved.source} does not say how many codes TopK keeps"
        k: int = answers.settled("k", None, why)
        return TopK(k)
    if name != "batch_topk":
        readable = ("relu", "topk", "batch_topk", "jump_relu with `thresholds`")
        raise refused(saved.source, "overcomplete", f"activation {name!r}", readable)
    running = saved.tensors.get("running_threshold")
    threshold = answers.settled(
        "threshold", None if running is None else float(running), f"{saved.source} has no running "
        "threshold: overcomplete keeps BatchTopK's on the Python object alone, and a state dict "
        "loses it. Where it was trained, read `sae.running_threshold`",
    )  # fmt: skip
    return Threshold(
        saved.tensor("dictionary._weights", LAYOUT).new_tensor(threshold), inclusive=True
    )
