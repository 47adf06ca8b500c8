"""Whether a layer is the projection that mixes the heads of an attention, or one; how many."""

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
        raise _refused(path, f"is {type(layer).__name__} and no square nn.Linear", network)
    for depth in range(1, _ABOVE + 1):
        above = ".".join(path.split(".")[:-depth])
        known = _counts(modules[above])
        if not known:
            continue
        last = [name for name, one in modules[above].named_modules() if isinstance(one, nn.Linear)]
        if f"{above}.{last[-1]}".lstrip(".") != path:
            raise _refused(path, f"is not the last linear layer of {above!r}", network)
        if count not in known:
            raise _another_count(path, ", ".join(map(str, sorted(known))), count)
        return
    raise _refused(path, "lies in no module that knows its number of heads", network)


def _another_count(path: str, told: str, count: int) -> StudyError:
    return StudyError(
        f"layer {path!r} mixes {told} heads, and the study says {count}. Write "
        f"heads = {{ count = {told} }}."
    )


def _counts(module: "nn.Module") -> set[int]:
    """Numbers of heads that a module, or one right inside it, says it has."""
    some = [module, *module.children()]
    said = [getattr(one, name, None) for one in some for name in _COUNTS]
    return {one for one in said if isinstance(one, int)}


def _refused(path: str, why: str, network: "nn.Module") -> StudyError:
    from torch import nn

    linear = [n for n, one in network.named_modules() if isinstance(one, nn.Linear)]
    whole = [n for n, one in network.named_modules() if isinstance(one, nn.MultiheadAttention)]
    likely = [n for n in linear if n.rpartition(".")[2] in ("proj", "out_proj", "dense")]
    likely = [n for n in likely if n.rpartition(".")[0] not in whole]
    return StudyError(
        f"heads are read from what the projection of an attention is given, and layer {path!r} "
        f"{why}. Such projections may be: {', '.join(likely[:4]) or 'none here'}. Of an attention "
        "of nn.MultiheadAttention, which does not run its projection as a layer of its own, name "
        f"the attention itself: {', '.join(whole[:4]) or 'none here'}."
    )
