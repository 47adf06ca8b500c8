"""A layer's output without some latents of an autoencoder, or some directions, attached to it.

An autoencoder writes a vector as a sum of its latents' decoder vectors, each times its code. To
replace the code f_j of latent j by r_j is to add (r_j - f_j) d_j to the layer's vector; all that
the autoencoder does not reconstruct stays (Marks et al. 2024, "Sparse Feature Circuits", keep the
error term likewise). Where the autoencoder reads vectors that were scaled or normalised, what it
adds is brought back to the layer's own scale.

A direction is replaced by what is least: the vector is moved within the span of the group's
directions, so that its projections on them become the given ones and nothing else changes (to
project a concept out, as Ravfogel et al. 2020 do). Projections count without bias, also where they
are read as cosines; factors of a non-negative factorisation are replaced as latents are.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from dnd_assets.errors import StudyError
from dnd_assets.methods.ablation.replacing import Group, Replacement
from dnd_assets.methods.sae.coded_layout import CodedLayout
from dnd_assets.methods.sae.directions import Directions
from dnd_assets.methods.sae.encoder import Encoder

if TYPE_CHECKING:
    from torch import Tensor

_EPSILON: Final = 1e-5
"""As `methods.sae.encoder.normalised` has it."""


def ablated_latents(
    values: Tensor, layout: CodedLayout, groups: Sequence[Group], replacement: Replacement
) -> Tensor:
    """The output with, in each row, the latents of that row's group replaced.

    Args:
        values: what a layer gave, for one picture or for as many rows as there are groups.
        layout: of the layer, with its coding.
        groups: latents of each row; none leaves it as it is.
        replacement: `fill` is one number for each latent, (latents,), as `readout` gives them;
            `donor` is the layer's output for another picture.

    Returns:
        A tensor like `values`, with a row for each group.
    """
    import torch

    coding = ablatable(layout)
    rows, donor = vectors_of(values, layout), replacement.donor
    replacements = (
        replacement.fill if donor is None else readout(coding, vectors_of(donor, layout)[0])
    )
    assert replacements is not None, "one of both is given"
    shared = len(rows) == 1
    shared_codes = readout(coding, rows[0]) if shared else None
    replaced = []
    with torch.autocast(values.device.type, enabled=False):
        for index, group in enumerate(groups):
            row = rows[0 if shared else index]
            if group:
                codes = readout(coding, row) if shared_codes is None else shared_codes
                row = row + added(coding, row, codes, group, replacements).to(row.dtype)
            replaced.append(row)
    outputs = values.repeat_interleave(len(groups), layout.axes.index("n")) if shared else values
    return put_back(outputs, torch.stack(replaced), layout)


def latent_means(values: Tensor, layout: CodedLayout) -> Tensor:
    """Mean of what each latent is replaced in, over the places of each picture.

    Returns:
        float64 (pictures, latents).
    """
    import torch

    coding = ablatable(layout)
    rows = vectors_of(values, layout)
    return torch.stack([readout(coding, vectors).double().mean(dim=0) for vectors in rows])


def ablatable(layout: CodedLayout) -> Encoder | Directions:
    """The coding of a layer whose latents can be ablated.

    Raises:
        StudyError: when its latents write into another layer, or what they write is not known.
    """
    coding = layout.coding
    if isinstance(coding, Directions):
        return coding
    if not isinstance(coding, Encoder):
        raise StudyError(
            f"units that are read by {type(coding).__name__} cannot be ablated. Leave [ablation] "
            "out, or name the layer without them."
        )
    if coding.unknown:
        raise StudyError(
            f"what a latent adds to its layer is not known: {coding.unknown}. Leave [ablation] "
            "out, or attach an autoencoder that reconstructs what it reads."
        )
    return coding


def readout(coding: Encoder | Directions, rows: Tensor) -> Tensor:
    """What is replaced of each latent, float32 (…, latents): its code, or a bare projection."""
    import torch

    with torch.autocast(rows.device.type, enabled=False):
        if isinstance(coding, Encoder) or coding.reading == "non_negative":
            return coding.encode(rows.float())
        centred = rows.float() if coding.mean is None else rows.float() - coding.mean
        return centred @ coding.directions.T


def added(
    coding: Encoder | Directions, rows: Tensor, codes: Tensor, group: Group, instead: Tensor
) -> Tensor:
    """What to add to vectors so that some latents have other values, float32 (…, width).

    Args:
        coding: of the layer.
        rows: vectors, (…, width).
        codes: `readout` of them.
        group: the latents.
        instead: their new values and all others', (…, latents) or (latents,).
    """
    import torch

    latents = list(group)
    change = instead[..., latents].float() - codes[..., latents]
    if isinstance(coding, Encoder):
        assert coding.decoder is not None, "only such are ablated"
        if coding.rescale is not None:
            change = change / coding.rescale[latents]
        return change @ coding.decoder[latents].float() * _spread(coding, rows)
    directions = coding.directions[latents].float()
    if coding.reading == "non_negative":
        return change @ directions
    # The least change of a vector that gives its projections: the pseudo-inverse of the directions.
    back: Tensor = torch.linalg.pinv(directions.double()).T.float()
    return change @ back


def _spread(coding: Encoder, rows: Tensor) -> Tensor:
    """What the autoencoder's own numbers are multiplied by to be the layer's, (…, 1)."""
    inputs = rows.float() * coding.scale
    if coding.normalisation == "layer_norm":
        spread = inputs.std(dim=-1, keepdim=True) + _EPSILON
    elif coding.normalisation == "constant_norm":
        spread = inputs.norm(dim=-1, keepdim=True) / inputs.shape[-1] ** 0.5
    else:
        spread = inputs.new_ones(*inputs.shape[:-1], 1)
    return spread / coding.scale


def vectors_of(values: Tensor, layout: CodedLayout) -> Tensor:
    """The vectors of a layer that are encoded, (B, places, width)."""
    n, c = layout.axes.index("n"), layout.axes.index("c")
    moved = values.movedim((n, c), (0, values.ndim - 1))
    flat = moved.reshape(len(moved), -1, moved.shape[-1])
    return flat[:, _encoded_tokens(layout)]


def put_back(values: Tensor, vectors: Tensor, layout: CodedLayout) -> Tensor:
    """A layer's output with the vectors that are encoded put in their places again."""
    n, c = layout.axes.index("n"), layout.axes.index("c")
    moved = values.movedim((n, c), (0, values.ndim - 1))
    flat = moved.reshape(len(moved), -1, moved.shape[-1]).clone()
    flat[:, _encoded_tokens(layout)] = vectors.to(flat.dtype)
    return flat.reshape(moved.shape).movedim((0, values.ndim - 1), (n, c)).contiguous()


def _encoded_tokens(layout: CodedLayout) -> slice:
    """Which tokens are encoded; all places of maps."""
    if "x" in layout.axes:
        raise StudyError(
            f"the layer gives {layout.axes!r}, of which further axes are averaged before latents "
            "are read, so that these cannot be ablated. Leave [ablation] out."
        )
    if layout.kind != "tokens" or layout.tokens == "all":
        return slice(None)
    return slice(1) if layout.tokens == "class" else slice(layout.prefix_tokens, None)
