"""Outputs of the heads of `torch.nn.MultiheadAttention`, recomputed from its inputs.

It runs its projection by a function and not by calling `out_proj`, so that nothing can be hooked
there. The heads' vectors are worked out again from what the module is given and its weights: the
formula of Vaswani et al. 2017, section 3.2.2, as the module's documentation has it.
"""

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from dnd_assets.errors import StudyError

if TYPE_CHECKING:
    from torch import Tensor, nn

_ORDER = ("query", "key", "value", "key_padding_mask", "need_weights", "attn_mask",
          "average_attn_weights", "is_causal")  # fmt: skip


def check_readable(path: str, module: "nn.MultiheadAttention") -> None:
    """Refuse an attention whose heads `heads_of` cannot recompute.

    Raises:
        StudyError: when it adds keys and values of its own.
    """
    if module.bias_k is not None or module.bias_v is not None or module.add_zero_attn:
        raise StudyError(
            f"layer {path!r} adds keys and values of its own (add_bias_kv, add_zero_attn), and its "
            "heads are not read. Name neurons of another layer."
        )


def heads_of(
    module: "nn.MultiheadAttention", args: Sequence[object], kwargs: Mapping[str, object]
) -> "Tensor":
    """The heads' vectors side by side, as the module's projection gets them.

    Args:
        module: the attention.
        args: what it was called with.
        kwargs: the same by name.

    Returns:
        As the module's output: (N, L, E) where `batch_first`, else (L, N, E).
    """
    from torch import Tensor
    from torch.nn.functional import scaled_dot_product_attention

    arguments = {**dict(zip(_ORDER, args, strict=False)), **kwargs}
    tensors = {name: tensor for name, tensor in arguments.items() if isinstance(tensor, Tensor)}
    query, key, value = (
        tensor if module.batch_first else tensor.transpose(0, 1)
        for tensor in (tensors["query"], tensors["key"], tensors["value"])
    )
    q, k, v = (
        _split_heads(part, module.num_heads) for part in _projected(module, query, key, value)
    )
    mask = _mask(tensors, module.num_heads, q)
    mixed = scaled_dot_product_attention(q, k, v, attn_mask=mask)
    joined = mixed.transpose(1, 2).flatten(2)
    return joined if module.batch_first else joined.transpose(0, 1)


def _projected(
    module: "nn.MultiheadAttention", query: "Tensor", key: "Tensor", value: "Tensor"
) -> list["Tensor"]:
    from torch.nn.functional import linear

    joint: Tensor | None = module.in_proj_weight
    separate = (module.q_proj_weight, module.k_proj_weight, module.v_proj_weight)
    weights = separate if joint is None else joint.chunk(3)
    biases = [None] * 3 if module.in_proj_bias is None else module.in_proj_bias.chunk(3)
    parts = zip((query, key, value), weights, biases, strict=True)
    return [linear(values, weight, bias) for values, weight, bias in parts]


def _split_heads(values: "Tensor", heads: int) -> "Tensor":
    """(N, L, E) as (N, heads, L, E / heads)."""
    count, length, width = values.shape
    return values.reshape(count, length, heads, width // heads).transpose(1, 2)


def _mask(tensors: "Mapping[str, Tensor]", heads: int, q: "Tensor") -> "Tensor | None":
    """The additive mask of the attention logits, from both masks; True in a mask excludes a key."""
    attn, padding = tensors.get("attn_mask"), tensors.get("key_padding_mask")
    mask: Tensor | None = None
    if attn is not None:
        mask = _additive_mask(attn, q)
        if mask.ndim == 3:  # one for each picture and head
            mask = mask.reshape(-1, heads, *mask.shape[1:])
    if padding is not None:
        padding_mask = _additive_mask(padding, q)[:, None, None]
        mask = padding_mask if mask is None else mask + padding_mask
    return mask


def _additive_mask(mask: "Tensor", q: "Tensor") -> "Tensor":
    import torch

    if mask.dtype == torch.bool:
        return torch.zeros_like(mask, dtype=q.dtype).masked_fill(mask, -math.inf)
    return mask.to(q.dtype)


def moved_output(
    module: "nn.MultiheadAttention", output: "Tensor", before: "Tensor", after: "Tensor"
) -> "Tensor":
    """The module's output for changed vectors of heads; where none changed, equal to the bit.

    Args:
        module: the attention.
        output: what it gave.
        before: vectors of the heads, as `heads_of` gives them.
        after: what stands in their place, for as many pictures, or for more than one.
    """
    from torch.nn.functional import linear

    return output + linear(after - before, module.out_proj.weight).to(output.dtype)
