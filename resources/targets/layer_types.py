"""What is known of a layer from what it is: channel axes of modules, tokens before the patches.

Modules of torch say on which axis their channels lie and how many there are. Networks of timm and
transformers say how many tokens stand before those of the picture; of others the parameters' names
do.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from torch import nn

_CLASS: Final = re.compile(r"(cls|class)_(token|tokens|embed|embedding)_?\d*")
_DISTILLED: Final = re.compile(r"(dist|distillation)_token_?\d*")
_REGISTERS: Final = re.compile(r"reg(ister)?s?_(token|tokens|embed)_?\d*|registers")
_CHANNELS_FIRST: Final = (
    nn.Conv1d, nn.Conv2d, nn.Conv3d,
    nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d,
    nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm, nn.GroupNorm,
    nn.InstanceNorm2d, nn.InstanceNorm3d,
)  # fmt: skip
_SPATIAL: Final = (
    nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d, nn.LPPool2d,
    nn.FractionalMaxPool2d, nn.PixelShuffle, nn.PixelUnshuffle, nn.UpsamplingBilinear2d,
    nn.UpsamplingNearest2d, nn.ReflectionPad2d, nn.ReplicationPad2d, nn.ZeroPad2d,
    nn.Dropout2d, nn.LocalResponseNorm,
)  # fmt: skip
_ELEMENTWISE: Final = (
    nn.ReLU, nn.ReLU6, nn.GELU, nn.SiLU, nn.Mish, nn.ELU, nn.SELU, nn.CELU, nn.LeakyReLU, nn.Tanh,
    nn.Sigmoid, nn.Hardswish, nn.Hardsigmoid, nn.Hardtanh, nn.Softplus, nn.Dropout, nn.Identity,
)  # fmt: skip
_ELEMENTWISE_NAMES: Final = ("DropPath", "StochasticDepth", "LayerScale")
_LIBRARIES: Final = ("torch.", "torchvision.", "timm.", "transformers.")


@dataclass(frozen=True)
class Prefix:
    """Tokens that a network puts before those of the picture.

    Attributes:
        tokens: how many: class, distillation and register tokens.
        class_token: whether the first of them is a class token.
    """

    tokens: int
    class_token: bool


def channel_axis(module: nn.Module, shape: Sequence[int]) -> int | None:
    """The axis of a module's output on which its channels lie, known from its type and width.

    Args:
        module: a module of torch, or of a library that builds on one.
        shape: of its output, pictures included.
    """
    return _axis(module, shape, into=False)


def input_axis(module: nn.Module, shape: Sequence[int]) -> int | None:
    """As `channel_axis`, of what a module takes."""
    return _axis(module, shape, into=True)


def keeps_places(module: nn.Module) -> bool:
    """Whether each place of the output comes from the same place of the input alone."""
    return keeps_layout(module) or isinstance(module, nn.Linear)


def keeps_layout(module: nn.Module) -> bool:
    """Whether a module's output is laid out as its input: activations, norms, dropout."""
    name = type(module).__name__
    norms = (nn.LayerNorm, nn.modules.batchnorm._BatchNorm, nn.GroupNorm, nn.RMSNorm)
    return isinstance(module, (*_ELEMENTWISE, *norms)) or name.startswith(_ELEMENTWISE_NAMES)


def prefix_of(modules: Mapping[str, nn.Module], path: str) -> Prefix | None:
    """The tokens before the picture's in the part of a network that a layer lies in.

    The innermost module around the layer that has such tokens says it.

    Args:
        modules: all modules by path, the network itself as "".
        path: the layer's.

    Returns:
        None where nothing says that there are tokens before the picture's.
    """
    for ancestor in _ancestors(path):
        prefix = _timm_prefix(modules[ancestor]) or _named_prefix(modules[ancestor])
        if prefix is not None:
            return prefix
    return None


