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


def place_of(said: DeclaredCoding, base: str | None) -> Path:
    """The file or folder that a declaration names.

    Raises:
        StudyError: when a `package:` name has no such package.
    """
    found = local_path(said.file, base)
    return Path(base or ".") / said.file if found is None else found


def content(said: DeclaredCoding, base: str | None) -> str:
    """Hash of the files of a coding, and of what the study says of it.

    Raises:
        StudyError: when they are not there.
    """
    if said.kind == HEADS:
        return json.dumps([HEADS, said.count, said.tokens])
    place = place_of(said, base)
    return json.dumps([content_of(place), said.model_dump(exclude={"file"})], sort_keys=True)


def coding_part(said: DeclaredCoding, model: str, base: str | None) -> ModelPart:
    """What the latents of a layer are made by, for `dnd doctor` and for the record of a run."""

    def find() -> Checkpoint:
        return Checkpoint.of_file(weights_file(place_of(said, base)), said.file)

    return find_part(said.file, find, f"{model}/{said.path}")


def attached(said: DeclaredCoding, width: int, base: str | None) -> Attached:
    """Read the coding of a layer of `width` neurons.

    Raises:
        StudyError: when it is not there, not read, leaves something open, or has another width.
        NotFoundError: when the study names a layout or a tensor that there is not.
    """
    if said.kind == HEADS:
        return _heads(said, width)
    place = place_of(said, base)
    found = _directions(said, place, width) if said.kind == "directions" else _sae(said, place)
    if found.coding.width != width:
        raise StudyError(
            f"{place} reads vectors of {found.coding.width:,} numbers, and layer {said.path!r} has "
            f"{width:,} neurons. Attach it to the layer it was made for."
        )
    own = {
        "files": content_of(place),
        "code": code_version(
            CodedLayout, type(found.coding), encoder_of, read_autoencoder, read_vectors
        ),
    }
    return replace(found, fingerprint={**found.fingerprint, **own})


def coded(info: LayerInfo, found: Attached, said: DeclaredCoding) -> LayerInfo:
    """The description of a layer's latents.

    Raises:
        StudyError: when `tokens` is not said and has to be, or does not fit the layer.
    """
    layout = info.layout
    assert layout is not None, "only layers with units are coded"
    assert info.raw is not None, "only layers that ran are coded"
    tokens = _tokens(info, found, said)
    has_class = layout.class_token or (info.known == "declared" and layout.prefix_tokens > 0)
    if tokens == "class" and not has_class:
        raise StudyError(
            f"layer {info.path!r} has no class token that is known, and tokens = 'class'. Write "
            "tokens = 'patches' or 'all', or declare `prefix_tokens` of the layer."
        )
    own = CodedLayout(
        layout.axes,
        layout.grid,
        layout.prefix_tokens,
        has_class if tokens == "class" else layout.class_token,
        coding=found.coding,
        tokens=tokens,
        fingerprint=tuple(sorted(found.fingerprint.items())),
    )
    return replace(
        info,
        units=found.coding.latents,
        shape=own.arranged_shape(info.raw),
        has_map=info.has_map and own.places,
        reason="the class token has no place in the picture" if tokens == "class" else info.reason,
        layout=own,
        known=f"{found.told}; {info.known}",
    )


def _tokens(info: LayerInfo, found: Attached, said: DeclaredCoding) -> TokenChoice | None:
    assert info.layout is not None, "only layers with units are coded"
    if info.layout.kind != "tokens":
        if said.tokens is not None:
            raise StudyError(
                f"layer {info.path!r} gives {info.layout.kind} and no tokens, and tokens = "
                f"{said.tokens!r}. Leave `tokens` out."
            )
        return None
    if found.tokens is None:
        raise StudyError(
            f"layer {info.path!r} gives tokens, and nothing says which of them {said.file} was "
            "made for. Say it: tokens = 'class', 'patches' or 'all' beside its path."
        )
    return found.tokens


