"""Which library wrote a checkpoint, and the encoder that it holds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from dnd_assets.errors import StudyError, not_found
from dnd_assets.methods.sae import (
    dictionary_learning,
    overcomplete,
    saelens,
    saev,
    sparsify,
    vit_prisma,
)
from dnd_assets.methods.sae.encoder import Encoder
from dnd_assets.methods.sae.saved import Answers, Saved

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class _Library:
    """How checkpoints of one library are told and read."""

    recognised: Callable[[Saved], bool]
    encoder: Callable[[Saved, Answers], Encoder]


_LIBRARIES: Final = {
    saev.LAYOUT: _Library(saev.recognised, saev.encoder),
    vit_prisma.LAYOUT: _Library(vit_prisma.recognised, vit_prisma.encoder),
    saelens.LAYOUT: _Library(saelens.recognised, saelens.encoder),
    dictionary_learning.LAYOUT: _Library(
        dictionary_learning.recognised, dictionary_learning.encoder
    ),
    sparsify.LAYOUT: _Library(sparsify.recognised, sparsify.encoder),
    overcomplete.LAYOUT: _Library(overcomplete.recognised, overcomplete.encoder),
}
LAYOUTS: Final = tuple(_LIBRARIES)
"""Names of the libraries whose checkpoints are read."""

_UNIT: Final = 1e-3
"""How far a dictionary's rows may be from length 1, so that all its normalisations agree."""


def layout_of(saved: Saved, asked: str | None = None) -> str:
    """The library that wrote a checkpoint.

    Args:
        saved: the checkpoint.
        asked: what the study says; None finds it by settings and names of tensors.

    Raises:
        StudyError: when it cannot be told for sure.
        NotFoundError: when the study names a library that is not known.
    """
    if asked is not None:
        if asked not in _LIBRARIES:
            raise not_found("layout of autoencoders", asked, LAYOUTS)
        return asked
    matches = [name for name, library in _LIBRARIES.items() if library.recognised(saved)]
    if len(matches) == 1:
        return matches[0]
    description = (
        f"looks like {' and '.join(matches)}" if matches else "is of no known library for sure"
    )
    names = ", ".join(sorted(saved.tensors)[:8]) or "none"
    raise StudyError(
        f"{saved.source} {description} (tensors: {names}; settings: "
        f"{'none' if saved.config is None else ', '.join(list(saved.config)[:8])}). Say which "
        f"wrote it: `layout = …` in [models.layers.sae], one of {', '.join(LAYOUTS)}."
    )


def encoder_of(saved: Saved, answers: Answers, asked: str | None = None) -> tuple[str, Encoder]:
    """The library that wrote a checkpoint, and its encoder.

    Args:
        saved: the checkpoint.
        answers: what the study says where the checkpoint leaves it open.
        asked: the library, where the study says it.

    Raises:
        StudyError: when something is not read or left open, an answer was not asked for, or the
            tensors do not fit each other.
        NotFoundError: when the study names a library that is not known.
    """
    layout = layout_of(saved, asked)
    encoder = _LIBRARIES[layout].encoder(saved, answers)
    unused = answers.unused()
    if unused:
        raise StudyError(
            f"[models.layers.sae] says {unused[0]}, which {saved.source} ({layout}) leaves no "
            "room for: it is known of such a checkpoint. Leave it out."
        )
    decoder = _decoder(saved, encoder)
    encoder = replace(
        encoder, decoder=decoder, unknown=encoder.unknown or _unknown(layout, decoder)
    )
    _check(saved, encoder)
    return layout, encoder


def _decoder(saved: Saved, encoder: Encoder) -> Tensor | None:
    """The decoder's vectors, (latents, width), by the names that the libraries give it."""
    size = (encoder.latents, encoder.width)
    for name in ("W_dec", "dictionary._weights", "decoder.weight"):
        if name in saved.tensors:
            value = saved.tensors[name].float()
            value = value.T if name == "decoder.weight" else value
            return value if tuple(value.shape) == size else None
    return None


def _unknown(layout: str, decoder: Tensor | None) -> str:
    """Why it is not known what a latent adds to the vectors that are read."""
    if decoder is None:
        return "the checkpoint has no decoder of the layer's width"
    if layout == overcomplete.LAYOUT and not bool(((decoder.norm(dim=1) - 1).abs() < _UNIT).all()):
        return (
            "overcomplete normalises its dictionary in a way that a state dict does not say; save "
            "it with rows of length 1, as `get_dictionary()` gives them"
        )
    return ""


def _check(saved: Saved, encoder: Encoder) -> None:
    """Refuse tensors whose sizes contradict each other, and numbers that are not finite."""
    sizes = {"shift": (encoder.width,), "bias": (encoder.latents,)}
    for name, size in {**sizes, "rescale": (encoder.latents,)}.items():
        value = getattr(encoder, name)
        if value is not None and tuple(value.shape) != size:
            raise StudyError(
                f"{saved.source} does not fit together: its encoder is {encoder.width} x "
                f"{encoder.latents} (width x latents), and a vector beside it has "
                f"{tuple(value.shape)}, not {size}. Correct `layout`, or copy the file anew."
            )
    if not bool(encoder.weight.isfinite().all() & encoder.bias.isfinite().all()):
        raise StudyError(f"{saved.source} holds weights that are NaN or infinite. Copy it anew.")
