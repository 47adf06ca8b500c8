"""Autoencoders as sparsify saves them: `cfg.json` and `sae.safetensors`.

`encoder.weight` is (latents, width). `b_dec` is subtracted from the input, but not by a transcoder
(`transcode`), which reads the input of a module and writes its output. TopK keeps k; `groupmax`,
the largest of each of k groups of neighbours.
"""

from __future__ import annotations

from typing import Final

from dnd_assets.errors import StudyError
from dnd_assets.methods.sae.activation_functions import Activation, GroupMax, TopK
from dnd_assets.methods.sae.encoder import Encoder
from dnd_assets.methods.sae.saved import Answers, Saved, refused

LAYOUT: Final = "sparsify"
_ACTIVATIONS: Final = ("topk", "groupmax")


def recognised(saved: Saved) -> bool:
    """Whether a checkpoint is of sparsify, by its settings and the names of its tensors."""
    config = saved.config or {}
    return "encoder.weight" in saved.tensors and {"k", "expansion_factor"} <= config.keys()


def encoder(saved: Saved, answers: Answers) -> Encoder:
    """The encoder of a checkpoint.

    Raises:
        StudyError: when something of it is not read.
    """
    config = saved.settings("sparsify", "cfg.json")
    if config.get("signed"):
        raise refused(saved.source, "sparsify", "signed codes", _ACTIVATIONS)
    weight = saved.tensor("encoder.weight", LAYOUT).T
    subtract = not config.get("transcode", False)
    return Encoder(
        weight,
        saved.tensor("encoder.bias", LAYOUT),
        _activation(saved, weight.shape[1]),
        shift=saved.tensor("b_dec", LAYOUT) if subtract else None,
        unknown="" if subtract else "a transcoder writes into another layer",
    )


def _activation(saved: Saved, latents: int) -> Activation:
    config = saved.config or {}
    # Versions before the choice had TopK alone.
    name = str(config.get("activation", "topk"))
    if not config.get("k"):
        raise StudyError(f"cfg.json beside {saved.source} says no k. Add it.")
    k = int(config["k"])
    if name == "topk":
        return TopK(k)
    if name == "groupmax" and latents % k == 0:
        return GroupMax(k)
    raise refused(saved.source, "sparsify", f"activation {name!r}", _ACTIVATIONS)