def _sae(said: DeclaredCoding, place: Path) -> Attached:
    saved = read_autoencoder(place)
    answers = Answers(
        activation=cast("ActivationName | None", said.activation),
        **{name: getattr(said, name) for name in _ANSWERS},
    )
    layout, encoder = encoder_of(saved, answers, said.layout)
    told = vit_prisma.tokens(saved.config or {}) if layout == vit_prisma.LAYOUT else None
    if told is not None and said.tokens not in (None, told):
        raise StudyError(
            f"{place} was trained on tokens = {told!r}, as its settings say, and the study says "
            f"{said.tokens!r}. Leave `tokens` out."
        )
    mark: dict[str, Json] = {"kind": "sae", "layout": layout}
    given = {name: getattr(said, name) for name in ("activation", *_ANSWERS)}
    mark |= {name: value for name, value in given.items() if value is not None}
    tokens = cast("TokenChoice | None", said.tokens or told)
    return Attached(encoder, tokens, mark, f"latents of {layout}")


def _heads(said: DeclaredCoding, width: int) -> Attached:
    count = said.count or 0
    if not count or width % count:
        raise StudyError(
            f"layer {said.path!r} reads {width:,} numbers a token, which {count} heads cannot "
            "share alike. Write the block's own number of heads: heads = { count = … }."
        )
    mark: dict[str, Json] = {"kind": HEADS, "count": count, "code": code_version(Heads, OfInput)}
    return Attached(
        Heads(width, count), cast("TokenChoice", said.tokens or "all"), mark, "attention heads"
    )


def _directions(said: DeclaredCoding, place: Path, width: int) -> Attached:
    tensors, texts = read_vectors(place)
    name = said.tensor or _only_matrix(place, tensors)
    matrix = _tensor(place, tensors, name)
    if matrix.ndim != 2:
        raise StudyError(f"{place}: {name!r} is no matrix but {tuple(matrix.shape)}.")
    rows = _turned(said, place, matrix, width)
    names = _names(place, texts, len(rows))
    coding = Directions(
        rows.contiguous(),
        names,
        cast("Reading", said.reading),
        None if said.mean is None else _tensor(place, tensors, said.mean),
        None if said.bias is None else _tensor(place, tensors, said.bias).flatten(),
    )
    if coding.mean is not None and tuple(coding.mean.shape) != (coding.width,):
        raise StudyError(f"{place}: {said.mean!r} has no {coding.width} numbers.")
    if coding.bias is not None and tuple(coding.bias.shape) != (coding.latents,):
        raise StudyError(f"{place}: {said.bias!r} has no {coding.latents} numbers.")
    mark: dict[str, Json] = {"kind": "directions", "tensor": name, "reading": said.reading}
    mark |= {"mean": said.mean, "bias": said.bias, "columns": said.columns}
    return Attached(coding, cast("TokenChoice | None", said.tokens), mark, "directions", names)


def _tensor(place: Path, tensors: Mapping[str, Tensor], name: str) -> Tensor:
    if name not in tensors:
        raise not_found(f"tensor in {place.name}", name, tensors)
    found = tensors[name].float()
    if not bool(found.isfinite().all()):
        raise StudyError(f"{place}: {name!r} holds numbers that are NaN or infinite.")
    return found


def _only_matrix(place: Path, tensors: Mapping[str, Tensor]) -> str:
    found = [name for name, value in tensors.items() if value.ndim == 2]
    if len(found) != 1:
        raise StudyError(
            f"{place} holds {len(found)} matrices ({', '.join(sorted(tensors)[:8])}). Say which "
            "holds the directions: `tensor = …` in [models.layers.directions]."
        )
    return found[0]


def _turned(said: DeclaredCoding, place: Path, matrix: Tensor, width: int) -> Tensor:
    """The matrix with a row for each direction."""
    fits = [matrix.shape[1] == width, matrix.shape[0] == width]
    if said.columns is None and all(fits):
        raise StudyError(
            f"{place} is {tuple(matrix.shape)}, and the layer has {width} neurons, so that rows or "
            "columns may be the directions. Say it: `columns = true` or false."
        )
    columns = (not fits[0] and fits[1]) if said.columns is None else said.columns
    return matrix.T if columns else matrix


def _names(place: Path, texts: Mapping[str, str], count: int) -> tuple[str, ...]:
    """Names of directions, a JSON list under `names` in the header of the file."""
    if _NAMES not in texts:
        return ()
    try:
        found: object = json.loads(texts[_NAMES])
    except ValueError as error:
        raise StudyError(f"{place}: `names` in its header is no JSON list ({error}).") from error
    if not isinstance(found, list) or len(found) != count:
        length = len(found) if isinstance(found, list) else "no list of"
        raise StudyError(f"{place} holds {count} directions, and {length} names for them.")
    return tuple(str(name) for name in found)
