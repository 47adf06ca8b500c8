"""Autoencoders as saev dumps them: a line of JSON, then a state dict of torch in the same file.

`W_enc` is (width, latents). Up to the release of 2025 (no `schema` in the header) `b_dec` was
subtracted from the input; from schema 2 on it is not, also where a file was trained with a
Matryoshka objective. Schema 1 was written by versions that do and by versions that do not, and
nothing in the file says by which. TopK keeps what is negative among the k largest. BatchTopK has
a buffer `activation.threshold` from schema 3 on, above which codes pass; before that it ranked
over a batch, or for each vector, by version.

What activations were divided by and centred at while shards were read is in no checkpoint.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from dnd_assets.errors import StudyError
from dnd_assets.methods.sae.activation_functions import Activation, Relu, Threshold, TopK
from dnd_assets.methods.sae.encoder import Encoder
from dnd_assets.methods.sae.saved import Answers, Config, Saved, refused

LAYOUT: Final = "saev"
_NEWEST: Final = 5
_LAST_UNSURE: Final = 1
_CLASSES: Final = ("Relu", "TopK", "BatchTopK")
_THRESHOLD: Final = "activation.threshold"


def recognised(saved: Saved) -> bool:
    """Whether a checkpoint is of saev: its settings are the first line of the file."""
    return saved.header


def encoder(saved: Saved, answers: Answers) -> Encoder:
    """The encoder of a checkpoint.

    Raises:
        StudyError: when something of it is not read, or is left open.
    """
    header = saved.settings("saev", "the line of settings at its start")
    schema = header.get("schema")
    if schema is not None and schema not in range(1, _NEWEST + 1):
        schemas = [f"schema {number}" for number in range(1, _NEWEST + 1)]
        raise refused(saved.source, "saev", f"schema {schema!r}", ["no schema", *schemas])
    subtract = answers.settled(
        "subtract_b_dec", None if schema == _LAST_UNSURE else schema is None, f"{saved.source} is "
        "of saev's schema 1, which was written both before and after b_dec was no longer "
        "subtracted from the input, and does not tell: true before, false after",
    )  # fmt: skip
    bias = saved.tensor("b_dec", LAYOUT) if subtract else None
    activation = _activation(saved, header, answers)
    return Encoder(
        saved.tensor("W_enc", LAYOUT), saved.tensor("b_enc", LAYOUT), activation, shift=bias
    )


def _activation(saved: Saved, header: Config, answers: Answers) -> Activation:
    name, settings = _named(saved, header)
    if name == "Relu":
        return Relu()
    if name == "TopK":
        if "top_k" not in settings:
            raise StudyError(f"the header of {saved.source} names TopK and no top_k.")
        return TopK(int(settings["top_k"]), relu=False)
    if _THRESHOLD in saved.tensors:
        # The library itself lets all that is positive pass where none was ever learned.
        return Threshold(saved.tensor(_THRESHOLD, LAYOUT).clamp(min=0.0))
    threshold: float = answers.settled(
        "threshold", None, f"{saved.source} is a BatchTopK of saev without a threshold, whose "
        "codes depended on the batch: which is the least code that passed",
    )  # fmt: skip
    return Threshold(saved.tensor("b_enc", LAYOUT).new_tensor(threshold))


def _named(saved: Saved, header: Config) -> tuple[str, Config]:
    """Name and settings of the activation."""
    if "schema" not in header:
        return "Relu", {}
    config = header.get("cfg") or {}
    activation = config.get("activation")
    name = str(activation["cls"] if isinstance(activation, Mapping) else header.get("cls", "Relu"))
    if name not in _CLASSES:
        raise refused(saved.source, "saev", f"activation {name!r}", _CLASSES)
    return name, (activation.get("params") or {}) if isinstance(activation, Mapping) else config
