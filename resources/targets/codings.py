"""Autoencoders and directions attached to layers, whose units are then latents.

A layer's description stays what it is; `coded` makes of it the description of its latents, after
checking that the coding fits the layer's width and its tokens.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final, cast

from dnd_assets.errors import StudyError, not_found
from dnd_assets.lineage.code import code_version
from dnd_assets.lineage.fingerprint import Json
from dnd_assets.methods.sae import vit_prisma
from dnd_assets.methods.sae.coded_layout import CodedLayout, Coding, TokenChoice
from dnd_assets.methods.sae.directions import Directions, Reading
from dnd_assets.methods.sae.heads import Heads
from dnd_assets.methods.sae.layouts import encoder_of
from dnd_assets.methods.sae.saved import ActivationName, Answers
from resources.checkpoints import Checkpoint, local_path
from resources.model import ModelPart, find_part
from resources.targets.autoencoder_files import (
    content_of,
    read_autoencoder,
    read_vectors,
    weights_file,
)
from resources.targets.cards import LayerInfo
from resources.targets.declared_coding import DeclaredCoding
from resources.targets.passes import OfInput

if TYPE_CHECKING:
    from torch import Tensor

_ANSWERS: Final = ("k", "threshold", "subtract_b_dec", "scale")
_NAMES: Final = "names"
HEADS: Final = "heads"
"""The kind of coding that has no file."""


@dataclass(frozen=True)
class Attached:
    """A coding that was read, ready to be attached to a layer.

    Attributes:
        coding: makes the codes.
        tokens: which tokens count, where the study or the checkpoint says it.
        fingerprint: what decides the codes.
        told: what it is, for people.
        names: of the latents; empty where they have none.
    """

    coding: Coding
    tokens: TokenChoice | None
    fingerprint: dict[str, Json]
    told: str
    names: tuple[str, ...] = ()


def place_of(declared: DeclaredCoding, base: str | None) -> Path:
    """The file or folder that a declaration names.

    Raises:
        StudyError: when a `package:` name has no such package.
    """
    path = local_path(declared.file, base)
    return Path(base or ".") / declared.file if path is None else path


def content(declared: DeclaredCoding, base: str | None) -> str:
    """Hash of the files of a coding, and of what the study says of it.

    Raises:
        StudyError: when they are not there.
    """
    if declared.kind == HEADS:
        return json.dumps([HEADS, declared.count, declared.tokens])
    path = place_of(declared, base)
    return json.dumps([content_of(path), declared.model_dump(exclude={"file"})], sort_keys=True)


def coding_part(declared: DeclaredCoding, model: str, base: str | None) -> ModelPart:
    """The checkpoint that a layer's latents come from, for `dnd doctor` and a run's record."""

    def find() -> Checkpoint:
        return Checkpoint.of_file(weights_file(place_of(declared, base)), declared.file)

    return find_part(declared.file, find, f"{model}/{declared.path}")


def attached(declared: DeclaredCoding, width: int, base: str | None) -> Attached:
    """Read the coding of a layer of `width` neurons.

    Raises:
        StudyError: when it is not there, not read, leaves something open, or has another width.
        NotFoundError: when the study names a layout or a tensor that there is not.
    """
    if declared.kind == HEADS:
        return _attach_heads(declared, width)
    path = place_of(declared, base)
    attachment = (
        _attach_directions(declared, path, width)
        if declared.kind == "directions"
        else _attach_sae(declared, path)
    )
    if attachment.coding.width != width:
        raise StudyError(
            f"{path} reads vectors of {attachment.coding.width:,} numbers, and layer "
            f"{declared.path!r} has {width:,} neurons. Attach it to the layer it was made for."
        )
    file_fingerprint = {
        "files": content_of(path),
        "code": code_version(
            CodedLayout, type(attachment.coding), encoder_of, read_autoencoder, read_vectors
        ),
    }
    return replace(attachment, fingerprint={**attachment.fingerprint, **file_fingerprint})


def coded(info: LayerInfo, attachment: Attached, declared: DeclaredCoding) -> LayerInfo:
    """The description of a layer's latents.

    Raises:
        StudyError: when `tokens` is not said and has to be, or does not fit the layer.
    """
    layout = info.layout
    assert layout is not None, "only layers with units are coded"
    assert info.raw is not None, "only layers that ran are coded"
    tokens = _token_choice(info, attachment, declared)
    has_class = layout.class_token or (info.known == "declared" and layout.prefix_tokens > 0)
    if tokens == "class" and not has_class:
        raise StudyError(
            f"layer {info.path!r} has no class token that is known, and tokens = 'class'. Write "
            "tokens = 'patches' or 'all', or declare `prefix_tokens` of the layer."
        )
    coded_layout = CodedLayout(
        layout.axes,
        layout.grid,
        layout.prefix_tokens,
        has_class if tokens == "class" else layout.class_token,
        coding=attachment.coding,
        tokens=tokens,
        fingerprint=tuple(sorted(attachment.fingerprint.items())),
    )
    return replace(
        info,
        units=attachment.coding.latents,
        shape=coded_layout.arranged_shape(info.raw),
        has_map=info.has_map and coded_layout.places,
        reason="the class token has no place in the picture" if tokens == "class" else info.reason,
        layout=coded_layout,
        known=f"{attachment.told}; {info.known}",
    )


def _token_choice(
    info: LayerInfo, attachment: Attached, declared: DeclaredCoding
) -> TokenChoice | None:
    assert info.layout is not None, "only layers with units are coded"
    if info.layout.kind != "tokens":
        if declared.tokens is not None:
            raise StudyError(
                f"layer {info.path!r} gives {info.layout.kind} and no tokens, and tokens = "
                f"{declared.tokens!r}. Leave `tokens` out."
            )
        return None
    if attachment.tokens is None:
        raise StudyError(
            f"layer {info.path!r} gives tokens, and nothing says which of them {declared.file} was "
            "made for. Say it: tokens = 'class', 'patches' or 'all' beside its path."
        )
    return attachment.tokens


def _attach_sae(declared: DeclaredCoding, path: Path) -> Attached:
    saved = read_autoencoder(path)
    answers = Answers(
        activation=cast("ActivationName | None", declared.activation),
        **{name: getattr(declared, name) for name in _ANSWERS},
    )
    layout, encoder = encoder_of(saved, answers, declared.layout)
    trained_tokens = vit_prisma.tokens(saved.config or {}) if layout == vit_prisma.LAYOUT else None
    if trained_tokens is not None and declared.tokens not in (None, trained_tokens):
        raise StudyError(
            f"{path} was trained on tokens = {trained_tokens!r}, as its settings say, and the "
            f"study says {declared.tokens!r}. Leave `tokens` out."
        )
    fingerprint: dict[str, Json] = {"kind": "sae", "layout": layout}
    settings = {name: getattr(declared, name) for name in ("activation", *_ANSWERS)}
    fingerprint |= {name: value for name, value in settings.items() if value is not None}
    tokens = cast("TokenChoice | None", declared.tokens or trained_tokens)
    return Attached(encoder, tokens, fingerprint, f"latents of {layout}")


def _attach_heads(declared: DeclaredCoding, width: int) -> Attached:
    count = declared.count or 0
    if not count or width % count:
        raise StudyError(
            f"layer {declared.path!r} reads {width:,} numbers a token, which {count} heads cannot "
            "share alike. Write the block's own number of heads: heads = { count = … }."
        )
    fingerprint: dict[str, Json] = {
        "kind": HEADS,
        "count": count,
        "code": code_version(Heads, OfInput),
    }
    return Attached(
        Heads(width, count),
        cast("TokenChoice", declared.tokens or "all"),
        fingerprint,
        "attention heads",
    )


def _attach_directions(declared: DeclaredCoding, path: Path, width: int) -> Attached:
    tensors, texts = read_vectors(path)
    name = declared.tensor or _only_matrix(path, tensors)
    matrix = _finite_tensor(path, tensors, name)
    if matrix.ndim != 2:
        raise StudyError(f"{path}: {name!r} is no matrix but {tuple(matrix.shape)}.")
    rows = _direction_rows(declared, path, matrix, width)
    names = _direction_names(path, texts, len(rows))
    coding = Directions(
        rows.contiguous(),
        names,
        cast("Reading", declared.reading),
        None if declared.mean is None else _finite_tensor(path, tensors, declared.mean),
        None if declared.bias is None else _finite_tensor(path, tensors, declared.bias).flatten(),
    )
    if coding.mean is not None and tuple(coding.mean.shape) != (coding.width,):
        raise StudyError(f"{path}: {declared.mean!r} has no {coding.width} numbers.")
    if coding.bias is not None and tuple(coding.bias.shape) != (coding.latents,):
        raise StudyError(f"{path}: {declared.bias!r} has no {coding.latents} numbers.")
    fingerprint: dict[str, Json] = {
        "kind": "directions",
        "tensor": name,
        "reading": declared.reading,
    }
    fingerprint |= {"mean": declared.mean, "bias": declared.bias, "columns": declared.columns}
    return Attached(
        coding, cast("TokenChoice | None", declared.tokens), fingerprint, "directions", names
    )


def _finite_tensor(path: Path, tensors: Mapping[str, Tensor], name: str) -> Tensor:
    if name not in tensors:
        raise not_found(f"tensor in {path.name}", name, tensors)
    tensor = tensors[name].float()
    if not bool(tensor.isfinite().all()):
        raise StudyError(f"{path}: {name!r} holds numbers that are NaN or infinite.")
    return tensor


def _only_matrix(path: Path, tensors: Mapping[str, Tensor]) -> str:
    matrices = [name for name, value in tensors.items() if value.ndim == 2]
    if len(matrices) != 1:
        raise StudyError(
            f"{path} holds {len(matrices)} matrices ({', '.join(sorted(tensors)[:8])}). Say which "
            "holds the directions: `tensor = …` in [models.layers.directions]."
        )
    return matrices[0]


def _direction_rows(declared: DeclaredCoding, path: Path, matrix: Tensor, width: int) -> Tensor:
    """The matrix with a row for each direction."""
    fits = [matrix.shape[1] == width, matrix.shape[0] == width]
    if declared.columns is None and all(fits):
        raise StudyError(
            f"{path} is {tuple(matrix.shape)}, and the layer has {width} neurons, so that rows or "
            "columns may be the directions. Say it: `columns = true` or false."
        )
    columns = (not fits[0] and fits[1]) if declared.columns is None else declared.columns
    return matrix.T if columns else matrix


def _direction_names(path: Path, texts: Mapping[str, str], count: int) -> tuple[str, ...]:
    """Names of directions, a JSON list under `names` in the header of the file."""
    if _NAMES not in texts:
        return ()
    try:
        names: object = json.loads(texts[_NAMES])
    except ValueError as error:
        raise StudyError(f"{path}: `names` in its header is no JSON list ({error}).") from error
    if not isinstance(names, list) or len(names) != count:
        length = len(names) if isinstance(names, list) else "no list of"
        raise StudyError(f"{path} holds {count} directions, and {length} names for them.")
    return tuple(str(entry) for entry in names)