def _axis(module: nn.Module, shape: Sequence[int], *, into: bool) -> int | None:
    spatial = len(shape) in (4, 5)
    if isinstance(module, _SPATIAL):
        return 1 if len(shape) == 4 else None
    if isinstance(module, _CHANNELS_FIRST):
        width = _width(module, into=into)
        fits = len(shape) == _dimensions(module, len(shape)) and shape[1] == width
        return 1 if fits else None
    if isinstance(module, nn.BatchNorm1d):
        return 1 if len(shape) in (2, 3) and shape[1] == module.num_features else None
    features = _last_width(module, into=into)
    if features is None:
        return None
    axis = 1 if spatial and _norm_first(module) else len(shape) - 1
    return axis if shape[axis] == features else None


def _dimensions(module: nn.Module, axes: int) -> int:
    """How many axes a module's tensors have; group norm takes any number."""
    classes = type(module).__mro__
    for number in (1, 2, 3):
        if any(base.__name__.endswith(f"{number}d") and base.__module__.startswith("torch.nn")
               for base in classes):  # fmt: skip
            return number + 2
    return axes if axes > 2 else 4


def _width(module: object, *, into: bool) -> int | None:
    names = ("in_channels" if into else "out_channels", "num_features", "num_channels")
    return next((int(getattr(module, name)) for name in names if hasattr(module, name)), None)


def _last_width(module: object, *, into: bool) -> int | None:
    """The number of features on the last axis of a module's tensors; None for other modules."""
    if isinstance(module, nn.Linear):
        return int(module.in_features if into else module.out_features)
    if isinstance(module, nn.LayerNorm | nn.RMSNorm):
        return int(module.normalized_shape[0]) if _is_one_axis_norm(module) else None
    if isinstance(module, nn.MultiheadAttention):
        return int(module.embed_dim)
    if isinstance(module, nn.RNNBase):
        directions = 2 if module.bidirectional else 1
        output_size = directions * int(module.proj_size or module.hidden_size)
        return int(module.input_size) if into else output_size
    if isinstance(module, nn.TransformerEncoderLayer | nn.TransformerDecoderLayer):
        return int(module.norm1.normalized_shape[0])
    return None


def _is_one_axis_norm(module: nn.LayerNorm | nn.RMSNorm) -> bool:
    """Whether a norm is over one axis, and its class is known to say over which."""
    return len(module.normalized_shape) == 1 and type(module).__module__.startswith(_LIBRARIES)


def _norm_first(module: object) -> bool:
    """Whether a layer norm takes maps (B, C, H, W), as those called `…2d` of the libraries do."""
    if getattr(module, "data_format", "") == "channels_first":
        return True
    return isinstance(module, nn.LayerNorm | nn.RMSNorm) and type(module).__name__.endswith("2d")


def _ancestors(path: str) -> Iterator[str]:
    """The layer's own path and those of the modules around it, innermost first."""
    parts = path.split(".") if path else []
    for length in range(len(parts), -1, -1):
        yield ".".join(parts[:length])


def _timm_prefix(module: object) -> Prefix | None:
    """What a network of timm says of itself."""
    tokens = module.__dict__.get("num_prefix_tokens")
    is_network = hasattr(module, "cls_token") or hasattr(module, "has_class_token")
    if not isinstance(tokens, int) or not is_network:  # the network says it, not its attention
        return None
    class_token = getattr(module, "cls_token", None)
    has_class = getattr(module, "has_class_token", class_token is not None)
    return Prefix(tokens, bool(has_class) and tokens > 0)


def _named_prefix(module: nn.Module) -> Prefix | None:
    """What the names of parameters say; those of several stages or branches count once."""
    names = {name.rpartition(".")[2]: value for name, value in module.named_parameters()}
    has_class = any(_CLASS.fullmatch(name) for name in names)
    has_distilled = any(_DISTILLED.fullmatch(name) for name in names)
    registers = [value for name, value in names.items() if _REGISTERS.fullmatch(name)]
    if not (has_class or has_distilled or registers):
        return None
    register_count = int(registers[0].shape[-2]) if registers and registers[0].ndim > 1 else 0
    return Prefix(has_class + has_distilled + register_count, has_class)
