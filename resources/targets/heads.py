"""Checks that a layer is an attention, or the projection that mixes its heads, and of how many."""

from typing import TYPE_CHECKING, Final

from dnd_assets.errors import StudyError
from resources.targets.attention import check_readable

if TYPE_CHECKING:
    from torch import nn

_COUNTS: Final = ("num_heads", "num_attention_heads")
_ABOVE: Final = 2
"""How far above a projection the module lies that knows of heads."""


def check_heads(network: "nn.Module", path: str, count: int) -> None:
    """Refuse heads of a layer whose input is not known to be heads side by side.

    Args:
        network: the network.
        path: of the layer that heads are declared of.
        count: how many heads are declared.

    Raises:
        StudyError: when it is no such projection, or has another number of heads; says which.
    """
    from torch import nn

    modules = dict(network.named_modules())
    layer = modules[path]
    if isinstance(layer, nn.MultiheadAttention):
        check_readable(path, layer)
        if count != layer.num_heads:
            raise _another_count(path, str(layer.num_heads), count)
        return
    if not isinstance(layer, nn.Linear) or layer.in_features != layer.out_features:
        raise _refusal(path, f"is {type(layer).__name__} and no square nn.Linear", network)
    for depth in range(1, _ABOVE + 1):
        parent = ".".join(path.split(".")[:-depth])
        counts = _counts(modules[parent])
        if not counts:
            continue
        linear = [
            name
            for name, submodule in modules[parent].named_modules()
            if isinstance(submodule, nn.Linear)
        ]
        if f"{parent}.{linear[-1]}".lstrip(".") != path:
            raise _refusal(path, f"is not the last linear layer of {parent!r}", network)
        if count not in counts:
            raise _another_count(path, ", ".join(map(str, sorted(counts))), count)
        return
    raise _refusal(path, "lies in no module that knows its number of heads", network)


def _another_count(path: str, actual: str, count: int) -> StudyError:
    return StudyError(
        f"layer {path!r} mixes {actual} heads, and the study says {count}. Write "
        f"heads = {{ count = {actual} }}."
    )


def _counts(module: "nn.Module") -> set[int]:
    """Numbers of heads in the attributes of a module and of its direct children."""
    modules = [module, *module.children()]
    values = [getattr(submodule, name, None) for submodule in modules for name in _COUNTS]
    return {value for value in values if isinstance(value, int)}


def _refusal(path: str, reason: str, network: "nn.Module") -> StudyError:
    from torch import nn

    linear = [n for n, submodule in network.named_modules() if isinstance(submodule, nn.Linear)]
    attentions = [
        n
        for n, submodule in network.named_modules()
        if isinstance(submodule, nn.MultiheadAttention)
    ]
    likely = [n for n in linear if n.rpartition(".")[2] in ("proj", "out_proj", "dense")]
    likely = [n for n in likely if n.rpartition(".")[0] not in attentions]
    return StudyError(
        f"heads are read from what the projection of an attention is given, and layer {path!r} "
        f"{reason}. Such projections may be: {', '.join(likely[:4]) or 'none here'}. Of an "
        "attention of nn.MultiheadAttention, which does not run its projection as a layer of its "
        f"own, name the attention itself: {', '.join(attentions[:4]) or 'none here'}."
    )
